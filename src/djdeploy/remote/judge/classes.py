"""The classes of what a migration does, by what they mean to whoever reads them, and what a judgement consists of."""

from __future__ import annotations

from typing import Any, NamedTuple

KINDS = ("additive", "locking", "opaque", "breaking", "destructive")
"""From harmless to grave.

additive      the old code does not notice
locking       the old code waits while it runs
opaque        nobody can tell: SQL or Python of the project
breaking      nothing is lost, and the old code fails
destructive   data is lost
"""

GRAVE = ("breaking", "destructive")
"""What stops a deploy, if nobody has allowed it."""


class Wait(NamedTuple):
    """What waits while an operation runs.

    Args:
        what: "queries", or "writes" if reads go on.
        work: "moment", what takes as long as the table is large ("scan", "index" or "rewrite"), or as "code" does.
    """

    table: str
    what: str
    work: str


class Finding(NamedTuple):
    """One thing that an operation does.

    Args:
        safe: how the same is done without it.
        rule: the rule on rows that it adds or drops, such as ("unique", "shop_note", "title"), and which of both.
    """

    kind: str
    why: str
    safe: str = ""
    wait: Any = None
    rule: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.why


def additive(why: str) -> Finding:
    return Finding("additive", why)


def opaque(why: str) -> Finding:
    return Finding("opaque", why)


def breaking(why: str, safe: str = "", rule: tuple[str, ...] = ()) -> Finding:
    return Finding("breaking", why, safe, rule=rule)


def destructive(why: str, safe: str = "") -> Finding:
    return Finding("destructive", why, safe)


WORK = {
    "moment": "for a moment",
    "scan": "while its rows are checked",
    "index": "while the index is built",
    "rewrite": "while it is rewritten",
}


def locking(table: str, what: str, work: str, safe: str = "", why: str = "") -> Finding:
    to = "of" if what == "queries" else "to"
    return Finding("locking", f"{what} {to} {table} wait {WORK[work]}{why}", safe, Wait(table, what, work))


def of_all_queries(finding: Finding) -> Finding:
    """The same where the table is locked already, so that not only writes wait."""
    wait = finding.wait._replace(what="queries")
    why = finding.why.replace(f"writes to {wait.table} wait", f"queries of {wait.table} wait", 1)
    return finding._replace(why=why, wait=wait)


NOTHING = additive("nothing changes in the database")
NEW_TABLE = additive("the table is new, the old code does not know it")
NEW_COLUMN = additive("the column is new, the old code does not know it")


def worst(findings: list[Finding]) -> Finding:
    return max(findings, key=lambda finding: KINDS.index(finding.kind), default=NOTHING)
