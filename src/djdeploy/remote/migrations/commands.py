"""What Django knows about a project's migrations; run in the folder of manage.py, by the release's own Python.

    migrations plan [--refuse [--allow-breaking]] [--allow "NAME: REASON"]... [--live PATH] [-- WORDS...]...
                                                             what `migrate` would apply now, judged
    migrations applied [-- WORDS...]...                   what is applied now
    migrations back --to-json FILE_OR_JSON [--from-json FILE] [--refuse | --run] [-- WORDS...]...
                                                             what lies between an older release and the databases
    migrations backup --to DIRECTORY --release NAME --keep N [-- WORDS...]...
                                                             backs up the databases that are migrated
    migrations COMMAND WORDS...                           `manage.py COMMAND WORDS...`, such as `migrate --noinput`,
                                                             so that the site never queues behind it for long

`-- WORDS` is a `migrate` as a deploy runs it, as often as there are some: the first chooses the settings, and each its
database. What no `migrate` of a deploy touches may be another project's: it is shown as far as it is known, and never
a reason to refuse. `--refuse` exits with 1 when the old code would not work with the new schema, or data is lost, and
nobody has allowed that migration by its name.
Only `back --run` and COMMAND change anything.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import re
import runpy
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, ManagementUtility, call_command
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from ..durations import of_environment
from ..emit import Others, emit, emit_error
from ..judge import text
from ..judge.acknowledged import named
from ..judge.classes import GRAVE
from ..judge.plans import Conflict, judged, migration_table, names_on_disk, rows, to_apply
from .backup import back_up, rotate
from .databases import (
    BRIEFLY,
    OF_TENANTS,
    Failed,
    ask_others,
    databases_in_release,
    explained,
    migrated,
    opened,
    read_aloud,
)
from .giving_way import politely
from .left_behind import in_release, left_behind
from .other_releases import WHY_UNKNOWN, releases, replaced, verdicts
from .patience import patience
from .records import accepted, backups_of, known, record_of

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Table = dict[str, Any]
    Applied = dict[str, dict[str, list[str]]]  # database: app: names


# --- inside manage.py -------------------------------------------------------------------------------------------------


class StandIn:
    """Takes the place of a management command; remembers how it ended."""

    def __init__(self, work: Callable[[Callable[[], object]], int]) -> None:
        self.work = work
        self.status: int | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        fetch = ManagementUtility.fetch_command

        def fetch_command(utility: Any, name: str) -> StandIn:
            self.real = lambda: fetch(utility, name).run_from_argv(utility.argv)
            return self

        ManagementUtility.fetch_command = fetch_command
        try:
            yield
        finally:
            ManagementUtility.fetch_command = fetch

    def run_from_argv(self, _: Sequence[str]) -> None:
        _ = settings.INSTALLED_APPS  # raises what Django has kept for the command
        self.status = self.work(self.real)


def in_manage(words: Sequence[str], work: Callable[[Callable[[], object]], int]) -> int | None:
    """Does the work where `manage.py WORDS` would do its command's, whatever it does before to find its settings.

    None if manage.py came to its end without it.

    Args:
        work: gets a function that runs the real command, and returns an exit status.
    """
    manage = os.path.realpath("manage.py")
    if not os.path.exists(manage):
        raise Failed(f"there is no {manage} (settings: source_dir)", code="no-manage")
    sys.path[0] = os.path.dirname(manage)  # as `python manage.py` has it
    sys.argv = ["manage.py", *words]
    stand_in = StandIn(work)
    with stand_in.installed():
        try:
            runpy.run_path(manage, run_name="__main__")
        except SystemExit:
            if stand_in.status is None:
                raise
    return stand_in.status


# --- what is applied, and what would be -------------------------------------------------------------------------------


def applied_names(connection: Any) -> dict[str, list[str]]:
    """What the database says is applied."""
    with explained(connection.alias):
        return by_app(rows(connection))


def of_this_code(names: dict[str, list[str]]) -> dict[str, list[str]]:
    """Of what a database has, what this release's code has as well: all that its record may say of it."""
    on_disk = names_on_disk()  # mostly, the names of files tell it: none need be imported
    if on_disk is not None and all(set(here) <= on_disk.get(app, set()) for app, here in names.items()):
        return names
    known = with_squashed(set(disk_migrations()), disk_migrations())
    return by_app((app, name) for app, here in names.items() for name in here if (app, name) in known)


