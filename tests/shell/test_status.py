"""`status.py`: what each process really runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from djdeploy import Process
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.waiting import wait_until

from .homes import Home, a_home, answers, web


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


def status(home: Home) -> dict[str, dict[str, Any]]:
    rows = home.run("status").outputs["processes"]
    return {f"{row['process']} {row['instance']}": row for row in rows}


def test_a_mixed_fleet_stands_out(home: Home) -> None:
    process = web(free_port())
    home.release("r1", process)
    home.release("r2", process, body='start_response("404 Not Found", []); return [b""]')
    home.switch("r1")
    home.supervise_printed(process)
    wait_until("all of r1", lambda: home.restart("r1").status == 0)
    assert home.deploy("r2").status == 1  # the first instance runs r2 now, the second still r1
    rows = status(home)
    assert [row["release"] for row in rows.values()] == ["r2", "r1"]
    assert [row["healthy"] for row in rows.values()] == [False, True]
    assert "there is no such page" in rows["web 0"]["note"]
    assert rows["web 1"]["pid"] == home.pid("web-1")
    assert 0 <= rows["web 1"]["uptime"] < 60
    assert 0 < rows["web 1"]["latency_ms"] < 5000


def test_what_does_not_run_is_said(home: Home) -> None:
    home.release("r1", web(free_port()))
    home.switch("r1")
    row = status(home)["web 0"]
    assert (row["pid"], row["healthy"]) == (None, False)
    assert row["note"].startswith("not running, and nothing is seen to start it: ")


def test_a_worker_has_no_health(home: Home) -> None:
    process = Process("worker", "sleep 600")
    home.release("r1", process)
    home.switch("r1")
    home.supervise_printed(process)
    wait_until("the worker", lambda: (home.path / "run/worker-0.pid").exists())
    row = status(home)["worker 0"]
    assert (row["healthy"], row["release"]) == (None, "r1")


def test_a_process_that_dies_again_and_again_is_in_a_back_off(home: Home) -> None:
    home.release("r1", Process("worker", "false"))
    home.switch("r1")
    home.supervise_printed(Process("worker", "false"))
    row = wait_until("a back-off after a restart", lambda: backed_off(status(home)["worker 0"]))
    assert row["pid"] is None
    assert "it has died soon after its start " in row["note"]
    assert "waits for a release" not in row["note"]


def backed_off(row: dict[str, Any]) -> dict[str, Any] | None:
    """Its row once it has been started again: before that, in its first back-off, it has died but not restarted."""
    return row if row["note"].startswith("in a back-off") and row["restarts"] else None


def test_restarts_are_counted_but_for_those_on_purpose(home: Home) -> None:
    process = Process("worker", "sleep 600")
    home.release("r1", process)
    home.switch("r1")
    home.supervise_printed(process)
    first = wait_until("the worker", lambda: status(home)["worker 0"]["pid"])
    assert (status(home)["worker 0"]["restarts"], status(home)["worker 0"]["note"]) == (0, "")
    os.kill(first, signal.SIGKILL)
    row = wait_until("another", lambda: another(status(home)["worker 0"], first))
    assert (row["restarts"], row["note"]) == (1, "has ended and was started again once: fab logs")
    assert home.restart("r1", "--force").status == 0
    assert status(home)["worker 0"]["restarts"] == 0


def another(row: dict[str, Any], pid: int) -> dict[str, Any] | None:
    return row if row["pid"] not in (None, pid) and row["restarts"] else None


def test_a_home_without_a_release_has_no_processes(home: Home) -> None:
    assert home.run("status").outputs == {"processes": []}


def test_more_instances_than_the_settings_have_are_shown(home: Home) -> None:
    port = free_port()
    home.release("r1", web(port, instances=2))
    home.switch("r1")
    home.supervise_printed(web(port, instances=3))
    wait_until("three instances", lambda: (home.path / "run/web-2.pid").exists() and answers(port))
    assert list(status(home)) == ["web 0", "web 1", "web 2"]
    home.release("r2", web(port, instances=2))
    assert list(home.deploy("r2").instances()) == ["web 0", "web 1", "web 2"]
