"""The verdicts on what a branch adds, or on what databases have not applied; inside of Django."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from ..judge.acknowledged import named
from ..judge.contract import DependsOnWaiting, contract
from ..judge.judging import Judged
from ..judge.plans import Conflict, as_table, consistent, judged, planned, rows, to_apply
from ..migrations.applied import disk_migrations, with_squashed
from ..migrations.databases import NO_DATABASE, Failed, explained, may_hold_tables, opened
from ..migrations.tenants import in_any_schema, in_each_schema
from .branch import Branch
from .history import History, history, locks, missed
from .lines import file_of, lines
from .report import Note, Report
from .unasked import assume

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Table = dict[str, Any]


# --- what a branch adds -----------------------------------------------------------------------------------------------


def since(options: argparse.Namespace, branch: Branch) -> Report:
    """What a branch adds, for each database of the settings; none is asked."""
    with explained("default"):
        changes, on_disk = history(branch), disk_migrations()
    servers: dict[str, None] = {}
    found: list[Table] = []
    for alias in aliases(options):
        connection = connected_to(alias)
        servers[assume(connection, options.database_version)] = None
        judge = partial(added, connection, changes, partial(placed, branch.top), options.allow)
        found += in_any_schema(connection, judge)
    squashed = {key for migration in on_disk.values() for key in migration.replaces} | changes.squashed
    notes = [*changes.notes, *missed(changes.gone, squashed, branch.ref), *locks(branch)]
    scope = f"since {branch.ref} ({branch.base[:8]}), for {' and '.join(servers) or 'no database'}"
    return Report(found, notes, scope, options.fail_on)


def added(connection: Any, changes: History, tell: Any, allow: Sequence[str]) -> list[Table]:
    """What a database that has applied all that the other branch has would still apply, judged."""
    # Django does not believe that a squashed migration is applied where the names of its parts are not.
    there = with_squashed((set(disk_migrations()) - changes.added) | set(changes.gone), disk_migrations())
    with explained(connection.alias), conflicts_told(), applied_are(there):
        executor = consistent(connection)
        applied, steps = set(executor.loader.applied_migrations), list(planned(executor, ()))
        try:
            later = contract(executor.loader.graph, steps, lambda _: False)  # the other branch has none of them
        except DependsOnWaiting as error:
            raise Failed(str(error), code="depends-on-waiting") from error
        return list(judged(executor, steps, applied, None, named(allow), tell, later))


@contextlib.contextmanager
def applied_are(keys: Iterable[Key]) -> Iterator[None]:
    """Lets Django take these for what is applied to a database."""
    real = MigrationRecorder.applied_migrations
    MigrationRecorder.applied_migrations = lambda _: dict.fromkeys(keys)
    try:
        yield
    finally:
        MigrationRecorder.applied_migrations = real


# --- what databases have not applied ----------------------------------------------------------------------------------


def unapplied(options: argparse.Namespace, top: str) -> Report:
    """What the databases of the settings have not applied."""
    found: list[Table] = []
    notes: list[Note] = []
    names = aliases(options)
    for alias in names:
        try:
            here = opened(alias)
            with explained(alias), conflicts_told():
                judge = partial(to_apply, here, (), named(options.allow), partial(placed, top))
                found += in_each_schema(here, judge)
                if not rows(here):
                    notes.append(Note("note", f"nothing is applied to the database {alias!r}: {EMPTY}"))
        except (Failed, ImproperlyConfigured) as error:
            raise with_advice(error) from error
    return Report(found, notes, f"not applied to {', '.join(names) or 'any database'}", options.fail_on)


EMPTY = "there is no old code that could miss anything. Against another branch: --since=origin/main"


def with_advice(error: Exception) -> Failed:
    known = getattr(error, "code", "")
    if known and known != "database-unreachable":
        return Failed(str(error), known)
    return Failed(
        f"{' '.join(str(error).split())}\nWithout a database, against another branch: --since=origin/main", known
    )


# --- both -------------------------------------------------------------------------------------------------------------


def aliases(options: argparse.Namespace) -> list[str]:
    """The databases that may hold tables of the project, or those that are asked for."""
    unknown = [alias for alias in options.database or () if alias not in connections]
    if unknown:
        raise Failed(f"the project's DATABASES have no {unknown[0]!r}, only {', '.join(connections)}")
    real = [alias for alias in connections if connections.settings[alias]["ENGINE"] != NO_DATABASE]
    if not real:
        raise Failed("the settings have no database, so nothing can be judged")
    # Where routers let no model of any app into any database, they are asked once more for each operation.
    return options.database or [alias for alias in real if may_hold_tables(alias)] or real


def connected_to(alias: str) -> Any:
    """A database's connection, which is not open."""
    try:
        return connections[alias]
    except ImproperlyConfigured as error:  # the driver is not installed
        raise Failed(f"the database {alias!r} is not known here: {error}".strip()) from error


@contextlib.contextmanager
def conflicts_told() -> Iterator[None]:
    try:
        yield
    except Conflict as error:
        raise Failed(str(error), code="conflicting-migrations") from error


def placed(top: str, alias: str, migration: Any, found: Sequence[Judged], *more: Any) -> Table:
    """A judged migration, with its file and the lines of its operations. Args: top: what paths are told from."""
    table = as_table(alias, migration, found, *more)
    known, path = lines(migration), file_of(migration)
    told = zip(table["operations"], found)  # noqa: B905 - Python 3.8
    operations = [dict(one, line=known.get(id(its.operation), 1)) for one, its in told]
    return dict(table, operations=operations, file=os.path.relpath(os.path.realpath(path), top) if path else "")
