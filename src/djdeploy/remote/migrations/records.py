"""What the manifests of two releases say about migrations: known without Django, and without a database.

`applied` has the migrations that were applied when a release was deployed, by database and app; `waiting` those that
were left for when the code before it is gone. `back` has those that it was gone back to across: judged then, they are
in the database of a release that may not have their files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..release.manifest import change

if TYPE_CHECKING:
    Table = dict[str, Any]
    Applied = dict[str, dict[str, list[str]]]  # database: app: names


def record_of(text: str) -> Table:
    """What is recorded in a manifest: the manifest's path, or JSON, of it or of its record."""
    if not text.lstrip().startswith("{"):
        with open(text, encoding="utf-8") as file:
            text = file.read()
    said: Table = json.loads(text)
    found: Table = said.get("migrations", said if "name" not in said else {})
    return found


def backups_of(manifest: str) -> list[str]:
    """The backups that were made before the migrations of a release."""
    try:
        with open(manifest, encoding="utf-8") as file:
            found = json.load(file).get("backup") or []
    except (OSError, ValueError):
        return []
    return [str(path) for path in found if os.path.exists(str(path))]


def accepted(record: Table) -> list[Table]:
    """The migrations that were judged when the site went back to the release, and are there since."""
    return list(record.get("back") or [])


def known(record: Table) -> Applied | None:
    """All migrations that a release has served with, or may have: what waited has run since, as far as it knows.

    None if it does not say.
    """
    if record.get("applied") is None:
        return None
    found: Applied = {alias: {} for alias in record["applied"]}
    for alias, app, name in sorted(pairs(record["applied"]) | pairs(record.get("waiting") or {})):
        found.setdefault(alias, {}).setdefault(app, []).append(name)
    for one in accepted(record):
        found.setdefault(one["database"], {}).setdefault(one["app"], []).append(one["name"])
    return found


def left_waiting(manifest: str) -> set[tuple[str, str, str]]:
    """What a release has left for later: (database, app, name)."""
    try:
        return pairs(record_of(manifest).get("waiting") or {})
    except (OSError, ValueError, TypeError, AttributeError):
        return set()


def note_applied(manifest: str, applied: Applied) -> None:
    """Records what is applied now: what has waited does so no more, though its task may be cut off before its end."""
    before = record_of(manifest).get("applied") or {}
    change(os.path.dirname(manifest), {"migrations": {"applied": {**before, **applied}}})


def nothing_lies_between(newer: str, older: str) -> bool:
    """Whether a release has no migration that the older one has not served with, as their manifests say."""
    try:
        ours, theirs = known(record_of(newer)), known(record_of(older))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False
    return ours is not None and theirs is not None and pairs(ours) <= pairs(theirs)


def pairs(applied: Applied) -> set[tuple[str, str, str]]:
    return {(alias, app, name) for alias, apps in applied.items() for app, names in apps.items() for name in names}


def is_known_by_records(words: Sequence[str]) -> bool:
    """Whether `back WORDS` is answered by the manifests that it names."""
    newer, older = (value_of(words, name) for name in ("--from-json", "--to-json"))
    return "--run" not in words and os.path.isfile(newer) and nothing_lies_between(newer, older)


def value_of(words: Sequence[str], option: str) -> str:
    return "".join(words[words.index(option) + 1 :][:1]) if option in words else ""
