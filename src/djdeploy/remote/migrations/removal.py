"""The statements that remove a table or a column, as a migration of one's own would run them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ADDED_TO_SQLITE = (3, 35)
"""The version of SQLite that can drop a column."""


def constraints(connection: Any, table: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        found: dict[str, Any] = connection.introspection.get_constraints(cursor, table)
    return found


def statements(connection: Any, table: str, column: str) -> list[str]:
    """Empty if the database cannot do it by a statement."""
    quote = connection.ops.quote_name
    if not column:
        return [f"DROP TABLE {quote(table)}"]
    drop = f"ALTER TABLE {quote(table)} DROP COLUMN {quote(column)}"
    if connection.vendor not in ("mysql", "sqlite"):
        return [drop]  # PostgreSQL drops its indexes and rules as well
    rules = {name: one for name, one in constraints(connection, table).items() if column in one["columns"]}
    before = on_mysql if connection.vendor == "mysql" else on_sqlite
    found = before(connection, table, column, rules)
    return [] if found is None else [*found, drop]


def on_mysql(connection: Any, table: str, column: str, rules: dict[str, Any]) -> list[str]:
    quote = connection.ops.quote_name
    keys = [name for name, one in rules.items() if one["foreign_key"]]
    unique = [n for n, one in rules.items() if one["unique"] and not one["primary_key"] and len(one["columns"]) > 1]
    checks = [name for name, one in rules.items() if one["check"] and name != column]  # else it goes with the column
    kinds = (("FOREIGN KEY", keys), ("INDEX", unique), ("CONSTRAINT", checks))
    return [f"ALTER TABLE {quote(table)} DROP {kind} {quote(name)}" for kind, names in kinds for name in names]


def on_sqlite(connection: Any, table: str, column: str, rules: dict[str, Any]) -> list[str] | None:
    if connection.Database.sqlite_version_info < ADDED_TO_SQLITE:
        return None
    if not all(one["index"] or is_own_check(name, one) for name, one in rules.items()):
        return None
    return [f"DROP INDEX {connection.ops.quote_name(name)}" for name, one in rules.items() if one["index"]]


def is_own_check(name: str, rule: dict[str, Any]) -> bool:
    """Whether it stands at the column itself, as that of a PositiveIntegerField, and so goes with it."""
    return bool(rule["check"]) and len(rule["columns"]) == 1 and name.startswith("__unnamed")


def in_order(connection: Any, tables: Iterable[str]) -> list[str]:
    """Tables in an order in which they can be dropped: none while another of them still refers to it."""
    refers = {
        table: {one["foreign_key"][0] for one in constraints(connection, table).values() if one["foreign_key"]}
        for table in tables
    }
    found: list[str] = []
    while refers:
        free = (t for t in refers if not any(t in others for other, others in refers.items() if other != t))
        found.append(next(free, next(iter(refers))))
        del refers[found[-1]]
    return found
