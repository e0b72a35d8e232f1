"""Ends a process that has been checked, with time to finish, and what it leaves behind."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from .. import launch
from ..durations import Durations
from . import proc
from .instances import Found, Instance
from .nudge import Nudge
from .saying import Failed, note

if TYPE_CHECKING:
    Table = dict[str, Any]


def end(instance: Instance, found: Found, graceful: float, waits: Durations) -> None:
    """TERM, time to finish, and KILL only for what stays; its workers too."""
    with proc.Handle(found.process) as server, Nudge(found.pid) as supervisor:
        workers = [proc.Handle(worker) for worker in proc.children(found.process)]
        server.signal(signal.SIGTERM)
        seconds = graceful + waits.kill_margin
        if not server.gone(seconds):
            note(f"{instance.label}: pid {found.pid} did not end within {seconds:g} s of TERM: killed")
            server.signal(signal.SIGKILL)
            if not server.gone(waits.kill_margin):
                raise Failed(f"pid {found.pid} does not end, even after KILL")
        supervisor.say(f"djdeploy: pid {found.pid} ({found.release}) is replaced")
        for worker in workers:
            dismiss(worker, waits.worker_exit)


def dismiss(worker: proc.Handle, seconds: float) -> None:
    """A worker that outlives its server would answer with the old release for ever.

    Args:
        seconds: that it has to end by itself, and then after TERM.
    """
    with worker:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if worker.gone(seconds):
                return
            worker.signal(number)
        worker.gone(seconds)


def graceful_seconds(runtime: Table, instance: Instance) -> float:
    """How long the server lets its workers finish."""
    process = launch.process_of(runtime, instance.process["name"]) or instance.process
    return launch.ServerCommand.parse(process["command"]).graceful_seconds
