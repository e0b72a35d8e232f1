"""Gunicorn is asked for its real configuration, in the release's own environment."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from djdeploy import Process
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.processes import gunicorn

from .homes import Home, Ran, a_home


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


def release(home: Home, process: Process, conf: str = "", **runtime: Any) -> None:
    repository = home.release("r1", process, more="time.sleep(600)  # it is never imported", **runtime) / "repository"
    (repository / "gunicorn.conf.py").write_text(conf)
    (repository / "other.py").write_text("graceful_timeout = 50")
    (repository / "serve.sh").write_text("#!/bin/sh\nexec gunicorn --graceful-timeout=50 site_of:application\n")
    (repository / "serve.sh").chmod(0o755)
    (home.path / "r1/runtime.json").chmod(0o600)


def asked(home: Home, process: Process, conf: str = "", **runtime: Any) -> Ran:
    release(home, process, conf, **runtime)
    done = home.run("gunicorn", "r1", str(home.path))
    wait_until("its end", lambda: home.left() == [])
    return done


def recorded(home: Home) -> Any:
    return json.loads((home.path / "r1/runtime.json").read_text())["processes"][0].get("graceful_timeout")


def web(command: str = "gunicorn site_of:application", **more: Any) -> Process:
    return Process("web", command, bind="127.0.0.1:1", **more)


SAID = {
    "gunicorn.conf.py": (web(), "graceful_timeout = 50", {}),
    "a computation": (web(), "import os\ngraceful_timeout = 5 * int(os.environ['TENS'])", {"TENS": "10"}),
    "the settings' environment": (web(), "", {"GUNICORN_CMD_ARGS": "--graceful-timeout=50"}),
    "the command's environment": (web("env GUNICORN_CMD_ARGS=--graceful-timeout=50 gunicorn x:y"), "", {}),
    "an option, which is stronger": (web("nice gunicorn x:y --graceful-timeout 50"), "graceful_timeout = 20", {}),
    "another file": (web("python -m gunicorn -c other.py x:y"), "", {}),
    "a script": (web("./serve.sh", server="gunicorn"), "", {}),
    "a shell": (web("sh -c 'exec gunicorn x:y --graceful-timeout 50'"), "", {}),
}


@pytest.mark.parametrize(("process", "conf", "env"), SAID.values(), ids=SAID)
def test_the_time_that_gunicorn_gives_to_its_workers_is_recorded_wherever_it_is_said(
    home: Home, process: Process, conf: str, env: dict[str, str]
) -> None:
    done = asked(home, process, conf, env=env)
    assert done.status == 0
    assert "stop_timeout=50" in done.output or "--graceful-timeout" in process.command
    assert recorded(home) == 50
    assert stat.S_IMODE((home.path / "r1/runtime.json").stat().st_mode) == 0o600


def test_a_release_in_which_it_is_not_recorded_is_asked_when_its_process_ends(home: Home) -> None:
    release(home, web(), "graceful_timeout = 50")
    process = json.loads((home.path / "r1/runtime.json").read_text())["processes"][0]
    assert gunicorn.stop_seconds(str(home.path), "r1", process) == 50
    assert gunicorn.stop_seconds(str(home.path), None, process) == 30  # of no release


CANNOT = {
    "daemon = True": "daemon = True: Supervisor loses such a server",
    "pidfile = '/tmp/web.pid'": "pidfile = /tmp/web.pid: only one of its instances can start then",
    "chdir = '{home}/current/repository'": "a path through",
    "raw_env = ['PYTHONPATH={home}/current/lib']": "a path through {home}/current in raw_env",
    "raw_env = ['X=1', 'Y=../../previous/lib']": "a path through {home}/previous in raw_env",
    "pythonpath = '../../current/lib,/srv'": "a path through {home}/current in pythonpath",
    "chdir = '../../current/repository'": "a path through {home}/current in chdir",
    "chdir = 'deeper'; logconfig = '../../../current/log.ini'": "a path through {home}/current in logconfig",
    "import sys; sys.path.insert(0, '{home}/current/lib')": "in gunicorn.conf.py ('{home}/current/lib')",
    "def post_fork(server, worker):\n    open('../../current/x')": "in gunicorn.conf.py ('../../current/x')",
    "def when_ready(_):\n    return '~/home/current/x'": "in gunicorn.conf.py",
}

MAY = (
    "# as {home}/current\nerrorlog = '-'",
    '"where it lives: {home}/current"',
    "raw_env = ['X={home}/current-affairs', 'Y=../current', 'Z=current/x']",
    "accesslog = '../../shared/access.log'",
)


@pytest.mark.parametrize(("conf", "why"), CANNOT.items())
def test_a_configuration_that_cannot_work_fails_the_build(home: Home, conf: str, why: str) -> None:
    (home.path / "current").symlink_to("r1")
    release(home, web(instances=2), conf.format(home=home.path))
    (home.path / "r1/repository/deeper").mkdir()
    done = home.run("gunicorn", "r1", str(home.path))
    assert done.status == 1
    assert done.output.startswith("web: Gunicorn's configuration has ")
    assert why.format(home=home.path) in done.output
    assert done.outputs["error"] == {"code": "server-configuration"}


@pytest.mark.parametrize("conf", MAY)
def test_a_configuration_that_only_looks_so_builds(home: Home, conf: str) -> None:
    assert asked(home, web(), conf.format(home=home.path)).output == ""


def test_options_of_the_environment_lead_through_no_link_either(home: Home) -> None:
    done = asked(home, web("./serve.sh", server="gunicorn"), env={"GUNICORN_CMD_ARGS": "--ca-certs ../../current/ca"})
    assert f"a path through {home.path}/current in ca_certs" in done.output


HAS_NO_EFFECT = {
    "bind = '127.0.0.1:9000'": "bind = ['127.0.0.1:9000'] has no effect",
    "import os\npidfile = '/tmp/' + os.environ['DJDEPLOY_INSTANCE']": "a stale file keeps Gunicorn from starting",
}


@pytest.mark.parametrize(("conf", "why"), HAS_NO_EFFECT.items())
def test_what_only_works_against_it_is_said(home: Home, conf: str, why: str) -> None:
    done = asked(home, web(instances=2), conf)
    assert done.status == 0
    assert done.output.startswith("djdeploy: web: Gunicorn's configuration has ")
    assert why in done.output


@pytest.mark.parametrize("conf", ["graceful_timeout = ", "import sys; sys.exit(3)", "graceful_timeout = -1"])
def test_a_configuration_that_cannot_be_read_is_left_to_the_smoke_test(home: Home, conf: str) -> None:
    assert asked(home, web(), conf).status == 0
    assert recorded(home) is None


def test_what_is_no_gunicorn_is_not_started(home: Home) -> None:
    done = asked(home, web(f"touch {home.path}/started"))
    assert done.status == 0
    assert not (home.path / "started").exists()
