"""Runs migrations so that the site never queues behind them for long, and so that they may be cut off anywhere.

A migration in one transaction on PostgreSQL: its statements are kept until another needs what they do, or its end.
Then all are known, it is looked who holds their tables, and they run in one go, with no Python between them; what gets
no lock is rolled back to before the first of them. Any other migration: each statement so, and a journal of them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.migration import Migration
from django.db.migrations.operations import RunPython
from django.db.migrations.recorder import MigrationRecorder

from . import journal
from .databases import Failed
from .holders import OnMySQL, watcher
from .indexes import is_built
from .interrupting import Interrupter
from .lock_waits import (
    MYSQL_INTERRUPTED,
    POSTGRES_CUT_OFF,
    Limits,
    Patience,
    first_line,
    is_locked,
    limits,
    number_of,
    state_of,
)
from .sizes import table_sizes
from .statements import (
    Locked,
    changed,
    created,
    is_concurrent,
    is_definition,
    locked,
    reads_all,
    shortened,
    stops_the_site,
    unquoted,
)

ALONE = ("25001", "2D000")  # active_sql_transaction, invalid_transaction_termination: it must have none around it
LEAST = 0.01  # seconds to wait for a lock, at least: what is free needs none
NOTICED = 0.25  # seconds for which a table may be kept before it is said
KNOWN = ("django.db.migrations.operations.", "django.contrib.postgres.operations")


def politely(work: Callable[[], Any]) -> Any:
    """Does what migrates; and again from where it is when a transaction of it did not get its locks."""
    patience = Patience(limits())
    with hooks(patience):
        while True:
            try:
                done = work()
            except DatabaseError as error:
                if not is_locked(error):
                    raise
                patience.give_way(first_line(error))
            else:
                break
    for connection in connections.all(initialized_only=True):  # a management command closes them at its end
        if connection.vendor != "unknown":  # a project without a database
            journal.tidy(connection)
    return done


@contextlib.contextmanager
def hooks(patience: Patience) -> Iterator[None]:
    """Between Django and the database, at the four places where a migration begins and ends."""
    enter, leave = BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__
    apply, record = Migration.apply, MigrationRecorder.record_applied

    def entered(editor: Any) -> Any:
        enter(editor)
        if not editor.collect_sql:
            editor.djdeploy = kind_of(editor)(editor, patience)
        return editor

    def left(editor: Any, kind: Any, *error: Any) -> None:
        steps = editor.__dict__.pop("djdeploy", None)
        try:
            if steps and kind is None:
                steps.settle()
        except BaseException as failed:
            steps.close()
            leave(editor, type(failed), failed, failed.__traceback__)
            raise
        if steps:
            steps.close()
        leave(editor, kind, *error)
        if steps and kind is None:
            steps.ended()

    def applied(migration: Any, state: Any, editor: Any, collect_sql: bool = False) -> Any:
        steps = getattr(editor, "djdeploy", None)
        if steps is None:
            return apply(migration, state, editor, collect_sql)
        with steps.of(migration):
            state = apply(migration, state, editor, collect_sql)
            steps.settle()  # so that Django records it in the transaction, or at least at once
        return state

    def recorded(recorder: Any, app: str, name: str) -> None:
        with transaction.atomic(using=recorder.connection.alias):
            record(recorder, app, name)
            if journal.exists(recorder.connection):
                journal.forget(recorder.connection, app, name)

    BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__ = entered, left
    Migration.apply, MigrationRecorder.record_applied = applied, recorded
    try:
        yield
    finally:
        BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__ = enter, leave
        Migration.apply, MigrationRecorder.record_applied = apply, record


class Steps:
    """The statements of one schema editor, which is one migration."""

    def __init__(self, editor: Any, patience: Patience) -> None:
        self.editor, self.connection, self.patience = editor, editor.connection, patience
        self.limits: Limits = patience.limits
        self.watcher = patience.watcher = watcher(self.connection)
        self.is_own = False  # what runs is ours, not the migration's
        self.run = editor.execute
        self.journal: journal.Journal | None = None
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(self.connection.execute_wrapper(self.wrapped))
        editor.execute = self.execute

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        before, self.is_own = self.is_own, True
        try:
            yield
        finally:
            self.is_own = before

    @contextlib.contextmanager
    def of(self, migration: Any) -> Iterator[None]:
        """While a migration is applied. Each of its operations is ours to call, or to leave out."""
        self.patience.migration = f"{migration.app_label}.{migration.name}"
        self.begin(migration)
        for number, operation in enumerate(migration.operations):
            operation.database_forwards = partial(self.operate, number, operation, operation.database_forwards)
        try:
            yield
        finally:
            for operation in migration.operations:
                operation.__dict__.pop("database_forwards", None)

    def begin(self, migration: Any) -> None:
        self.patience.stays = "It goes on where it stopped with the next `migrate`"
        with self.own():
            self.journal = journal.Journal(self.connection, migration.app_label, migration.name)

    def operate(self, number: int, operation: Any, forwards: Callable[..., Any], *words: Any) -> None:
        assert self.journal
        with self.own():
            later = self.journal.kept_for_later(number, operation)
        if later is not None:
            self.editor.deferred_sql.extend(later)
            return
        kept = len(self.editor.deferred_sql)
        self.journal.operation = number
        with self.lenient(number in self.journal.interrupted):
            forwards(*words)
        with self.own():
            self.journal.finish(number, operation, [str(sql) for sql in self.editor.deferred_sql[kept:]])

    @contextlib.contextmanager
    def lenient(self, is_again: bool) -> Iterator[None]:
        """An operation that was cut off may look for a constraint that it has dropped already."""
        delete = getattr(self.editor, "_delete_composed_index", None)
        if not is_again or delete is None:
            yield
            return

        def deleted(*words: Any, **more: Any) -> None:
            with contextlib.suppress(ValueError):  # "Found wrong number (0) of constraints"
                delete(*words, **more)

        self.editor._delete_composed_index = deleted
        try:
            yield
        finally:
            del self.editor._delete_composed_index

    def execute(self, sql: Any, params: Any = ()) -> None:
        """In the place of the schema editor's own."""
        raise NotImplementedError

    def warn(self, statements: Sequence[str]) -> None:
        """Of statements that go through all rows of a large table, while the site waits for it."""
        slow = [sql for sql in statements if reads_all(sql)]
        found = table_sizes(self.connection, [unquoted(one.name) for sql in slow for one in locked(sql)])
        for sql in slow:
            for name in [unquoted(one.name) for one in locked(sql)]:
                if name in found and found[name].is_large:
                    what = f"{name} has {found[name]}, and the site waits for this: {shortened(sql)}"
                    print(f"\ndjdeploy: warning: {what}")

    def wrapped(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Whatever else a migration runs, such as the queries of `RunPython`."""
        if self.is_own:
            return execute(sql, params, many, context)
        return self.query(str(sql), partial(execute, sql, params, many, context))

    def query(self, sql: str, run: Callable[[], Any]) -> Any:
        return run()

    def settle(self) -> None:
        """Runs what Django has kept for the end."""
        later, self.editor.deferred_sql = list(self.editor.deferred_sql), []
        if self.journal:
            self.journal.operation = journal.AFTER
        for sql in later:
            self.editor.execute(sql, None)

    def close(self) -> None:
        self.stack.close()

    def ended(self) -> None:
        """Its transaction is committed, if it was one."""


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
        try:
            return run()
        except DatabaseError as error:
            self.patience.learned = changed(sql)
            raise_cut_off(error, sql, self.held, self.limits)
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
                wanted = [*self.wanted(kept), *self.patience.learned]
                self.patience.until_done(self.watcher, wanted, partial(self.try_all, kept))
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
                raise_cut_off(error, sql, self.held, self.limits)
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
        self.patience.learned = []
        if self.held_since is None:
            return
        seconds = time.monotonic() - self.held_since
        if seconds > NOTICED and self.held:
            print(
                f"\ndjdeploy: warning: {self.patience.migration} kept {', '.join(self.held)} for itself for"
                f" {seconds:.1f} s, while the site waited"
            )


def raise_cut_off(error: DatabaseError, sql: str, held: Sequence[str], limits: Limits) -> None:
    if held and state_of(error) in POSTGRES_CUT_OFF:
        raise Failed(
            f"{', '.join(held)} was kept from the site for longer than {limits.hold:g} s (settings: hold_timeout), so "
            f"this was ended and rolled back: {shortened(sql)}",
            code="hold-timeout",
        ) from error


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
                self.journal.run_now.subtract([journal.digest(sql, params)])
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
            return self.patience.until_done(self.watcher, [], run)
        try:
            return run()
        except DatabaseError as error:
            if is_locked(error):
                self.patience.learned = changed(sql)
            raise


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
            raise_cut_off(error, sql, [unquoted(one.name) for one in locked(sql)] if holds else [], self.limits)
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


def kind_of(editor: Any) -> Callable[[Any, Patience], Steps]:
    vendor = editor.connection.vendor
    if vendor == "postgresql":
        return InOneTransaction if editor.connection.in_atomic_block else OneByOneOnPostgres
    return {"mysql": OneByOneOnMySQL, "sqlite": OnSQLite}.get(vendor, OneByOne)


def milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
