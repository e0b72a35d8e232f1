"""Who holds the lock is known also where the kernel's own list of locks does not name the file as `stat` does."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from djdeploy.remote.agent import lock
from djdeploy.ssh.opening import Claim

ANN = Claim(by="ann", task="deploy", at="2026-11-23T09:00:00Z", run="1").on("here")


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


# --- other accounts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another account, which holds the lock of an older djdeploy for ever."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory != Path("/tmp"):
            directory.chmod(directory.stat().st_mode | 0o055)
    path = tmp_path / "lock"
    path.write_text("{}")
    path.chmod(0o644)
    command = ["flock", str(path), "sh", "-c", "echo; cat"]
    process = subprocess.Popen(command, user="nobody", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"\n"
    yield process
    process.communicate()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_another_account_cannot_hold_the_lock_not_even_one_that_it_has_opened_already(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    taken = lock.Lock(str(tmp_path / "lock"), ANN)

    assert stranger.poll() is None
    with pytest.raises(lock.Refused) as refused:
        lock.Lock(str(tmp_path / "lock"), ANN)
    assert f"'pid': {os.getpid()}" in str(refused.value.answer)
    os.close(taken.fd)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("mode", [None, 0o644, 0o666])
def test_the_lock_can_be_opened_by_us_alone(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / "lock"
    if mode:
        path.touch()
        path.chmod(mode)

    os.close(lock.Lock(str(path), ANN).fd)

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_of_ours_that_others_may_open_is_still_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    taken = lock.Lock(str(path), ANN)
    path.chmod(0o644)  # as an older djdeploy, which deploys now

    with pytest.raises(lock.Refused):
        lock.Lock(str(path), ANN)

    os.close(taken.fd)
