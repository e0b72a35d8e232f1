"""What the text of SQL says of itself. Only what is certain is said: all else is opaque."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .classes import Finding, Wait, additive, breaking, destructive, opaque
from .safe_ways import RENAME, TWO_DEPLOYS, index

COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
STRINGS = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)

LOSES = (
    (r"\bDROP\s+(TABLE|SCHEMA|DATABASE|MATERIALIZED\s+VIEW)\b", "it drops a {0}"),
    (
        r"\bALTER\s+TABLE\b.*\bDROP\s+(?!CONSTRAINT|DEFAULT|NOT|IDENTITY|EXPRESSION|INDEX|KEY|FOREIGN|PRIMARY|CHECK|PARTITION)"
        r"(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?[\w\"`]",
        "it drops a column",
    ),
    (r"\bTRUNCATE\b", "it empties a table"),
    (r"\bDROP\s+PARTITION\b", "it drops a partition"),
    (r"^\s*DELETE\s+FROM\b(?!.*\bWHERE\b)", "it deletes all rows of a table"),
)
BREAKS = (
    (r"\bRENAME\b", "it renames what the old code uses"),
    (r"\bSET\s+NOT\s+NULL\b|\b(?:MODIFY|CHANGE)\b.*\bNOT\s+NULL\b", "the old code may still write NULL"),
    (
        r"\bADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?[\w\"`]+\s+(?!.*\bDEFAULT\b).*\bNOT\s+NULL\b",
        "the old code's inserts fail: a new column is not null and has no default",
    ),
    (r"\bDROP\s+DEFAULT\b", "the old code may leave a value to the database's default"),
    (
        r"\bADD\s+(?:CONSTRAINT\s+\S+\s+)?(?:CHECK|UNIQUE|EXCLUDE|PRIMARY|FOREIGN)\b|\bCREATE\s+UNIQUE\s+INDEX\b",
        "the old code's rows must keep a new rule",
    ),
    (r"\bDROP\s+(?:VIEW|FUNCTION|PROCEDURE|TYPE|SEQUENCE|TRIGGER|EXTENSION)\b", "it drops what the old code may use"),
    (r"\bSET\s+SCHEMA\b", "it moves a table"),
)
LOCKS = (
    (r"\bCREATE\s+INDEX\s+(?!CONCURRENTLY)", "writes to the table wait while the index is built"),
    (
        r"\b(?:VACUUM\s+FULL|CLUSTER|REINDEX\s+(?!.*CONCURRENTLY)|LOCK\s+TABLE|OPTIMIZE\s+TABLE)\b",
        "queries of the table wait",
    ),
    (r"\bVALIDATE\s+CONSTRAINT\b", ""),
)
HARMLESS = (
    r"^\s*(?:CREATE\s+INDEX\s+CONCURRENTLY|CREATE\s+EXTENSION|COMMENT\s+ON|ANALYZE\b"
    r"|CREATE\s+TABLE\s+(?!.*\bREFERENCES\b))"
)


def judge(sql: Any, vendor: str) -> list[Finding]:
    """What each statement of a RunSQL does."""
    return [finding for statement in statements(sql) for finding in judge_one(statement, vendor)]


def statements(sql: Any) -> Iterator[str]:
    parts = sql if isinstance(sql, (list, tuple)) else [sql]
    for part in parts:
        text = str(part[0] if isinstance(part, (list, tuple)) else part)
        bare = STRINGS.sub("''", COMMENTS.sub(" ", text))
        yield from (one for one in bare.split(";") if one.strip())


def judge_one(statement: str, vendor: str) -> Iterator[Finding]:
    found = False
    for rules, kind, safe in ((LOSES, destructive, TWO_DEPLOYS), (BREAKS, breaking, "")):
        for pattern, why in rules:
            match = re.search(pattern, statement, re.IGNORECASE | re.DOTALL)
            if match:
                found = True
                what = match.group(1).lower() if match.groups() else ""
                yield kind(why.format(what), safe or (RENAME if "RENAME" in pattern else ""))
    if re.search(r"\bCREATE\s+UNIQUE\s+INDEX\s+CONCURRENTLY\b", statement, re.IGNORECASE):
        return
    for pattern, why in LOCKS:
        if re.search(pattern, statement, re.IGNORECASE):
            if not why or (vendor == "mysql" and "index" in why):
                yield additive("the rows are checked while the table is used")
            else:
                yield Finding("locking", why, index(vendor) if "index" in why else "", Wait("", "writes", "index"))
            found = True
    if not found and re.match(HARMLESS, statement, re.IGNORECASE | re.DOTALL):
        yield additive("it adds what the old code does not know")
    elif not found:
        yield opaque("nobody can tell what this SQL does")
