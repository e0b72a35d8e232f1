"""Checks what arrives from a server: whoever has a server in their hands must not have the client, nor other servers.

Only what is declared in `remote/wire.py` is checked. What is not declared is let through, and nobody reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from ..remote import wire

if TYPE_CHECKING:
    from ..remote.wire import Answer, Refusal

COMMIT = r"[0-9a-f]{7,64}"
"""The name of a commit, of whatever source."""

FULL_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
"""The name that Git gives a commit."""

FORMS: Mapping[object, tuple[str, str]] = {
    wire.Commit: (COMMIT, "the hexadecimal name of a commit"),
    wire.MaybeCommit: (rf"({COMMIT})?", "the hexadecimal name of a commit, or nothing"),
    wire.ReleaseName: (r"(?![-.])[^/\x00-\x1f\x7f]{1,255}", "the name of a release"),
    wire.Line: (r"[^\r\n\x00]{0,10000}", "one line"),
}
"""The form of strings that have one: as a regular expression, and in words."""

NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    list: "a list",
    dict: "an object",
}

ANSWERS: Mapping[str, Any] = {
    "out": wire.Out,
    "begin": wire.Begin,
    "data": wire.Data,
    "end": wire.End,
    "done": wire.Done,
    "pong": wire.Pong,
    "committed": wire.Committed,
}
"""The answers to a stage, by the key that only each of them has."""

REFUSALS: Mapping[object, Any] = {"locked": wire.LockedAnswer, "home": wire.NotWritable}


class Misfit(ValueError):
    """A value does not have its type: where, and what must be there. Nothing of the value is quoted."""


def check(value: object, kind: Any, place: str) -> None:
    """Raises `Misfit` at the first place at which a value does not have a type.

    Args:
        kind: a `TypedDict`, `list[...]`, `dict[str, ...]`, `Literal[...]`, `... | None`, one of `FORMS` or a primitive.
        place: what the value is called.
    """
    if kind is Any or kind is object:
        return
    if kind in FORMS:
        check_form(value, kind, place)
    elif is_typeddict(kind):
        check_table(value, kind, place)
    elif get_origin(kind) in (Union, UnionType):
        if value is not None:
            (other,) = (each for each in get_args(kind) if each is not NoneType)  # `... | None` is all that we have
            check(value, other, place)
    elif get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise Misfit(f"{place} must be one of {', '.join(map(repr, get_args(kind)))}")
    elif get_origin(kind) is list:
        for number, item in enumerate(as_type(value, list, place)):
            check(item, get_args(kind)[0], f"{place}[{number}]")
    elif get_origin(kind) is dict:
        for name, item in as_type(value, dict, place).items():
            check(item, get_args(kind)[1], f"{place}.{short(name)}")
    else:
        as_type(value, kind, place)


def check_form(value: object, kind: object, place: str) -> None:
    form, words = FORMS[kind]
    if not isinstance(value, str) or not re.fullmatch(form, value):
        raise Misfit(f"{place} must be {words}")


def check_table(value: object, kind: Any, place: str) -> None:
    table, (required, hints) = as_type(value, dict, place), fields_of(kind)
    for name, hint in hints.items():
        if name in table:
            check(table[name], hint, f"{place}.{name}")
        elif name in required:
            raise Misfit(f"{place}.{name} is missing")


@cache
def fields_of(kind: Any) -> tuple[frozenset[str], Mapping[str, Any]]:
    """The keys that a `TypedDict` requires, and the types of all."""
    return kind.__required_keys__, get_type_hints(kind)


def as_type(value: Any, kind: type, place: str) -> Any:
    """The value, if it has a primitive type. A bool is no number, and a whole number is one."""
    fits = isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise Misfit(f"{place} must be {NAMES[kind]}")
    return value


def short(name: str) -> str:
    return name if re.fullmatch(r"[\w@%+=:,./-]{1,60}", name) else "..."


# --- messages ---------------------------------------------------------------------------------------------------------


def as_answer(value: object) -> Answer:
    """What an agent says while it runs a stage.

    Raises:
        Misfit: it is something else.
    """
    table = as_type(value, dict, "the answer")
    name = next((name for name in ANSWERS if name in table), None)
    if name is None:
        raise Misfit("the answer is none of those that an agent gives")
    check(table, ANSWERS[name], "answer")
    return cast("Answer", table)


def as_welcome(value: object) -> wire.Welcome | Refusal | None:
    """An agent's first answer; None: it asks for the package of programs.

    Raises:
        Misfit: it is something else.
    """
    table = as_type(value, dict, "the first answer")
    if table.get("djdeploy") == "programs":
        return None
    if "refused" not in table:
        leave_out_damaged_manifests(table)
        check(table, wire.Welcome, "answer")
        return cast("wire.Welcome", table)
    kind = REFUSALS.get(table["refused"]) if isinstance(table["refused"], str) else None
    if kind is None:
        raise Misfit(f"answer.refused must be one of {', '.join(map(repr, REFUSALS))}")
    check(table, kind, "answer")
    return cast("Refusal", table)


def leave_out_damaged_manifests(welcome: Any) -> None:
    """A release whose manifest somebody has damaged is none of ours: it must not keep a host from being rolled back."""
    look = welcome.get("look")
    if isinstance(look, dict) and isinstance(look.get("releases"), list):
        look["releases"] = [manifest for manifest in look["releases"] if fits(manifest, wire.Manifest)]


def fits(value: object, kind: Any) -> bool:
    try:
        check(value, kind, "value")
    except Misfit:
        return False
    return True
