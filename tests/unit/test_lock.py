"""Who holds the lock is known also where the kernel's own list of locks does not name the file as `stat` does."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from djdeploy.remote.agent import lock


@pytest.mark.parametrize("kernels_list", ["as it is", "of another device, as on btrfs"])
def test_a_lock_is_held_only_by_who_has_taken_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels_list: str
) -> None:
    if kernels_list != "as it is":
        monkeypatch.setattr(os, "major", lambda _: 0xFFF)
    path = tmp_path / "lock"
    with path.open("w") as file:
        assert not lock.lock_state(str(path))["held"], "it is only open"
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock.lock_state(str(path))["held"]
    assert not lock.lock_state(str(path))["held"]
