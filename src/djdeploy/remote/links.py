"""Paths that lead through the links `current` and `previous`, which change their meaning while a deploy runs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

LINKS = ("current", "previous")


def link_in(text: str, home: str, folders: Sequence[str]) -> str | None:
    """The link through which some path in a text leads; None if there is none.

    Args:
        folders: from where a relative path may start.
    """
    for link in (posixpath.join(home, name) for name in LINKS):
        if re.search(rf"{re.escape(link)}(?![\w.-])", text):
            return link
        for path in paths_in(text, home, folders):
            if path == posixpath.normpath(link) or path.startswith(f"{posixpath.normpath(link)}/"):
                return link
    return None


def paths_in(text: str, home: str, folders: Sequence[str]) -> Iterator[str]:
    """The words of a text as absolute paths; `~` and `$HOME` may be any directory above."""
    above = [home, *map(str, PurePosixPath(home).parents)]
    for word in re.split(r"[\s'\"=:,;|&()<>\[\]{}]+", text):
        variable = re.match(r"(?:~\w*|\$\w+|\$\{\w+\})/(.*)", word)
        rest = variable[1] if variable else word
        for start in above if variable else folders:
            yield re.sub("^//", "/", posixpath.normpath(posixpath.join(start, rest)))
