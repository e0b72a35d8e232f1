"""What a server is: the facts that every task wants to know."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from djdeploy.remote.agent.facts import environments, noexec


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


def test_the_environments_of_releases_are_told_also_beside_damaged_ones(tmp_path: Path) -> None:
    for name, env in {"r1": {"TOKEN": "old", "A": "1"}, "r2": {"TOKEN": "new", "A": "1"}, "odd": ["TOKEN"]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "runtime.json").write_text(json.dumps({"processes": [], "env": env}))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/runtime.json").write_text('{"processes": [')

    found = environments(str(tmp_path), ["r1", "r2", "odd", "cut", "foreign"])

    assert found == {"TOKEN": ["new", "old"], "A": ["1"]}
