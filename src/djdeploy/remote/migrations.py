"""What Django knows about a project's migrations; run in the folder of manage.py, by the release's own Python.

    migrations.py plan [--refuse] [-- WORDS...]...           what `migrate` would apply now, judged
    migrations.py applied [-- WORDS...]...                   what is applied now
    migrations.py back --to-json FILE_OR_JSON [--refuse | --run] [-- WORDS...]...
                                                             what lies between an older release and the databases
    migrations.py COMMAND WORDS...                           `manage.py COMMAND WORDS...`, such as `migrate --noinput`,
                                                             under a lock timeout on PostgreSQL, tried again

`-- WORDS` is a `migrate` as a deploy runs it, as often as there are some: the first chooses the settings, and each its
database. What no `migrate` of a deploy touches may be another project's: it is shown as far as it is known, and never
a reason to refuse. `--refuse` exits with 1 when the old code would not work with the new schema, or data is lost.
Only `back --run` and COMMAND change anything.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import json
import os
import re
import runpy
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

try:
    import django  # noqa: F401
except ModuleNotFoundError:  # some other project that has a manage.py: it is run as it is, and not judged
    if sys.argv[1] in ("plan", "applied", "back"):
        print("djdeploy: there is no Django in the virtualenv, so migrations are not judged")
        sys.exit(0)
    os.execv(sys.executable, [sys.executable, "manage.py", *sys.argv[1:]])

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, ManagementUtility, call_command, get_commands, load_command_class
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connections, router, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState
from tell import tell, wait_until_alone
from verdicts import KINDS, Judge

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Table = dict[str, Any]
    Applied = dict[str, dict[str, list[str]]]  # database: app: names

NO_DATABASE = "django.db.backends.dummy"
OF_TENANTS = "migrate_schemas"  # django-tenants: each tenant's schema has migrations of its own
BRIEFLY = 3  # seconds to connect to a database that no `migrate` touches
LOCK_TIMEOUT = 5.0  # seconds; DJDEPLOY_LOCK_TIMEOUT
TRIES = 6
FIRST_PAUSE = 1.0  # seconds; each one after it is twice as long
LOCKED = {"55P03", "40P01"}  # lock_not_available, deadlock_detected: nothing has changed, it may be tried again
ALONE = {"25001", "2D000"}  # active_sql_transaction, invalid_transaction_termination: it must have none around it


class Failed(Exception):
    """Why the task cannot go on, for the user."""


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
        raise Failed(f"there is no {manage} (settings: source_dir)")
    ours = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [os.path.dirname(manage), *(path for path in sys.path if os.path.realpath(path) != ours)]
    for name in ("tell", "verdicts"):  # the project may have modules of these names
        sys.modules.pop(name)
    sys.argv = ["manage.py", *words]
    stand_in = StandIn(work)
    with stand_in.installed():
        try:
            runpy.run_path(manage, run_name="__main__")
        except SystemExit:
            if stand_in.status is None:
                raise
    return stand_in.status


# --- which databases --------------------------------------------------------------------------------------------------


def migrated(commands: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    """The databases that these `migrate` commands touch, each with the options of its commands.

    Django's own parser reads them, or that of the project's own `migrate`.
    """
    found: dict[str, list[Any]] = {}
    for words in commands or [["migrate"]]:
        if words[0] == OF_TENANTS:
            print(f"djdeploy: {OF_TENANTS}: the migrations of tenants' schemas are not judged, nor compared")
            continue
        app = get_commands()[words[0]]
        command = load_command_class(app, words[0]) if isinstance(app, str) else app
        options = command.create_parser("manage.py", words[0]).parse_args(list(words[1:]))
        alias = getattr(options, "database", DEFAULT_DB_ALIAS)
        if alias not in connections:
            raise Failed(f"the project's DATABASES have no {alias!r}")
        if connections.settings[alias]["ENGINE"] != NO_DATABASE:  # a project without a database
            found.setdefault(alias, []).append(options)
    return found


def opened(alias: str) -> Any:
    """The open connection of a database."""
    connection = connections[alias]
    with explained(alias):
        make_no_file(connection)
        connection.ensure_connection()
    return connection


def ask_others(targets: Iterable[str], ask: Callable[[Any], None]) -> None:
    """Asks the other databases that may hold tables of the project; of one that cannot be asked it is said why."""
    for alias in set(connections) - set(targets):
        try:
            if may_hold_tables(alias):
                make_brief(connections[alias])
                ask(opened(alias))
        except Exception as error:  # another project's migrations, a replica that is down: nothing of ours needs it
            why = str(error).strip().partition("\n")[0]
            print(f"djdeploy: {alias!r} is not judged, and no step migrates it: {why}")


def make_brief(connection: Any) -> None:
    """A firewall that drops our packets must not keep a deploy waiting for a database that it does not need."""
    if connection.vendor in ("postgresql", "mysql"):
        connection.settings_dict["OPTIONS"].setdefault("connect_timeout", BRIEFLY)


def may_hold_tables(alias: str) -> bool:
    """Whether the project's routers let any model of it be there, as `makemigrations` asks them."""
    if connections.settings[alias]["ENGINE"] == NO_DATABASE:
        return False
    return not router.routers or any(
        router.allow_migrate_model(alias, model) for model in apps.get_models(include_auto_created=True)
    )


