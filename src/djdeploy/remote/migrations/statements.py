"""What a statement of SQL does to others who use its tables, as far as its text tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

NAME = r"""(?:"(?:[^"]|"")+"|`[^`]+`|[^\W\d][\w$]*)"""
QUALIFIED = rf"{NAME}(?:\s*\.\s*{NAME})?"
COMMENTS = re.compile(r"\A(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)+", re.DOTALL)
DDL = re.compile(
    r"(ALTER|DROP|TRUNCATE|LOCK|REINDEX|CLUSTER|VACUUM|RENAME|REFRESH|OPTIMIZE|COMMENT"
    r"|CREATE\s+(UNIQUE\s+|FULLTEXT\s+|SPATIAL\s+)?(INDEX|TRIGGER|CONSTRAINT\s+TRIGGER|RULE|POLICY|TABLE|VIEW)"
    r"|CREATE\s+OR\s+REPLACE)\b",
    re.IGNORECASE,
)
DEFINES = re.compile(r"(CREATE|ALTER|DROP|TRUNCATE|RENAME|LOCK|OPTIMIZE|COMMENT|GRANT|REVOKE|ANALYZE)\b", re.IGNORECASE)
CREATES = re.compile(rf"CREATE\s+(?:\w+\s+)*?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?({QUALIFIED})", re.IGNORECASE)
HARMLESS = re.compile(
    r"ALTER\s+TABLE\b.*\b(VALIDATE\s+CONSTRAINT|SET\s+STATISTICS)\b|COMMENT\b", re.IGNORECASE | re.DOTALL
)
ONLY_WRITERS = re.compile(
    r"CREATE\s+(UNIQUE\s+)?INDEX\b|CREATE\s+(CONSTRAINT\s+)?TRIGGER\b"
    r"|ALTER\s+TABLE\b[^,]*\bADD\s+CONSTRAINT\s+\S+\s+FOREIGN\s+KEY\b",
    re.IGNORECASE,
)
TABLE = re.compile(
    rf"\A(?:ALTER|DROP|TRUNCATE|LOCK|CREATE|VACUUM|CLUSTER|REINDEX|RENAME|REFRESH|OPTIMIZE)\b.*?"
    rf"\b(?:TABLE|INDEX|ON|FULL|VIEW)\s+(?:CONCURRENTLY\s+)?(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(?:ONLY\s+)?({QUALIFIED})",
    re.IGNORECASE | re.DOTALL,
)
INDEXED = re.compile(
    rf"\A(?:CREATE|DROP)\b.*?\b(?:INDEX|TRIGGER)\b.*?\sON\s+(?:ONLY\s+)?({QUALIFIED})", re.IGNORECASE | re.DOTALL
)
READS_ALL = re.compile(
    r"\ACREATE\s+(UNIQUE\s+)?INDEX\b|\bSET\s+NOT\s+NULL\b|\bALTER\s+COLUMN\s+\S+\s+TYPE\b|\bMODIFY\b|\bGENERATED\b"
    r"|\bADD\s+(CONSTRAINT\s+\S+\s+)?(CHECK|UNIQUE|PRIMARY\s+KEY|FOREIGN\s+KEY|EXCLUDE)\b(?!.*\bNOT\s+VALID\b)"
    r"|\A(CLUSTER|REINDEX|VACUUM\s+FULL)\b",
    re.IGNORECASE | re.DOTALL,
)
CHANGED = re.compile(rf"\A(?:UPDATE|INSERT\s+INTO|DELETE\s+FROM)\s+(?:ONLY\s+)?({QUALIFIED})", re.IGNORECASE)
REFERENCED = re.compile(rf"\bREFERENCES\s+({QUALIFIED})", re.IGNORECASE)


class Locked(NamedTuple):
    """A table that a statement needs for itself.

    Args:
        name: as SQL has it, quoted or not.
        beside: the modes of PostgreSQL's locks that others may have on it.
    """

    name: str
    beside: tuple[str, ...] = ()


READERS = ("AccessShareLock", "RowShareLock")


def bare(sql: str) -> str:
    """Without the comments that it begins with."""
    return COMMENTS.sub("", sql)


def each(sql: str) -> list[str]:
    """The statements of a text: Django itself writes `SET CONSTRAINTS x IMMEDIATE; ALTER ...` as one."""
    text = bare(sql).rstrip("; \n")
    if ";" not in text:
        return [text]
    import sqlparse  # few texts need it

    return [bare(one) for one in sqlparse.split(text)]


def is_concurrent(sql: str) -> bool:
    return bool(re.match(r"(CREATE|DROP|REINDEX)\b[^;]*?\bCONCURRENTLY\b", bare(sql), re.IGNORECASE))


def is_definition(sql: str) -> bool:
    """Whether it is DDL, which MySQL and MariaDB commit by itself."""
    return any(DEFINES.match(text) for text in each(sql))


def created(text: str) -> str | None:
    """The table that one statement makes: nobody else knows it before it is committed."""
    found = CREATES.match(bare(text))
    return unquoted(found.group(1)) if found else None


def stops_the_site(sql: str) -> bool:
    """Whether it needs a table for itself, at least against those who write."""
    return any(needs_a_table(text) for text in each(sql))


def needs_a_table(text: str) -> bool:
    if not DDL.match(text) or HARMLESS.match(text) or is_concurrent(text):
        return False
    return created(text) is None or bool(REFERENCED.search(text))


def reads_all(sql: str) -> bool:
    """Whether it goes through all rows of the table that it keeps from the site."""
    return any(needs_a_table(text) and READS_ALL.search(text) for text in each(sql))


def locked(sql: str) -> list[Locked]:
    """The tables that it needs for itself. A statement that cannot be read has none."""
    return [one for text in each(sql) if needs_a_table(text) for one in needed(text)]


def needed(text: str) -> Iterator[Locked]:
    own = None if created(text) is not None else INDEXED.match(text) or TABLE.match(text)
    if own:
        yield Locked(own.group(1), READERS if ONLY_WRITERS.match(text) else ())
    for name in REFERENCED.findall(text):
        yield Locked(name, READERS)


def changed(sql: str) -> list[Locked]:
    """The tables whose rows it changes: some may be locked, also by SELECT ... FOR UPDATE."""
    return [Locked(name, READERS[:1]) for text in each(sql) for name in CHANGED.findall(text)]


def tables(sql: str) -> list[str]:
    """All tables that it names where a definition names its own."""
    names = [one.name for one in [*locked(sql), *changed(sql)]]
    for text in each(sql):
        own = INDEXED.match(text) or TABLE.match(text)
        names += [created(text) or "", own.group(1) if own else ""]
    return list(dict.fromkeys(unquoted(name) for name in names if name))


def unquoted(name: str) -> str:
    """The last part of a name, without quotes."""
    last = re.findall(NAME, name)[-1]
    if last[:1] == '"':
        return str(last[1:-1].replace('""', '"'))
    return str(last.strip("`"))


def shortened(sql: str, length: int = 80) -> str:
    """A statement for a message: on one line, without what it says of people."""
    text = re.sub(r"'(?:[^']|'')*'", "'…'", " ".join(sql.split()))
    return text if len(text) <= length else f"{text[: length - 1]}…"
