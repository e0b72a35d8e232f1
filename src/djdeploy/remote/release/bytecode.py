"""Gives a new environment the bytecode of an old one, for the modules that are one file in both: `bytecode OLD NEW`.

uv links both from its cache, and compiles nothing. Bytecode names its source by time and size, which are the same for
the same file, and its path is set when it is loaded; so what was compiled once is valid in both.
"""

from __future__ import annotations

import contextlib
import os

CACHE = "__pycache__"


def share(old: str, new: str, in_package: bool = False) -> None:
    """Goes through a directory of modules, and those below it.

    Most directories in a package hold translations and templates: one without bytecode of its own is passed over.
    """
    here = listing(old)
    if CACHE in here:
        with contextlib.suppress(OSError):  # no room, or a link to nowhere: Python compiles what it misses
            share_directory(old, new, here)
    elif in_package:
        return
    for name, entry in here.items():
        if name != CACHE and entry.is_dir(follow_symlinks=False):
            share(f"{old}/{name}", f"{new}/{name}", in_package or "__init__.py" in here)


def share_directory(old: str, new: str, here: dict[str, os.DirEntry[str]]) -> None:
    there = listing(new)
    names = [name for name in listing(f"{old}/{CACHE}") if is_same(source_of(name), here, there)]
    if names and CACHE not in there:
        os.mkdir(f"{new}/{CACHE}")
    for name in names:
        with contextlib.suppress(OSError):  # it is there already
            os.link(f"{old}/{CACHE}/{name}", f"{new}/{CACHE}/{name}")


def source_of(name: str) -> str:
    """The module's file of a bytecode's."""
    return f"{name.split('.', 1)[0]}.py"


def is_same(name: str, here: dict[str, os.DirEntry[str]], there: dict[str, os.DirEntry[str]]) -> bool:
    """Whether both directories have one and the same file of this name."""
    return name in here and name in there and os.path.samestat(here[name].stat(), there[name].stat())


def listing(path: str) -> dict[str, os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return {entry.name: entry for entry in entries}
    except OSError:
        return {}


def main(words: list[str]) -> None:
    old, new = (os.path.join(os.path.realpath(path), "lib") for path in words)
    share(old, new)
