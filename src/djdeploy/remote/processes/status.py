"""Emits what each process of this home really runs, and whether it is healthy: `status HOME`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .. import launch
from ..emit import emit
from . import proc
from .instances import Instance, instances_of

if TYPE_CHECKING:
    Table = dict[str, Any]


def status_of(instance: Instance, releases: list[str]) -> Table:
    """One row: a process that is not running has a note instead of a pid."""
    restarts = instance.restarts(releases[0])
    row = {"process": instance.process["name"], "instance": instance.number, "pid": None, "release": None}
    found, wrong = instance.find(releases)
    if found is None:
        return dict(row, healthy=False, restarts=restarts, note=why_absent(instance, releases[0], wrong))
    row.update(pid=found.pid, uptime=round(proc.seconds_alive(found.process)), release=found.release)
    answer = instance.ask(found)
    note = [f"has ended and was started again {times(restarts)}: fab logs"] if restarts else []
    if answer is None:
        return dict(row, healthy=None, restarts=restarts, note="; ".join(note))
    note += [answer.why] if answer.why else []
    return dict(row, healthy=answer.ok, restarts=restarts, latency_ms=answer.milliseconds, note="; ".join(note))


def why_absent(instance: Instance, release: str, wrong: list[str]) -> str:
    deaths = instance.starts(release)
    if not instance.launcher():
        return "not running, and nothing is seen to start it: " + "; ".join(wrong)
    if deaths:
        return f"in a back-off: it has died soon after its start {times(deaths)} in a row, and is tried again: fab logs"
    return "is about to be started"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def status(home: str) -> list[Table]:
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
