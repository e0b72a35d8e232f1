"""`doctor.py`: what a server says about itself, with a real Supervisor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.waiting import wait_until

from .homes import Home, a_home, answers, web


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


def facts(home: Home, **env: Any) -> dict[str, Any]:
    found: dict[str, Any] = home.run("checkup", **env).outputs["checkup"]
    return found


def test_the_live_release_and_its_environment_are_measured_apart(home: Home) -> None:
    home.release("r1")
    (home.path / "r1/virtualenv").unlink()
    (home.path / "made/bin").mkdir(parents=True)
    (home.path / "made/big").write_bytes(b"x" * 2**20)
    (home.path / "r1/virtualenv").symlink_to("../made")
    home.switch("r1")
    found = facts(home)
    assert found["environment"] == {"bytes": pytest.approx(2**20, rel=0.1), "inodes": 2}
    assert found["release"]["inodes"] == 5  # repository, site_of.py, virtualenv, release.json, runtime.json
    assert found["release"]["bytes"] < 2**20


def test_what_others_may_write_is_found_at_any_depth_and_counted(home: Home) -> None:
    home.release("r1")
    deep = home.path / "shared/media/2026"
    deep.mkdir(parents=True)
    for path in (deep / "a", deep / "b", home.path / "r1/repository/site_of.py"):
        path.write_text("x")
        path.chmod(0o666)
    if os.getuid() == 0:
        os.chown(deep / "a", 65534, 65534)
    found = facts(home)
    assert [(Path(part["root"]).name, part["count"]) for part in found["writable_by_all"]] == [("r1", 1), ("shared", 2)]
    if os.getuid() == 0:
        assert [part["first"] for part in found["foreign"]] == [str(deep / "a")]


def test_the_versions_of_tools_are_told(home: Home) -> None:
    found = facts(home)["tools"]
    assert found["Python"] == sys.version.split()[0]
    assert found["git"][0].isdigit()


@pytest.mark.parametrize("control", [True, False])
def test_what_supervisor_has_not_loaded_is_told_by_its_own_word_or_by_what_it_started(
    home: Home, control: bool
) -> None:
    process = web(port := free_port())
    home.release("r1", process)
    home.switch("r1")
    home.supervise_printed(process, control=control)
    wait_until("the site", lambda: answers(port) == "r1")
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    assert facts(home, **path)["supervisor"]["not_loaded"] == []
    config = home.root / "supervisord.conf"
    text = config.read_text()
    changed = "numprocs=3" if control else 'environment=SENTRY="x,y=1",'
    config.write_text(text.replace("numprocs=2" if control else "environment=", changed))
    assert facts(home, **path)["supervisor"]["not_loaded"] == ["fcgi-program:demo-web"]
