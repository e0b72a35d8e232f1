"""What a migration does on SQLite, where whoever writes has the whole file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .lock_waits import Patience
from .one_by_one import OneByOne
from .steps import milliseconds


class OnSQLite(OneByOne):
    """Whoever writes has the whole file. A commit waits for readers, and keeps new ones out while it does."""

    def __init__(self, editor: Any, patience: Patience) -> None:
        super().__init__(editor, patience)
        self.is_whole = bool(editor.atomic_migration)
        with self.own(), self.connection.cursor() as cursor:
            self.before = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
            cursor.execute(f"PRAGMA busy_timeout = {milliseconds(self.limits.lock)}")
        if self.is_whole:
            del editor.execute
            patience.stays = "It was rolled back whole"

    def begin(self, migration: Any) -> None:
        if not self.is_whole:
            super().begin(migration)

    def operate(self, number: int, operation: Any, forwards: Callable[..., Any], *words: Any) -> None:
        if self.is_whole:
            forwards(*words)
        else:
            super().operate(number, operation, forwards, *words)

    def ended(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {int(self.before)}")