def by_app(keys: Iterable[Key]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for app, name in sorted(keys):
        found.setdefault(app, []).append(name)
    return found


@lru_cache
def disk_migrations() -> Mapping[Key, Any]:
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    found: dict[Key, Any] = loader.disk_migrations
    return found


def judged_plan(connection: Any, commands: Sequence[Any] = (), allow: Sequence[str] = ()) -> list[Table]:
    """What these `migrate` commands would apply, judged; without any, all that is not applied."""
    with explained(connection.alias):
        try:
            return to_apply(connection, commands, named(allow))
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


# --- what is shown ----------------------------------------------------------------------------------------------------


def title(migration: Table) -> str:
    return text.title(migration, several=len(list(connections)) > 1)


def line(migration: Table) -> str:
    return text.line(migration, several=len(list(connections)) > 1)


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
            print(f"djdeploy: to apply: {line(migration)}")


def explain(migrations: Sequence[Table], grave: Callable[[Table], str]) -> bool:
    """Names each grave operation, and why it is that; False if there is none."""
    found = False
    for migration in migrations:
        for operation in migration["operations"]:
            why = grave(operation)
            if why:
                found = True
                print(f"{title(migration)}: {operation['describe']}: {why}")
    return found


def warn_of_files(files: Iterator[tuple[str, str]]) -> None:
    for alias, path in files:
        print(f"djdeploy: warning: the database {alias!r} is a file inside the release: {path}")
        print("djdeploy: the site loses its data with each deploy: fab explain database-in-release")


# --- the subcommands --------------------------------------------------------------------------------------------------


def plan(options: argparse.Namespace) -> int:
    targets = migrated(options.commands)
    warn_of_files(databases_in_release(connections))
    files, lost = in_release(), list(left_behind(options.live)) if options.live else []  # before any is opened
    everything: list[Table] = []
    unknown: list[Table] = []
    now: Applied = {}
    for alias, commands in targets.items():
        connection = opened(alias)
        names = applied_names(connection)
        now[alias] = of_this_code(names) if names else {}
        here = judged_plan(connection, commands, options.allow)
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
    return refuse_old_code(unknown, options) or refuse_plan(everything, options)


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


def show_other(now: Applied, connection: Any) -> None:
    """Says what is not applied to a database that no step migrates, of the apps that it has."""
    names = applied_names(connection)
    if names:
        now[connection.alias] = of_this_code(names)
    for migration in judged_plan(connection) if names else ():
        if migration["app"] in names:
            print(f"djdeploy: not applied, and no step migrates {connection.alias!r}: {line(migration)}")


def applied(options: argparse.Namespace) -> int:
    targets, files = migrated(options.commands), in_release()
    emit({"migrations": {"applied": all_applied(targets), "database_files": files}})
    return 0


def manage(commands: Sequence[Sequence[str]], real: Callable[[], object]) -> int:
    """Runs a management command, and again when it did not get a lock: it goes on where it stopped."""
    with read_aloud():
        politely(real)
    with contextlib.suppress(Failed, CommandError):  # it is done; what is applied is only for the record
        applied(argparse.Namespace(commands=commands))
    return 0


def backup(options: argparse.Namespace) -> int:
    """Backs up the databases that these commands migrate."""
    found = back_up([opened(alias) for alias in migrated(options.commands)], options.to, options.release)
    rotate(options.to, options.keep)
    emit({"backup": found})
    return 0


def all_applied(targets: Collection[str]) -> Applied:
    """What is applied to these databases, and to others as far as they can be asked."""
    found = {alias: of_this_code(applied_names(opened(alias))) for alias in targets}
    others: Applied = {}
    with contextlib.redirect_stdout(None):  # the plan has named those that do not answer
        ask_others(targets, lambda other: others.update({other.alias: of_this_code(applied_names(other))}))
    return {**found, **{alias: names for alias, names in others.items() if names}}


def back(options: argparse.Namespace) -> int:
    older, newer = record_of(options.to_json), record_of(options.from_json)
    kept = [] if options.run else accepted(older)
    record, had = known(older), files_of(options.to_json)
    if record is None and had is None:
        print("djdeploy: the older release does not say which migrations it had: they are not compared")
        emit({"migrations": {"back": None}})
        return 0
    if options.run and any(words[0] == OF_TENANTS for words in options.commands):
        raise Failed(f"{OF_TENANTS}: the schemas of tenants cannot be migrated back")
    targets = migrated(options.commands)
    between: list[Table] = []
    for alias in targets:
        if record is None or alias in record:  # else the older code does not know this database
            here = opened(alias)
            between += lying_between(here, (record or {}).get(alias, {}), had, accepted(newer), options.to_json)
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


def files_of(manifest: str) -> Callable[[Any], bool] | None:
    """Tells whether the release of a manifest has a migration's file; None where its files are not beside it.

    A release that was not migrated by us, or when it was deployed, has no record of it, or one that is too short.
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
        return True  # the system's packages are every release's

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


def with_squashed(keys: set[Key], migrations: Mapping[Key, Any]) -> set[Key]:
    """With what these migrations replace, and with those that replace nothing but these."""
    found = set(keys)
    for key, migration in migrations.items():
        replaced = set(migration.replaces)
        if key in keys:
            found |= replaced
        elif replaced and replaced <= keys:
            found.add(key)
    return found


def why_no_code_goes_back(operation: Table) -> str:
    if operation["class"] in GRAVE:
        return str(operation["why"])
    return "" if operation["reversible"] else f"it has no way back, and {operation['why']}"


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


# --- the command line -------------------------------------------------------------------------------------------------

SUBCOMMANDS = {"plan": plan, "applied": applied, "back": back, "backup": backup}


def options_of(words: Sequence[str]) -> argparse.Namespace:
    """Our own options, and `commands`: the words of each `migrate`."""
    own, *commands = split(words)
    parser = argparse.ArgumentParser()
    parser.add_argument("subcommand", choices=SUBCOMMANDS)
    parser.add_argument("--refuse", action="store_true")
    parser.add_argument("--allow-breaking", action="store_true")
    parser.add_argument("--allow", action="append", default=[])
    parser.add_argument("--to-json", default="{}")
    parser.add_argument("--from-json", default="{}")
    parser.add_argument("--live", default="")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--to", default="")
    parser.add_argument("--release", default="")
    parser.add_argument("--keep", type=int, default=5)
    parser.set_defaults(commands=[command for command in commands if command])
    return parser.parse_args(own)


def split(words: Sequence[str]) -> list[list[str]]:
    """The words between each `--`."""
    found: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            found.append([])
        else:
            found[-1].append(word)
    return found


@contextlib.contextmanager
def errors_heard_last() -> Iterator[None]:
    """Of what is wrong with the project, `manage.py check` has the better words, if it runs at the same time."""
    try:
        yield
    except BaseException:
        Others().wait()
        raise


def run(words: Sequence[str]) -> int:
    if words[0] not in SUBCOMMANDS:
        return in_manage(words, partial(manage, [words])) or 0
    options = options_of(words)
    first = options.commands[0][1:] if options.commands else []
    # A command that changes nothing, should an unusual manage.py run it and not us.
    with errors_heard_last():
        status = in_manage(["showmigrations", *first], lambda _: SUBCOMMANDS[options.subcommand](options))
    if status is None:
        raise Failed("manage.py ran no management command in Django's way, so its settings are not known")
    return status


def main(words: Sequence[str]) -> int:
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    if words[0] == "back" and "--refuse" in words:
        return judge_way_back(words)
    try:
        return run(words)
    except (Failed, ImproperlyConfigured, CommandError) as failed:
        print(str(failed) or type(failed).__name__)
        emit_error(code_of(failed))
        return 1


def judge_way_back(words: Sequence[str]) -> int:
    """Whoever goes back may do so since the database is down, or the live code is broken: they are told soon."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(BRIEFLY))
    with patience(of_environment(), lambda why: os._exit(not_judged(why))):
        try:
            return run(words)
        except (Exception, SystemExit) as error:
            return not_judged(str(error).strip() or type(error).__name__)


def not_judged(why: str) -> int:
    print(f"Whether the older code works with the database as it is now could not be judged: {why}", flush=True)
    emit_error(code="not-judged")
    return 1


def code_of(error: Exception) -> str:
    """What the client's `fab explain` takes. Django has one exception for each way in which its commands fail."""
    return error.code if isinstance(error, Failed) else ""
