"""A report as annotations, which GitHub shows beside the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .as_text import findings, merged, summary, title, told, until_it_runs
from .report import Report

if TYPE_CHECKING:
    Table = dict[str, Any]


def as_github(report: Report, code: int) -> Iterator[str]:
    for migration in merged(report):
        for operation in findings(migration):
            name = f"{title(report, migration)}: {operation['class']}"
            yield annotation(level(report, migration, operation), told(operation), migration, operation["line"], name)
        for kind, why, safe in until_it_runs(migration):
            grade = "error" if kind == "breaking" and report.cannot_wait(migration) else "warning"
            yield annotation(grade, f"{why}. Instead: {safe}", migration, 1, f"{title(report, migration)}: {kind}")
    for note in report.notes:
        yield annotation("warning" if note.kind == "warning" else "notice", note.text, {"file": note.path}, 1, "")
    yield summary(report)


def level(report: Report, migration: Table, operation: Table) -> str:
    if report.fails(migration, operation["class"]):
        return "error"
    return "warning" if migration.get("allowed") is None else "notice"


def annotation(level: str, text: str, migration: Table, line: int, title: str) -> str:
    known = {"file": migration.get("file"), "line": line if migration.get("file") else "", "title": title}
    words = ",".join(f"{name}={escaped(str(value), ':,')}" for name, value in known.items() if value)
    return f"::{level}{' ' if words else ''}{words}::{escaped(text)}"


def escaped(text: str, more: str = "") -> str:
    """As a workflow command has it."""
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
