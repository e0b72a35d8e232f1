"""What the text of SQL says of itself. Only what is certain is said: all else is opaque."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from .classes import Finding, Wait, additive, breaking, destructive, locking, opaque
from .safe_ways import REMOVAL, RENAME, check, index, rewrite

# --- statements -------------------------------------------------------------------------------------------------------

COMMENT = r"--[^\n]*|/\*(?!!).*?\*/"  # what stands in /*! ... */ is run by MySQL
STRING = r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$"
STRING_OF_MYSQL = r"'(?:[^'\\]|\\.|'')*'|#[^\n]*"
NAME = r"\"[^\"]*\"|`[^`]*`"
ALTER = re.compile(r"\s*ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?[^\s(]+\s+", re.IGNORECASE)
TABLE = re.compile(
    r"\b(?:TABLE|INDEX\b.*?\bON)\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?([\w\"`.]+)", re.IGNORECASE | re.DOTALL
)


def judge(sql: Any, vendor: str) -> list[Finding]:
    """What each statement of a RunSQL does."""
    every = [one for statement in statements(sql, vendor) for one in actions(statement)]
    return [finding for one in every for finding in judge_one(one, vendor)]


def statements(sql: Any, vendor: str) -> Iterator[str]:
    """The statements, without what they have in comments and strings."""
    skipped = re.compile("|".join((STRING_OF_MYSQL if vendor == "mysql" else STRING, COMMENT, NAME)), re.DOTALL)
    parts = sql if isinstance(sql, (list, tuple)) else [sql]
    for part in parts:
        text = str(part[0] if isinstance(part, (list, tuple)) else part)
        bare = skipped.sub(without_text, text)
        yield from (one.strip() for one in bare.split(";") if one.strip())


def without_text(found: Any) -> str:
    """Names stay, as one word; strings become empty, and comments a space."""
    text = str(found.group())
    if text[0] in '"`':
        return text[0] + re.sub(r"\W", "_", text[1:-1]) + text[0]
    return "''" if text[0] in "'$" else " "


def actions(statement: str) -> Iterator[str]:
    """What an ALTER TABLE does, each as a statement of its own: `DROP x, ADD y` does two things."""
    head = ALTER.match(statement)
    if not head:
        yield statement
        return
    depth, begin = 0, head.end()
    for place in range(begin, len(statement)):
        depth += {"(": 1, ")": -1}.get(statement[place], 0)
        if statement[place] == "," and not depth:
            yield head.group() + statement[begin:place].strip()
            begin = place + 1
    yield head.group() + statement[begin:].strip()


def table_in(statement: str) -> str:
    """The table that a statement names, for its size; without quotes, as catalogues have it."""
    found = TABLE.search(statement)
    return re.sub('["`]', "", found.group(1)) if found else ""


# --- what they are searched for ---------------------------------------------------------------------------------------

ADD = r"\bALTER\s+TABLE\b.*?\bADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?"
NO_COLUMN = r"(?:CONSTRAINT|INDEX|KEY|UNIQUE|CHECK|PRIMARY|FOREIGN|EXCLUDE|FULLTEXT|SPATIAL|PARTITION)\b"
FIXED = r"(?:now|current_\w+|localtime\w*)\b"
"""Functions that give all rows the same value."""

LOSES = {
    r"\bDROP\s+(TABLE|SCHEMA|DATABASE|MATERIALIZED\s+VIEW)\b": "it drops a {0}",
    r"\bALTER\s+TABLE\b.*\bDROP\s+(?!CONSTRAINT|DEFAULT|NOT|IDENTITY|EXPRESSION|INDEX|KEY|FOREIGN|PRIMARY|CHECK|PARTITION)"
    r"(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?[\w\"`]": "it drops a column",
    r"\bTRUNCATE\b": "it empties a table",
    r"\b(?:DROP|TRUNCATE)\s+PARTITION\b": "it drops a partition",
    r"^\s*DELETE\s+FROM\b(?!.*\bWHERE\b)": "it deletes all rows of a table",
}
RENAMES = {
    r"^(?!ALTER\s+INDEX\b).*\bRENAME\s+(?!CONSTRAINT\b|INDEX\b|KEY\b|VALUE\b)": "it renames what the old code uses",
    r"\bCHANGE\s+(?:COLUMN\s+)?(?!COLUMN\b)[`\"]?(\w+)[`\"]?\s+[`\"]?(?!\1\b)\w": "it renames what the old code uses",
    r"\bSET\s+SCHEMA\b": "it moves a table",
}
BREAKS = {
    r"\bSET\s+NOT\s+NULL\b|\b(?:MODIFY|CHANGE)\b.*\bNOT\s+NULL\b": "the old code may still write NULL",
    rf"{ADD}(?!{NO_COLUMN})[\w\"`]+\s+(?!.*\b(?:DEFAULT|GENERATED|\w*SERIAL|AUTO_INCREMENT)\b).*\bNOT\s+NULL\b":
    "the old code's inserts fail: a new column is not null and has no default",
    r"\bDROP\s+(?:DEFAULT|IDENTITY)\b": "the old code may leave a value to the database",
    r"\bDROP\s+(?:VIEW|FUNCTION|PROCEDURE|TYPE|SEQUENCE|TRIGGER|EXTENSION|DOMAIN|POLICY)\b":
    "it drops what the old code may use",
    r"\b(?:ENABLE|FORCE)\s+ROW\s+LEVEL\s+SECURITY\b|^\s*REVOKE\b": "the old code may no longer be permitted to",
}  # fmt: skip
RULED = (
    rf"\bADD\s+(?:CONSTRAINT\s+\S+\s+)?(?:CHECK|UNIQUE|EXCLUDE|PRIMARY|FOREIGN)\b|{ADD}\S+\s.*\bUNIQUE\b"
    r"|\bCREATE\s+UNIQUE\s+INDEX\b"
)
TYPED = r"\bALTER\s+(?:COLUMN\s+)?\S+\s+(?:SET\s+DATA\s+)?TYPE\b|\b(?:MODIFY|CHANGE)\b"
REWRITES = (
    r"\bSET\s+(?:UN)?LOGGED\b|\bSET\s+TABLESPACE\b|\bCONVERT\s+TO\s+CHARACTER\b|\bENGINE\s*=|\bOPTIMIZE\s+TABLE\b"
    rf"|\bVACUUM\s+FULL\b|\bCLUSTER\b|{ADD}.*\b(?:\w*SERIAL|STORED|IDENTITY|AUTO_INCREMENT)\b"
    rf"|{ADD}.*\bDEFAULT\s+(?!{FIXED})[\w.]+\s*\("
)
REFERS = r"\bREFERENCES\s+([\w\"`.]+)"
INDEXES = r"\bCREATE\s+INDEX\s+(?!CONCURRENTLY)|\bREINDEX\s+(?!.*\bCONCURRENTLY\b)"
HARMLESS = (
    r"^(?:CREATE\s+INDEX\s+CONCURRENTLY|CREATE\s+(?:EXTENSION|TABLE|VIEW|TYPE|SEQUENCE|FUNCTION|SCHEMA|MATERIALIZED\s+VIEW)"
    r"|COMMENT\s+ON|ANALYZE|GRANT|SET\s+(?!ROLE|SESSION\s+AUTH)|REINDEX\b.*\bCONCURRENTLY)\b"
    r"|\bSET\s+(?:DEFAULT|STATISTICS|STORAGE|COMPRESSION)\b|\bDROP\s+NOT\s+NULL\b|\bVALIDATE\s+CONSTRAINT\b"
    r"|^ALTER\s+TABLE\b.*\bSET\s*\(|\bRENAME\s+(?:CONSTRAINT|INDEX|KEY)\b|^ALTER\s+INDEX\b.*\bRENAME\b|\bADD\s+VALUE\b"
    rf"|{ADD}(?!{NO_COLUMN})[\w\"`]"
)


class Text(NamedTuple):
    """One statement, without comments and strings."""

    text: str

    def match(self, pattern: str) -> Any:
        return re.search(pattern, self.text, re.IGNORECASE | re.DOTALL)

    def matches(self, rules: dict[str, str]) -> Iterator[str]:
        """The reasons of those that match."""
        for pattern, why in rules.items():
            found = self.match(pattern)
            if found:
                yield why.format(*(group.lower() for group in found.groups()))


def judge_one(statement: str, vendor: str) -> Iterator[Finding]:
    said = Text(statement)
    found = [*grave(said, vendor), *waits(said, vendor)]
    yield from found
    is_harmless = said.match(HARMLESS) or (vendor == "mysql" and said.match(r"\bADD\s+(?:INDEX|KEY|FULLTEXT)\b"))
    if not found and is_harmless:
        yield additive("it adds what the old code does not know, or changes nothing for it")
    elif not found:
        yield opaque("nobody can tell what this SQL does")


def grave(said: Text, vendor: str) -> Iterator[Finding]:
    for why in said.matches(LOSES):
        yield destructive(why, REMOVAL)
    for why in said.matches(RENAMES):
        yield breaking(why, RENAME)
    for why in said.matches(BREAKS):
        yield breaking(why)
    if said.match(RULED):
        yield breaking("the old code's rows must keep a new rule", check(vendor))


def waits(said: Text, vendor: str) -> Iterator[Finding]:
    table = table_in(said.text)
    what = "writes" if vendor == "mysql" else "queries"
    to = "to" if vendor == "mysql" else "of"
    refers = said.match(REFERS)
    if said.match(TYPED):
        why = f"a type changes: nobody can tell whether all values fit, and {what} {to} {table} wait if it is rewritten"
        yield Finding("opaque", why, rewrite(), Wait(table, what, "rewrite"))
    if said.match(REWRITES):
        yield locking(table, what, "rewrite", rewrite())
    if said.match(r"\bLOCK\s+TABLES?\b"):
        yield locking(table, "queries", "moment")
    if said.match(INDEXES) and vendor != "mysql":
        yield locking(table, "writes", "index", index(vendor))
    if refers and vendor == "postgresql":
        yield locking(refers.group(1).strip('"'), "writes", "moment", why=", since a foreign key refers to it")


__all__ = ["judge"]
