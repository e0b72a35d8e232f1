"""What `migrate` would apply to a database, judged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from . import sizes
from .acknowledged import reason_of
from .backwards import Backwards
from .classes import KINDS
from .contract import NONE, Contract, all_due
from .judging import Judge, Judged
from .meanwhile import deleted, failing, undeletable
from .own_commands import planned_by_itself
from .packages import package_of, with_upgrade

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Table = dict[str, Any]
    Step = tuple[Any, bool]  # a migration, and whether it is unapplied

OF_EXTENSIONS = {"spatial_ref_sys", "geometry_columns", "geography_columns", "raster_columns", "raster_overviews"}
"""The tables that an extension of a database brings."""


class Conflict(Exception):
    """The project's migrations do not tell which is the last."""


# --- what is there ----------------------------------------------------------------------------------------------------


def rows(connection: Any) -> set[Key]:
    """The migrations that a database says are applied to it."""
    return set(MigrationRecorder(connection).applied_migrations())


def is_empty(connection: Any) -> bool:
    """Whether there is no table of anybody's: no old code can miss what nobody has."""
    return not set(tables(connection)) - {"django_migrations"} - OF_EXTENSIONS


def tables(connection: Any) -> list[str]:
    return list(connection.introspection.table_names(include_views=True))


@cache
def names_on_disk() -> dict[str, set[str]] | None:
    """The names of each app's migrations, none of which is imported; None where files do not tell them."""
    found: dict[str, set[str]] = {}
    for config in apps.get_app_configs():
        module, _ = MigrationLoader.migrations_module(config.label)
        try:
            spec = find_spec(module) if module else None
        except ImportError:
            spec = None
        if spec is None or not spec.origin or not spec.submodule_search_locations:
            continue  # a `migrations.py`, or a folder without __init__.py: to Django it has none
        try:
            files = [name for folder in spec.submodule_search_locations for name in os.listdir(folder)]
        except OSError:  # in an archive
            return None
        found[config.label] = {name[:-3] for name in files if name.endswith(".py") and name[0] not in "_~"}
    return found


def nothing_to_apply(applied: Collection[Key]) -> bool:
    """Whether each migration that there is a file of is applied: no file need be read to know that."""
    on_disk = names_on_disk()
    return on_disk is not None and all((app, name) in applied for app, names in on_disk.items() for name in names)


# --- what would be applied --------------------------------------------------------------------------------------------


def to_apply(
    connection: Any,
    commands: Sequence[Any] = (),
    allow: Mapping[str, str] | None = None,
    tell: Callable[..., Table] | None = None,
    contract: Callable[[Any, Sequence[Step]], Contract] | None = None,
) -> list[Table]:
    """What these `migrate` commands would do, judged; without any, all that is not applied.

    Args:
        tell: as for `judged`.
        contract: finds those that are meant to run when the old code is gone.
    """
    goes_on = not any(getattr(command, "migration_name", None) for command in commands)
    if goes_on and nothing_to_apply(rows(connection)):
        return []
    executor = consistent(connection)
    there = set(executor.loader.applied_migrations)
    steps = list(planned(executor, commands))
    if not there and is_empty(connection):
        return [unjudged(connection.alias, migration) for migration, _ in steps]
    later = contract(executor, steps) if contract else all_due(steps)
    return list(judged(executor, steps, there, tables(connection), allow or {}, tell, later))


def consistent(connection: Any) -> MigrationExecutor:
    """The project's migrations, as `migrate` accepts them."""
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    conflicts = executor.loader.detect_conflicts()
    if conflicts:
        app, names = sorted(conflicts.items())[0]
        raise Conflict(f"{app} has several last migrations ({', '.join(sorted(names))}): makemigrations --merge")
    return executor


def planned(executor: Any, commands: Sequence[Any]) -> Iterator[Step]:
    """What the commands do, one after the other."""
    applied = executor.loader.applied_migrations
    for command in commands or [None]:
        if (
            getattr(command, "fake", False)
            or getattr(command, "plan", False)
            or getattr(command, "check_unapplied", False)
        ):
            continue
        only = planned_by_itself(command)
        for migration, is_back in executor.migration_plan(goals_of(command, executor.loader)):
            key = (migration.app_label, migration.name)
            if only is not None and key not in only:
                continue
            if is_back:
                applied.pop(key, None)
            else:
                applied[key] = migration
            yield migration, is_back


def goals_of(command: Any, loader: Any) -> list[Any]:
    """The migrations up to which a `migrate` goes."""
    name, app = getattr(command, "migration_name", None), getattr(command, "app_label", None)
    if name == "zero":
        return [(app, None)]
    if name:
        with contextlib.suppress(KeyError):  # `migrate` itself says what is wrong with the name
            return [(app, loader.get_migration_by_prefix(app, name).name)]
    found: list[Any] = loader.graph.leaf_nodes(app)
    return found


