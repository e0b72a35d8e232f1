"""Waiting for what is on its way, with an end to it. The tests and the benchmarks wait with it too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")

PAUSE = 0.02
"""Seconds between two looks."""


def wait_until(what: str, ready: Callable[[], T | Literal[False] | None], seconds: float = 60) -> T:
    """Waits for something to become true.

    Args:
        what: names it in the error.
        ready: looks once; anything true ends the waiting.
        seconds: how long to wait at most.

    Returns:
        What `ready` returned.

    Raises:
        TimeoutError: it did not become true in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(PAUSE)
    return found
