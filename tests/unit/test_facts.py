"""What a server is: the facts that every task wants to know."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from djdeploy.remote.agent.facts import noexec


@pytest.mark.parametrize(
    ("mounted", "found"),
    [
        (None, None),
        ("home", "home"),
        ("home/.djdeploy", "home/.djdeploy/virtualenvs"),
        ("volume", "home/.djdeploy/virtualenvs"),  # by a link
        (".", "home"),
        ("home/shared", None),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_place_where_no_program_can_run_is_found_wherever_links_and_mounts_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: str | None, found: str | None, exists: bool
) -> None:
    if exists:
        for path in ("home/.djdeploy", "home/shared", "volume"):
            (tmp_path / path).mkdir(parents=True)
        if mounted == "volume":
            (tmp_path / "home/.djdeploy/virtualenvs").symlink_to("../../volume")
    elif mounted != ".":
        mounted = found = None

    def statvfs(path: str) -> SimpleNamespace:
        there = mounted is not None and (tmp_path / mounted).resolve() in [Path(path), *Path(path).parents]
        return SimpleNamespace(f_flag=os.ST_NOEXEC if there else 0)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert noexec(str(tmp_path / "home")) == (str(tmp_path / found) if found else None)
