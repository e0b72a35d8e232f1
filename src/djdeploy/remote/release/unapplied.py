"""The migrations that a commit has and the live release does not, each with its operations, by their text alone."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .diff import MIGRATION, app_of, argument, name_of, named, operations, reaching_database, with_operations
from .migration_text import values
from .settings_text import entries

if TYPE_CHECKING:
    from ..wire import ReadMigration

    Key = tuple[str, str]

WITHOUT_TABLE = {"managed": False, "proxy": True}
"""Options of a model whose table no migration touches."""


def migrations(root: str, live: str) -> list[ReadMigration]:
    """Those that a deploy would apply, as far as text tells: whatever was applied to the database stays out."""
    applied = recorded(live)
    texts = {path: text_of(os.path.join(root, path)) for path in sorted(paths(root))}
    unknown = {model for path, text in texts.items() for model in without_table(text, app_of(path))}
    new = [path for path in texts if not os.path.exists(os.path.join(live, "repository", path))]
    found = []
    for path in new:
        names = named(path)
        key = (names["app"], names["name"])
        judged = operations(texts[path], app_of(path), unknown)
        if judged is not None and key not in applied and not are_all(replaced(texts[path]), applied):
            found.append(with_operations(names, judged, texts[path]))
    return found


def recorded(live: str) -> set[Key]:
    """What was applied when the live release, or any other of this home, was migrated."""
    found = set()
    home = os.path.dirname(os.path.realpath(live))
    for name in os.listdir(home):
        try:
            with open(os.path.join(home, name, "release.json"), encoding="utf-8") as file:
                applied = json.load(file)["migrations"]["applied"]
            found |= {(app, one) for apps in applied.values() for app, names in apps.items() for one in names}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # it has no record, or none that fits
            continue
    return found


def are_all(keys: set[Key], applied: set[Key]) -> bool:
    return bool(keys) and keys <= applied


def paths(root: str) -> Iterator[str]:
    for top, _, names in os.walk(root):
        for name in names:
            path = os.path.relpath(os.path.join(top, name), root)
            if MIGRATION.search(path):
                yield path


def text_of(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def replaced(text: str) -> set[Key]:
    """The migrations that a squashed one stands for."""
    found = set()
    for value in values(text, "replaces"):
        try:
            found |= {(str(app), str(name)) for app, name in ast.literal_eval(value)}
        except (ValueError, TypeError):
            continue
    return found


def without_table(text: str, app: str) -> Iterator[Key]:
    """The models that a migration makes whose tables are not Django's to change."""
    for value in values(text, "operations"):
        for item in reaching_database(value):
            options = argument(item, 2, "options")
            if name_of(item) != "CreateModel" or not isinstance(options, ast.Dict):
                continue
            told = entries(options)
            if any(getattr(told.get(name), "value", None) is value for name, value in WITHOUT_TABLE.items()):
                name = argument(item, 0, "name")
                yield app, str(getattr(name, "value", "")).lower()
