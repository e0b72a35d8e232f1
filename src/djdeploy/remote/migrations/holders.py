"""Who holds a table that a migration needs for itself: asked before it queues, since the site would queue behind it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.db import DatabaseError, transaction

from .another_session import looking_on
from .statements import READERS, Locked, shortened, unquoted

AUTOVACUUM = "autovacuum"
AUTOVACUUM_ENDS = 3.0  # seconds: PostgreSQL ends it for whoever has waited for `deadlock_timeout`, a second
WRITERS = (*READERS, "RowExclusiveLock")
BESIDE = {"ShareUpdateExclusiveLock": WRITERS, "ShareLock": (*READERS, "ShareLock"), "ShareRowExclusiveLock": READERS}
"""The modes of locks that others may have beside one of these."""


class Holder(NamedTuple):
    """A transaction of somebody else that keeps a table.

    Args:
        key: by which it is known again.
        seconds: since when it is open; None where we may not see that.
    """

    key: str
    table: str
    pid: int
    user: str
    state: str
    query: str
    seconds: float | None

    def __str__(self) -> str:
        since = "" if self.seconds is None else f"open for {self.seconds:.0f} s"
        known = ", ".join(part for part in (self.user, self.state, since) if part)
        what = f": {shortened(self.query)}" if self.query else ""
        return (
            f"{self.table + ' is held by ' if self.table else ''}pid {self.pid}{f' ({known})' if known else ''}{what}"
        )


class Watcher:
    """Asks one database who holds a table, where the account may see it, and remembers since when it saw them."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.seen: dict[str, float] = {}
        self.blind = ""  # why nothing can be seen

    def long_holders(self, wanted: Sequence[Locked], longer_than: float) -> list[Holder]:
        """Those that have kept one of the tables for longer, the oldest first."""
        now = time.monotonic()
        found = [one._replace(seconds=self.age(one, now)) for one in self.holders(wanted)]
        self.seen = {one.key: self.seen[one.key] for one in found}
        return sorted((one for one in found if (one.seconds or 0) >= longer_than), key=lambda one: -(one.seconds or 0))

    def age(self, one: Holder, now: float) -> float:
        first = self.seen.setdefault(one.key, now)
        return max(now - first, one.seconds or 0)

    def holders(self, wanted: Sequence[Locked]) -> list[Holder]:
        raise NotImplementedError

    @contextlib.contextmanager
    def looking_on(self) -> Iterator[list[Locked]]:
        """Adds the tables for which a statement waits meanwhile, as far as the database tells."""
        yield []

    def pushed_aside(self, found: Sequence[Holder]) -> bool:
        """Whether those that hold something were made to end, since the database itself had begun them."""
        return False

    def asked(self, sql: str, params: Sequence[object] = ()) -> list[Any]:
        """The rows; none where we may not look. A transaction that is open stays as it is."""
        if self.blind:
            return []
        try:
            if self.connection.in_atomic_block:
                with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
                    cursor.execute(sql, params)
                    return list(cursor.fetchall())
            with self.connection.cursor() as cursor:
                cursor.execute(sql, params)
                return list(cursor.fetchall())
        except DatabaseError as error:
            self.blind = str(error).strip().splitlines()[0]
            print(f"djdeploy: who holds a table cannot be seen here ({self.blind}): only waits are kept short")
            return []


