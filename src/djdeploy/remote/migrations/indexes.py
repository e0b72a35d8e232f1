"""Indexes that were built concurrently on PostgreSQL, by a migration that was cut off: finished ones and ruins."""

from __future__ import annotations

import re
from typing import Any

from django.db import DatabaseError, transaction

from .statements import NAME, QUALIFIED, bare, unquoted

CREATE = re.compile(
    rf"\ACREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?({NAME})\s+ON\s+(?:ONLY\s+)?({QUALIFIED})(.*)\Z",
    re.IGNORECASE | re.DOTALL,
)
INDEX = """
    SELECT i.indisvalid, i.indrelid = to_regclass(%s)::oid, pg_get_indexdef(i.indexrelid), i.indexrelid::regclass::text
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE c.relname = %s AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass(%s)::oid)
"""


def is_built(connection: Any, sql: str) -> bool:
    """Whether the index that a statement would build concurrently is there, whole and the same; ruins are dropped.

    The server may still be building it for a migration whose program was killed. So first its lock on the table is
    waited for, which keeps nobody waiting who reads or writes.
    """
    found = CREATE.match(bare(sql))
    if not found:
        return False
    unique, name, table, rest = found.groups()
    if not index(connection, name, table):
        return False
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = 0")
            cursor.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
        there = index(connection, name, table)
        is_same = bool(there) and there[0] and is_as(there[2], connection, unique, table, rest)
    if not there or not there[1]:  # another table's: the database says it better
        return False
    if is_same:
        print(f"\ndjdeploy: {unquoted(name)} was built already, by a migration that was cut off afterwards")
        return True
    if not there[0]:
        print(f"\ndjdeploy: {unquoted(name)} was left half-built by a migration that was cut off: it is built anew")
        with connection.cursor() as cursor:
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {there[3]}")
    return False


def index(connection: Any, name: str, table: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(INDEX, [table, unquoted(name), table])
        return cursor.fetchone()


def is_as(text: str, connection: Any, unique: str | None, table: str, rest: str) -> bool:
    try:
        with transaction.atomic(using=connection.alias):
            return definition(connection, unique, table, rest) == after_on(text)
    except DatabaseError:  # no right to make a temporary table: the database will say that the index exists
        return False


def definition(connection: Any, unique: str | None, table: str, rest: str) -> str:
    """What PostgreSQL would say of the index: asked by making it on an empty copy of the table."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE djdeploy_copy (LIKE {table}) ON COMMIT DROP")
        cursor.execute(f"CREATE {unique or ''}INDEX djdeploy_copy_index ON pg_temp.djdeploy_copy {rest}")
        cursor.execute("SELECT pg_get_indexdef(to_regclass('pg_temp.djdeploy_copy_index')::oid)")
        return after_on(cursor.fetchone()[0])


def after_on(text: str) -> str:
    """A definition without the names of the index and its table."""
    return f"{text.startswith('CREATE UNIQUE')} {text[text.index(' USING ') :]}"
