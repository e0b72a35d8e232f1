"""Waiting for what is on its way, with an end to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(what: str, ready: Callable[[], T | None], seconds: float = 30) -> T:
    """Waits for something to become true.

    Args:
        what: names it in the error.

    Returns:
        What `ready` returned.

    Raises:
        TimeoutError: it did not.
    """
    until = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:g} seconds for {what}")
        time.sleep(0.05)
    return found
