"""A migration that is one transaction of PostgreSQL: nothing is locked before all of it is known.

Its statements are kept until another needs what they do, or its end. Then it is looked who holds their tables, and they
run in one go, with no Python between them; what gets no lock is rolled back to before the first of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db import DatabaseError, transaction
from django.db.migrations.operations import RunPython

from .lock_waits import Patience, held_too_long, raise_held_too_long
from .statements import Locked, changed, created, locked, stops_the_site, unquoted
from .steps import Steps, milliseconds

LEAST = 0.01  # seconds to wait for a lock, at least: what is free needs none
NOTICED = 0.25  # seconds for which a table may be kept before it is said
KNOWN = ("django.db.migrations.operations.", "django.contrib.postgres.operations")


class InOneTransaction(Steps):
    """On PostgreSQL, a migration that is atomic."""

    def __init__(self, editor: Any, patience: Patience) -> None:
        super().__init__(editor, patience)
        self.kept: list[tuple[str, Any]] = []
        self.new: set[str] = set()
        self.held_since: float | None = None
        self.held: list[str] = []
        patience.stays = "It was rolled back whole"
        self.say(f"SET LOCAL lock_timeout = {milliseconds(self.limits.lock)}")

    def begin(self, migration: Any) -> None:
        self.patience.stays = "It was rolled back whole"

    def operate(self, number: int, operation: Any, forwards: Callable[..., Any], *words: Any) -> None:
        is_known = type(operation).__module__.startswith(KNOWN) and not isinstance(operation, RunPython)
        if not is_known:
            self.flush()
        forwards(*words)
        if not is_known:
            self.flush()

    def execute(self, sql: Any, params: Any = ()) -> None:
        self.kept.append((str(sql), params))

    def query(self, sql: str, run: Callable[[], Any]) -> Any:
        self.flush()
        if self.held and self.held_since and time.monotonic() - self.held_since > self.limits.hold:
            raise held_too_long(sql, self.held, self.limits)
        try:
            return run()
        except DatabaseError as error:
            self.patience.learned = changed(sql)
            raise_held_too_long(error, sql, self.held, self.limits)
            raise

    def settle(self) -> None:
        super().settle()
        self.flush()

    def flush(self) -> None:
        kept, self.kept = self.kept, []
        if not kept:
            return
        with self.own():
            self.warn([sql for sql, _ in kept])
            if self.held_since is None:
                self.patience.until_done(self.watcher, self.wanted(kept), partial(self.try_all, kept))
            else:  # what was taken before must not be kept while we wait: all of it again
                self.patience.learned = self.wanted(kept)
                self.run_all(kept)

    def wanted(self, statements: Sequence[tuple[str, Any]]) -> list[Locked]:
        new = {*self.new, *(created(sql) or "" for sql, _ in statements)}
        return [one for sql, _ in statements for one in locked(sql) if unquoted(one.name) not in new]

    def try_all(self, statements: Sequence[tuple[str, Any]]) -> None:
        """PostgreSQL gives the locks back when it rolls back to a savepoint."""
        new = set(self.new)
        try:
            with transaction.atomic(using=self.connection.alias):
                self.run_all(statements)
        except DatabaseError:
            self.held_since, self.held, self.new = None, [], new
            raise

    def run_all(self, statements: Sequence[tuple[str, Any]]) -> None:
        for sql, params in statements:
            self.prepare(sql)
            try:
                self.run(sql, params)
            except DatabaseError as error:
                raise_held_too_long(error, sql, self.held, self.limits)
                raise
            self.new |= {created(sql) or ""}

    def prepare(self, sql: str) -> None:
        wanted = [unquoted(one.name) for one in self.wanted([(sql, ())])]
        if not wanted and (locked(sql) or not stops_the_site(sql)):
            return
        if self.held_since is None:
            self.held_since = time.monotonic()
            self.say(f"SET LOCAL statement_timeout = {milliseconds(self.limits.hold)}")
        self.held += [name for name in wanted if name not in self.held]
        left = max(LEAST, self.limits.lock - (time.monotonic() - self.held_since))
        self.say(f"SET LOCAL lock_timeout = {milliseconds(left)}")

    def say(self, sql: str) -> None:
        with self.own(), self.connection.cursor() as cursor:
            cursor.execute(sql)

    def ended(self) -> None:
        if self.held_since is None:
            return
        seconds = time.monotonic() - self.held_since
        if seconds > NOTICED and self.held:
            print(
                f"\ndjdeploy: warning: {self.patience.migration} kept {', '.join(self.held)} for itself for"
                f" {seconds:.1f} s, while the site waited"
            )
