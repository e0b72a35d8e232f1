"""Emits what each process of this home really runs, and whether it is healthy: `status HOME`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import launch
from ..emit import emit
from . import proc
from .instances import Instance, instances_of

if TYPE_CHECKING:
    from .. import wire


def status_of(instance: Instance, releases: list[str]) -> wire.ProcessStatus:
    """One row: a process that is not running has a note instead of a pid."""
    restarts = instance.restarts(releases[0])
    found, wrong = instance.find(releases)
    row: wire.ProcessStatus = {
        "process": instance.process["name"],
        "instance": instance.number,
        "pid": None,
        "release": None,
        "healthy": False,
        "restarts": restarts,
        "note": "",
    }
    if found is None:
        row["note"] = why_absent(instance, releases[0], wrong)
        return row
    uptime = round(proc.seconds_alive(found.process))
    row.update({"pid": found.pid, "uptime": uptime, "release": found.release, "healthy": None})
    answer = instance.ask(found)
    note = [f"has ended and was started again {times(restarts)}: fab logs"] if restarts else []
    if answer is not None:
        row.update({"healthy": answer.ok, "latency_ms": answer.milliseconds})
        note += [answer.why] if answer.why else []
    row["note"] = "; ".join(note)
    return row


def why_absent(instance: Instance, release: str, wrong: list[str]) -> str:
    deaths = instance.starts(release)
    if not instance.launcher():
        return "not running, and nothing is seen to start it: " + "; ".join(wrong)
    if deaths:
        return f"in a back-off: it has died soon after its start {times(deaths)} in a row, and is tried again: fab logs"
    return "is about to be started"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def status(home: str) -> list[wire.ProcessStatus]:
    """The processes that the current release wants, and those that run besides."""
    home = os.path.realpath(home)
    current = os.path.realpath(os.path.join(home, "current"))
    runtime = launch.runtime_for(home, current)
    if runtime is None:
        return []
    linked = [current, os.path.realpath(os.path.join(home, "previous"))]
    releases = [os.path.basename(path) for path in linked]
    return [status_of(instance, releases) for instance in instances_of(home, runtime)]


def main(words: list[str]) -> None:
    emit({"processes": status(words[0])})
