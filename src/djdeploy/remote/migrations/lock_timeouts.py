"""Keeps the site from queueing behind a lock: on PostgreSQL a migration gives way and is tried again."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db import DatabaseError, OperationalError, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from .databases import Failed

LOCK_TIMEOUT = 5.0  # seconds; DJDEPLOY_LOCK_TIMEOUT
TRIES = 6
FIRST_PAUSE = 1.0  # seconds; each one after it is twice as long
LOCKED = {"55P03", "40P01"}  # lock_not_available, deadlock_detected: nothing has changed, it may be tried again
ALONE = {"25001", "2D000"}  # active_sql_transaction, invalid_transaction_termination: it must have none around it


def lock_timeout() -> float:
    return float(os.environ.get("DJDEPLOY_LOCK_TIMEOUT") or LOCK_TIMEOUT)


def has_state(error: BaseException | None, states: set[str]) -> bool:
    """Whether PostgreSQL says one of these of an error."""
    while error is not None:
        if (getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)) in states:
            return True
        error = error.__cause__
    return False


def patiently(work: Callable[[], Any], tries: int = TRIES) -> Any:
    """Does the work; again, after longer and longer pauses, when it did not get a lock."""
    for number in range(1, tries + 1):
        try:
            return work()
        except OperationalError as error:
            if not has_state(error, LOCKED):
                raise
            last = str(error).strip().splitlines()[0]
            print()  # Django's line has no end yet, and only a line that begins with `djdeploy: ` is a note
        if number < tries:
            pause = FIRST_PAUSE * 2 ** (number - 1)
            print(f"djdeploy: {last}: tried again in {pause:g} s, so that the site does not wait ({number} of {tries})")
            sys.stdout.flush()
            time.sleep(pause)
    raise Failed(
        f"a lock was not free within {lock_timeout():g} s, {tries} times ({last}). What is migrated so far stays."
        " Something holds a table for long: a report, a dump, an idle transaction (see pg_stat_activity)",
        code="lock-timeout",
    )


@contextlib.contextmanager
def impatient_locks(seconds: float) -> Iterator[None]:
    """Each migration on PostgreSQL gives up waiting for a lock after that time.

    Only the migration's own transactions: a pooler may give the session to the site next.
    """
    enter, leave = BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__

    def entered(editor: Any) -> Any:
        enter(editor)
        connection = editor.connection
        editor.djdeploy = contextlib.ExitStack()
        if connection.vendor == "postgresql" and not editor.collect_sql:
            if connection.in_atomic_block:
                say(connection, f"SET LOCAL lock_timeout = {milliseconds(seconds)}")
            else:
                editor.djdeploy.enter_context(connection.execute_wrapper(one_by_one(seconds)))
        return editor

    def left(editor: Any, *error: Any) -> None:
        with editor.djdeploy:
            leave(editor, *error)

    BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__ = entered, left
    try:
        yield
    finally:
        BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__ = enter, leave


def say(connection: Any, sql: str) -> Any:
    """By a cursor of the driver's own: no wrapper sees it."""
    connection.ensure_connection()
    with connection.connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def one_by_one(seconds: float) -> Callable[..., Any]:
    """For a migration that is not atomic: what it has done cannot be done again, so each statement is."""

    def run(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        connection = context["connection"]

        def limited() -> Any:
            say(connection, f"SET LOCAL lock_timeout = {milliseconds(seconds)}")
            return execute(sql, params, many, context)

        def in_a_transaction() -> Any:
            with transaction.atomic(using=connection.alias):
                return limited()

        if connection.in_atomic_block:
            return patiently(limited, tries=1)
        try:
            return patiently(in_a_transaction)
        except DatabaseError as error:
            if not has_state(error, ALONE):
                raise
        with unhurried(connection):
            return execute(sql, params, many, context)

    return run


@contextlib.contextmanager
def unhurried(connection: Any) -> Iterator[None]:
    """CONCURRENTLY keeps nobody waiting, waits for each older transaction, and leaves ruins when it gives up.

    Only where the session has a limit of its own: behind a pooler, this would reach the session of somebody else.
    """
    if say(connection, "SHOW lock_timeout") == ("0",):
        yield
        return
    say(connection, "SET lock_timeout = 0")
    try:
        yield
    finally:
        say(connection, "RESET lock_timeout")