def databases_in_release(aliases: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(alias, path) of each SQLite database whose file is a part of the release, and so would go with it."""
    environment = os.environ.get("VIRTUAL_ENV")
    root = os.path.realpath(os.path.dirname(environment)) if environment else None
    for alias in aliases:
        path = os.path.realpath(str(connections[alias].settings_dict["NAME"]))
        if root and is_file(connections[alias]) and path.startswith(os.path.join(root, "")):
            yield alias, path


def make_no_file(connection: Any) -> None:
    """SQLite makes the file when it connects; an empty database in memory tells the same, and nothing changes."""
    if is_file(connection) and not os.path.exists(connection.settings_dict["NAME"]):
        connection.settings_dict["NAME"] = ":memory:"


def is_file(connection: Any) -> bool:
    name = str(connection.settings_dict["NAME"])
    return connection.vendor == "sqlite" and name not in ("", ":memory:") and not name.startswith("file:")


@contextlib.contextmanager
def explained(alias: str) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise Failed(f"the database {alias!r} cannot be asked: {str(error).strip()}") from error
    except InconsistentMigrationHistory as error:
        raise Failed(f"`migrate` would refuse the database {alias!r}: {error}") from error


# --- what is applied, and what would be -------------------------------------------------------------------------------


def applied_names(connection: Any) -> dict[str, list[str]]:
    with explained(connection.alias):
        rows = sorted(MigrationRecorder(connection).applied_migrations())
    return {app: [name for of, name in rows if of == app] for app in sorted({app for app, _ in rows})}


def judged(executor: Any, chosen: set[Key], there: set[Key]) -> Iterator[Table]:
    """The chosen migrations, judged, in the order in which they run.

    Args:
        there: the migrations that have made the schema on which the chosen ones work.
    """
    loader = executor.loader
    judge, state = Judge(executor.connection), ProjectState(real_apps=loader.unmigrated_apps)
    for migration, _ in executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True):
        if (migration.app_label, migration.name) in chosen:
            yield as_table(executor.connection.alias, migration, judge, state)
        elif (migration.app_label, migration.name) in there:
            migration.mutate_state(state, preserve=False)


def as_table(alias: str, migration: Any, judge: Judge, state: Any) -> Table:
    operations = [
        {
            "describe": operation.describe(),
            "class": verdict.kind,
            "why": verdict.why,
            "reversible": bool(operation.reversible),
        }
        for operation, verdict in judge.operations(migration, state)
    ]
    return migration_table(alias, (migration.app_label, migration.name), operations)


def migration_table(alias: str, key: Key, operations: list[Table]) -> Table:
    return {
        "database": alias,
        "app": key[0],
        "name": key[1],
        "class": max((operation["class"] for operation in operations), key=KINDS.index, default="additive"),
        "reversible": all(operation["reversible"] for operation in operations),
        "operations": operations,
    }


def to_apply(connection: Any, commands: Sequence[Any] = ()) -> list[Table]:
    """What these `migrate` commands would apply, judged; without any, all that is not applied."""
    with explained(connection.alias):
        executor = MigrationExecutor(connection)
        executor.loader.check_consistent_history(connection)
        there = set(executor.loader.applied_migrations)
        conflicts = executor.loader.detect_conflicts()
        if conflicts:
            app, names = sorted(conflicts.items())[0]
            raise Failed(f"{app} has several last migrations ({', '.join(sorted(names))}): makemigrations --merge")
        goals = [goal for command in commands for goal in goals_of(command, executor.loader)]
        chosen = executor.migration_plan(goals or executor.loader.graph.leaf_nodes())
        return list(judged(executor, {(one.app_label, one.name) for one, is_back in chosen if not is_back}, there))


def goals_of(command: Any, loader: Any) -> list[Any]:
    """The migrations up to which a `migrate` goes."""
    name = getattr(command, "migration_name", None)
    if name and name != "zero":
        with contextlib.suppress(KeyError):  # `migrate` itself says what is wrong with the name
            return [(command.app_label, loader.get_migration_by_prefix(command.app_label, name).name)]
    found: list[Any] = loader.graph.leaf_nodes(command.app_label)
    return found


# --- what is shown ----------------------------------------------------------------------------------------------------


def title(migration: Table) -> str:
    where = f" on {migration['database']}" if len(list(connections)) > 1 else ""
    return f"{migration['app']}.{migration['name']}{where}"


def gravest(migration: Table) -> Table:
    return max(migration["operations"], key=lambda operation: KINDS.index(operation["class"]))


def line(migration: Table) -> str:
    """A migration in one line, with its gravest operation."""
    text = f"{title(migration)}: {migration['class']}"
    if migration["class"] == "additive":
        return text
    operation = gravest(migration)
    return f"{text}: {operation['describe']}: {operation['why']}"


def show_plan(alias: str, plan: Sequence[Table], is_empty: bool) -> None:
    where = f" {alias!r}" if len(list(connections)) > 1 else ""
    if plan and is_empty and all(migration["class"] != "destructive" for migration in plan):
        print(f"djdeploy: {len(plan)} migrations make the database{where} from nothing")
        return
    for migration in plan:
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
    everything: list[Table] = []
    now: Applied = {}
    for alias, commands in targets.items():
        connection = opened(alias)
        now[alias] = applied_names(connection)
        here = to_apply(connection, commands)
        show_plan(alias, here, is_empty=not now[alias])
        everything += here
    ask_others(targets, partial(show_other, now))
    tell({"migrations": {"plan": everything, "applied": now}})
    if options.refuse and explain(everything, lambda one: one["why"] if one["class"] == "destructive" else ""):
        print(
            "The old code serves while migrations run, and comes back with a rollback. Deploy in two steps: first the"
        )
        print("code that works with both schemas, and with the next deploy the migration. Or: --allow-destructive")
        return 1
    return 0


def show_other(now: Applied, connection: Any) -> None:
    """Says what is not applied to a database that no step migrates, of the apps that it has."""
    names = applied_names(connection)
    if names:
        now[connection.alias] = names
    for migration in to_apply(connection) if names else ():
        if migration["app"] in names:
            print(f"djdeploy: not applied, and no step migrates {connection.alias!r}: {line(migration)}")


def applied(options: argparse.Namespace) -> int:
    targets = migrated(options.commands)
    tell({"migrations": {"applied": all_applied(targets)}})
    return 0


def all_applied(targets: Collection[str]) -> Applied:
    """What is applied to these databases, and to others as far as they can be asked."""
    found = {alias: applied_names(opened(alias)) for alias in targets}
    others: Applied = {}
    with contextlib.redirect_stdout(None):  # the plan has named those that do not answer
        ask_others(targets, lambda other: others.update({other.alias: applied_names(other)}))
    return {**found, **{alias: names for alias, names in others.items() if names}}


def back(options: argparse.Namespace) -> int:
    record, had = recorded(options.to_json), files_of(options.to_json)
    if record is None and had is None:
        print("djdeploy: the older release does not say which migrations it had: they are not compared")
        tell({"migrations": {"back": None}})
        return 0
    if options.run and any(words[0] == OF_TENANTS for words in options.commands):
        raise Failed(f"{OF_TENANTS}: the schemas of tenants cannot be migrated back")
    targets = migrated(options.commands)
    between: list[Table] = []
    for alias in targets:
        if record is None or alias in record:  # else the older code does not know this database
            between += lying_between(opened(alias), (record or {}).get(alias, {}), had)
    for migration in between:
        print(f"djdeploy: applied since: {line(migration)}")
    if options.run:
        migrate_back(between)
    tell({"migrations": {"back": between}})
    if options.refuse and explain(between, why_no_code_goes_back):
        print("The older code would meet a schema that it does not know. Repair it with a new deploy; or migrate back")
        print("first, where every operation is reversible: --migrate-back. Or: --allow-destructive")
        return 1
    return 0


def recorded(text: str) -> Applied | None:
    """What a release's manifest says about migrations: the manifest's path, or JSON, of it or of its `applied`."""
    if not text.lstrip().startswith("{"):
        with open(text, encoding="utf-8") as file:
            text = file.read()
    said = json.loads(text)
    said = said.get("migrations", said if "name" not in said else {})
    found: Applied | None = said.get("applied")
    return found


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
    connection: Any, record: Mapping[str, Sequence[str]], had: Callable[[Any], bool] | None = None
) -> list[Table]:
    """The migrations that are applied, and that the older code does not know: by its record, nor by its files."""
    with explained(connection.alias):
        executor = MigrationExecutor(connection)
        rows: set[Key] = set(executor.recorder.applied_migrations())
        loader = executor.loader
        nodes: set[Key] = set(loader.graph.nodes)
        known = {(app, name) for app in record for name in record[app]}
        known |= {key for key, migration in loader.disk_migrations.items() if had and had(migration)}
        new = rows - with_squashed(known, loader.disk_migrations)
        tables = list(judged(executor, new & nodes, set(loader.applied_migrations) - new))
    unknown = sorted(new - nodes - set(loader.disk_migrations))
    why = "the release that is live does not have this migration"
    lost = {"describe": "Unknown migration", "class": "opaque", "why": why, "reversible": False}
    return tables + [migration_table(connection.alias, key, [lost]) for key in unknown]


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
    if operation["class"] == "destructive":
        return str(operation["why"])
    return "" if operation["reversible"] else f"it has no way back, and {operation['why']}"


def migrate_back(between: Sequence[Table]) -> None:
    """Unapplies exactly these migrations; all is checked before anything changes."""
    if explain(between, lambda operation: "" if operation["reversible"] else "it has no way back"):
        raise Failed("Nothing was migrated back.")
    targets = [target for alias in {one["database"]: None for one in between} for target in backwards(alias, between)]
    for alias, app, name in targets:
        print(f"djdeploy: manage.py migrate {app} {name} --database {alias}")
        with impatient_locks(lock_timeout()):
            patiently(partial(call_command, "migrate", app, name, database=alias, interactive=False))


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
        raise Failed(f"the migrations of {alias!r} since then cannot be unapplied alone: others depend on them")
    return [(alias, app, *(last[app] or ["zero"])) for app in apps]


# --- never let the site queue behind a lock ---------------------------------------------------------------------------


def lock_timeout() -> float:
    return float(os.environ.get("DJDEPLOY_LOCK_TIMEOUT") or LOCK_TIMEOUT)


def has_state(error: BaseException | None, states: set[str]) -> bool:
    """Whether PostgreSQL says one of these of an error."""
    while error is not None:
        if (getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)) in states:
            return True
        error = error.__cause__
    return False


def patiently(work: Callable[[], Any], tries: int = TRIES) -> Any:
    """Does the work; again, after longer and longer pauses, when it did not get a lock."""
    for number in range(1, tries + 1):
        try:
            return work()
        except OperationalError as error:
            if not has_state(error, LOCKED):
                raise
            last = str(error).strip().splitlines()[0]
            print()  # Django's line has no end yet, and only a line that begins with `djdeploy: ` is a note
        if number < tries:
            pause = FIRST_PAUSE * 2 ** (number - 1)
            print(f"djdeploy: {last}: tried again in {pause:g} s, so that the site does not wait ({number} of {tries})")
            sys.stdout.flush()
            time.sleep(pause)
    raise Failed(
        f"a lock was not free within {lock_timeout():g} s, {tries} times ({last}). What is migrated so far stays."
        " Something holds a table for long: a report, a dump, an idle transaction (see pg_stat_activity)"
    )


@contextlib.contextmanager
def impatient_locks(seconds: float) -> Iterator[None]:
    """Each migration on PostgreSQL gives up waiting for a lock after that time.

    Only the migration's own transactions: a pooler may give the session to the site next.
    """
    enter, leave = BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__

    def entered(editor: Any) -> Any:
        enter(editor)
        connection = editor.connection
        editor.djdeploy = contextlib.ExitStack()
        if connection.vendor == "postgresql" and not editor.collect_sql:
            if connection.in_atomic_block:
                say(connection, f"SET LOCAL lock_timeout = {milliseconds(seconds)}")
            else:
                editor.djdeploy.enter_context(connection.execute_wrapper(one_by_one(seconds)))
        return editor

    def left(editor: Any, *error: Any) -> None:
        with editor.djdeploy:
            leave(editor, *error)

    BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__ = entered, left
    try:
        yield
    finally:
        BaseDatabaseSchemaEditor.__enter__, BaseDatabaseSchemaEditor.__exit__ = enter, leave


def say(connection: Any, sql: str) -> Any:
    """By a cursor of the driver's own: no wrapper sees it."""
    connection.ensure_connection()
    with connection.connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def one_by_one(seconds: float) -> Callable[..., Any]:
    """For a migration that is not atomic: what it has done cannot be done again, so each statement is."""

    def run(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Table) -> Any:
        connection = context["connection"]

        def limited() -> Any:
            say(connection, f"SET LOCAL lock_timeout = {milliseconds(seconds)}")
            return execute(sql, params, many, context)

        def in_a_transaction() -> Any:
            with transaction.atomic(using=connection.alias):
                return limited()

        if connection.in_atomic_block:
            return patiently(limited, tries=1)
        try:
            return patiently(in_a_transaction)
        except DatabaseError as error:
            if not has_state(error, ALONE):
                raise
        with unhurried(connection):
            return execute(sql, params, many, context)

    return run


@contextlib.contextmanager
def unhurried(connection: Any) -> Iterator[None]:
    """CONCURRENTLY keeps nobody waiting, waits for each older transaction, and leaves ruins when it gives up.

    Only where the session has a limit of its own: behind a pooler, this would reach the session of somebody else.
    """
    if say(connection, "SHOW lock_timeout") == ("0",):
        yield
        return
    say(connection, "SET lock_timeout = 0")
    try:
        yield
    finally:
        say(connection, "RESET lock_timeout")


def manage(commands: Sequence[Sequence[str]], real: Callable[[], object]) -> int:
    """Runs a management command, and again when it did not get a lock: it goes on where it stopped."""
    with impatient_locks(lock_timeout()):
        patiently(real)
    with contextlib.suppress(Failed, CommandError):  # it is done; what is applied is only for the record
        applied(argparse.Namespace(commands=commands))
    return 0


# --- the command line -------------------------------------------------------------------------------------------------

SUBCOMMANDS = {"plan": plan, "applied": applied, "back": back}


def options_of(words: Sequence[str]) -> argparse.Namespace:
    """Our own options, and `commands`: the words of each `migrate`."""
    own, *commands = split(words)
    parser = argparse.ArgumentParser()
    parser.add_argument("subcommand", choices=SUBCOMMANDS)
    parser.add_argument("--refuse", action="store_true")
    parser.add_argument("--to-json", default="{}")
    parser.add_argument("--run", action="store_true")
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
        wait_until_alone()
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
    try:
        return run(words)
    except (Failed, ImproperlyConfigured, CommandError) as failed:
        print(str(failed) or type(failed).__name__)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
