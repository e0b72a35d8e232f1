"""Migrations that a database has and a release's code has not: their verdicts, from records or from other releases.

Old code over a newer schema is one question, wherever it comes from: a rollback, a deploy of an older commit, a revert.
"""

from __future__ import annotations

import glob
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.migrations.exceptions import NodeNotFoundError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from ..judge.plans import judged
from ..release.unapplied import replaced as stands_for

if TYPE_CHECKING:
    Key = tuple[str, str]
    Table = dict[str, Any]

WHY_UNKNOWN = "no release here has this migration, nor a record of it"


def releases(home: str, first: str = "") -> list[str]:
    """The directories of the releases, the live one first, then the newest."""
    found = sorted(
        (os.path.dirname(path) for path in glob.glob(os.path.join(glob.escape(home), "*", "release.json"))),
        reverse=True,
    )
    names = [path for path in found if os.path.basename(path) not in ("current", "previous")]
    real = os.path.realpath(first) if first else ""
    return sorted(names, key=lambda path: os.path.realpath(path) != real)


def verdicts(alias: str, missing: Iterable[Key], home: str, live: str, connection: Any) -> dict[Key, Table]:
    """What is known of these migrations; those of which nothing is are left out."""
    missing = set(missing)
    found = recorded(alias, missing, releases(home, live))
    return {**from_files(missing - set(found), releases(home, live), connection), **found}


# --- from records -----------------------------------------------------------------------------------------------------


def recorded(alias: str, missing: set[Key], folders: Iterable[str]) -> dict[Key, Table]:
    found: dict[Key, Table] = {}
    for folder in folders:
        for table in tables_of(folder):
            try:
                key = (str(table["app"]), str(table["name"]))
                if key in missing and table["database"] == alias and table["operations"] and not table.get("backwards"):
                    found.setdefault(key, table)
            except (KeyError, TypeError):  # another djdeploy has written it
                continue
    return found


def tables_of(folder: str) -> list[Table]:
    try:
        with open(os.path.join(folder, "release.json"), encoding="utf-8") as file:
            known = json.load(file)["migrations"]
        return [*(known.get("plan") or []), *(known.get("back") or [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


# --- from the files of other releases ---------------------------------------------------------------------------------


def from_files(missing: set[Key], folders: Iterable[str], connection: Any) -> dict[Key, Table]:
    found: dict[Key, Any] = {}
    for key in sorted(missing):
        path = next((path for folder in folders for path in places(folder, *key)), "")
        migration = loaded(path, *key) if path else None
        if migration is not None:
            found[key] = migration
    if not found:
        return {}
    try:
        executor = MigrationExecutor(connection)
        executor.loader = WithOthers(connection, found)
        there = set(executor.loader.applied_migrations) - set(found)
        steps = [(migration, False) for migration in found.values()]
        return {(one["app"], one["name"]): one for one in judged(executor, steps, there, None, {})}
    except (NodeNotFoundError, LookupError, ValueError) as error:  # they belong to a history that is not this one
        print(f"djdeploy: migrations of other releases cannot be judged here: {error}")
        return {}


class WithOthers(MigrationLoader):  # type: ignore[misc]
    """The migrations of this release, and some of others."""

    def __init__(self, connection: Any, others: dict[Key, Any]) -> None:
        self.others = others
        super().__init__(connection)

    def load_disk(self) -> None:
        super().load_disk()
        mine: dict[Key, Any] = self.disk_migrations
        self.disk_migrations: dict[Key, Any] = {**self.others, **mine}
        self.migrated_apps |= {app for app, _ in self.others}
        self.unmigrated_apps -= {app for app, _ in self.others}


def places(release: str, app: str, name: str) -> Iterator[str]:
    """Where a release has a migration's file."""
    module, _ = MigrationLoader.migrations_module(app) if apps.is_installed(app) or app in labels() else ("", False)
    folder = folder_of(module) if module else ""
    if folder:
        pattern = os.path.join(glob.escape(release), folder, f"{name}.py")
    else:  # an app that this code has no more
        pattern = os.path.join(glob.escape(release), "repository", "**", app, "migrations", f"{name}.py")
    yield from glob.glob(pattern, recursive=True)


def labels() -> set[str]:
    return {config.label for config in apps.get_app_configs()}


def folder_of(module: str) -> str:
    """The folder of a package from its release, as a pattern: the Python of its environment may be another."""
    known = sys.modules.get(module)
    path = os.path.realpath(next(iter(getattr(known, "__path__", [])), "")) if known else ""
    environment = os.path.join(os.path.realpath(sys.prefix), "")
    if path.startswith(environment):
        return os.path.join(
            "virtualenv", re.sub("^lib/python3[^/]*", "lib/python3*", glob.escape(path[len(environment) :]))
        )
    inside = re.match(r".*?/repository/(.*)", path)
    return os.path.join("repository", glob.escape(inside.group(1))) if inside else ""


def loaded(path: str, app: str, name: str) -> Any:
    """A migration from a file that is no module of this release; None if it cannot be imported here."""
    spec = spec_from_file_location(f"djdeploy_elsewhere.{app}.{name}", path)
    if spec is None or spec.loader is None:
        return None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.Migration(name, app)
    except Exception as error:
        print(f"djdeploy: {app}.{name} of another release cannot be read here: {error}")
        return None


def replaced(key: Key, ours: Iterable[Key], folders: Iterable[str]) -> bool:
    """Whether a release still says that one of our migrations stands for this one: then it is nothing that we lack."""
    mine = [name for app, name in ours if app == key[0]]
    for folder in folders:
        for name in mine:
            for path in places(folder, key[0], name):
                with open(path, encoding="utf-8", errors="replace") as file:
                    if key in stands_for(file.read()):
                        return True
    return False
