"""What a setting may be: a kind checks a value, says what it must be, and gives its JSON schema.

Here are the plain kinds; those of strings are in `strings`, those that are made of others in `compound`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

LONGEST_QUOTED = 80
"""Characters of a string up to which a message quotes it."""


class Kind:
    """Any value at all, and what the other kinds have in common.

    Attributes:
        type: the Python type in a word or two.
        must: what completes "must be ...".
        plural: the same of several, as it completes "a list of ...".
        is_secret: whether a wrong value may hold a secret; it is never quoted then.
    """

    type = "any"
    must = "a value"
    plural = "values"
    is_secret = False

    def accepts(self, value: object) -> bool:
        return True

    def problems(self, subject: str, value: object) -> Iterator[str]:
        """What the value must be, if it is something else; `subject` is what the sentence begins with."""
        if not self.accepts(value):
            shown = self.shown(value)
            yield f"{subject} must be {self.must}" + (f", not {shown}" if shown else "")

    def shown(self, value: object) -> str:
        """A wrong value as a message may show it; empty where nothing can be said of it."""
        return type_name(value) if self.is_secret or looks_secret(value) else quoted(value)

    def made(self, value: Any) -> Any:
        """An accepted value as it is kept: a list or a mapping is our own, so that nobody changes it later."""
        if isinstance(value, (list, tuple)):
            return list(value)
        return dict(value) if isinstance(value, Mapping) else value

    def schema(self) -> Schema:
        return {}


ANYTHING = Kind()
"""The kind of what a project declares without one."""


class OfType(Kind):
    """A value of a Python type: for the settings that a project adds."""

    is_secret = True

    def __init__(self, python: type) -> None:
        self.python = python
        self.type = python.__name__
        self.must = {str: "a string", int: "a whole number", float: "a number", bool: "True or False"}.get(
            python, f"a value of type {python.__name__}"
        )
        self.plural = f"values of type {python.__name__}"

    def accepts(self, value: object) -> bool:
        if isinstance(value, bool):
            return self.python is bool
        return isinstance(value, (int, float) if self.python is float else self.python)

    def schema(self) -> Schema:
        names = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}
        return {"type": names[self.python]} if self.python in names else {}


class Choice(Kind):
    """One of a few strings."""

    type = "str"

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        words = [json.dumps(choice) for choice in choices]
        self.must = self.plural = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and value in self.choices

    def schema(self) -> Schema:
        return {"enum": list(self.choices)}


class Flag(Kind):
    type = "bool"
    must = "True or False"
    plural = "True or False"

    def accepts(self, value: object) -> bool:
        return isinstance(value, bool)

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Count(Kind):
    """A whole number."""

    type = "int"
    plural = "whole numbers"

    def __init__(self, *, minimum: int = 0, maximum: int | None = None) -> None:
        self.minimum, self.maximum = minimum, maximum
        limits = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        self.must = f"a whole number {limits}"

    def accepts(self, value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.minimum <= value and (self.maximum is None or value <= self.maximum)

    def schema(self) -> Schema:
        limits = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "integer", **{name: limit for name, limit in limits.items() if limit is not None}}


class Amount(Kind):
    """A number above 0.

    Args:
        unit: what it counts, in the plural.
        maximum: the largest that is allowed.
    """

    type = "float"

    def __init__(self, unit: str, maximum: float | None = None) -> None:
        self.maximum = maximum
        self.must = f"a number of {unit} above 0" + (f" and up to {maximum:g}" if maximum else "")
        self.plural = f"numbers of {unit} above 0"

    def accepts(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        return 0 < value < math.inf and (self.maximum is None or value <= self.maximum)

    def schema(self) -> Schema:
        return {"type": "number", "exclusiveMinimum": 0, **({"maximum": self.maximum} if self.maximum else {})}


class Share(Kind):
    """A part of a whole."""

    type = "float"
    must = "a number from 0 to 1"
    plural = "numbers from 0 to 1"

    def accepts(self, value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1

    def schema(self) -> Schema:
        return {"type": "number", "minimum": 0, "maximum": 1}


class Seconds(Amount):
    def __init__(self) -> None:
        super().__init__("seconds")


def looks_secret(value: object) -> bool:
    """Whether a value may be a secret that somebody has written in another's place."""
    from ..errors.secrecy import may_be_secret  # only where something is wrong

    return isinstance(value, str) and may_be_secret(value)


def quoted(value: object) -> str:
    """A short plain value as it is; of anything else, and of what is long, only what it is."""
    is_short = isinstance(value, str) and len(value) <= LONGEST_QUOTED
    return repr(value) if is_short or value is None or isinstance(value, (bool, int, float)) else type_name(value)


def type_name(value: object) -> str:
    """What a value is, without what is in it."""
    if value is None:
        return "None"
    kinds: Mapping[Any, str] = {
        bool: "a boolean",
        (int, float): "a number",
        str: "a string",
        (list, tuple): "a list",
        Mapping: "a mapping",
    }
    name = type(value).__name__
    return next((words for kind, words in kinds.items() if isinstance(value, kind)), f"a value of type {name}")
