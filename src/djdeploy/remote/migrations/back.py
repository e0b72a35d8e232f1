"""What lies between an older release and the databases, judged; and how the databases go back to it."""

from __future__ import annotations

import argparse
import glob
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from ..emit import emit, emit_error
from ..judge.plans import judged, migration_table
from .applied import with_squashed
from .databases import OF_TENANTS, Failed, explained, migrated, opened
from .giving_way import politely
from .other_releases import WHY_UNKNOWN, verdicts
from .records import accepted, backups_of, known, record_of
from .shown import explain, line, why_no_code_goes_back
from .tenants import in_each_schema, is_tenanted

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Table = dict[str, Any]


def back(options: argparse.Namespace) -> int:
    older, newer = record_of(options.to_json), record_of(options.from_json)
    kept = [] if options.run else accepted(older)
    record, had = known(older), files_of(options.to_json)
    if record is None and had is None:
        print("djdeploy: the older release does not say which migrations it had: they are not compared")
        emit({"migrations": {"back": None}})
        return 0
    of_tenants = Failed(f"{OF_TENANTS}: the schemas of tenants cannot be migrated back")
    if options.run and any(words[0] == OF_TENANTS for words in options.commands):
        raise of_tenants
    targets = migrated(options.commands)
    if options.run and any(is_tenanted(connections[alias]) for alias in targets):
        raise of_tenants
    between: list[Table] = []
    for alias in targets:
        if record is None or alias in record:  # else the older code does not know this database
            here = opened(alias)
            applied = (record or {}).get(alias, {})
            judge = partial(lying_between, here, applied, had, accepted(newer), options.to_json)
            between += in_each_schema(here, judge)
    for migration in between:
        print(f"djdeploy: applied since: {line(migration)}")
    if options.run:
        migrate_back(between)
    emit({"migrations": {"back": [*kept, *between]}})
    if options.refuse and explain(between, why_no_code_goes_back):
        print("The older code would meet a schema that it does not know.")
        for path in backups_of(options.from_json):
            print(f"A backup from before these migrations: {path}")
        emit_error(code="migrations-ahead" if all(one["reversible"] for one in between) else "no-way-back")
        return 1
    return 0


def files_of(manifest: str, *, of_all: bool = True) -> Callable[[Any], bool] | None:
    """Tells whether the release of a manifest has a migration's file; None where its files are not beside it.

    A release that was not migrated by us, or when it was deployed, has no record of it, or one that is too short.

    Args:
        of_all: what is said of the system's packages, which are every release's, in a version that nobody knows.
    """
    older = os.path.dirname(os.path.realpath(manifest))
    if not os.path.isdir(os.path.join(older, "repository")):
        return None
    code = re.compile(re.escape(os.path.join(os.path.dirname(older), "")) + "[^/]+/repository/")

    def has(migration: Any) -> bool:
        path = os.path.realpath(str(sys.modules[migration.__module__].__file__))
        environment = os.path.join(os.path.realpath(sys.prefix), "")
        if code.match(path):
            return os.path.exists(os.path.join(older, "repository", code.sub("", path, count=1)))
        if path.startswith(environment):  # perhaps of another version of Python
            inside = re.sub("^lib/python3[^/]*", "lib/python3*", glob.escape(path[len(environment) :]))
            return bool(glob.glob(os.path.join(glob.escape(older), "virtualenv", inside)))
        return of_all

    return has


def lying_between(
    connection: Any,
    record: Mapping[str, Sequence[str]],
    had: Callable[[Any], bool] | None = None,
    judged_before: Sequence[Table] = (),
    manifest: str = "",
) -> list[Table]:
    """The migrations that are applied, and that the older code does not know: by its record, nor by its files.

    Args:
        judged_before: those that the live code does not know either, since it was itself gone back to.
        manifest: the older release's, beside which the others lie.
    """
    with explained(connection.alias):
        executor = MigrationExecutor(connection)
        rows: set[Key] = set(executor.recorder.applied_migrations())
        loader = executor.loader
        nodes: set[Key] = set(loader.graph.nodes)
        known = {(app, name) for app in record for name in record[app]}
        known |= {key for key, migration in loader.disk_migrations.items() if had and had(migration)}
        new = rows - with_squashed(known, loader.disk_migrations)
        steps = [(loader.graph.nodes[key], False) for key in new & nodes]
        tables = list(judged(executor, steps, set(loader.applied_migrations) - new, None, {}))
    unknown = sorted(new - nodes - set(loader.disk_migrations))
    lost = {"describe": "Unknown migration", "class": "opaque", "why": WHY_UNKNOWN, "reversible": False}
    before = {(one["app"], one["name"]): one for one in judged_before if one["database"] == connection.alias}
    if set(unknown) - set(before) and os.path.isfile(manifest):
        home = os.path.dirname(os.path.dirname(os.path.realpath(manifest)))
        before = {**verdicts(connection.alias, set(unknown) - set(before), home, "", connection), **before}
    return tables + [before.get(key) or migration_table(connection.alias, key, [lost]) for key in unknown]


def migrate_back(between: Sequence[Table]) -> None:
    """Unapplies exactly these migrations; all is checked before anything changes."""
    if explain(between, lambda operation: "" if operation["reversible"] else "it has no way back"):
        raise Failed("Nothing was migrated back.", code="no-way-back")
    targets = [target for alias in {one["database"]: None for one in between} for target in backwards(alias, between)]
    for alias, app, name in targets:
        print(f"djdeploy: manage.py migrate {app} {name} --database {alias}")
        politely(partial(call_command, "migrate", app, name, database=alias, interactive=False))


def backwards(alias: str, between: Sequence[Table]) -> list[tuple[str, str, str]]:
    """(database, app, name) of each `migrate` that unapplies them, the latest first."""
    executor = MigrationExecutor(connections[alias])
    graph, rows = executor.loader.graph, set(executor.loader.applied_migrations)
    gone = [(one["app"], one["name"]) for one in between if one["database"] == alias]
    order = [(one.app_label, one.name) for one, _ in executor.migration_plan(graph.leaf_nodes(), clean_start=True)]
    apps = {app: None for app, _ in reversed(gone)}
    last = {app: [name for of, name in order if of == app and (of, name) in rows - set(gone)][-1:] for app in apps}
    planned = executor.migration_plan([(app, *(last[app] or [None])) for app in apps])
    if {(one.app_label, one.name) for one, is_back in planned if is_back} != set(gone):
        raise Failed(
            f"the migrations of {alias!r} since then cannot be unapplied alone: others depend on them",
            code="no-way-back",
        )
    return [(alias, app, *(last[app] or ["zero"])) for app in apps]
