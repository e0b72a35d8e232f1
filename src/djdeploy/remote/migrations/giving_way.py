"""Runs migrations so that the site never queues behind them for long, and so that they may be cut off anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder

from . import journal
from .in_one_transaction import InOneTransaction
from .lock_waits import Patience, first_line, is_locked, limits
from .on_mysql import OneByOneOnMySQL
from .on_postgres import OneByOneOnPostgres
from .on_sqlite import OnSQLite
from .one_by_one import OneByOne
from .steps import Steps


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
    with contextlib.ExitStack() as stack:
        stack.enter_context(around(BaseDatabaseSchemaEditor, "__enter__", partial(entered, patience)))
        stack.enter_context(around(BaseDatabaseSchemaEditor, "__exit__", left))
        stack.enter_context(around(Migration, "apply", applied))
        stack.enter_context(around(MigrationRecorder, "record_applied", recorded))
        yield


@contextlib.contextmanager
def around(owner: type, name: str, hook: Callable[..., Any]) -> Iterator[None]:
    """Has a hook called in the place of a method, with the method first."""
    real = getattr(owner, name)

    def method(*words: Any, **more: Any) -> Any:
        return hook(real, *words, **more)

    setattr(owner, name, method)
    try:
        yield
    finally:
        setattr(owner, name, real)


def entered(patience: Patience, enter: Callable[..., Any], editor: Any) -> Any:
    enter(editor)
    if not editor.collect_sql:
        editor.djdeploy = kind_of(editor)(editor, patience)
    return editor


def kind_of(editor: Any) -> Callable[[Any, Patience], Steps]:
    vendor = editor.connection.vendor
    if vendor == "postgresql":
        return InOneTransaction if editor.connection.in_atomic_block else OneByOneOnPostgres
    return {"mysql": OneByOneOnMySQL, "sqlite": OnSQLite}.get(vendor, OneByOne)


def left(leave: Callable[..., Any], editor: Any, kind: Any, *error: Any) -> None:
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


def applied(apply: Callable[..., Any], migration: Any, state: Any, editor: Any, collect_sql: bool = False) -> Any:
    steps = getattr(editor, "djdeploy", None)
    if steps is None:
        return apply(migration, state, editor, collect_sql)
    with steps.of(migration):
        state = apply(migration, state, editor, collect_sql)
        steps.settle()  # so that Django records it in the transaction, or at least at once
    return state


def recorded(record: Callable[..., Any], recorder: Any, app: str, name: str) -> None:
    with transaction.atomic(using=recorder.connection.alias):
        record(recorder, app, name)
        if journal.exists(recorder.connection):
            journal.forget(recorder.connection, app, name)
