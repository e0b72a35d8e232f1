"""Gives a new environment the bytecode of an old one, for the modules that are one file in both: `bytecode.py OLD NEW`.

uv links both from its cache, and compiles nothing. Bytecode names its source by time and size, which are the same for
the same file, and its path is set when it is loaded; so what was compiled once is valid in both.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


def compiled(environment: str) -> Iterator[tuple[str, str, str]]:
    """(directory, module's file, bytecode's file) of each compiled module, relative to the environment."""
    for directory, _, names in os.walk(os.path.join(environment, "lib")):
        if os.path.basename(directory) == "__pycache__":
            parent = os.path.relpath(os.path.dirname(directory), environment)
            for name in names:
                if name.endswith(".pyc"):
                    yield parent, f"{name.split('.')[0]}.py", os.path.join("__pycache__", name)


def share(old: str, new: str) -> None:
    for directory, source, bytecode in compiled(old):
        with contextlib.suppress(OSError):  # not there, or there already: Python compiles what it misses
            if os.path.samefile(os.path.join(old, directory, source), os.path.join(new, directory, source)):
                os.makedirs(os.path.join(new, directory, "__pycache__"), exist_ok=True)
                os.link(os.path.join(old, directory, bytecode), os.path.join(new, directory, bytecode))


if __name__ == "__main__":
    share(os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2]))
