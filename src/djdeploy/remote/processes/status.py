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
    row = {"process": instance.process["name"], "instance": instance.number, "pid": None, "release": None}
    found, wrong = instance.find(releases)
    if found is None:
        return dict(row, healthy=False, note=why_absent(instance, wrong))
    row.update(pid=found.pid, uptime=round(proc.seconds_alive(found.process)), release=found.release)
    answer = instance.ask(found)
    if answer is None:
        return dict(row, healthy=None, note="")
    return dict(row, healthy=answer.ok, latency_ms=answer.milliseconds, note=answer.why)


def why_absent(instance: Instance, wrong: list[str]) -> str:
    if instance.launcher():
        return "waits for a release that has this process"
    return "not running: " + "; ".join(wrong)


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
