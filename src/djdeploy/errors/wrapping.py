"""Lines for a terminal, broken between words, and never within what is to be typed."""

from __future__ import annotations

import re
import textwrap

from .output import QUOTE

NARROWEST = 40
"""Columns below which nothing is broken."""

PROGRAMS = (
    "fab|ssh|ssh-add|ssh-copy-id|ssh-keygen|scp|pip|pip-compile|pipx|uv|git|python3?|apt-get|supervisorctl|install|mv"
    "|chown|chmod|ls|df|free|findmnt|getent|timedatectl|dmesg|eval|shared_dirs=|env=|health=|manage_steps="
)

END = r"[.;,:)`](?=[\s.;,:)]|$)|\s(?:or|then|if|shows)\s|\s\("

BEGIN = rf"(?:(?<=[:;,] )|(?<=[`(])|^)(?:{PROGRAMS})(?=[\s\[{{(\"])"

COMMAND = re.compile(rf"{BEGIN}(?:'[^']*'|\"[^\"]*\"|(?!{END})[^'\"])*")
"""From the name of a program to the end of the clause; what is quoted belongs to it."""

MARK = re.compile(r"\s*(?:- |FAIL  |note  |has   |\w+: (?=- ))?")
"""What begins a line, and hangs before those that follow."""

KEPT = "\0"
"""Stands for a space that stays: `printable` lets no text have it."""


def wrapped(text: str, width: int) -> str:
    """The lines, none of them wider than this if it can be helped. Output of programs is left as it is."""
    if width < NARROWEST:
        return text
    return "\n".join(each for line in text.split("\n") for each in broken(line, width))


def broken(line: str, width: int) -> list[str]:
    if len(line) <= width or line.startswith(QUOTE):
        return [line]
    mark = MARK.match(line)
    first = mark[0] if mark else ""
    body = COMMAND.sub(lambda command: command[0].replace(" ", KEPT), line[len(first) :])
    lines = textwrap.wrap(
        body,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return [each.replace(KEPT, " ") for each in lines] or [line]
