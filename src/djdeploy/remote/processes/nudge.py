"""Makes Supervisor start the successor of an ended process at once, and not one or two seconds later.

Its loop (supervisord.py, `runforever`) turns once a second, or when something can be read from a child. In one turn it
takes note of an end, and starts the successor only in the next. The end of a child's pipe may bring about the first of
these turns. But a pipe that somebody else holds open does not end: what we write into it brings about the first, and
that Supervisor then closes what it still polls brings about the second (poller.py, `POLLNVAL`).

Where the kernel does not let us have the pipe (Ubuntu, containers), a restart takes as long as without this.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import stat

PIDFD_GETFD = 438  # Linux 5.6, the same number on all processors; Python has no name for it


class Nudge:
    """Holds the pipe to which a process writes its log. Use it in a `with`, which begins before the process ends."""

    def __init__(self, pid: int) -> None:
        self.fd = borrowed(pid, 1)
        if self.fd is not None and not stat.S_ISFIFO(os.fstat(self.fd).st_mode):
            os.close(self.fd)  # its output goes elsewhere
            self.fd = None

    def __enter__(self) -> Nudge:
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd is not None:
            os.close(self.fd)

    def say(self, text: str) -> None:
        """A line in the log of the process, which has ended."""
        if self.fd is None:
            return
        room = select.poll()  # not by O_NONBLOCK, which would be the process's too
        room.register(self.fd, select.POLLOUT)
        if any(event == select.POLLOUT for _, event in room.poll(0)):
            with contextlib.suppress(OSError):
                os.write(self.fd, f"{text}\n".encode()[: select.PIPE_BUF])


def borrowed(pid: int, number: int) -> int | None:
    """A descriptor of another process of ours; None if we may not have it."""
    with contextlib.suppress(OSError):  # the pipe is ours only if Supervisor runs as we do
        return os.open(f"/proc/{pid}/fd/{number}", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    with contextlib.suppress(OSError, AttributeError):
        process = os.pidfd_open(pid)
        try:
            found: int = ctypes.CDLL(None).syscall(PIDFD_GETFD, process, number, 0)
        finally:
            os.close(process)
        return found if found >= 0 else None
    return None
