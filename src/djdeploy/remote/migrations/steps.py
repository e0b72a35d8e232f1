"""The statements of one migration, and what is put between Django and the database for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ..judge.sizes import Sizes
from . import journal
from .holders import watcher
from .lock_waits import Limits, Patience
from .statements import locked, reads_all, shortened, unquoted


class Steps:
    """The statements of one schema editor, which is one migration."""

    def __init__(self, editor: Any, patience: Patience) -> None:
        self.editor, self.connection, self.patience = editor, editor.connection, patience
        self.limits: Limits = patience.limits
        self.watcher = patience.watcher = watcher(self.connection)
        self.sizes = Sizes(self.connection)
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
            self.editor.deferred_sql[:] = later  # one that makes a table anew on SQLite has run those before it
            return
        self.journal.operation = number
        with self.lenient(number in self.journal.interrupted):
            forwards(*words)
        with self.own():
            self.journal.finish(number, operation, [str(sql) for sql in self.editor.deferred_sql])

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
        for sql in filter(reads_all, statements):
            for name in [unquoted(one.name) for one in locked(sql)]:
                size = self.sizes.of(name)
                if size and size.is_large:
                    what = f"{name} has {size}, and the site waits for this: {shortened(sql)}"
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


def milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
