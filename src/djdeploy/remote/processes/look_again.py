"""Looks once more, after publishing, at what was ready then: `look_again HOME PROCESS:INSTANCE:PID ...`.

Exit status 0: all of it still runs. 1: something has ended since; what, and the end of its log, is printed.
"""

from __future__ import annotations

import os

from .. import launch
from ..emit import emit_error
from . import proc
from .instances import Instance, instances_of, what_ran
from .logs import log_of
from .saying import note, show


def main(words: list[str]) -> int:
    home = os.path.realpath(words[0])
    runtime = what_ran(home, os.path.basename(launch.current_of(home))) or {"project": "", "processes": []}
    instances = {(each.process["name"], each.number): each for each in instances_of(home, runtime)}
    ended = 0
    for word in words[1:]:
        name, number, pid = word.rsplit(":", 2)
        instance = instances.get((name, int(number)))
        if instance and not still_runs(instance, int(pid)):
            note(f"{instance.label}: pid {pid} was ready, and has ended since{again(instance)}")
            show(log_of(instance, instance.find(["current"])[0]).tail())
            ended += 1
    if ended:
        emit_error("not-ready")
    return 1 if ended else 0


def still_runs(instance: Instance, pid: int) -> bool:
    """Whether the very process lives, and not a later one of its number."""
    found = proc.process(pid)
    said = proc.says(pid, instance.who) if found else False
    return said is not False


def again(instance: Instance) -> str:
    found, _ = instance.find(["current"])
    return f"; pid {found.pid} has taken its place" if found else ""
