"""Ends a statement that waits too long for a metadata lock: MySQL and MariaDB count its waits in whole seconds only."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from .another_session import LOOKS, looking_on

WAITING = "Waiting for table metadata lock"


class Interrupter:
    """Where it cannot look, the server's own limit is left, of a second.

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
            self.session = int(cursor.fetchone()[0])
        self.interrupted, self.since = False, 0.0
        self.ended = threading.Event()
        with looking_on(self.connection, self.look) as self.ended:
            yield

    def look(self, cursor: Any) -> None:
        cursor.execute("SELECT state FROM information_schema.processlist WHERE id = %s", [self.session])
        row = cursor.fetchone()
        now = time.monotonic()
        self.since = (self.since or now) if row and str(row[0]).startswith(WAITING) else 0.0
        if self.since and now - self.since + LOOKS >= self.seconds and not self.ended.is_set():
            self.interrupted = True
            cursor.execute(f"KILL QUERY {self.session:d}")
            self.since = 0.0
