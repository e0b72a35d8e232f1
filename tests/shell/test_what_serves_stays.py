"""What serves is never ended before its replacement serves: in every direction, and whatever the manager has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from djdeploy import Process
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.traffic import Traffic
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.processes import proc
from tests.hurry import HURRIED

from .homes import Home, Ran, a_home, answers, web

NOT_AS_1 = 'if os.environ.get("DJDEPLOY_INSTANCE") == "1": os._exit(3)'
"""A release whose second instance alone cannot start."""


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


def renamed(process: Process, name: str, port: int) -> Process:
    return Process(name, process.command, bind=f"127.0.0.1:{port}", instances=2, health="/", timeout=30)


def serving(home: Home, *processes: Process, conf: tuple[Process, ...] = (), **more: Any) -> int:
    """A site that serves r1. The port of its first process.

    Args:
        conf: what the manager's configuration has, if that is something else.
    """
    port = int(str(processes[0].bind).rpartition(":")[2])
    home.release("r1", *processes, **more)
    home.switch("r1")
    home.supervise_printed(*(conf or processes))
    wait_until("r1 to serve", lambda: answers(port) == "r1")
    wait_until("all of r1", lambda: home.restart("r1").status == 0)
    return port


def pids(home: Home, *names: str) -> dict[str, int]:
    return {name: home.pid(name) for name in names or ("web-0", "web-1")}


def back(home: Home, old: str) -> Ran:
    home.switch("r1")
    return home.restart("r1", "--old", old, "--quick")


# --- the way back -----------------------------------------------------------------------------------------------------


def test_the_way_back_brings_up_what_is_down_before_it_ends_the_only_one_that_serves(home: Home) -> None:
    process = web(free_port())
    port = serving(home, process)
    home.release("r2", process, more=NOT_AS_1)
    with Traffic(f"http://127.0.0.1:{port}/") as load:
        failed = home.deploy("r2")
        assert failed.instances() == {"web 0": "replaced", "web 1": "failed"}
        restored = back(home, "r2")
    assert restored.status == 0, restored.output
    assert load.failures == {}
    first, second = (restored.output.index(f"djdeploy: web {number}: ") for number in (0, 1))
    assert second < first, "instance 0 served, and had to wait for instance 1"


def test_what_serves_stays_when_the_old_release_cannot_come_back_either(home: Home) -> None:
    process = web(free_port(), timeout=5)
    port = serving(home, process)
    home.release("r2", process, more=NOT_AS_1)
    assert home.deploy("r2").status == 1
    (home.path / "r1/repository/site_of.py").write_text("raise RuntimeError('no database')\n")
    restored = back(home, "r2")
    assert restored.status == 1
    assert answers(port) == "r2", "instance 0, of the release that was to be left"
    assert "web 1: " in restored.output.splitlines()[-1]


def test_on_the_way_back_one_process_that_fails_keeps_no_other_down(home: Home) -> None:
    one, other = web(free_port()), renamed(web(free_port()), "api", free_port())
    port = serving(home, one, other)
    for name in ("r2",):
        home.release(name, one, other, more="os._exit(3)")
    assert home.deploy("r2").status == 1
    home.release("r0", Process("web", "gunicorn nothing:here", bind=one.bind, instances=2, health="/"), other)
    home.switch("r0")
    restored = home.restart("r0", "--old", "r2", "--quick")
    assert restored.status == 1
    assert restored.instances()["api 0"] == restored.instances()["api 1"] == "replaced"
    assert answers(port) == "r1", "web 1 was never touched"


# --- renamed, added and removed processes -----------------------------------------------------------------------------


def other_address(process: Process) -> list[Process]:
    return [renamed(process, "app", free_port())]


def same_address(process: Process) -> list[Process]:
    return [renamed(process, "app", int(str(process.bind).rpartition(":")[2]))]


def one_more(process: Process) -> list[Process]:
    return [process, renamed(process, "api", free_port())]


def none(_: Process) -> list[Process]:
    return []


def workers_only(_: Process) -> list[Process]:
    return [Process("worker", "sleep 600")]


@pytest.mark.parametrize(
    "changed", [other_address, same_address, one_more, none, pytest.param(workers_only, marks=pytest.mark.slow)]
)
def test_what_nobody_runs_ends_nothing_that_serves(home: Home, changed: Any) -> None:
    home.durations = HURRIED._replace(unexpected_start=1)
    process = web(free_port())
    extra = [Process("worker", "sleep 600")] if changed is workers_only else []
    port = serving(home, process, conf=(process, *extra))
    before = pids(home)
    home.release("r2", *changed(process))
    with Traffic(f"http://127.0.0.1:{port}/") as load:
        failed = home.deploy("r2")
        assert failed.status == 1
        assert failed.outputs["error"] == {"code": "nothing-runs"}
        if changed is not one_more:
            assert pids(home) == before
        restored = back(home, "r2")
    assert restored.status == 0, restored.output
    assert load.failures == {}
    assert answers(port) == "r1"


def test_a_renamed_process_is_ended_when_the_new_one_serves_and_the_other_way_round(home: Home) -> None:
    process = web(free_port())
    [app] = other_address(process)
    new_port = int(str(app.bind).rpartition(":")[2])
    port = serving(home, process, conf=(process, app))
    home.release("r2", app)
    deployed = home.deploy("r2")
    assert deployed.status == 0, deployed.output
    assert answers(new_port) == "r2"
    assert deployed.instances()["web 1"] == "ended"
    lines = deployed.output.splitlines()
    ended = next(i for i, line in enumerate(lines) if "web 0 is ended: r2 has no such process" in line)
    assert "app 1" in lines[ended - 1]
    home.switch("r1")
    restored = home.restart("r1", "--old", "r2", "--quick")
    assert restored.status == 0, restored.output
    assert answers(port) == "r1"
    assert "app 0 is ended: r1 has no such process" in restored.output


# --- the address ------------------------------------------------------------------------------------------------------


def test_a_server_that_is_healthy_where_nobody_asks_is_not_ready(home: Home) -> None:
    process = web(free_port())
    port = serving(home, process)
    moved = f"127.0.0.1:{free_port()}"
    home.release("r2", Process("web", process.command, bind=moved, instances=2, health="/", timeout=30))
    failed = home.deploy("r2")
    assert failed.status == 1
    assert f"it listens on 127.0.0.1:{port}, and its `bind` is {moved}" in failed.output
    assert failed.instances() == {"web 0": "failed"}
    assert back(home, "r2").status == 0


# --- workers ----------------------------------------------------------------------------------------------------------

DIES_LATER = "import time\ntime.sleep(1.5)\nraise SystemExit('the queue is gone')\n"


@pytest.mark.parametrize("after", [pytest.param(True, marks=pytest.mark.slow), False], ids=["a web process", "nothing"])
def test_a_worker_that_dies_after_its_probation_is_seen_before_the_end(home: Home, after: bool) -> None:
    home.durations = HURRIED._replace(worker_probation=3)
    process, worker = web(free_port(), instances=1), Process("worker", "python worker.py", timeout=15)
    both = (process, worker) if after else (worker, process)
    removed = Process("removed", "sleep 600")
    port = int(str(process.bind).rpartition(":")[2])
    for name, processes, text in (("r1", (removed, *both), "import time\ntime.sleep(600)\n"), ("r2", both, DIES_LATER)):
        home.release(name, *processes)
        (home.path / name / "repository/worker.py").write_text(text)
    home.switch("r1")
    home.supervise_printed(removed, *both)
    wait_until("r1 to serve", lambda: answers(port) == "r1")
    before = pids(home, "removed-0")
    failed = home.deploy("r2")
    assert failed.status == 1
    assert "the queue is gone" in failed.output
    assert "worker 0" in failed.output.splitlines()[-1]
    assert pids(home, "removed-0") == before, "what is removed is ended last, after a look to the end"
    assert proc.process(before["removed-0"])
    restored = back(home, "r2")
    assert restored.status == 0, restored.output
