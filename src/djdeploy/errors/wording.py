"""How an error is worded: from its parts to what `fab` prints. It is imported when an error is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .output import QUOTE, TAIL, end_of, without_repeats
from .redaction import printable
from .typed import as_typed, filled
from .wrapping import wrapped


def body(first: str, output: Sequence[str], parts: Iterable[str]) -> str:
    """What went wrong, the end of the output of what failed, and then whatever else there is to say."""
    tail = [f"{QUOTE}{printable(line)}" for line in end_of(without_repeats(output), TAIL)]
    return "\n".join([printable(first, keep="\n"), *tail, *(printable(part, keep="\n") for part in parts if part)])


def for_host(advice: str, host: str) -> str:
    """The advice as it is typed for a host, if it is about one."""
    return filled(advice, {"HOST": host}) if host else advice


def as_typed_here(text: str, known: Mapping[str, str], columns: int) -> str:
    """The text with what is to be typed as it works in this call of `fab`, broken for its terminal."""
    first, *others = text.split("\n")
    others = [line if line.startswith(QUOTE) else as_typed(filled(line, known)) for line in others]
    return wrapped("\n".join([first, *others]), columns)


def last_line(failed_steps: Sequence[str], in_colour: bool) -> Sequence[str]:
    """What whoever wakes up reads first; nothing if no step failed."""
    if not failed_steps:
        return []
    line = printable(f"FAILED: {'; '.join(failed_steps)}")
    return [f"\x1b[1;31m{line}\x1b[0m" if in_colour else line]
