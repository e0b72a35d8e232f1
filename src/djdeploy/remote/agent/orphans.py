"""Ends processes that outlived their deploy and keep its lock: `orphans LOCK PID...`.

Only processes that still hold it: a pid may have been reused since it was listed.
"""

from __future__ import annotations

import signal

from .. import durations
from ..processes import proc
from .lock import pids_with


def end(lock: str, pids: set[int], grace: float) -> None:
    """Args: grace: seconds between TERM and KILL."""
    holding = [proc.process(pid) for pid in pids_with(lock) if pid in pids]
    for found in filter(None, holding):
        with proc.Handle(found) as orphan:
            orphan.signal(signal.SIGTERM)
            if not orphan.gone(grace):
                orphan.signal(signal.SIGKILL)
                orphan.gone(grace)
        print(f"djdeploy: pid {found.pid} was ended")


def main(words: list[str]) -> None:
    end(words[0], {int(word) for word in words[1:]}, durations.of_environment().kill_after)
