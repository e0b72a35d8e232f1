"""What `migrate` would apply now, judged, and what this code's database has already that it does not know."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections

from ..emit import emit, emit_error
from ..judge import text
from ..judge.acknowledged import named
from ..judge.classes import GRAVE
from ..judge.packages import with_upgrade
from ..judge.plans import Conflict, migration_table, names_on_disk, rows, to_apply
from .applied import applied_names, disk_migrations, of_this_code, with_squashed
from .databases import Failed, ask_others, databases_in_release, explained, migrated, opened
from .left_behind import in_release, left_behind
from .other_releases import releases, replaced, verdicts
from .shown import explain, line, title, why_no_code_goes_back
from .tenants import in_each_schema
from .waiting import old_code

if TYPE_CHECKING:
    Table = dict[str, Any]
    Applied = dict[str, dict[str, list[str]]]  # database: app: names


def plan(options: argparse.Namespace) -> int:
    targets, old = migrated(options.commands), old_code(options)
    warn_of_files(databases_in_release(connections))
    files, lost = in_release(), list(left_behind(options.live)) if options.live else []  # before any is opened
    everything: list[Table] = []
    unknown: list[Table] = []
    now: Applied = {}
    for alias, commands in targets.items():
        connection = opened(alias)
        names = applied_names(connection)
        now[alias] = of_this_code(names) if names else {}
        found = judged_plan(connection, commands, options.allow, old.contract)
        here = [with_upgrade(one, options.live) for one in found]
        show_plan(alias, here, is_empty=not names, stopped={title(one) for one, _ in refused(here, options)})
        everything += here
        unknown += ahead(connection, options.live) if names else []
    ask_others(targets, partial(show_other, now))
    for migration in unknown:
        if migration["operations"]:
            print(f"djdeploy: applied already, and this commit does not have it: {line(migration)}")
    known = {"plan": everything, "applied": now, "database_files": files}
    emit({"migrations": {**known, "back": unknown} if unknown else known})
    for each in lost:
        print(each if options.refuse else f"djdeploy: warning: {each}")
    if lost and options.refuse:
        emit_error(code="database-in-release")
        return 1
    return refuse_old_code(unknown, options) or refuse_new_code(everything, options) or refuse_plan(everything, options)


def judged_plan(
    connection: Any, commands: Sequence[Any] = (), allow: Sequence[str] = (), contract: Any = None
) -> list[Table]:
    """What these `migrate` commands would apply, judged; without any, all that is not applied."""
    with explained(connection.alias):
        try:
            judge = partial(to_apply, connection, commands, named(allow), contract=contract)
            only_shared = bool(commands) and all(getattr(command, "shared", False) for command in commands)
            return in_each_schema(connection, judge, only_shared)
        except Conflict as error:
            raise Failed(str(error), code="conflicting-migrations") from error


def ahead(connection: Any, live: str) -> list[Table]:
    """What the database has and this code has not, judged as for a rollback.

    Args:
        live: the directory of the live release.
    """
    with explained(connection.alias):
        here = rows(connection)
        on_disk = names_on_disk()
        if on_disk is not None and all(name in on_disk.get(app, ()) for app, name in here):
            return []
        missing = here - with_squashed(set(disk_migrations()), disk_migrations())
    home = os.path.dirname(os.path.realpath(live)) if live else ""
    folders = releases(home, live) if live else []
    missing = {key for key in missing if not replaced(key, disk_migrations(), folders)}
    if not missing:
        return []
    known = verdicts(connection.alias, missing, home, live, connection) if live else {}
    unknown = sorted(missing - set(known))
    if unknown and live:
        names = ", ".join(f"{app}.{name}" for app, name in unknown[:3]) + (
            f" and {len(unknown) - 3} more" if unknown[3:] else ""
        )
        print(f"djdeploy: the database has migrations that no release here has, so they are not judged: {names}")
    nothing = [migration_table(connection.alias, key, [], reversible=False) for key in unknown]
    return [*(known[key] for key in sorted(known)), *nothing]


def show_plan(alias: str, plan: Sequence[Table], is_empty: bool, stopped: Collection[str]) -> None:
    """Shows what would be applied.

    Args:
        stopped: the titles of those that are named as reasons, and once.
    """
    where = f" {alias!r}" if len(list(connections)) > 1 else ""
    if plan and is_empty and all(migration["class"] not in GRAVE for migration in plan):
        print(f"djdeploy: {len(plan)} migrations make the database{where} from nothing")
        return
    for migration in plan:
        if title(migration) not in stopped:
            when = "to apply once the old code is gone" if migration.get("waits") else "to apply"
            print(f"djdeploy: {when}: {line(migration)}")


def show_other(now: Applied, connection: Any) -> None:
    """Says what is not applied to a database that no step migrates, of the apps that it has."""
    names = applied_names(connection)
    if names:
        now[connection.alias] = of_this_code(names)
    for migration in judged_plan(connection) if names else ():
        if migration["app"] in names:
            print(f"djdeploy: not applied, and no step migrates {connection.alias!r}: {line(migration)}")


def warn_of_files(files: Iterator[tuple[str, str]]) -> None:
    for alias, path in files:
        print(f"djdeploy: warning: the database {alias!r} is a file inside the release: {path}")
        print("djdeploy: the site loses its data with each deploy: fab explain database-in-release")


def refused(everything: Sequence[Table], options: argparse.Namespace) -> list[tuple[Table, Table]]:
    """(migration, operation) of what stops a deploy with these options."""
    kinds = ["destructive"] if options.allow_breaking else GRAVE
    return list(text.refused(everything, kinds)) if options.refuse else []


def refuse_plan(everything: Sequence[Table], options: argparse.Namespace) -> int:
    """Stops what nobody has allowed, or says what is let through."""
    found, stopped = list(text.refused(everything, GRAVE)), refused(everything, options)
    for migration, operation in stopped or found:
        what = f"{title(migration)}: {operation['describe']}: {operation['why']}"
        print(what if stopped else f"djdeploy: let through: {what}")
        if stopped and operation.get("safe"):
            print(f"  Instead: {operation['safe']}")
    if not stopped:
        return 0
    print("The old code serves while migrations run, and comes back with a rollback.")
    is_lost = any(operation["class"] == "destructive" for _, operation in stopped)
    emit_error(code="destructive-migration" if is_lost else "breaking-migration")
    return 1


def refuse_new_code(everything: Sequence[Table], options: argparse.Namespace) -> int:
    """Stops a migration that waits though the new code cannot do without it, or for long."""
    held = [(one, *each) for one in everything for each in one.get("undeletable", {}).items()]
    found = [(one, *each) for one in everything for each in one.get("meanwhile", {}).items()]
    if options.briefly:
        for migration, why, safe in held:
            print(f"djdeploy: warning: {title(migration)}: {why}. If the new code deletes such rows: {safe}")
    else:
        found += held
    is_stopped = options.refuse and not options.allow_breaking
    for migration, why, safe in found:
        print(f"{'' if is_stopped else 'djdeploy: let through: '}{title(migration)}: {why}")
        if is_stopped:
            print(f"  Instead: {safe}")
    if not found or not is_stopped:
        return 0
    print("The new code serves while these migrations wait.")
    emit_error(code="new-code-cannot-wait")
    return 1


def refuse_old_code(unknown: Sequence[Table], options: argparse.Namespace) -> int:
    """Stops code that is older than the database, and does not work with it, as a rollback to it would be stopped."""
    if not options.refuse:
        return 0
    apps_here = {app for app, _ in disk_migrations()} if unknown else set()
    mine = [one for one in unknown if one["app"] in apps_here or one["class"] in GRAVE]  # or the app itself was removed
    if not explain(mine, why_no_code_goes_back):
        return 0
    print("This commit is older than the database, and its code would meet a schema that it does not know.")
    emit_error(code="older-code")
    return 1
