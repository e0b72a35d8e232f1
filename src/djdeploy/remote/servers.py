"""What the options of a process's command say of its server, and how long that may take to end. For both sides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .launch import GUNICORN, ServerCommand, kind_of

if TYPE_CHECKING:
    from .wire import Process

GRACEFUL = 30
"""Seconds that Gunicorn lets its workers finish, unless it is told otherwise; and what other servers get."""

JOB = 300
"""Seconds that what serves nobody may take, such as Celery: it ends at once unless it works, and then loses the job."""


def stop_seconds(process: Process) -> float:
    """How long a process may take to end, before it is killed.

    Args:
        process: as `runtime.json` has it, where a deploy has recorded what Gunicorn's own configuration says.
    """
    known = process.get("stop_timeout") or process.get("graceful_timeout")
    if known:
        return float(known)
    if kind_of(process) == GUNICORN:
        said = option(ServerCommand.parse(process["command"]).server, "", "--graceful-timeout")
        return int(said) if said.isdigit() else GRACEFUL
    return GRACEFUL if process.get("bind") else JOB


def worker_class(command: ServerCommand) -> str:
    """Gunicorn's kind of worker, in lower case."""
    threads = option(command, "", "--threads")
    return option(command, "-k", "--worker-class").lower() or ("gthread" if threads else "sync")


def options(command: ServerCommand) -> set[str]:
    """The options that are given, without their values; the short ones also where the value follows at once."""
    short = {word[:2] for word in command.words if re.match(r"-\w", word)}
    return {word.partition("=")[0] for word in command.words if word.startswith("--")} | short


def option(command: ServerCommand, short: str, long: str) -> str:
    """The value of an option, in any of the ways to write it; empty if it is not given."""
    for place, word in enumerate(command.words):
        if word in (short, long):
            return "".join(command.words[place + 1 : place + 2])
        if word.startswith(f"{long}="):
            return word.partition("=")[2]
        if short and re.match(rf"{short}[^-]", word):
            return word[len(short) :]
    return ""
