"""The doctor on a real server."""

from __future__ import annotations

import json
import re
from typing import Any

from djdeploy import Secret

from .site import HOME, Site


def test_a_server_on_which_all_is_well_has_no_findings(live: Site) -> None:
    shown = live.fab("check").splitlines()
    assert shown[0] == "target: a deploy would work"
    assert [re.sub(r"[\d.]+\d", "1.0", line) for line in shown[1:]] == [
        "  has   Python 1.0, git 1.0, uv 1.0, Supervisor 1.0, pip 1.0, Django 1.0, Gunicorn 1.0",
        "Only a build finds out whether the management commands succeed; whether the processes start.",
    ]


def test_of_an_empty_server_it_is_said_what_root_has_to_install(site: Site) -> None:
    shown = site.fab("check", code=1)
    assert "target: a deploy would fail" in shown
    assert "FAIL  web: nothing runs it: Supervisor's files have no program demo-web" in shown
    assert "fab supervisor-conf | ssh root@target 'cat > /etc/supervisor/conf.d/demo.conf && supervisorctl" in shown
    assert shown.count("supervisor-conf") == 1, "it is said once"
    assert site.target.root("ls", HOME)[0] != 0  # it has changed nothing


def test_what_is_wrong_is_found_with_its_remedy(live: Site) -> None:
    root = live.target.root
    root("chmod", "777", f"{HOME}/shared")
    root("chown", "root", f"{HOME}/log")
    root("sh", "-c", "sed -i s/autorestart=true/autorestart=unexpected/ /etc/supervisor/conf.d/*.conf")
    root("sh", "-c", f"echo 1 > {HOME}/run/web-0.pid")
    root("sh", "-c", f"mv {HOME}/previous {HOME}/x 2>/dev/null; mkdir {HOME}/previous")
    shown = live.fab("check", "--branch=nonsense", code=1, shared_files=[".env"])
    for found in (
        f"every account can write to {HOME}/shared",
        f"As root on the server: chown -R demo {HOME}/log",
        "[fcgi-program:demo-web] has autorestart=unexpected, and would be printed with true",
        f"{HOME}/run/web-0.pid: pid 1 belongs to another user; not touched",
        f"{HOME}/previous is a directory; it must be a link to a release, or not exist",
        f"{HOME}/shared/.env is missing (settings: shared_files)",
        "nonsense is no branch, tag or commit",
        "a deploy would fail: 4 problems",
    ):
        assert found in shown


def test_it_speaks_json(live: Site) -> None:
    found = json.loads(live.fab("check", "--json"))["target"]
    assert found["findings"] == []
    assert {"git", "Python", "Supervisor", "Gunicorn"} <= found["versions"].keys()


def test_secret_files_are_checked_and_installed(live: Site) -> None:
    (live.directory / "local.env").write_text("TOKEN=hunter2-hunter2\n")
    settings: dict[str, Any] = {"secret_files": {".env": Secret(file="local.env")}}
    shown = live.fab("secrets", "--check", code=1, **settings)
    assert ".env  missing" in shown
    assert live.fab("secrets", **settings).splitlines()[-1].split() == [".env", "same"]
    mode, owner = live.target.look("stat", "-c", "%a %U", f"{HOME}/shared/.env").split()
    assert (mode, owner) == ("600", "demo")
    assert "hunter2" not in shown


def test_a_diff_shows_commits_requirements_migrations_and_new_settings(live: Site) -> None:
    assert live.fab("diff").splitlines()[-1] == "Nothing differs."
    (live.directory / "local.env").write_text("TOKEN=hunter2-hunter2\n")
    secret: dict[str, Any] = {"secret_files": {".env": Secret(file="local.env"), "key": Secret(command="exit 1")}}
    shown = live.fab("diff", **secret)
    assert "secret file: .env is missing on the server" in shown
    assert "Not compared, since only a deploy reads them: key" in shown
    assert "Nothing" not in shown
    requirements = live.repository.read("requirements.txt")
    live.repository.add_column()
    live.repository.commit(
        {"requirements.txt": requirements + "\nsix==1.16.0\n", ".env.example": "OLD=1\nNEW_NAME=\n"}, "Esc \x1b[2J"
    )
    live.push()
    shown = live.fab("diff", shared_files=[".env"])
    for said in (
        "2 commits new:",
        "Migrate: note_color",
        "Esc \\x1b[2J",
        "requirement: six (none) → 1.16.0",
        "migration: notes.0003_note_color: AddField",
        ".env.example has new names: OLD, NEW_NAME",
    ):
        assert said in shown
    found = json.loads(live.fab("diff", "--json"))
    assert [commit["subject"] for commit in found["commits"]] == ["Esc \x1b[2J", "Migrate: note_color"]
