"""What a process is: alive, whose, of which release. All is read from `/proc`, and a pid is only ever a claim."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
SLACK = 2  # seconds by which the clocks of `/proc` and of the file system may differ

NOT_RELEASES = ("current", "previous", "shared", "run", "log", "bin", ".djdeploy")


class Process(NamedTuple):
    """A process, and not a later one of the same number: the start time tells them apart."""

    pid: int
    started: int  # ticks since boot
    parent: int
    group: int  # Supervisor makes each process the leader of a group, with its workers in it


# --- reading /proc ----------------------------------------------------------------------------------------------------


def process(pid: int) -> Process | None:
    """The process of this number if it lives. A zombie has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # it is read for each process of the machine, often
            fields = file.read(4096).rpartition(b")")[2].split()  # a name may hold spaces and ")"
    except OSError:
        return None
    return None if not fields or fields[0] in b"ZXx" else Process(pid, int(fields[19]), int(fields[1]), int(fields[2]))


def same(one: Process | None, other: Process | None) -> bool:
    return one is not None and other is not None and one[:2] == other[:2]


def lives(known: Process) -> bool:
    return same(process(known.pid), known)


def everything() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        found = process(int(name)) if name.isdigit() else None
        if found:
            yield found


def user_of(pid: int) -> int | None:
    """The real user: the one that decides whether we may send a signal."""
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return None


def is_ours(pid: int) -> bool:
    return user_of(pid) == os.getuid()


def works_for(pid: int, home: str) -> bool:
    """Whether a process of ours was started for this home: another site of this account is another's business."""
    if not is_ours(pid):
        return False
    inside = os.path.join(home, "")
    told = environment_of(pid, having="DJDEPLOY_HOME")
    return told.get("DJDEPLOY_HOME") == home or any(w.startswith(inside) for w in command_of(pid))


def command_of(pid: int) -> list[str]:
    return read(f"/proc/{pid}/cmdline").split("\0")[:-1]


