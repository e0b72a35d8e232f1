"""The files that a branch has changed, as Django's migrations.

A migration is known to databases by its app's label and its name, so a file that was moved is the same migration, and
one that was renamed is another.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from ..judge import contract
from ..judge.acknowledged import MARKER
from ..release.diff import MIGRATION
from ..release.unapplied import replaced
from .branch import Branch, Changed
from .report import Note

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name

LABEL = re.compile(r"^\s*label\s*=\s*['\"](\w+)['\"]", re.MULTILINE)
LOCKS = re.compile(
    r"(?:^|/)(?:[\w.-]*requirements[\w.-]*\.txt|requirements/[\w.-]+\.txt|constraints[\w.-]*\.txt"
    r"|pylock(?:\.[\w-]+)?\.toml|(?:uv|poetry|pdm)\.lock|Pipfile\.lock)$"
)
WITHOUT_EFFECT = (MARKER, contract.MARKER, "dependencies", "run_before", "replaces", "initial")
"""What a migration says of itself, and not of the database."""


class History(NamedTuple):
    """What a branch does to the project's migrations.

    Args:
        gone: those that a database may have applied and that are no more, each with what has become of it, or None.
        squashed: those that another has stood for until now.
    """

    added: set[Key]
    gone: dict[Key, Key | None]
    squashed: set[Key]
    notes: list[Note]


def history(branch: Branch) -> History:
    changes = [one for one in branch.changed() if one.new.endswith(".py") or one.old.endswith(".py")]
    folders = dict(labels(branch.top))
    before = {key: one for one in changes for key in [key_before(one, folders, branch)] if key}
    now = {key: one for one in changes for key in [key_of(one.new, folders)] if key}
    same = set(before) & set(now)
    gone = {key: key_of(one.new, folders) for key, one in before.items() if key not in same}
    notes = [note for key in sorted(same) for note in edited(key, before[key].old, now[key].new, branch)]
    squashed = {each for key in same for each in replaced(branch.text_before(before[key].old))}
    return History(set(now) - same, gone, squashed, [*notes, *strangers(changes, folders)])


def labels(top: str) -> Iterator[tuple[str, str]]:
    """The folders of the apps' migrations in the checkout, from its top, each with the app's label."""
    for config in apps.get_app_configs():
        name, _ = MigrationLoader.migrations_module(config.label)
        try:
            module = import_module(name) if name else None
        except ModuleNotFoundError:
            continue
        for folder in getattr(module, "__path__", []):
            yield os.path.relpath(os.path.realpath(folder), top), config.label


def key_of(path: str, folders: dict[str, str]) -> Key | None:
    folder, file = os.path.split(path)
    name, extension = os.path.splitext(file)
    is_migration = folder in folders and extension == ".py" and name[0] not in "_~"
    return (folders[folder], name) if is_migration else None


def key_before(change: Changed, folders: dict[str, str], branch: Branch) -> Key | None:
    """What a file was to databases; of a folder that is no more, as far as its text tells."""
    known = key_of(change.old, folders)
    if known or not change.old:
        return known
    name = os.path.splitext(os.path.basename(change.old))[0]
    if MIGRATION.search(change.old):
        app = os.path.dirname(os.path.dirname(change.old))
        named = LABEL.search(branch.text_before(f"{app}/apps.py"))
        return (named[1] if named else os.path.basename(app), name)
    now = key_of(change.new, folders)  # it lay where MIGRATION_MODULES led
    return (now[0], name) if now else None


def edited(key: Key, old: str, new: str, branch: Branch) -> Iterator[Note]:
    """Of one that is in the other branch already."""
    with open(os.path.join(branch.top, new), encoding="utf-8", errors="replace") as file:
        if meaning(file.read()) != meaning(branch.text_before(old)):
            what = f"{'.'.join(key)} has changed since {branch.ref}"
            yield Note("warning", f"{what}: a database that has applied it does not run it again", new)


def meaning(text: str) -> str:
    """A file without comments, layout, and what does not reach a database."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.body = [part for part in node.body if not is_without_effect(part)]
    return ast.dump(tree)


def is_without_effect(part: ast.stmt) -> bool:
    names = [target.id for target in getattr(part, "targets", []) if isinstance(target, ast.Name)]
    is_text = isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
    return is_text or (bool(names) and set(names) <= set(WITHOUT_EFFECT))


def strangers(changes: list[Changed], folders: dict[str, str]) -> Iterator[Note]:
    """New files that look like migrations, of no app of these settings."""
    new = [one.new for one in changes if not one.old and MIGRATION.search(one.new)]
    for folder in dict.fromkeys(os.path.dirname(path) for path in new):
        if folder not in folders:
            found = [path for path in new if os.path.dirname(path) == folder]
            yield Note("warning", f"{folder} is of no installed app, so it is not judged", found[0])


def missed(gone: dict[Key, Key | None], squashed: set[Key], ref: str) -> Iterator[Note]:
    """What is said of migrations that are no more. Args: squashed: those that another stands for, or has stood for."""
    for key, new in sorted((key, new) for key, new in gone.items() if key not in squashed):
        name = ".".join(key)
        if new:
            yield Note("warning", f"{name} is {'.'.join(new)} now: a database that has applied it does so once more")
        else:
            yield Note("warning", f"{name} is gone since {ref}: a database that has applied it keeps what it did")


def locks(branch: Branch) -> Iterator[Note]:
    changed = [path for one in branch.changed() for path in [one.new or one.old] if LOCKS.search(path)]
    if changed:
        why = "migrations that come with new versions of packages are not judged"
        yield Note("note", f"{changed[0]} differs from {branch.ref}: {why}", changed[0])
