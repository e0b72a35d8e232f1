"""Where an instance's output is written: known by the Supervisor program that runs it, and never guessed by a name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from . import proc, supervisor_files
from .instances import Found, Instance


class Log(NamedTuple):
    """The files to which an instance writes.

    Args:
        paths: what it writes errors to comes last; none where nobody knows them.
        sizes: how much of each is of earlier times, and is not shown.
    """

    paths: Sequence[str]
    sizes: Sequence[int] = ()

    def from_now(self) -> Log:
        return self._replace(sizes=[size_of(path) for path in self.paths])

    def tail(self, lines: int = 12) -> list[str]:
        """The last lines of each file."""
        if not self.paths:
            return ["(its output is where stdout_logfile of its Supervisor program says)"]
        sizes = self.sizes or [0] * len(self.paths)
        return [line for path, since in zip(self.paths, sizes) for line in tail_of(path, since, lines)]  # noqa: B905


def log_of(instance: Instance, found: Found | None, files: supervisor_files.Files | None = None) -> Log:
    """The log of an instance.

    Args:
        files: of the Supervisor that runs here, where they are known already: to find them takes a while.
        found: a process that is this instance, or was started by the same program: a program that is not as printed is
            only known by what it has started.
    """
    printed = os.path.join(instance.home, "log", f"{instance.name}.log")
    known = proc.environment_of(found.pid) if found else {}
    name, is_ours = known.get("SUPERVISOR_PROCESS_NAME"), found is None or instance.is_launched(found)
    group, _, own = instance.supervisor_name.partition(":")
    files = files or supervisor_files.of(instance.home)
    home = "" if name else instance.home  # whoever started it is known
    paths = supervisor_files.logs_of(files, known.get("SUPERVISOR_GROUP_NAME", group), name or own, home)
    return Log(paths or ([printed] if is_ours else []))


def size_of(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def tail_of(path: str, since: int, lines: int) -> list[str]:
    """The last lines that were written since a file had this size."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - 8192, since if since <= size else 0))
            return file.read().decode("utf-8", "replace").splitlines()[-lines:]
    except FileNotFoundError:
        return [f"(it has no {path}: its output is where stdout_logfile of its Supervisor program says)"]
    except OSError as error:
        return [f"({path}: {error.strerror})"]
