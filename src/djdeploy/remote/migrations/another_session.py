"""Another session with the same database, which looks on while a statement runs in ours."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

LOOKS = 0.02  # seconds between two looks


@contextlib.contextmanager
def looking_on(connection: Any, look: Callable[[Any], None]) -> Iterator[threading.Event]:
    """Calls `look` with a cursor again and again meanwhile. Yields what is set as soon as this is over."""
    ended, ready = threading.Event(), threading.Event()

    def watch() -> None:
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                ready.set()
                while not ended.wait(LOOKS):
                    look(cursor)
        except Exception as error:  # no connection is free, say
            print(f"\ndjdeploy: waits for locks cannot be looked at here ({str(error).strip()})")
        finally:
            ready.set()
            other.close()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    ready.wait(5)
    try:
        yield ended
    finally:
        ended.set()
        thread.join()
