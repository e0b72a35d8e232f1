"""What a migration does on PostgreSQL that says `atomic = False`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import DatabaseError

from .indexes import is_built
from .lock_waits import is_locked, raise_held_too_long, state_of
from .one_by_one import ALONE, OneByOne
from .statements import changed, is_concurrent, is_definition, locked, stops_the_site, unquoted
from .steps import milliseconds


class OneByOneOnPostgres(OneByOne):
    def query(self, sql: str, run: Callable[[], Any]) -> Any:
        if not changed(sql) and not is_definition(sql):
            return run()
        with self.own():
            if self.connection.in_atomic_block:
                return self.limited(sql, run)
            try:
                return self.attempt(sql, partial(self.in_savepoint, sql, run))
            except DatabaseError as error:
                if state_of(error) not in ALONE:
                    raise
            return self.alone(sql, run)

    def limited(self, sql: str, run: Callable[[], Any]) -> Any:
        holds = stops_the_site(sql)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {milliseconds(self.limits.lock)}")
            if holds:
                cursor.execute(f"SET LOCAL statement_timeout = {milliseconds(self.limits.hold)}")
        try:
            return run()
        except DatabaseError as error:
            if is_locked(error) and self.connection.in_atomic_block:
                self.patience.learned = [*locked(sql), *changed(sql)]
            raise_held_too_long(error, sql, [unquoted(one.name) for one in locked(sql)] if holds else [], self.limits)
            raise

    def alone(self, sql: str, run: Callable[[], Any]) -> Any:
        """CONCURRENTLY keeps nobody waiting, waits for each older transaction, and leaves ruins when it gives up.

        A limit is lifted only where the session has one: behind a pooler, this would reach the session of another.
        """
        if is_concurrent(sql) and is_built(self.connection, sql):
            return None
        limits = [name for name in ("lock_timeout", "statement_timeout") if self.setting(name) != "0"]
        for name in limits:
            self.set(f"SET {name} = 0")
        try:
            return run()
        finally:
            for name in limits:
                self.set(f"RESET {name}")

    def setting(self, name: str) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SHOW {name}")
            return str(cursor.fetchone()[0])

    def set(self, sql: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
