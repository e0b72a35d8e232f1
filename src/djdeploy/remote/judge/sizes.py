"""How large a table is, as the database itself estimates it: nothing is counted."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError

SIZES = {
    "postgresql": "SELECT reltuples::bigint, pg_total_relation_size(oid) FROM pg_class WHERE oid = to_regclass(%s)",
    "mysql": "SELECT table_rows, data_length + index_length FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND table_name = %s",
}
SMALL = 1000
"""Rows up to which a size is not worth a word."""


class Sizes:
    """Asks each table once."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.known: dict[str, str] = {}

    def of(self, table: str) -> str:
        """` (about 2.1 million rows, 350 MB)`; empty if the table is small, or nobody can tell."""
        if table not in self.known:
            self.known[table] = self.ask(table)
        return self.known[table]

    def ask(self, table: str) -> str:
        question = SIZES.get(self.connection.vendor)
        if not question or not table:
            return ""
        quoted = self.connection.ops.quote_name(table) if self.connection.vendor == "postgresql" else table
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(question, [quoted])
                rows, octets = cursor.fetchone() or (0, 0)
        except DatabaseError:
            return ""
        return f" (about {rough(rows)} rows, {memory(octets)})" if (rows or 0) > SMALL else ""


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
