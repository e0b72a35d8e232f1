"""How long the judgement of a way back may take: whoever goes back may have users who meet errors meanwhile.

What counts is the time for which it waits for an answer, of a database that is down, say. That a server is slow, or
busy with other work, makes an answer no less likely.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from ..durations import Durations

LOOK = 0.1  # seconds between two looks at how long it waits


@contextlib.contextmanager
def patience(waits: Durations, give_up: Callable[[str], object]) -> Iterator[None]:
    """Calls `give_up`, in another thread, with the reason, when what is done here takes too long."""
    done, began = threading.Event(), time.monotonic()
    worked_before = worked()

    def why_not() -> str:
        whole = time.monotonic() - began
        if whole - (worked() - worked_before) > waits.judging:
            return f"it has waited {waits.judging:g} s for an answer"
        return f"it was not done after {waits.judging_at_most:g} s" if whole > waits.judging_at_most else ""

    def watch() -> None:
        while not done.wait(LOOK):
            if why := why_not():
                give_up(why)
                break

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def worked() -> float:
    """The seconds for which the main thread of this process has run, or wanted to run and got no processor."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/schedstat", encoding="ascii") as file:
        ran, delayed, _ = map(int, file.read().split())
        return (ran + delayed) / 1e9
    return time.process_time()
