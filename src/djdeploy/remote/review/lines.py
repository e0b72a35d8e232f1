"""Where the operations of a migration are written."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from typing import Any

from ..release.migration_text import values
from ..release.unapplied import text_of

NESTED = ("database_operations", "state_operations")
"""What `SeparateDatabaseAndState` takes, in this order; `RunSQL` takes the second one by its name."""


def file_of(migration: Any) -> str:
    """The file of a migration; empty if it is in none."""
    path = getattr(sys.modules.get(type(migration).__module__), "__file__", None) or ""
    return path if path.endswith(".py") and os.path.isfile(path) else ""


def lines(migration: Any) -> dict[int, int]:
    """The line of each operation, by its `id`, as far as the list of them is written as one."""
    path = file_of(migration)
    written = next(values(text_of(path), "operations"), None) if path else None
    return dict(paired(written, migration.operations))


def paired(written: Any, operations: Any) -> Iterator[tuple[int, int]]:
    """An `ast` of a list, beside what it has become."""
    parts = getattr(written, "elts", [])
    if len(parts) != len(operations) or any(isinstance(part, ast.Starred) for part in parts):
        return
    for part, operation in zip(parts, operations):  # noqa: B905 - Python 3.8
        yield id(operation), part.lineno
        if isinstance(part, ast.Call):
            named = {keyword.arg: keyword.value for keyword in part.keywords}
            for name, by_place in zip(NESTED, [*part.args, None, None]):  # noqa: B905 - Python 3.8
                yield from paired(named.get(name, by_place), getattr(operation, name, None) or [])
