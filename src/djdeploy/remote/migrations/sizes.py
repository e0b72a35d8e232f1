"""How large tables are, by what the database knows of them without counting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.db import DatabaseError, transaction

LARGE = 1_000_000  # rows: what reads all of them takes longer than users notice


class Size(NamedTuple):
    rows: int  # about
    bytes: int  # with its indexes

    @property
    def is_large(self) -> bool:
        return self.rows >= LARGE

    def __str__(self) -> str:
        rows = f"{self.rows / 1e6:.1f} million" if self.rows >= LARGE else f"{self.rows}"
        return f"about {rows} rows, {self.bytes / 2**20:.0f} MiB"


POSTGRES = """
    SELECT name, greatest(c.reltuples, 0)::bigint, pg_total_relation_size(c.oid)
    FROM unnest(%s::text[]) AS name JOIN pg_class c ON c.oid = to_regclass(quote_ident(name))
"""
MYSQL = """
    SELECT table_name, coalesce(table_rows, 0), coalesce(data_length + index_length, 0)
    FROM information_schema.tables WHERE table_schema = database() AND table_name IN %s
"""


def table_sizes(connection: Any, names: Iterable[str]) -> dict[str, Size]:
    """The sizes of those of these tables that are known. SQLite knows none."""
    wanted = sorted(set(names))
    sql = {"postgresql": POSTGRES, "mysql": MYSQL}.get(connection.vendor)
    if not sql or not wanted:
        return {}
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(sql, [wanted if connection.vendor == "postgresql" else tuple(wanted)])
            return {name: Size(int(rows), int(size)) for name, rows, size in cursor.fetchall()}
    except DatabaseError:
        return {}
