"""What is wrong with a commit by its text alone. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ..errors.catalogue import CATALOGUE
from ..remote.wire import SettingsText
from .checkup import Finding
from .settings import Settings


def by_text(migrations: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What the operations of migrations do to the old code, as far as their names say it."""
    open_questions = []
    for migration in migrations:
        name = f"{migration['app']}.{migration['name']}"
        for operation in migration["operations"]:
            why = f": {operation['why']}" if operation.get("why") else ""
            if operation["class"] == "destructive":
                what = f"{name}: {operation['operation']} is destructive{why}"
                yield Finding(what, CATALOGUE["destructive-migration"].remedy, code="destructive-migration")
            elif operation["class"] == "undecided":
                open_questions.append(f"{name}: {operation['operation']}")
    if open_questions:
        what = f"only a build finds out what these do to the old code: {', '.join(open_questions)}"
        yield Finding(what, "Nothing: a deploy judges them before it changes anything", fatal=False)


def of_settings(text: SettingsText, settings: Settings) -> Iterator[Finding]:
    """What Django's settings have written out that no server should have."""
    if text["debug"]:
        yield debug_is_on()
    if text["generated_key"]:
        yield key_is_generated()
    for path in text["databases"]:
        above = {str(parent) for parent in [PurePosixPath(path), *PurePosixPath(path).parents]}
        if not above.intersection(
            str(PurePosixPath(shared)) for shared in [*settings.shared_dirs, *settings.linked_files]
        ):
            yield database_in_release(path)


def debug_is_on() -> Finding:
    what = "DEBUG is on: errors show the source and the settings to everybody"
    return Finding(what, 'In Django\'s settings: DEBUG = os.environ.get("DEBUG") == "1"', fatal=False)


def key_is_generated() -> Finding:
    what = "SECRET_KEY is the one that `startproject` wrote into the repository: who reads it can sign in as anybody"
    remedy = 'In Django\'s settings: SECRET_KEY = os.environ["SECRET_KEY"]; and in the fabfile: env={"SECRET_KEY": ...}'
    return Finding(what, remedy, fatal=False)


def database_in_release(path: str) -> Finding:
    what = f"the database {path} is a file inside a release: the site loses its data with each deploy"
    remedy = "Keep it in a shared directory (settings: shared_dirs); fab explain database-in-release"
    return Finding(what, remedy, fatal=False, code="database-in-release")