class OnPostgres(Watcher):
    SQL = """
        WITH wanted AS (
            SELECT number, coalesce((SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = o), o) AS o
            FROM unnest(%s::text[]) WITH ORDINALITY AS given (name, number),
                 LATERAL (SELECT to_regclass(name)::oid AS o) AS found
        )
        SELECT wanted.number, l.mode, l.virtualtransaction, l.relation::regclass::text, coalesce(l.pid, 0),
               a.usename::text,
               a.state, coalesce(a.query, ''), extract(epoch FROM clock_timestamp() - a.xact_start)::float8
        FROM pg_catalog.pg_locks l
        JOIN wanted ON l.relation = wanted.o
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    """

    WAITS = """
        SELECT relation::regclass::text, mode FROM pg_catalog.pg_locks
        WHERE pid = %s AND locktype = 'relation' AND NOT granted
    """

    def holders(self, wanted: Sequence[Locked]) -> list[Holder]:
        if not wanted:
            return []
        rows = self.asked(self.SQL, [[one.name for one in wanted]])
        found = [row[2:] for row in rows if row[1] not in wanted[row[0] - 1].beside]
        return [Holder(f"{row[0]} {row[1]}", *self.told(row[1:])) for row in found]

    @contextlib.contextmanager
    def looking_on(self) -> Iterator[list[Locked]]:
        """What a cascade, a partition, a block of code or a foreign key needs stands in no statement."""
        seen: list[Locked] = []
        pid = self.asked("SELECT pg_backend_pid()")

        def look(cursor: Any) -> None:
            cursor.execute(self.WAITS, [pid[0][0]])
            waits = [Locked(name, BESIDE.get(mode, ())) for name, mode in cursor.fetchall()]
            seen.extend(one for one in waits if one not in seen)

        with looking_on(self.connection, look) if pid else contextlib.nullcontext():
            yield seen

    def pushed_aside(self, found: Sequence[Holder]) -> bool:
        """PostgreSQL ends an autovacuum for whoever waits for a second; in a mode that keeps no user waiting."""
        if any(one.state != AUTOVACUUM for one in found):
            return False
        names = ", ".join(sorted({one.table for one in found}))
        try:
            with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{AUTOVACUUM_ENDS:g}s'")
                cursor.execute(f"LOCK TABLE {names} IN SHARE UPDATE EXCLUSIVE MODE")
                transaction.set_rollback(True, using=self.connection.alias)  # also what was set
        except DatabaseError:  # it may not be ended, as one that prevents the wraparound of transactions' numbers
            return False
        return True

    @staticmethod
    def told(row: Any) -> tuple[Any, ...]:
        table, pid, user, state, query, seconds = row
        if not pid:
            return table, 0, "", "a prepared transaction, see pg_prepared_xacts", "", seconds
        if "insufficient privilege" in query:
            query = ""
        return table, pid, user or "", (state or "") if user else AUTOVACUUM, query, seconds


class OnMySQL(Watcher):
    """Metadata locks are seen where the server keeps a table of them; else all open transactions are suspects."""

    MYSQL = """
        SELECT concat(t.processlist_id, ''), m.object_name, t.processlist_id, t.processlist_user, t.processlist_command,
               coalesce(t.processlist_info, ''), timestampdiff(MICROSECOND, x.trx_started, sysdate(6)) / 1e6
        FROM performance_schema.metadata_locks m
        JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id
        LEFT JOIN information_schema.innodb_trx x ON x.trx_mysql_thread_id = t.processlist_id
        WHERE m.object_type = 'TABLE' AND m.object_schema = database() AND m.object_name IN %s
          AND m.lock_status = 'GRANTED' AND t.processlist_id <> connection_id()
    """
    MARIADB = """
        SELECT concat(p.id, ''), m.table_name, p.id, p.user, p.command, coalesce(p.info, ''),
               timestampdiff(MICROSECOND, x.trx_started, sysdate(6)) / 1e6
        FROM information_schema.metadata_lock_info m
        JOIN information_schema.processlist p ON p.id = m.thread_id
        LEFT JOIN information_schema.innodb_trx x ON x.trx_mysql_thread_id = p.id
        WHERE m.table_schema = database() AND m.table_name IN %s AND p.id <> connection_id()
    """
    SUSPECTS = """
        SELECT concat(p.id, ' ', x.trx_started), '', p.id, p.user, p.command, coalesce(p.info, ''),
               timestampdiff(MICROSECOND, x.trx_started, sysdate(6)) / 1e6
        FROM information_schema.innodb_trx x
        JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id
        WHERE p.id <> connection_id()
    """

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.sql = self.table_of_locks()

    @property
    def is_exact(self) -> bool:
        """Whether the table that is held is known, and not only who holds something."""
        return bool(self.sql)

    def table_of_locks(self) -> str:
        maria = (
            "SELECT 1 FROM information_schema.plugins"
            " WHERE plugin_name = 'METADATA_LOCK_INFO' AND plugin_status = 'ACTIVE'"
        )
        mysql = (
            "SELECT 1 FROM performance_schema.setup_instruments"
            " WHERE name = 'wait/lock/metadata/sql/mdl' AND enabled = 'YES' AND @@performance_schema = 1"
        )
        for known, sql in ((maria, self.MARIADB), (mysql, self.MYSQL)):
            try:
                with self.connection.cursor() as cursor:
                    cursor.execute(known)
                    if cursor.fetchone():
                        return sql
            except DatabaseError:  # no right to look there
                continue
        return ""

    def holders(self, wanted: Sequence[Locked]) -> list[Holder]:
        if not wanted:
            return []
        names = tuple(unquoted(one.name) for one in wanted)
        rows = self.asked(self.sql, [names]) if self.sql else self.asked(self.SUSPECTS)
        return [Holder._make([*row[:6], None if row[6] is None else float(row[6])]) for row in rows]


def watcher(connection: Any) -> Watcher | None:
    kinds = {"postgresql": OnPostgres, "mysql": OnMySQL}
    kind = kinds.get(connection.vendor)
    return kind(connection) if kind else None
