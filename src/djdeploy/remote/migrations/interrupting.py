"""Ends a statement that waits too long for a metadata lock: MySQL and MariaDB count its waits in whole seconds only."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

WAITING = "Waiting for table metadata lock"
LOOKS = 0.02  # seconds between two looks


class Interrupter:
    """Looks at one session by another one, while a statement runs there.

    Args:
        seconds: for which a statement may wait at a time.
    """

    def __init__(self, connection: Any, seconds: float) -> None:
        self.connection, self.seconds = connection, seconds
        self.interrupted = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT connection_id()")
            session = cursor.fetchone()[0]
        self.interrupted, ended, ready = False, threading.Event(), threading.Event()
        thread = threading.Thread(target=self.watch, args=(session, ended, ready), daemon=True)
        thread.start()
        ready.wait(5)
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def watch(self, session: int, ended: threading.Event, ready: threading.Event) -> None:
        other = self.connection.copy()
        try:
            with other.cursor() as cursor:
                ready.set()
                since = None
                while not ended.wait(LOOKS):
                    cursor.execute("SELECT state FROM information_schema.processlist WHERE id = %s", [session])
                    row = cursor.fetchone()
                    now = time.monotonic()
                    since = (since or now) if row and str(row[0]).startswith(WAITING) else None
                    if since and now - since + LOOKS >= self.seconds and not ended.is_set():
                        self.interrupted = True
                        cursor.execute(f"KILL QUERY {session:d}")
                        since = None
        except Exception as error:  # no connection is free: the server's own limit is left, of a second
            print(f"djdeploy: waits for locks cannot be cut short here ({error})")
        finally:
            ready.set()
            other.close()
