"""What Supervisor itself says of an instance, if the account may use its control socket. Most may not, nor need to."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable

from . import proc

PATIENCE = 5  # seconds for one command
STATES = ("STOPPED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN")
STARTABLE = ("STOPPED", "EXITED", "FATAL", "BACKOFF")
STARTED = (*STARTABLE, "STARTING", "RUNNING")
"""The states after which `bring_up` has done what can be done: the process comes, or it has a fault."""


def command(pids: Iterable[int]) -> list[str]:
    """How to talk to the Supervisor that started one of these processes; or to the machine's own."""
    program = shutil.which("supervisorctl")
    if program is None:
        return []
    known = (proc.environment_of(pid).get("SUPERVISOR_SERVER_URL") for pid in pids)
    url = next((url for url in known if url), None)
    return [program, "-s", url] if url else [program]


def run(ctl: list[str], *words: str) -> str:
    """What it prints; empty if it cannot be asked."""
    if not ctl:
        return ""
    try:
        done = subprocess.run(
            [*ctl, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def state(ctl: list[str], name: str) -> str | None:
    """The state of a process; `MISSING` if Supervisor answers and does not know it; None if we may not ask."""
    text = run(ctl, "status", name)
    if "no such" in text:
        return "MISSING"
    words = text.split()
    return words[1] if len(words) > 1 and words[0] == name and words[1] in STATES else None


def bring_up(ctl: list[str], name: str) -> str | None:
    """Starts what Supervisor has given up, or waits too long to try again. Returns the state that it was in."""
    known = state(ctl, name)
    if known == "BACKOFF":
        run(ctl, "stop", name)  # it counts as running, and so cannot be started
    if known in STARTABLE:
        run(ctl, "start", name)
    return known


def supervisors() -> list[proc.Process]:
    """All that run on this machine."""
    return [p for p in proc.everything() if any("supervisord" in w for w in proc.command_of(p.pid)[:3])]
