"""What becomes of a column's values when its type changes."""

from __future__ import annotations

import re
from typing import NamedTuple


class Type(NamedTuple):
    """`varchar(20)[]` as ("varchar", [20], 1)."""

    name: str
    sizes: list[int]
    arrays: int


SAME, FREE, REWRITE, NARROWER, LOSSY = "same", "free", "rewrite", "narrower", "lossy"
"""Free: wider, and no row is touched. Narrower: a value that does not fit stops the migration, and fails in the old
code. Lossy: such a value is cut or rounded, without a word."""

SIZES = ("smallint", "integer", "bigint")
INEXACT = ("double precision", "double", "real", "float")
EXACT = ("numeric", "decimal")
TEXTS = ("varchar", "text", "char", "citext")
EXACT_DIGITS = 15
"""Digits that a number with a floating point keeps."""
ALIASES = {
    "int": "integer",
    "bool": "boolean",
    "tinyint": "smallint",
    "longtext": "text",
    "character varying": "varchar",
}
MOMENTS = ("timestamp with time zone", "timestamp without time zone", "timestamp", "datetime")


def parsed(kind: str) -> Type:
    text = re.sub(r"\bauto_increment\b", "", kind.lower()).strip()
    arrays = text.count("[]") + len(re.findall(r"\[\d+\]", text))
    sizes = [int(digits) for digits in re.findall(r"\d+", re.sub(r"\[\d*\]", "", text))]
    name = re.sub(r"\(.*?\)|\[\d*\]", "", text).strip()
    return Type(ALIASES.get(name, name), sizes, arrays)


def compared(old: str, new: str, vendor: str, is_cast: bool) -> str:
    """What happens to the values.

    Args:
        is_cast: PostgreSQL is told how to convert them, and then cuts what is too long.
    """
    was, becomes = parsed(old), parsed(new)
    if was == becomes:
        return SAME
    if vendor == "sqlite":
        return of_sqlite(was.name, becomes.name)
    if was.arrays != becomes.arrays:
        return NARROWER
    outcome = of_values(was, becomes, vendor, is_cast)
    if was.arrays and outcome == FREE:
        return REWRITE  # PostgreSQL knows only of plain values that they need no look
    return outcome


def of_values(was: Type, becomes: Type, vendor: str, is_cast: bool) -> str:
    old, new = (kind.name.replace(" unsigned", "") for kind in (was, becomes))
    if old in SIZES and new in SIZES:
        was_unsigned, is_unsigned = (kind.name.endswith("unsigned") for kind in (was, becomes))
        if SIZES.index(old) < SIZES.index(new):
            return NARROWER if is_unsigned and not was_unsigned else REWRITE
        return SAME if old == new and was_unsigned == is_unsigned else NARROWER
    is_number = old == "boolean" and new in SIZES + EXACT + INEXACT
    if vendor == "mysql" and (is_number or (new in ("varchar", "text") and old not in MOMENTS + TEXTS)):
        return REWRITE  # it converts what the old code writes and asks for
    if old in ("varchar", "text", "citext") and new == "varchar":
        if not becomes.sizes or (old == "varchar" and was.sizes and was.sizes <= becomes.sizes):
            return free_text(was, becomes, vendor)
        return LOSSY if is_cast and vendor == "postgresql" else NARROWER
    if old == "varchar" and new == "text":
        return FREE if vendor == "postgresql" else REWRITE
    if vendor == "mysql" and old == "char" and new in INEXACT:  # a UUID of digits becomes a number
        return LOSSY
    if old in EXACT and new in EXACT and len(was.sizes) == len(becomes.sizes) == 2:
        return of_decimals(was.sizes, becomes.sizes, vendor)
    if old in EXACT and new in INEXACT and was.sizes and was.sizes[0] <= EXACT_DIGITS:
        return REWRITE
    if old in ("smallint", "integer") and new in INEXACT:
        return REWRITE
    if (old in EXACT + INEXACT and new in EXACT + INEXACT + SIZES) or (old == "bigint" and new in INEXACT):
        return LOSSY
    if old == "date" and new in MOMENTS:
        return REWRITE
    if (old in MOMENTS and new in ("date", "time")) or (vendor == "mysql" and old == "time" and new in MOMENTS):
        return LOSSY
    if new == "boolean" and old == "integer" and vendor == "postgresql":
        return LOSSY
    return NARROWER


def free_text(was: Type, becomes: Type, vendor: str) -> str:
    """MySQL keeps one byte for the length of a text that has at most 255 of them, and four for each character."""
    if (
        vendor == "mysql"
        and was.sizes
        and (was.sizes[0] * 4 < 256) != (bool(becomes.sizes) and becomes.sizes[0] * 4 < 256)
    ):
        return REWRITE
    return FREE


def of_decimals(old: list[int], new: list[int], vendor: str) -> str:
    (digits, places), (new_digits, new_places) = old, new
    if new_places < places:
        return LOSSY
    if digits - places > new_digits - new_places:
        return NARROWER
    return FREE if places == new_places and vendor == "postgresql" else REWRITE


def of_sqlite(was: str, becomes: str) -> str:
    """It keeps any value in any column, but makes numbers of texts that look like one: "007" becomes 7."""
    old, new = affinity(was), affinity(becomes)
    if new == "text":
        return NARROWER if old in EXACT else REWRITE
    if old == "text" or (was == "bigint" and new == "real"):
        return LOSSY
    is_kept = old == new or new in ("integer", "real", *EXACT) or (old == "date" and new in MOMENTS)
    return REWRITE if is_kept else NARROWER


def affinity(name: str) -> str:
    """What SQLite makes of a type."""
    if "int" in name:
        return "integer"
    if any(part in name for part in ("char", "text", "clob")):
        return "text"
    return "real" if name in INEXACT else name