def environment_of(pid: int, having: str = "") -> dict[str, str]:
    """The environment it was started with; empty when we may not look.

    Args:
        having: a variable without which it is of no interest, and empty: few processes of a machine are ours.
    """
    text = read(f"/proc/{pid}/environ")
    if having not in text:
        return {}
    pairs = (line.partition("=") for line in text.split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def directory_of(pid: int) -> str | None:
    """Where it works, also when that directory has been removed under it."""
    path = link(f"/proc/{pid}/cwd")
    return path[: -len(" (deleted)")] if path and path.endswith(" (deleted)") else path


def link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def children(of: Process) -> list[Process]:
    """The workers of a server: its own forks, not the programs that these may have started."""
    program = link(f"/proc/{of.pid}/exe")
    return [p for p in everything() if p.parent == of.pid and link(f"/proc/{p.pid}/exe") == program]


def family(of: Process) -> set[int]:
    """A process and all that it has started, and these, as long as none between them has ended."""
    parents = {p.pid: p.parent for p in everything()}
    found, more = {of.pid}, {of.pid}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found |= more
    return found


def seconds_alive(known: Process) -> float:
    uptime = float(read("/proc/uptime").split()[0])
    return max(0.0, uptime - known.started / TICKS)


# --- of which release -------------------------------------------------------------------------------------------------


def release_in(path: str | None, home: str) -> str | None:
    """The release that this path lies in."""
    if not path or not path.startswith(home + "/"):
        return None
    name = path[len(home) + 1 :].split("/")[0]
    return None if name in NOT_RELEASES else name


def release_of(pid: int, home: str) -> str | None:
    """The release of this home that a process runs: by its directory, else its environment, else its command."""
    home = os.path.realpath(home)
    return next(evidence(pid, home), None)


def evidence(pid: int, home: str) -> Iterator[str]:
    """The releases that a process has to do with, the most telling first."""
    found = release_in(directory_of(pid), home)
    if found:
        yield found
    known = environment_of(pid)
    if known.get("DJDEPLOY_HOME") == home and known.get("DJDEPLOY_RELEASE"):
        yield known["DJDEPLOY_RELEASE"]
    for path in [known.get("VIRTUAL_ENV"), *command_of(pid)]:
        found = release_in(path, home)
        if found:
            yield found


def releases_in_use(home: str) -> set[str]:
    """The releases that processes of this account still work in.

    Another account's do not count: its command is all that it shows, and anybody can write anything there. Nor do we
    ourselves and what started us: a step that removes a release works for that release.
    """
    home, own = os.path.realpath(home), set(ancestors())
    running = (p.pid for p in everything() if p.pid not in own and is_ours(p.pid))
    names = {name for pid in running for name in evidence(pid, home)}
    return {name for name in names if os.path.isdir(os.path.join(home, name))}


def ancestors() -> Iterator[int]:
    found = process(os.getpid())
    while found:
        yield found.pid
        found = process(found.parent)


# --- a pid file's claim -----------------------------------------------------------------------------------------------


class Identity(NamedTuple):
    """Whom a pid file should name: an instance of a process of a project."""

    home: str
    project: str
    process: str
    number: int


class Claim(NamedTuple):
    """The process that a pid file names, or why it is not the one."""

    process: Process | None
    why: str = ""


def says(pid: int, who: Identity) -> bool | None:
    """What the process's environment says: that it is this one, that it is another; or nothing (a foreign program)."""
    known = environment_of(pid, having="DJDEPLOY_PROCESS")
    if "DJDEPLOY_PROCESS" not in known:
        return None
    name, number, home = (known.get(f"DJDEPLOY_{key}") for key in ("PROCESS", "INSTANCE", "HOME"))
    mine = (f"{who.project}-{who.process}", str(who.number), os.path.realpath(who.home))
    return (name, number, home) == mine


def claim(path: str, who: Identity) -> Claim:
    """Checks what a pid file claims. Only what passes here may ever be sent a signal."""
    from ..launch import beginning_of  # the agent needs all of this but the launcher, which is dear

    try:
        written = os.stat(path).st_mtime
        text = beginning_of(path, 64).strip()
    except OSError as error:
        return Claim(None, f"{path}: {error.strerror}")
    if not re.fullmatch(r"[1-9]\d{0,9}", text, re.ASCII):
        return Claim(None, f"{path} holds no pid")
    found = process(int(text))
    if found is None:
        return Claim(None, f"{path} is stale: pid {text} is gone")
    why = objection(found, who, written)
    return Claim(None, f"{path}: pid {text} {why}; not touched") if why else Claim(found)


def objection(found: Process, who: Identity, written: float) -> str:
    """Why this living process is not the one; empty if it is."""
    if not is_ours(found.pid):
        return "belongs to another user"
    if found.pid in ancestors():
        return "is what runs this deploy"
    said = says(found.pid, who)
    if said is False:
        known = environment_of(found.pid)
        other = " ".join([known["DJDEPLOY_PROCESS"], known.get("DJDEPLOY_INSTANCE", "")])
        return f"is another process ({other.strip()})"
    if said is None and release_of(found.pid, who.home) is None:
        command = command_of(found.pid)[:1]
        return f"is no process of {who.project} ({command[0] if command else 'unknown'})"
    if said is None and started_at(found) > written + SLACK:
        return "began after that file was written: the number was used again"
    return ""


def started_at(known: Process) -> float:
    """Seconds since the epoch."""
    return time.time() - seconds_alive(known)


def masters(who: Identity) -> list[Process]:
    """The processes that say they are this instance, without their workers: for when the pid file is lost."""
    return [p for p in everything() if p.group == p.pid and is_ours(p.pid) and says(p.pid, who)]


# --- ending one -------------------------------------------------------------------------------------------------------


class Handle:
    """A checked process, to be signalled and waited for. By pidfd where there is one (Linux 5.3, Python 3.9)."""

    def __init__(self, known: Process) -> None:
        self.known = known
        self.fd: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self.fd = os.pidfd_open(known.pid)
        if self.fd is not None and not lives(known):  # it ended, and its number was used again, before we had the fd
            self.close()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.fd is not None:
                signal.pidfd_send_signal(self.fd, number)
            elif lives(self.known):
                os.kill(self.known.pid, number)

    def gone(self, within: float) -> bool:
        """Waits for its end."""
        until = time.monotonic() + within
        while lives(self.known):
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._wait(left)
        return True

    def _wait(self, left: float) -> None:
        if self.fd is None:
            time.sleep(min(left, 0.05))
            return
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.poll(min(left, 1) * 1000)
