"""Shell text in which values are always quoted. Nothing here runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import PurePath
from string import Formatter
from typing import TypeAlias


class Shell(str):
    """Text that is shell already, and so is never quoted again."""

    __slots__ = ()


Value: TypeAlias = "str | int | PurePath | Shell | Iterable[str | PurePath]"


def sh(template: str, /, **values: Value) -> Shell:
    """Shell text made from a template in which `{name}` stands for a value.

    A value arrives in the program as exactly one word with exactly its characters; an iterable becomes several
    words; `Shell` goes in as it is. `{{` and `}}` are braces.

    Args:
        template: POSIX shell, written by the author of a step, never by a user of one.
        values: what the template's names stand for.

    Raises:
        KeyError: the template names a value that was not given.

    >>> sh("rm -rf {path}", path="/srv/my site; reboot")
    "rm -rf '/srv/my site; reboot'"
    """
    parts = []
    for text, name, _, _ in Formatter().parse(template):
        parts.append(text)
        if name is not None:
            parts.append(quoted(values[name]))
    return Shell("".join(parts))


def quoted(value: Value) -> str:
    """The value as shell words."""
    if isinstance(value, Shell):
        return value
    if isinstance(value, (str, int, PurePath)):
        return shlex.quote(str(value))
    return " ".join(quoted(item) for item in value)
