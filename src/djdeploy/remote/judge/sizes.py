"""How large a table is, as the database itself estimates it: nothing is counted."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db import DatabaseError, transaction

SIZES = {
    "postgresql": "SELECT reltuples::bigint, pg_total_relation_size(oid) FROM pg_class WHERE oid = to_regclass(%s)",
    "mysql": "SELECT table_rows, data_length + index_length FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND table_name = %s",
}
SMALL = 1000
"""Rows up to which a size is not worth a word."""
LARGE = 1_000_000
"""Rows of which a user notices that all are read."""


class Size(NamedTuple):
    rows: int  # about
    octets: int  # with its indexes

    @property
    def is_large(self) -> bool:
        return self.rows >= LARGE

    def __str__(self) -> str:
        return f"about {rough(self.rows)} rows, {memory(self.octets)}"


class Sizes:
    """Asks each table once."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.known: dict[str, Size | None] = {}

    def of(self, table: str) -> Size | None:
        """None if nobody can tell."""
        if table not in self.known:
            self.known[table] = self.ask(table)
        return self.known[table]

    def told(self, table: str) -> str:
        """` (about 2.1 million rows, 350 MB)`; empty if the table is small, or nobody can tell."""
        size = self.of(table)
        return f" ({size})" if size and size.rows > SMALL else ""

    def ask(self, table: str) -> Size | None:
        question = SIZES.get(self.connection.vendor)
        if not question or not table:
            return None
        quoted = self.connection.ops.quote_name(table) if self.connection.vendor == "postgresql" else table
        try:
            with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
                cursor.execute(question, [quoted])
                found = cursor.fetchone()
        except DatabaseError:
            return None
        return Size(int(found[0] or 0), int(found[1] or 0)) if found else None


def rough(count: int) -> str:
    for unit, size in (("billion", 10**9), ("million", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,}"


def memory(octets: int) -> str:
    for unit, size in (("GB", 2**30), ("MB", 2**20)):
        if octets >= size:
            return f"{octets / size:.0f} {unit}"
    return f"{max(octets // 1024, 1)} kB"
