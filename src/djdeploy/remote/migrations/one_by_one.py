"""A migration that is no single transaction: each statement is one, if it can be, and is in the journal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import DatabaseError, transaction

from . import journal
from .lock_waits import is_locked, state_of
from .statements import changed, is_definition, locked
from .steps import Steps

ALONE = ("25001", "2D000")  # active_sql_transaction, invalid_transaction_termination: it must have none around it


class OneByOne(Steps):
    """Any migration that is no single transaction: each statement is one, if it can be."""

    def execute(self, sql: Any, params: Any = ()) -> None:
        text = str(sql)
        if self.connection.in_atomic_block:  # that of an operation, which is in the journal as a whole
            with self.own():
                self.attempt(text, partial(self.in_savepoint, text, partial(self.run, text, params)))
            return
        run = partial(self.run, text, params)
        if not is_definition(text) and not self.connection.features.can_rollback_ddl:
            run = partial(
                self.by_cursor, text, params
            )  # Django runs no statement of a migration in a transaction there
        with self.own():
            self.warn([text])
            self.step(text, params, run)

    def step(self, sql: str, params: Any, run: Callable[[], Any]) -> None:
        """A statement that commits."""
        keep = self.journal.step if self.journal else lambda _sql, _params, run, _alone: run()
        if journal.commits_by_itself(self.connection, sql):
            keep(sql, params, partial(self.alone, sql, run), True)
            return
        try:
            self.attempt(sql, partial(keep, sql, params, partial(self.limited, sql, run), False))
        except DatabaseError as error:
            if state_of(error) not in ALONE:
                raise
            if self.journal:
                self.journal.not_run(sql, params)
            keep(sql, params, partial(self.alone, sql, run), True)

    def by_cursor(self, sql: str, params: Any) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)

    def attempt(self, sql: str, run: Callable[[], Any]) -> Any:
        return self.patience.until_done(self.watcher, locked(sql), run)

    def in_savepoint(self, sql: str, run: Callable[[], Any]) -> Any:
        with transaction.atomic(using=self.connection.alias):
            return self.limited(sql, run)

    def limited(self, sql: str, run: Callable[[], Any]) -> Any:
        return run()

    def alone(self, sql: str, run: Callable[[], Any]) -> Any:
        return run()

    def query(self, sql: str, run: Callable[[], Any]) -> Any:
        if not self.connection.in_atomic_block:
            with self.own():
                return self.patience.until_done(self.watcher, [], run)
        try:
            return run()
        except DatabaseError as error:
            if is_locked(error):
                self.patience.learned = changed(sql)
            raise
