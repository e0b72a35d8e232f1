"""Installs the launcher, or says what is installed: `launcher PATH TOKEN`.

Processes of all releases start by it, at any moment, so it is replaced by a rename, and only by a newer one. One that
is newer than ours was installed by a colleague, and starts our releases too.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat

from . import launch

MISSING, DAMAGED, OLDER, CURRENT, NEWER = "missing", "damaged", "older", "current", "newer"


def state_of(path: str) -> str:
    """What is installed there, compared with ours."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return DAMAGED
        there, ours = text_of(path), text_of(launch.__file__)
    except FileNotFoundError:
        return MISSING
    except (OSError, UnicodeDecodeError):
        return DAMAGED
    if there == ours:
        return CURRENT
    if not launch.is_whole(there):
        return DAMAGED
    return NEWER if version_of(there) > version_of(ours) else OLDER


def text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def version_of(text: str) -> int:
    """A launcher without one is older than all that have one."""
    found = re.search(r"^VERSION = (\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def install(path: str, token: str) -> str:
    """Puts ours there unless a newer one is; what was there before.

    Args:
        token: what makes the name beside it that of one run of a task; cleanup knows it, should the power be cut.
    """
    state = state_of(path)
    if state not in (CURRENT, NEWER):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        beside = f"{path}.{token}"
        try:
            write(beside, text_of(launch.__file__))
            os.replace(beside, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(beside)
    return state


def write(path: str, text: str) -> None:
    """On the disk before it gets its name: else a power cut could leave an empty launcher."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o755)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def main(words: list[str]) -> int:
    try:
        state = install(words[0], words[1])
    except OSError as error:
        print(f"{words[0]} cannot be replaced: {error.strerror}")
        return 1
    if state == DAMAGED:
        print(f"djdeploy: the launcher {words[0]} was damaged, and is replaced")
    return 0
