"""What is applied to databases, as far as this release's code knows it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db.migrations.loader import MigrationLoader

from ..judge.plans import names_on_disk, rows
from .databases import ask_others, explained, opened

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Applied = dict[str, dict[str, list[str]]]  # database: app: names


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


def all_applied(targets: Collection[str]) -> Applied:
    """What is applied to these databases, and to others as far as they can be asked."""
    found = {alias: of_this_code(applied_names(opened(alias))) for alias in targets}
    others: Applied = {}
    with contextlib.redirect_stdout(None):  # the plan has named those that do not answer
        ask_others(targets, lambda other: others.update({other.alias: of_this_code(applied_names(other))}))
    return {**found, **{alias: names for alias, names in others.items() if names}}


@lru_cache
def disk_migrations() -> Mapping[Key, Any]:
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    found: dict[Key, Any] = loader.disk_migrations
    return found


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
