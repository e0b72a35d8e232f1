"""The doctor judges what a server says about itself."""

from __future__ import annotations

from typing import Any

import pytest

from djdeploy import Process, Settings
from djdeploy.doctor import Finding, findings
from djdeploy.snapshot import Snapshot

SETTINGS = Settings(project="demo", repository="git@example.com:demo.git", home="/srv/demo")
GIGABYTE = 2**30


def found(settings: Settings = SETTINGS, *, looked: dict[str, Any] | None = None, **facts: Any) -> list[Finding]:
    """What is found on a server that is well but for these facts."""
    seen: dict[str, Any] = {
        "releases": [],
        "current": {"kind": "missing", "target": None},
        "previous": {"kind": "missing", "target": None},
        "tools": {"uv": "/usr/bin/uv", "git": "/usr/bin/git"},
        "launcher": "file",
        "time": 1000.0,
        "venv": True,
        "free": {"bytes": 10 * GIGABYTE, "inodes": 1_000_000},
    }
    told = {
        "gettext": "/usr/bin/msgfmt",
        "noexec": False,
        "release_bytes": 0,
        "has_locale": True,
        "home": {"path": "/srv/demo", "exists": True, "writable": True},
        "user": "demo",
        "writable_by_all": [],
        "foreign": [],
        "supervisor": {"why": "no Supervisor runs"},
        "wrong_pid_files": [],
        "versions": {},
        "django": {},
    }
    return list(findings(settings, Snapshot.parse(seen | (looked or {})), {"doctor": told | facts}, 1000.0))


def test_a_server_that_is_well_has_no_findings() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("facts", "fatal", "said"),
    [
        ({"looked": {"venv": False, "tools": {"uv": None}}}, True, "has no venv, and there is no uv"),
        ({"looked": {"free": {"bytes": 2**20 - 1, "inodes": None}}}, True, "the disk of /srv/demo is full"),
        ({"looked": {"free": {"bytes": GIGABYTE, "inodes": 0}}}, True, "the disk of /srv/demo is full"),
        ({"looked": {"free": {"bytes": 2**20, "inodes": None}}}, True, "1 MB are free"),
        (
            {"looked": {"free": {"bytes": GIGABYTE, "inodes": None}}, "release_bytes": GIGABYTE},
            True,
            "1024 MB are free",
        ),
        ({"looked": {"free": {"bytes": GIGABYTE, "inodes": 17}}}, True, "17 inodes are free"),
        ({"home": {"path": "/srv/demo", "exists": False, "writable": False}}, True, "/srv/demo cannot be made by demo"),
        ({"noexec": True}, True, "mounted noexec"),
        ({"gettext": None}, False, "the server no gettext"),
        ({"looked": {"time": 87400.0}}, False, "the server's clock is 86400 s ahead of ours"),
        ({"django": {"DEBUG": "True"}}, False, "DEBUG is on"),
        ({"django": {"MEDIA_ROOT": "/srv/demo/r1/repository/media"}}, False, "inside a release"),
        ({"django": {"databases_in_release": ["/srv/demo/r1/repository/db"]}}, False, "inside a release"),
    ],
)
def test_what_is_wrong_is_said(facts: dict[str, Any], fatal: bool, said: str) -> None:
    one = [finding for finding in found(**facts) if said in finding.what]
    assert [finding.fatal for finding in one] == [fatal]
    assert one[0].remedy


@pytest.mark.parametrize("media", ["", "/srv/media", "/srv/demo/shared/media", "/srv/demo/r1/repository/media"])
def test_uploads_outside_of_a_release_or_in_a_shared_directory_are_well(media: str) -> None:
    settings = Settings(project="demo", repository="git@example.com:demo.git", home="/srv/demo", shared_dirs=["media"])
    assert found(settings, django={"MEDIA_ROOT": media}) == []


def test_gunicorns_that_lose_requests_are_named() -> None:
    process = Process("web", "gunicorn --threads 4 demo.wsgi", bind="127.0.0.1:8001", instances=2, health="/")
    settings = Settings(project="demo", repository="git@example.com:demo.git", home="/srv/demo", processes=[process])
    said = [finding.what for finding in found(settings, versions={"gunicorn": "23.0.0"})]
    assert any("threaded workers of Gunicorn 23.0 drop" in what for what in said)
