"""SQLite's files that lie in a release: the next one has another file, and leaves the rows of this one behind."""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MADE_BY_MIGRATE = ("django_migrations", "django_content_type", "auth_permission", "django_site")
"""The tables whose rows a first `migrate` makes by itself."""


class Left(NamedTuple):
    """A database whose rows the site would lose."""

    alias: str
    path: str  # from the live release
    tables: list[str]

    def __str__(self) -> str:
        more = f" and {len(self.tables) - 3} more" if len(self.tables) > 3 else ""
        rows = f"{', '.join(self.tables[:3])}{more}"
        return f"the database {self.alias!r} is {self.path} in the live release, and its rows stay there: {rows}"


def in_release() -> dict[str, str]:
    """The databases that are files inside this release, each with its path there."""
    from django.db import connections  # what the manifests say is read without Django, too

    from .databases import databases_in_release

    root = os.path.realpath(os.path.dirname(os.environ.get("VIRTUAL_ENV", "/")))
    return {alias: os.path.relpath(path, root) for alias, path in databases_in_release(connections)}


def left_behind(live: str) -> Iterator[Left]:
    """The databases of the live release that this one would not have.

    Args:
        live: its directory.
    """
    from django.db import connections

    from .databases import is_file

    here, had = in_release(), recorded(live)
    for alias in connections:
        path = had.get(alias) or here.get(alias)
        if path and is_file(connections[alias]):
            old, new = os.path.join(live, path), str(connections[alias].settings_dict["NAME"])
            if is_lost(old, new, alias in here):
                yield Left(alias, path, filled(old))


def is_lost(old: str, new: str, in_release: bool) -> bool:
    """Whether the live database has rows, and the new release another file, which is not a copy of it."""
    if not filled(old) or os.path.realpath(old) == os.path.realpath(new):
        return False
    if in_release:
        return not os.path.exists(new) or not filecmp.cmp(old, new, shallow=False)
    return not filled(new)  # it moves out of the release, and somebody has to move it


def recorded(live: str) -> dict[str, str]:
    """What the live release's manifest says of its databases, which new settings may have moved."""
    try:
        with open(os.path.join(live, "release.json"), encoding="utf-8") as file:
            found: dict[str, str] = dict(json.load(file)["migrations"]["database_files"])
    except (OSError, ValueError, KeyError, TypeError):  # it has none, or another djdeploy has made it
        return {}
    return found


def filled(path: str) -> list[str]:
    """The tables of a database that have rows of the site's. Nothing is written."""
    if not os.path.isfile(path):
        return []
    with contextlib.closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return list(tables_with_rows(connection))


def tables_with_rows(connection: Any) -> Iterator[str]:
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            quoted = name.replace('"', '""')
            is_own = name.startswith("sqlite_") or name in MADE_BY_MIGRATE
            if not is_own and connection.execute(f'SELECT 1 FROM "{quoted}" LIMIT 1').fetchone():  # noqa: S608 - quoted
                yield name
    except (
        sqlite3.OperationalError
    ) as error:  # it is locked, or needs what we do not have: nobody knows that it is empty
        yield f"({error})"
    except sqlite3.DatabaseError:  # it is no database
        return
