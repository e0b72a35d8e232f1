"""Ends a process that has been checked, with time to finish, and what it leaves behind."""

from __future__ import annotations

import signal

from ..durations import Durations
from . import gunicorn, proc
from .instances import Found, Instance
from .nudge import Nudge
from .saying import Failed, note


def end(instance: Instance, found: Found, waits: Durations) -> None:
    """TERM, as much time to finish as its own release says, and KILL only for what stays; its workers too."""
    stop_seconds = gunicorn.stop_seconds(instance.home, found.release, instance.process)
    with proc.Handle(found.process) as server, Nudge(found.pid) as supervisor:
        workers = [proc.Handle(worker) for worker in proc.children(found.process)]
        instance.forget_restarts()
        server.signal(signal.SIGTERM)
        if not server.gone(stop_seconds):
            note(
                f"{instance.label}: pid {found.pid} has not ended within its {stop_seconds:g} s, so what it still does "
                f"is cut off. If that may take longer: Process(stop_timeout=...)"
            )
        if not server.gone(waits.kill_margin):
            note(f"{instance.label}: pid {found.pid} is killed")
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
