"""The databases that a project's `migrate` commands touch, and the others that it has."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core.management import get_commands, load_command_class
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connections, router
from django.db.migrations.exceptions import (
    BadMigrationError,
    CircularDependencyError,
    InconsistentMigrationHistory,
    NodeNotFoundError,
)

from ..failing import Coded

NO_DATABASE = "django.db.backends.dummy"
OF_TENANTS = "migrate_schemas"  # django-tenants: each tenant's schema has migrations of its own
BRIEFLY = 3  # seconds to connect to a database that no `migrate` touches


class Failed(Coded):
    """Why the task cannot go on, for the user."""


def migrated(commands: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    """The databases that these `migrate` commands touch, each with the options of its commands.

    Django's own parser reads them, or that of the project's own `migrate`.
    """
    found: dict[str, list[Any]] = {}
    for words in commands or [["migrate"]]:
        if words[0] == OF_TENANTS and OF_TENANTS not in get_commands():
            print(f"djdeploy: {OF_TENANTS}: the migrations of tenants' schemas are not judged, nor compared")
            continue
        app = get_commands()[words[0]]
        command = load_command_class(app, words[0]) if isinstance(app, str) else app
        options = command.create_parser("manage.py", words[0]).parse_args(list(words[1:]))
        is_of_tenants = type(command).__module__.startswith("django_tenants.")  # whose `--plan` goes through them all
        options.words = [] if is_of_tenants else list(words)
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
        with read_aloud():
            yield
    except DatabaseError as error:
        code = "database-unreachable" if isinstance(error, OperationalError) else ""
        raise Failed(f"the database {alias!r} cannot be asked: {str(error).strip()}", code) from error
    except InconsistentMigrationHistory as error:
        raise Failed(f"`migrate` would refuse the database {alias!r}: {error}") from error


@contextlib.contextmanager
def read_aloud() -> Iterator[None]:
    """Names a migration that cannot be read."""
    try:
        yield
    except (NodeNotFoundError, CircularDependencyError, BadMigrationError) as error:
        raise Failed(f"the migrations cannot be put in order: {error}", code="unreadable-migration") from error
    except Failed:
        raise
    except Exception as error:
        path = migration_of(error)
        if path is None:
            raise
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise Failed(f"the migration {path} cannot be read: {why}", code="unreadable-migration") from error


def migration_of(error: BaseException) -> str | None:
    """The file of a migration whose import has raised an error."""
    if isinstance(error, SyntaxError) and error.filename and f"{os.sep}migrations{os.sep}" in error.filename:
        return f"{os.path.relpath(error.filename)}, line {error.lineno},"
    loading = False
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        loading = loading or frame.f_code.co_name == "load_disk"
        if loading and f"{os.sep}migrations{os.sep}" in path and frame.f_code.co_name == "<module>":
            return f"{os.path.relpath(path)}, line {line},"
    return None
