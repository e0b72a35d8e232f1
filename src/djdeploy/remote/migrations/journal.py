"""How far a migration came that is no single transaction, so that it goes on there when it was cut off.

A table in the database itself, `djdeploy_unfinished`, which is there only while some migration is unfinished. Where
the database can, a statement and its row are one transaction. Else, as with all DDL of MySQL and MariaDB, the row says
beforehand what the tables were like: a statement that was begun is run again, and was done before if the database
says so *and* the tables are no longer like that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db import DatabaseError, transaction

from .databases import Failed
from .lock_waits import number_of, state_of
from .statements import is_concurrent, is_definition, shortened, tables

TABLE = "djdeploy_unfinished"
CREATE = """
    CREATE TABLE djdeploy_unfinished (
        app varchar(255) NOT NULL, name varchar(255) NOT NULL, operation integer NOT NULL, kind varchar(10) NOT NULL,
        digest varchar(64) NOT NULL, number integer NOT NULL, state varchar(10) NOT NULL, detail text NOT NULL,
        step integer NOT NULL
    )
"""
MYSQL_ALREADY = (1050, 1051, 1054, 1060, 1061, 1072, 1091, 1146, 1826, 1022)
"""There is such a table, no such table, no such column, such a column, such an index, no such index, such a key."""
MARIADB_ALREADY = "errno: 121"
"""There is such a foreign key, which it says within 1005, that a table could not be made."""
POSTGRES_ALREADY = ("42P07", "42P01", "42701", "42703", "42704", "42710")
AFTER = -1  # the statements that Django keeps for the end of a migration


def digest(*parts: object) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(parts))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def of_operation(operation: Any) -> str:
    kind = type(operation)
    return digest(kind.__module__, kind.__qualname__, operation.describe(), operation.deconstruct())


class Journal:
    """The rows of one migration.

    Args:
        quiet: in which our own statements run, so that nobody takes them for the migration's.
    """

    def __init__(self, connection: Any, app: str, name: str) -> None:
        self.connection, self.key = connection, (app, name)
        self.operation = 0
        self.run_now: Counter[str] = Counter()
        self.done: Counter[str] = Counter()  # statements
        self.begun: dict[tuple[str, int], dict[str, Any]] = {}
        self.operations: dict[tuple[int, str], list[str]] = {}
        self.interrupted: set[int] = set()
        self.known: dict[str, str] = {}  # what was done to tables, and what they were like then
        self.steps = 0
        if exists(connection):
            self.load()
        else:
            self.ask(CREATE)

    def ask(self, sql: str, *params: object) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return list(cursor.fetchall()) if cursor.description else []

    def load(self) -> None:
        forget_recorded(self.connection)
        rows = self.ask(
            "SELECT operation, kind, digest, number, state, detail"
            " FROM djdeploy_unfinished WHERE app = %s AND name = %s ORDER BY step",
            *self.key,
        )
        for operation, kind, text, number, state, detail in rows:
            if kind == "operation":
                found = json.loads(detail)
                self.operations[operation, text] = found["later"]
                self.known.update(found["tables"])
                continue
            self.interrupted.add(operation)
            if state == "done":
                self.done[text] += 1
                self.known.update(json.loads(detail))
            else:
                self.begun[text, number] = json.loads(detail)
        self.interrupted -= {operation for operation, _ in self.operations}
        self.steps = len(rows)
        self.check()
        if rows:
            print(f"\ndjdeploy: {'.'.join(self.key)} was cut off by an earlier run: it goes on where it stopped")

    def check(self) -> None:
        """What was done must still be there: somebody may have undone it by hand."""
        in_doubt = {name for detail in self.begun.values() for name in detail}
        for name in sorted(set(self.known) - in_doubt):
            if self.known[name] != schema(self.connection, name):
                raise Failed(
                    f"{'.'.join(self.key)} was cut off, and the table {name} was changed since, not by it. Make the"
                    f" database what it was before this migration, and remove its rows from the table {TABLE}",
                    code="migration-cut-off",
                )

    # --- operations

    def kept_for_later(self, number: int, operation: Any) -> list[str] | None:
        """The statements that were left for the end after an operation, if it was done; else None."""
        return self.operations.get((number, of_operation(operation)))

    def finish(self, number: int, operation: Any, for_later: Sequence[str]) -> None:
        self.known = {name: schema(self.connection, name) for name in self.known}
        detail = {"later": list(for_later), "tables": self.known}
        self.write(number, "operation", of_operation(operation), 0, "done", detail)

    # --- statements

    def of_statement(self, sql: str, params: Any) -> str:
        """The same statement in another operation is another one: SQLite's tables get their indexes anew in each."""
        return digest(self.operation, sql, params)

    def not_run(self, sql: str, params: Any) -> None:
        """Takes back that it was run: it is tried in another way."""
        self.run_now[self.of_statement(sql, params)] -= 1

    def step(self, sql: str, params: Any, run: Callable[[], Any], alone: bool) -> Any:
        """Runs a statement that was not done before.

        Args:
            run: raises the database's error.
            alone: whether it commits by itself, so that its row cannot be a part of its transaction.
        """
        text = self.of_statement(sql, params)
        self.run_now[text] += 1
        number = self.run_now[text]
        if number <= self.done[text]:
            return None
        if alone:
            return self.step_alone(sql, text, number, run)
        with transaction.atomic(using=self.connection.alias):
            run()
            self.write(self.operation, "statement", text, number, "done", self.noted(sql))
        return None

    def step_alone(self, sql: str, text: str, number: int, run: Callable[[], Any]) -> None:
        before = self.begun.get((text, number))
        if before is None:
            self.write(self.operation, "statement", text, number, "begun", self.schemas(sql))
        try:
            run()
        except DatabaseError as error:
            if before is None:
                self.remove(text, number)  # the database has undone it
                raise
            if not is_already(error) or before == self.schemas(sql):
                raise
            print(f"\ndjdeploy: this was done already when the migration was cut off: {shortened(sql)}")
        self.ask(
            "UPDATE djdeploy_unfinished SET state = 'done', detail = %s"
            " WHERE app = %s AND name = %s AND digest = %s AND number = %s",
            json.dumps(self.noted(sql)), *self.key, text, number,
        )  # fmt: skip

    def schemas(self, sql: str) -> dict[str, str]:
        """What the tables of a definition are like, and those of its indexes."""
        if not is_definition(sql) and not is_concurrent(sql):
            return {}
        names = tables(sql)
        names += [table for name in names for table in self.indexed(name)]
        return {name: schema(self.connection, name) for name in names}

    def indexed(self, name: str) -> list[str]:
        if self.connection.vendor != "postgresql":
            return []
        sql = (
            "SELECT relname FROM pg_class WHERE oid ="
            " (SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(quote_ident(%s)))"
        )
        return [row[0] for row in self.ask(sql, name)]

    def noted(self, sql: str) -> dict[str, str]:
        found = self.schemas(sql)
        if found:
            self.known = {name: schema(self.connection, name) for name in {*self.known, *found}}
        return self.known if found else {}

    def write(self, operation: int, kind: str, text: str, number: int, state: str, detail: object) -> None:
        self.steps += 1
        values = (*self.key, operation, kind, text, number, state, json.dumps(detail), self.steps)
        self.ask("INSERT INTO djdeploy_unfinished VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", *values)

    def remove(self, text: str, number: int) -> None:
        self.ask(
            "DELETE FROM djdeploy_unfinished WHERE app = %s AND name = %s AND digest = %s AND number = %s",
            *self.key,
            text,
            number,
        )


