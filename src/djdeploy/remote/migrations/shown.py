"""Judged migrations, as this project's databases name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import connections

from ..judge import text
from ..judge.classes import GRAVE

if TYPE_CHECKING:
    Table = dict[str, Any]


def title(migration: Table) -> str:
    return text.title(migration, several=len(list(connections)) > 1)


def line(migration: Table) -> str:
    return text.line(migration, several=len(list(connections)) > 1)


def explain(migrations: Sequence[Table], grave: Callable[[Table], str]) -> bool:
    """Names each grave operation, and why it is that; False if there is none."""
    found = False
    for migration in migrations:
        for operation in migration["operations"]:
            why = grave(operation)
            if why:
                found = True
                print(f"{title(migration)}: {operation['describe']}: {why}")
    return found


def why_no_code_goes_back(operation: Table) -> str:
    if operation["class"] in GRAVE:
        return str(operation["why"])
    return "" if operation["reversible"] else f"it has no way back, and {operation['why']}"
