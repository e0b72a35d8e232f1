"""Which settings lead through the links `current` and `previous`, and so change their meaning while a deploy runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from posixpath import join

from ..remote.links import link_in
from .process import Process

INSTEAD = (
    "while a release is built and tried, that is the one before. Write a path from the folder of manage.py, "
    "or the bare name of a program of the virtualenv"
)


def through_links(
    home: str, source_dir: str, processes: Sequence[Process], env: Mapping[str, str], where: str = ""
) -> Iterator[str]:
    """What is wrong with such paths in the commands, addresses and variables of a host, and why."""
    folders = [join(home, "release", "repository", source_dir)]
    for process in processes:
        for name, text in (("command", process.command), ("bind", process.bind or "")):
            if link := link_in(text, home, folders):
                yield f"{where}`{name}` of process {process.name!r} must not lead through {link}: {INSTEAD}"
    for name, text in env.items():
        if link := link_in(text, home, folders):
            yield f"{where}`env` must not lead through {link}, as {name} does: {INSTEAD}"
