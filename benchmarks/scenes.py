"""Screens of several hosts, as our reports show them, without the hosts: `python -m benchmarks.scenes SCENE`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from djdeploy.script.stages import BUILD
from djdeploy.script.steps import Step
from djdeploy.ssh.step_run import StepRun
from djdeploy.terminal.live import TerminalReport
from djdeploy.terminal.overview import print_releases, print_status
from djdeploy.terminal.progress import Headline

HOSTS = ("demo@web1.example.com", "demo@web2.example.com", "demo@worker1.example.com:2222")
NOW = datetime(2026, 11, 28, 12, 17, tzinfo=timezone.utc)
SUBJECTS = ("Orders can be paid with vouchers", "A note may have a title of any length", "Upgrade to Django 5.2.8")


def live() -> None:
    """A deploy of several hosts, in the middle."""
    report = TerminalReport(project="demo")
    with report.task("deploy main", HOSTS):
        headline = Headline("deploy main", "4be0efa1" * 5, SUBJECTS[0], ["20261127-090214"], "20261128-121700")
        report.about(headline)
        report.stage_began(BUILD, HOSTS)
        doing = (
            ("Install the requirements", "Downloading django-5.2.8-py3-none-any.whl (8.3 MB) from the index"),
            ("Collect static files", "1284 static files copied to '/srv/www/demo/20261128-121700/repository/static'"),
        )
        for host, (title, line) in zip(HOSTS, doing, strict=False):
            run = StepRun(Step("a_step", title, ()))
            report.step_began(host, run.step)
            report.line(host, run, line)
        time.sleep(2)


def release(number: int, host: str, state: str) -> dict[str, Any]:
    at = NOW - timedelta(hours=(2, 27, 72)[number])
    return {
        "host": host,
        "name": f"{at:%Y%m%d-%H%M%S}",
        "state": state,
        "commit": ("4be0efa1", "9c27d1b0", "e0a3f57c")[number] * 5,
        "ref": "main",
        "by": ("ann@laptop", "ben@ci", "ann@laptop")[number],
        "at": at.isoformat(),
        "published": at.isoformat(),
        "size": 187_000_000 + number * 1_000_000,
        "subject": SUBJECTS[number],
    }


def releases() -> None:
    """The releases of three hosts, one of which has an older one."""
    states = (("live", "live", "failed"), ("previous", "previous", "live"), ("good", "good", "previous"))
    rows = [release(n, host, states[n][place]) for place, host in enumerate(HOSTS) for n in range(3)]
    print_releases(rows, HOSTS, NOW)


def status() -> None:
    """The same hosts' processes."""

    def instance(process: str, number: int, row: Mapping[str, Any], note: str = "") -> Mapping[str, Any]:
        found = {"process": process, "instance": number, "pid": 4711 + number, "release": row["name"], "uptime": 7200}
        return {**found, "healthy": None if process == "queue" else True, "latency_ms": 3.2, "note": note}

    rows = [release(0, HOSTS[0], ""), release(0, HOSTS[1], ""), release(1, HOSTS[2], "")]
    processes = [[instance("web", n, row) for n in range(2)] for row in rows[:2]]
    note = "crashed 3 times within the hour, the last time 4 min ago with exit 1: see fab logs --only=worker1"
    processes += [[instance("queue", 0, rows[2], note)]]
    print_status([{**row, "current": row["name"], "processes": p} for row, p in zip(rows, processes, strict=True)], NOW)


SCENES: Mapping[str, Callable[[], None]] = {"live": live, "releases": releases, "status": status}

if __name__ == "__main__":
    SCENES[sys.argv[1]]()
