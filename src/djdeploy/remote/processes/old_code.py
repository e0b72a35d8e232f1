"""Waits until nothing runs the code of another release: `old_code HOME RELEASE SECONDS [OLD]`.

Exit status 1: something still does after that time. What, is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from ..emit import emit_error
from . import proc


def still_running(home: str, release: str, old: str) -> Iterator[str]:
    """What runs the code of another release. A user's shell in its directory counts: a command may come of it."""
    own = set(proc.ancestors())
    for process in proc.everything():
        if process.pid not in own and proc.is_ours(process.pid):
            others = set(proc.evidence(process.pid, home)) - {release}
            for name in sorted(name for name in others if name == old or is_release(home, name)):
                command = " ".join(proc.command_of(process.pid)[:6])
                yield f"pid {process.pid} still runs {name}: {command[:120]}"


def is_release(home: str, name: str) -> bool:
    return os.path.isfile(os.path.join(home, name, "release.json"))


def main(words: list[str]) -> int:
    home, release, seconds, old = [*words, ""][:4]
    home, until = os.path.realpath(home), time.monotonic() + float(seconds)
    while (found := list(still_running(home, release, old))) and time.monotonic() < until:
        time.sleep(0.2)
    for line in found:
        print(line)
    if found:
        emit_error(code="old-code-runs")
    return 1 if found else 0
