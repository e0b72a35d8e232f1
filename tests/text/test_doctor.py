"""The doctor judges what a server says about itself."""

from __future__ import annotations

import configparser
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Process, Secret, Settings
from djdeploy.project.checkup import Finding, findings, running, secret_sources
from djdeploy.project.supervisor_conf import supervisor_conf
from djdeploy.server.snapshot import Snapshot

SETTINGS = Settings(project="demo", repository="git@example.com:demo.git", home="/srv/demo")
MEGABYTE, GIGABYTE = 2**20, 2**30


def found(
    settings: Settings = SETTINGS,
    *,
    looked: dict[str, Any] | None = None,
    live: dict[str, Any] | None = None,
    **facts: Any,
) -> list[Finding]:
    """What is found on a server that is well but for these facts."""
    seen: Any = {
        "releases": [],
        "current": {"kind": "missing", "target": None},
        "previous": {"kind": "missing", "target": None},
        "tools": {"uv": "/usr/bin/uv", "git": "/usr/bin/git"},
        "time": 1000.0,
        "venv": True,
        "noexec": None,
        "free": {"bytes": 10 * GIGABYTE, "inodes": 1_000_000},
    }
    told = {
        "gettext": "/usr/bin/msgfmt",
        "release": {"bytes": 0, "inodes": 0},
        "environment": {"bytes": 0, "inodes": 0},
        "has_locale": True,
        "home": {"path": "/srv/demo", "exists": True, "writable": True},
        "user": "demo",
        "writable_by_all": [],
        "foreign": [],
        "supervisor": {"runs": False, "why": "no Supervisor runs"},
        "launcher": "current",
        "tools": {"git": "2.39.5", "Python": "3.11.2"},
        "wrong_pid_files": [],
        "versions": {},
    }
    django: dict[str, Any] = {
        "debug": False,
        "generated_key": False,
        "media_in_release": None,
        "databases_in_release": [],
    }
    outputs: Any = {"checkup": told | facts, "live_settings": django | (live or {})}
    return list(findings(settings, Snapshot.parse(seen | (looked or {})), outputs, 1000.0, host="demo@web1"))


def size(size: int, inodes: int) -> dict[str, int]:
    return {"bytes": size, "inodes": inodes}


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
            {"looked": {"free": {"bytes": GIGABYTE, "inodes": None}}, "release": size(GIGABYTE, 100)},
            True,
            "1024 MB are free",
        ),
        ({"looked": {"free": {"bytes": GIGABYTE, "inodes": 17}}}, True, "17 inodes are free"),
        ({"home": {"path": "/srv/demo", "exists": False, "writable": False}}, True, "/srv/demo cannot be made by demo"),
        ({"tools": {"git": "1.8.3.1"}}, True, "git 1.8.3.1 of the server is too old: 2.3 is needed"),
        ({"tools": {"Python": "3.7.17"}}, True, "Python 3.7.17 of the server is too old: 3.8 is needed"),
        ({"looked": {"noexec": "/srv/demo"}}, True, "mounted noexec"),
        ({"gettext": None}, False, "the server no gettext"),
        ({"looked": {"time": 87400.0}}, False, "the server's clock is 86400 s ahead of this machine's"),
        ({"live": {"debug": True}}, False, "DEBUG is on"),
        ({"live": {"generated_key": True}}, False, "SECRET_KEY is the one that `startproject` wrote"),
        ({"live": {"media_in_release": "media"}}, False, "inside a release"),
        ({"live": {"databases_in_release": ["src/db.sqlite3"]}}, False, "inside a release"),
    ],
)
def test_what_is_wrong_is_said(facts: dict[str, Any], fatal: bool, said: str) -> None:
    one = [finding for finding in found(**facts) if said in finding.what]
    assert [finding.fatal for finding in one] == [fatal]
    assert one[0].remedy


@pytest.mark.parametrize(("shared", "findings"), [(["media"], 0), (["media/uploads"], 0), (["uploads", "med"], 1)])
def test_uploads_that_the_next_release_shares_are_well(shared: list[str], findings: int) -> None:
    settings = replace(SETTINGS, shared_dirs=shared)
    assert len(found(settings, live={"media_in_release": "media/uploads"})) == findings


def test_gunicorns_that_lose_requests_are_named() -> None:
    process = Process("web", "gunicorn --threads 4 demo.wsgi", bind="127.0.0.1:8001", instances=2, health="/")
    settings = Settings(project="demo", repository="git@example.com:demo.git", home="/srv/demo", processes=[process])
    said = [finding.what for finding in found(settings, versions={"gunicorn": "23.0.0"})]
    assert any("threaded workers of Gunicorn 23.0 drop" in what for what in said)


@pytest.mark.parametrize(
    ("free", "fatal"),
    [
        (size(120 * MEGABYTE, 12_000), []),
        (size(80 * MEGABYTE, 12_000), [False]),
        (size(120 * MEGABYTE, 8_000), [False]),
        (size(12 * MEGABYTE, 12_000), [True]),
        (size(120 * MEGABYTE, 900), [True]),
    ],
)
def test_the_last_release_and_its_environment_say_how_much_room_a_deploy_needs(
    free: dict[str, int], fatal: list[bool]
) -> None:
    release, environment = size(10 * MEGABYTE, 500), size(90 * MEGABYTE, 9_000)
    one = found(looked={"free": free}, release=release, environment=environment)
    assert [finding.fatal for finding in one] == fatal


