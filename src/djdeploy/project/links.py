"""Paths that lead through the links `current` and `previous`, and so change their meaning while a deploy runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from posixpath import join, normpath

from .process import Process

LINKS = ("current", "previous")

INSTEAD = (
    "while a release is built and tried, that is the one before. Write a path from the folder of manage.py, "
    "or the bare name of a program of the virtualenv"
)


def through_links(
    home: str, source_dir: str, processes: Sequence[Process], env: Mapping[str, str], where: str = ""
) -> Iterator[str]:
    """What is wrong with such paths in the commands, addresses and variables of a host, and why."""
    for process in processes:
        for name, text in (("command", process.command), ("bind", process.bind or "")):
            if link := link_in(text, home, source_dir):
                yield f"{where}`{name}` of process {process.name!r} must not lead through {link}: {INSTEAD}"
    for name, text in env.items():
        if link := link_in(text, home, source_dir):
            yield f"{where}`env` must not lead through {link}, as {name} does: {INSTEAD}"


def link_in(text: str, home: str, source_dir: str) -> str | None:
    """The link through which some path in a text leads; None if there is none."""
    for link in (join(home, name) for name in LINKS):
        if re.search(rf"{re.escape(link)}(?![\w.-])", text):
            return link
        for path in paths_in(text, home, source_dir):
            if path == normpath(link) or path.startswith(f"{normpath(link)}/"):
                return link
    return None


def paths_in(text: str, home: str, source_dir: str) -> Iterator[str]:
    """The words of a text as absolute paths, from where a process works; `~` and `$HOME` may be any directory above."""
    above = [home, *map(str, PurePosixPath(home).parents)]
    for word in re.split(r"[\s'\"=:,;|&()<>]+", text):
        variable = re.match(r"(?:~\w*|\$\w+|\$\{\w+\})/(.*)", word)
        starts = above if variable else [join(home, "release", "repository", source_dir)]
        yield from (re.sub("^//", "/", normpath(join(start, variable[1] if variable else word))) for start in starts)