def is_already(error: DatabaseError) -> bool:
    is_mysqls = number_of(error) in MYSQL_ALREADY or (number_of(error) == 1005 and MARIADB_ALREADY in str(error))
    return is_mysqls or state_of(error) in POSTGRES_ALREADY


def commits_by_itself(connection: Any, sql: str) -> bool:
    return is_concurrent(sql) or (is_definition(sql) and not connection.features.can_rollback_ddl)


def exists(connection: Any) -> bool:
    with connection.cursor() as cursor:
        return TABLE in connection.introspection.table_names(cursor)


def forget_recorded(connection: Any) -> None:
    """Forgets those that somebody has recorded as applied otherwise."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM djdeploy_unfinished WHERE EXISTS (SELECT 1 FROM django_migrations m"
            " WHERE m.app = djdeploy_unfinished.app AND m.name = djdeploy_unfinished.name)"
        )


def forget(connection: Any, app: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM djdeploy_unfinished WHERE app = %s AND name = %s", [app, name])


def tidy(connection: Any) -> None:
    """Drops the table when nothing is unfinished."""
    with contextlib.suppress(DatabaseError), connection.cursor() as cursor:
        if TABLE in connection.introspection.table_names(cursor):
            forget_recorded(connection)
            cursor.execute("SELECT 1 FROM djdeploy_unfinished")
            if not cursor.fetchone():
                cursor.execute("DROP TABLE djdeploy_unfinished")


# --- what a table is like ---------------------------------------------------------------------------------------------

POSTGRES = """
    SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT pg_get_indexdef(indexrelid) || ' ' || indisvalid FROM pg_index
    WHERE indrelid = to_regclass(quote_ident(%s)) OR indexrelid = to_regclass(quote_ident(%s))
    UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = to_regclass(quote_ident(%s))
    ORDER BY 1
"""


def schema(connection: Any, name: str) -> str:
    """What a table is like, without its rows; empty if there is none."""
    lines = list(lines_of_schema(connection, name))
    return digest(*lines) if lines else ""


def lines_of_schema(connection: Any, name: str) -> Iterator[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(POSTGRES, [name] * 4)
            yield from (row[0] for row in cursor.fetchall())
        elif connection.vendor == "mysql":
            if name in connection.introspection.table_names(cursor):
                cursor.execute(f"SHOW CREATE TABLE {connection.ops.quote_name(name)}")
                yield re.sub(r" AUTO_INCREMENT=\d+", "", cursor.fetchone()[1])
        elif connection.vendor == "sqlite":
            cursor.execute(
                "SELECT sql FROM sqlite_master WHERE tbl_name = %s AND sql IS NOT NULL ORDER BY name", [name]
            )
            yield from (row[0] for row in cursor.fetchall())