def judged(
    executor: Any,
    steps: Sequence[Step],
    there: set[Key],
    existing: Sequence[str] | None,
    allow: Mapping[str, str],
    tell: Callable[..., Table] | None = None,
    contract: Contract = NONE,
) -> Iterator[Table]:
    """These migrations, judged, in the order in which they run.

    Args:
        there: the migrations that have made the schema on which they work.
        existing: the tables of the database before they run; None if they have run, or nobody can ask.
        tell: makes a table of a judged migration, as `as_table` does.
        contract: those of them that are meant to run when the old code is gone.
    """
    loader, connection = executor.loader, executor.connection
    judge, known = Judge(connection, existing), sizes.Sizes(connection)
    plan = [one for one, _ in executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True)]
    chosen = {(one.app_label, one.name) for one, is_back in steps if not is_back}
    if any(is_back for _, is_back in steps):
        yield from in_turn(plan, steps, judge, known, there, allow, loader.unmigrated_apps)
        return
    state = ProjectState(real_apps=loader.unmigrated_apps)
    gone = deleted(one for one in plan if (one.app_label, one.name) in contract.waiting)
    for migration in plan:
        key = (migration.app_label, migration.name)
        if key in chosen:
            later = until_run(migration, state, connection, gone) if key in contract.waiting else {}
            found = judge.migration(migration, state)
            table = (tell or as_table)(connection.alias, migration, found, known, allow)
            if contract.reason(key) is not None:
                table.setdefault("allowed", contract.reason(key))
            yield {**table, **later}
            chosen.discard(key)
            if not chosen:
                return
        elif key in there:
            migration.mutate_state(state, preserve=False)


def until_run(migration: Any, state: Any, connection: Any, gone: Collection[Key]) -> Table:
    """What is told of a migration that waits."""
    rows = undeletable(migration, state.clone(), connection, gone)
    return {"waits": True, "meanwhile": dict(failing(migration, state.clone())), "undeletable": dict(rows)}


def in_turn(
    plan: list[Any],
    steps: Sequence[Step],
    judge: Judge,
    known: sizes.Sizes,
    there: set[Key],
    allow: Mapping[str, str],
    real_apps: set[str],
) -> Iterator[Table]:
    """Migrations of which some are unapplied: each begins with what the ones before it have left."""
    applied = set(there)
    for migration, is_back in steps:
        key = (migration.app_label, migration.name)
        state = ProjectState(real_apps=real_apps)
        for one in plan:
            if (one.app_label, one.name) in applied - {key}:
                one.mutate_state(state, preserve=False)
        if is_back:
            backwards = Backwards(migration, state)
            migration.mutate_state(state, preserve=False)
            table = as_table(judge.connection.alias, backwards, judge.migration(backwards, state), known, allow)
            yield dict(table, backwards=True)
            applied.discard(key)
        else:
            yield as_table(judge.connection.alias, migration, judge.migration(migration, state), known, allow)
            applied.add(key)


# --- as it is told ----------------------------------------------------------------------------------------------------


def unjudged(alias: str, migration: Any) -> Table:
    """One that makes a database from nothing."""
    return migration_table(
        alias, (migration.app_label, migration.name), [], all(o.reversible for o in migration.operations)
    )


def as_table(
    alias: str, migration: Any, found: Sequence[Judged], known: sizes.Sizes, allow: Mapping[str, str]
) -> Table:
    operations = [told(one, known) for one in found]
    table = migration_table(alias, (migration.app_label, migration.name), operations)
    package = package_of(migration) if operations else {}
    table = with_upgrade(dict(table, package=package)) if package else table
    reason = reason_of(migration, allow)
    return table if reason is None else dict(table, allowed=reason)


def told(one: Judged, known: sizes.Sizes) -> Table:
    """An operation as the client is told of it: its gravest finding, and the others that are more than nothing."""
    gravest = one.worst
    table = {
        "describe": one.operation.describe(),
        "class": gravest.kind,
        "why": gravest.why + (known.told(gravest.wait.table) if gravest.wait else ""),
        "reversible": bool(one.operation.reversible),
    }
    if gravest.safe:
        table["safe"] = gravest.safe
    waits = [finding.wait for finding in one.findings if finding.wait]
    if waits:
        table["waits"] = [dict(wait._asdict(), size=known.told(wait.table)) for wait in dict.fromkeys(waits)]
    more = {f.why: f.kind for f in one.findings if f.kind != "additive" and f is not gravest}
    if more:
        table["more"] = [{"class": kind, "why": why} for why, kind in more.items()]
    return table


def migration_table(alias: str, key: Key, operations: list[Table], reversible: bool = True) -> Table:
    return {
        "database": alias,
        "app": key[0],
        "name": key[1],
        "class": max((operation["class"] for operation in operations), key=KINDS.index, default="additive"),
        "reversible": reversible and all(operation["reversible"] for operation in operations),
        "operations": operations,
    }
