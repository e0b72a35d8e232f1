"""Judged migrations as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .classes import GRAVE, KINDS

if TYPE_CHECKING:
    Table = dict[str, Any]


def title(migration: Mapping[str, Any], *, several: bool) -> str:
    """A migration's name.

    Args:
        several: whether the project has several databases.
    """
    where = f" on {migration['database']}" if several else ""
    schema = migration.get("schema", "public")
    where += f" in the schema {schema}" if schema != "public" else ""
    back = " backwards" if migration.get("backwards") else ""
    return f"{migration['app']}.{migration['name']}{where}{back}"


def line(migration: Mapping[str, Any], *, several: bool) -> str:
    """A migration in one line, with its gravest operation."""
    text = f"{title(migration, several=several)}: {migration['class']}"
    if migration["class"] == "additive" or not migration["operations"]:
        return text
    operation = max(migration["operations"], key=lambda one: KINDS.index(one["class"]))
    text = f"{text}: {operation['describe']}: {operation['why']}"
    if migration.get("allowed") is not None and migration["class"] in GRAVE:
        return f"{text} (allowed{': ' + migration['allowed'] if migration['allowed'] else ''})"
    return (
        f"{text}. Instead: {operation['safe']}" if operation["class"] == "locking" and operation.get("safe") else text
    )


def refused(plan: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    """(migration, operation) of each that is of one of these classes and that nobody has allowed."""
    for migration in plan:
        if migration.get("allowed") is None:
            for operation in migration["operations"]:
                if operation["class"] in kinds:
                    yield migration, operation