def test_a_first_deploy_to_a_server_without_an_environment_needs_one_more() -> None:
    one = found(looked={"free": size(120 * MEGABYTE, 100_000)}, release=size(10 * MEGABYTE, 500))
    assert [finding.fatal for finding in one] == [True]


def test_many_files_of_others_are_counted_once() -> None:
    many = [{"root": "/srv/demo/shared", "first": "/srv/demo/shared/media/a", "count": 3}]
    one = found(writable_by_all=many, foreign=many)
    assert [(finding.what, finding.remedy) for finding in one] == [
        (
            "every account can write to /srv/demo/shared/media/a and 2 more in /srv/demo/shared",
            "chmod -R o-w /srv/demo/shared",
        ),
        (
            "/srv/demo/shared/media/a and 2 more in /srv/demo/shared belong to another account",
            "As root on the server: chown -R demo /srv/demo/shared",
        ),
    ]


SUPERVISED = replace(
    SETTINGS, processes=[Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", instances=2, health="/")]
)


def supervised(*, path: str = "/etc/supervisor.conf", **changes: str) -> dict[str, Any]:
    """Supervisor's files as printed, but for these values."""
    printed = configparser.RawConfigParser()
    printed.read_string(supervisor_conf(SUPERVISED))
    programs = {section: {**dict(printed.items(section)), **changes} for section in printed.sections()}
    return {"runs": True, "path": path, "programs": programs, "not_loaded": []}


def test_of_supervisors_environment_only_names_are_shown() -> None:
    live = supervised(environment='LANG="C",PYTHONUNBUFFERED="1",DB_PASSWORD="hunter2,hunter2"')
    one = found(SUPERVISED, supervisor=live)
    assert ["its environment: DB_PASSWORD, LANG (/etc/supervisor.conf)" in finding.what for finding in one] == [True]
    assert "hunter2" not in str(one)
    assert found(SUPERVISED, supervisor=supervised(environment="LANG='C.UTF-8', PYTHONUNBUFFERED=1")) == []


def test_where_there_is_no_old_release_none_is_to_be_removed() -> None:
    (one,) = found(looked={"free": {"bytes": 2**20, "inodes": None}})
    assert one.remedy.startswith("Make room")


def test_a_remedy_names_the_server_itself() -> None:
    (one,) = found(SUPERVISED, supervisor=supervised(stopsignal="INT"))
    install = "'cat > /etc/supervisor/conf.d/demo.conf && supervisorctl update'"
    assert one.remedy == f"fab supervisor-conf | ssh root@web1 {install}"


def test_what_supervisor_has_read_and_not_loaded_is_said() -> None:
    one = found(SUPERVISED, supervisor={**supervised(), "not_loaded": ["fcgi-program:demo-web"]})
    assert [finding.remedy for finding in one] == ["As root on the server: supervisorctl update"]


def test_a_configuration_that_cannot_be_read_is_no_reason_to_install_supervisor() -> None:
    one = found(SUPERVISED, supervisor={"runs": True, "why": "/etc/supervisor.conf cannot be read"})
    assert ["install" in finding.remedy for finding in one] == [False]


def test_sources_of_secrets_that_a_deploy_could_not_read_are_found_and_no_command_is_run(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    secrets = {
        "a": Secret(file=str(tmp_path / "there")),
        "b": Secret(file=str(tmp_path / "nowhere")),
        "c": Secret(env="NO_SUCH_VARIABLE"),
        "d": Secret(command=f"touch {tmp_path}/ran"),
    }
    one = list(secret_sources(replace(SETTINGS, secret_files=secrets)))
    assert [finding.fatal for finding in one] == [True, True]
    assert "nowhere: No such file or directory" in one[0].what
    assert "the environment variable NO_SUCH_VARIABLE is not set" in one[1].what
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("state", ["missing", "damaged", "older", "current", "newer"])
def test_a_launcher_that_a_deploy_would_replace_is_named(state: str) -> None:
    settings = replace(SETTINGS, processes=[Process("worker", "celery -A demo worker")])
    named = [finding for finding in found(settings, launcher=state) if "djdeploy-launch-1" in finding.what]
    assert bool(named) == (state in ("missing", "damaged", "older"))
    assert all(not finding.fatal and "fab setup" in finding.remedy for finding in named)


@pytest.mark.parametrize(
    ("restarts", "note", "remedies"),
    [
        (1, "has ended and was started again once", []),
        (2, "has ended and was started again twice", ["fab logs"]),
        (1, "it sends to the login; has ended and was started again once", ["fab logs"]),
        (0, "it sends to the login", ["See docs/settings.md: Health"]),
        (0, "", []),
    ],
)
def test_what_was_started_again_with_the_server_is_well(restarts: int, note: str, remedies: list[str]) -> None:
    row: Any = {"process": "web", "instance": 0, "pid": 7, "healthy": True, "note": note, "restarts": restarts}
    assert [finding.remedy for finding in running([row], [])] == remedies
