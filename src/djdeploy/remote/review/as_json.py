"""A report as JSON: our own, and the one that GitLab reads."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from .as_text import findings, merged, title, told, until_it_runs
from .report import Report

if TYPE_CHECKING:
    Table = dict[str, Any]


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
        for kind, why, safe in until_it_runs(migration):
            text = f"{name}: {kind}: {why}. Instead: {safe}"
            found.append(issue(f"djdeploy-{kind}", text, migration["file"], 1, SEVERITIES.get(kind, "minor")))
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
