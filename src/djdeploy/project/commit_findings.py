"""What is wrong with a commit by its text alone. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors.catalogue import CATALOGUE
from ..remote.wire import ReadMigration, SettingsText
from .checkup import Finding, database_in_release, debug_is_on, key_is_generated, lies_in
from .settings import Settings


def by_text(migrations: Sequence[ReadMigration], settings: Settings) -> Iterator[Finding]:
    """What the operations of migrations do to the old code, as far as their names say it."""
    open_questions = []
    for migration in migrations:
        name = f"{migration['app']}.{migration['name']}"
        if waits(migration, settings):
            open_questions.append(f"{name}, which waits until the old code is gone")
            continue
        if migration.get("allowed") or name in (entry.partition(":")[0] for entry in settings.allow):
            continue
        for operation in migration["operations"]:
            why = f": {operation['why']}" if operation.get("why") else ""
            kind = operation["class"]
            if kind in ("destructive", "breaking"):
                what, code = f"{name}: {operation['operation']} is {kind}{why}", f"{kind}-migration"
                yield Finding(what, CATALOGUE[code].remedy, code=code)
            elif operation["class"] == "undecided":
                open_questions.append(f"{name}: {operation['operation']}")
    if open_questions:
        what = f"only a build finds out what these do to the code that serves: {', '.join(open_questions)}"
        yield Finding(what, "Nothing to do: a deploy judges them before it changes anything", fatal=False)


REMOVALS = ("RemoveField", "DeleteModel")
BESIDE = ("RemoveIndex", "RemoveConstraint", "AlterModelOptions", "AlterModelManagers")


def waits(migration: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a migration runs when the old code is gone: it says so, or only removes, and the settings say so."""
    names = [operation["operation"] for operation in migration["operations"]]
    only_removes = set(names) <= {*REMOVALS, *BESIDE} and any(name in REMOVALS for name in names)
    return bool(migration.get("waits")) or (settings.contract == "removals" and only_removes)


def of_settings(text: SettingsText, settings: Settings) -> Iterator[Finding]:
    """What Django's settings have written out that no server should have."""
    if text["debug"]:
        yield debug_is_on()
    if text["generated_key"]:
        yield key_is_generated()
    shared = [*settings.shared_dirs, *settings.linked_files]
    yield from (database_in_release(path) for path in text["databases"] if not lies_in(path, shared))
