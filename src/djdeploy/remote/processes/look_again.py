"""Looks once more, after publishing, at what was ready then: `look_again HOME PROCESS:INSTANCE:PID ...`.

Of a process that answers nothing, that it lives is all that can be seen: it is looked at until it is so old that it
does not die young any more. The release is live meanwhile.

Exit status 0: all of it still runs. 1: something has ended since; what, and the end of its log, is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from .. import launch
from ..durations import Durations, of_environment
from ..emit import emit_error
from . import proc
from .instances import Instance, instances_of, what_ran
from .logs import log_of
from .saying import note, show


def main(words: list[str]) -> int:
    home = os.path.realpath(words[0])
    runtime = what_ran(home, os.path.basename(launch.current_of(home))) or {"project": "", "processes": []}
    instances = {(each.process["name"], each.number): each for each in instances_of(home, runtime)}
    known = []
    for word in words[1:]:
        name, number, written = word.rsplit(":", 2)
        instance = instances.get((name, int(number)))
        if instance:
            known.append((instance, int(written)))
    wait_for_age(known, of_environment())
    ended = [(instance, pid) for instance, pid in known if not still_runs(instance, pid)]
    for instance, pid in ended:
        note(f"{instance.label}: pid {pid} was ready, and has ended since{again(instance)}")
        show(log_of(instance, instance.find(["current"])[0]).tail())
    if ended:
        emit_error("not-ready")
    return 1 if ended else 0


def wait_for_age(ready: Sequence[tuple[Instance, int]], waits: Durations) -> None:
    """Until those that answer nothing are old enough, or one of them has ended."""
    workers = [(instance, pid) for instance, pid in ready if not instance.process.get("bind")]
    while all(still_runs(*each) for each in workers) and any(is_young(pid, waits.last_look) for _, pid in workers):
        time.sleep(waits.probation_poll)


def is_young(pid: int, seconds: float) -> bool:
    found = proc.process(pid)
    return found is not None and proc.seconds_alive(found) < seconds


def still_runs(instance: Instance, pid: int) -> bool:
    """Whether the very process lives, and not a later one of its number."""
    found = proc.process(pid)
    said = proc.says(pid, instance.who) if found else False
    return said is not False


def again(instance: Instance) -> str:
    found, _ = instance.find(["current"])
    return f"; pid {found.pid} has taken its place" if found else ""
