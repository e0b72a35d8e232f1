"""The lock of a `home`, which a connection holds: who has it, and what keeps it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, cast

from ..processes import proc

if TYPE_CHECKING:
    from ..wire import Claim, Holder, LockState, Refusal


class Refused(Exception):
    """The task cannot begin on this host."""

    def __init__(self, answer: Refusal) -> None:
        super().__init__(answer["refused"])
        self.answer = answer


class Lock:
    """An exclusive kernel lock on a file. Every step inherits it, so that an orphan keeps the next deploy out."""

    def __init__(self, path: str, holder: Claim) -> None:
        self.path, self.holder = path, dict(holder, pid=os.getpid(), since=time.time())
        self.fd = self._take()
        self.says("")

    def _take(self) -> int:
        while True:
            # For us alone: whoever can open the file can lock it, and so keep every deploy out for ever.
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                with contextlib.closing(os.fdopen(fd, "rb")) as file:
                    if self._taken_from_a_stranger(file.fileno()):
                        continue
                    holder = with_orphans(holder_in(file), self.path)
                    raise Refused({"djdeploy": 1, "refused": "locked", "holder": holder}) from None
            if self._is_the_file(fd):
                os.fchmod(fd, 0o600)  # an older djdeploy made it readable for everybody
                return fd
            os.close(fd)  # somebody removed the directory between open and flock

    def _taken_from_a_stranger(self, fd: int) -> bool:
        """Removes a file that another account has opened while it could, and locked; it keeps a file without a name.

        Only a file that was open to others, and only once: the next one is ours alone. A holder of ours is always seen.
        """
        was_open_to_others = os.fstat(fd).st_mode & 0o077
        if not was_open_to_others or any(holds_lock(*each) for each in opened(self.path) if proc.is_ours(each[0])):
            return False
        aside = f"{self.path}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.rename(self.path, aside)
            if not os.path.samestat(os.stat(aside), os.fstat(fd)):
                os.link(aside, self.path)  # another task of ours was faster, and this is its lock
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        return True

    def release(self) -> None:
        """Frees it for all who have inherited it: what ended steps have left running has nothing to do with it."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def _is_the_file(self, fd: int) -> bool:
        try:
            named, opened = os.stat(self.path), os.fstat(fd)
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def says(self, step: str) -> None:
        """Keeps in the file who holds the lock and what runs, for whoever is refused."""
        text = json.dumps(dict(self.holder, step=step)).encode()
        with contextlib.suppress(OSError):  # a full disk must not stop a rollback
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, text, 0)


def holder_in(file: IO[bytes]) -> Holder:
    """Who holds the lock. Between taking it and saying so there is a moment."""
    for _ in range(20):
        file.seek(0)
        holder = cast("Holder", parsed(file.read()))
        if holder:
            return holder
        time.sleep(0.05)
    return {}


def with_orphans(holder: Holder, path: str) -> Holder:
    """The holder of a lock; if it is gone, also the processes of its step that still run, and so keep the lock."""
    holding = {pid: command_of(pid) for pid in pids_with(path) if pid != os.getpid()}
    if not holder or holder.get("pid") in holding:
        return holder
    return {**holder, "orphans": [{"pid": pid, "command": command} for pid, command in sorted(holding.items())]}


def pids_with(path: str) -> Iterator[int]:
    """The processes that have this file open, as far as we may look."""
    yield from dict.fromkeys(pid for pid, _ in opened(path))


def opened(path: str) -> Iterator[tuple[int, str]]:
    """(pid, descriptor) of each time that this file is open, as far as we may look."""
    for pid in filter(str.isdigit, listing("/proc")):
        for fd in listing(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samefile(f"/proc/{pid}/fd/{fd}", path):
                    yield int(pid), fd


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(200).replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return ""


def lock_state(path: str) -> LockState:
    """Whether the lock is held, and by whom; asked of the kernel, since to try it would be to hold it for a moment."""
    try:
        with open(path, "rb") as file:
            holder = cast("Holder", parsed(file.read()))
    except OSError:
        return {"held": False, "holder": {}}
    held = any(holds_lock(pid, fd) for pid, fd in opened(path)) or is_locked_by_anybody(path)
    return {"held": held, "holder": with_orphans(holder, path) if held else holder}


def holds_lock(pid: int, fd: str) -> bool:
    """Whether this descriptor is one that holds the lock."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}") as file:
        return " FLOCK " in file.read()
    return False


def is_locked_by_anybody(path: str) -> bool:
    """Also by another account's process. On btrfs the kernel's list has another device than the file itself."""
    with contextlib.suppress(OSError), open("/proc/locks") as file:
        status = os.stat(path)
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        return any(" FLOCK " in line and place in line.split() for line in file)
    return False


def listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def parsed(text: bytes) -> dict[str, Any]:
    """The JSON object that this is, or an empty one."""
    try:
        value = json.loads(text.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
