"""The output of a program as an error shows it: without what commands a terminal, and each traceback once."""

from __future__ import annotations

import re
from collections.abc import Sequence

QUOTE = "  | "
"""Begins each line of output in an error."""

TAIL = 20
"""How many of the last lines of a failed step's output an error shows."""

COLOUR = re.compile(r"\x1b\[[\d;:]*m")

ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[PX^_][^\x1b\n]*\x1b\\|[ -/]*[0-OQ-WYZ\\`a-~])"
)
"""A whole command to a terminal: a colour, a move, a title."""

TRACEBACK = "Traceback (most recent call last):"

NAMED = re.compile(r"\s*(?:\w+\.)*\w*(?:Error|Exception): ")
"""Begins the message of an exception that a program reports without its traceback, as Django's commands do."""

CHAINED = re.compile(r"\s*$|During handling of the above exception|The above exception was the direct cause")


def without_colours(text: str) -> str:
    return COLOUR.sub("", text) if "\x1b" in text else text


def without_escapes(text: str) -> str:
    """The text without commands to a terminal; one that has only begun stays."""
    return ESCAPE.sub("", text) if "\x1b" in text else text


def without_repeats(lines: Sequence[str]) -> list[str]:
    """The lines without tracebacks that were there before: of each worker, of each try, of each host."""
    kept: list[str] = []
    seen: set[tuple[str, ...]] = set()
    place, repeats = 0, False
    while place < len(lines):
        end = end_of_traceback(lines, place)
        block = tuple(re.sub(r"\d+", "0", line.removeprefix(QUOTE).strip()) for line in lines[place:end])
        repeats = block in seen if block else repeats and bool(CHAINED.match(lines[place].removeprefix(QUOTE)))
        end = max(end, place + 1)
        if not repeats:
            kept += lines[place:end]
        if block:
            seen.add(block)
        place = end
    return kept


def end_of_traceback(lines: Sequence[str], begin: int) -> int:
    """Where the traceback that begins at a line ends; there if none does."""
    first = lines[begin].removeprefix(QUOTE)
    if first.strip() != TRACEBACK:
        return begin
    indent = len(first) - len(first.lstrip())
    for number in range(begin + 1, len(lines)):
        line = lines[number].removeprefix(QUOTE)
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            return number + 1
    return len(lines)


def end_of(lines: Sequence[str], most: int) -> Sequence[str]:
    """The last lines, and the last exception's name and place, which its own message may push out of them."""
    named = None
    for number, line in enumerate(lines):
        if NAMED.match(line):
            named = number
        elif (end := end_of_traceback(lines, number)) > number:
            named = end - 1
    if named is None or named >= len(lines) - most:
        return lines[-most:]
    begin = max(0, named - 2) if named and lines[named - 1].startswith(" ") else named
    place = lines[begin : named + 1]
    return [*place, "...", *lines[len(place) + 1 - most :]]
