"""What a review has found, as text, as JSON, and as annotations that GitHub and GitLab show beside a file's lines."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from ..judge import text as judge_text
from ..judge.classes import KINDS
from .report import Report

if TYPE_CHECKING:
    Table = dict[str, Any]


def write(report: Report, name: str, code: int, out: TextIO) -> None:
    """Writes a report. For GitLab, whose file nobody reads, the text is in the job's log."""
    if name == "gitlab":
        show(as_text(report, code), sys.stderr)
    if name in AS_LINES:
        show(AS_LINES[name](report, code), out)
    else:
        json.dump(AS_JSON[name](report, code), out, indent=2)
        out.write("\n")
    out.flush()


def show(lines: Iterator[str], out: TextIO) -> None:
    """Folds lines for a terminal, and only there: who searches or annotates a log has them whole."""
    width = shutil.get_terminal_size().columns if out.isatty() else 0
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        out.write("\n".join(folded(line, width, indent) if width else [line]) + "\n")


def folded(line: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


# --- what is told of each ---------------------------------------------------------------------------------------------


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


# --- as text ----------------------------------------------------------------------------------------------------------


def as_text(report: Report, code: int) -> Iterator[str]:
    for migration in merged(report):
        reason = migration.get("allowed")
        allowed = "" if reason is None else f" (allowed: {reason})" if reason else " (allowed)"
        yield f"{title(report, migration)}: {migration['class']}{allowed}"
        for operation in findings(migration):
            yield from of_operation(migration, operation)
    for note in report.notes:
        yield f"{note.kind}: {note.text}"
    yield summary(report)
    if code:
        yield from how_to_allow(report, code)


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
    name = next(f"{one['app']}.{one['name']}" for one in report.migrations if report.fails(one))
    yield f"Exit code {code}: {report.worst}. Who has looked at it, and knows that it may run, writes into its class:"
    yield f'  djdeploy_allow = "why it may run"        or here: --allow "{name}: why it may run"'


# --- for GitHub -------------------------------------------------------------------------------------------------------


def as_github(report: Report, code: int) -> Iterator[str]:
    for migration in merged(report):
        for operation in findings(migration):
            name = f"{title(report, migration)}: {operation['class']}"
            yield annotation(level(report, migration, operation), told(operation), migration, operation["line"], name)
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


# --- as JSON ----------------------------------------------------------------------------------------------------------


def as_json(report: Report, code: int) -> Table:
    notes = [note._asdict() for note in report.notes]
    known = {"scope": report.scope, "fail_on": report.fail_on, "worst": report.worst, "exit_code": code}
    return {"version": 1, **known, "migrations": report.migrations, "notes": notes}


SEVERITIES = {"destructive": "blocker", "breaking": "critical", "opaque": "minor", "locking": "major"}


def as_gitlab(report: Report, code: int) -> list[Table]:
    """GitLab's code quality report."""
    found = []
    for migration in merged(report):
        name = title(report, migration)
        for operation in findings(migration):
            kind, is_allowed = operation["class"], migration.get("allowed") is not None
            place = (migration["file"], operation["line"], "info" if is_allowed else SEVERITIES[kind])
            found.append(issue(f"djdeploy-{kind}", f"{name}: {kind}: {told(operation)}", *place))
    for note in report.notes:
        if note.path:
            found.append(issue("djdeploy-note", note.text, note.path, 1, "info"))
    return found


def issue(name: str, text: str, path: str, line: int, severity: str) -> Table:
    return {
        "description": text,
        "check_name": name,
        "fingerprint": hashlib.sha256(f"{name} {path} {text}".encode()).hexdigest(),
        "severity": severity,
        "location": {"path": path or "manage.py", "lines": {"begin": line}},
    }


AS_LINES: dict[str, Callable[[Report, int], Iterator[str]]] = {"text": as_text, "github": as_github}
AS_JSON: dict[str, Callable[[Report, int], Any]] = {"json": as_json, "gitlab": as_gitlab}
