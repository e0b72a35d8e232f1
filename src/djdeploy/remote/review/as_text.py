"""A report for people; and what each format tells of a migration and its operations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..judge import text as judge_text
from ..judge.classes import KINDS
from .report import Report

if TYPE_CHECKING:
    Table = dict[str, Any]


def several(report: Report) -> bool:
    return len({one["database"] for one in report.migrations}) > 1


def merged(report: Report) -> list[Table]:
    """The migrations; what is so on several databases is told once."""
    found: dict[str, Table] = {}
    for one in report.migrations:
        rest = json.dumps({name: value for name, value in one.items() if name != "database"}, sort_keys=True)
        known = found.get(rest)
        found[rest] = dict(one, database=f"{known['database']}, {one['database']}") if known else one
    return list(found.values())


def title(report: Report, migration: Table) -> str:
    return judge_text.title(migration, several=several(report))


def findings(migration: Table) -> list[Table]:
    return [one for one in migration["operations"] if one["class"] != "additive"]


def told(operation: Table) -> str:
    """All that is said of an operation, in one line."""
    also = "".join(f"; {one['class']}: {one['why']}" for one in operation.get("more", ()))
    instead = f". Instead: {operation['safe']}" if operation.get("safe") else ""
    return f"{operation['describe']}: {operation['why']}{also}{instead}"


def as_text(report: Report, code: int) -> Iterator[str]:
    for migration in merged(report):
        reason = migration.get("allowed")
        how = "runs after publishing" if migration.get("waits") else "allowed"
        allowed = "" if reason is None else f" ({how}: {reason})" if reason else f" ({how})"
        yield f"{title(report, migration)}: {migration['class']}{allowed}"
        for operation in findings(migration):
            yield from of_operation(migration, operation)
        for kind, why, safe in until_it_runs(migration):
            yield f"  {kind}: {why}"
            yield f"    Instead: {safe}"
    for note in report.notes:
        yield f"{note.kind}: {note.text}"
    yield summary(report)
    if code:
        yield from how_to_allow(report, code)


def until_it_runs(migration: Table) -> Iterator[tuple[str, str, str]]:
    """(kind, why, safe way) of what the new code meets until a migration has run that waits for its publishing."""
    for kind, name in (("breaking", "meanwhile"), ("warning", "undeletable")):
        yield from ((kind, why, safe) for why, safe in migration.get(name, {}).items())


def of_operation(migration: Table, operation: Table) -> Iterator[str]:
    where = f"{migration['file']}:{operation['line']}: " if migration.get("file") else ""
    yield f"  {where}{operation['describe']}: {operation['why']}"
    for one in operation.get("more", ()):
        yield f"    {one['class']}: {one['why']}"
    if operation.get("safe"):
        yield f"    Instead: {operation['safe']}"


def summary(report: Report) -> str:
    count = Counter(one["class"] for one in merged(report))
    kinds = ", ".join(f"{count[kind]} {kind}" for kind in reversed(KINDS) if count[kind])
    total = sum(count.values())
    what = "no migration" if not total else "1 migration" if total == 1 else f"{total} migrations"
    return f"{what} {report.scope}{': ' if kinds else ''}{kinds}"


def how_to_allow(report: Report, code: int) -> Iterator[str]:
    name = next((f"{one['app']}.{one['name']}" for one in report.migrations if report.fails(one)), "")
    if not name:
        yield f"Exit code {code}: {report.worst}. The new code cannot wait for what is marked to run after publishing."
        return
    yield f"Exit code {code}: {report.worst}. If you have reviewed it and it may run, write into its class:"
    yield f'  djdeploy_allow = "why it may run"    or pass: --allow "{name}: why it may run"'
