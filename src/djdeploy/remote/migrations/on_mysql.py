"""What a migration does on MySQL and MariaDB, which commit each statement of it by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db import DatabaseError

from .holders import OnMySQL
from .interrupting import Interrupter
from .lock_waits import MYSQL_INTERRUPTED, Patience, number_of
from .one_by_one import OneByOne
from .statements import Locked, is_definition, locked


class OneByOneOnMySQL(OneByOne):
    """The shortest wait for a metadata lock is a second there, so another session ends what waits for less."""

    watcher: OnMySQL

    def __init__(self, editor: Any, patience: Patience) -> None:
        super().__init__(editor, patience)
        self.interrupter = Interrupter(self.connection, self.limits.lock)
        with self.own():
            self.before = self.set(lock_wait_timeout=1, innodb_lock_wait_timeout=1)

    def begin(self, migration: Any) -> None:
        if not self.patience.is_told:
            self.patience.is_told = True
            print(
                f"\ndjdeploy: {self.connection.display_name} commits each statement of a migration by itself: one that"
                " is cut off is not undone, but goes on where it stopped"
            )
        super().begin(migration)

    def set(self, **values: int) -> dict[str, int]:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(f'@@{name}' for name in values)}")
            row = cursor.fetchone()
            before = {name: int(row[number]) for number, name in enumerate(values)}
            cursor.execute(f"SET {', '.join(f'SESSION {name} = {value:d}' for name, value in values.items())}")
        return before

    def close(self) -> None:
        with self.own(), contextlib.suppress(DatabaseError):
            self.set(**self.before)
        super().close()

    def alone(self, sql: str, run: Callable[[], Any]) -> Any:
        """Where only suspects are known, and not their tables, it asks without queueing, as MariaDB can."""
        never_queues = self.connection.mysql_is_mariadb and not self.watcher.is_exact
        wanted = locked(sql)
        if not wanted:  # as a new table that refers to none
            return run()
        if not never_queues:
            return self.patience.until_done(self.watcher, wanted, partial(self.queue, run))
        attempt = partial(self.queue_unless_suspected, wanted, run)
        return self.patience.until_done(None, wanted, attempt)

    def query(self, sql: str, run: Callable[[], Any]) -> Any:
        """A definition commits by itself, whoever runs it."""
        if is_definition(sql):
            with self.own():
                return self.alone(sql, run)
        return super().query(sql, run)

    def queue_unless_suspected(self, wanted: Sequence[Locked], run: Callable[[], Any]) -> Any:
        suspects = self.watcher.long_holders(wanted, self.limits.lock)
        if not suspects:
            return self.queue(run)
        try:
            self.set(lock_wait_timeout=0)
            return run()
        except DatabaseError:
            self.patience.holders = suspects
            raise
        finally:
            self.set(lock_wait_timeout=1)

    def queue(self, run: Callable[[], Any]) -> Any:
        with self.interrupter.watching():
            try:
                return run()
            except DatabaseError as error:
                if number_of(error) == MYSQL_INTERRUPTED and self.interrupter.interrupted:
                    raise DatabaseError(1205, "it waited for a metadata lock") from error
                raise
