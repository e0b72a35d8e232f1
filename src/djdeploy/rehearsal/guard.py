"""Ends all that a rehearsal has started when the rehearsal itself is gone, however it went.

`python -m djdeploy.rehearsal.guard DIRECTORY` waits for the end of its standard input, whose other end the rehearsal
holds: also a program that is killed closes it. With `--now` it does not wait.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "DJDEPLOY_REHEARSAL"
"""The environment variable by which everything that a rehearsal has started is known, children of children too."""

LABEL = ".rehearsal"
"""The file that a directory must have to be removed."""

GRACE = 3.0
"""Seconds between TERM and KILL."""

KEEP = b"keep"
"""The word on standard input after which all stays as it is."""


def processes_of(root: Path) -> list[int]:
    """The processes of a rehearsal that are alive."""
    mark = f"{MARK}={root}".encode()
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and mark in environment_of(path)]


def environment_of(process: Path) -> list[bytes]:
    """What a process was started with; nothing if it is gone, a zombie or somebody else's."""
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def end_all(root: Path) -> None:
    """Ends the processes of a rehearsal: TERM to each, and KILL to those that stay."""
    told: set[int] = set()
    began = time.monotonic()
    while found := set(processes_of(root)) - {os.getpid()}:
        patient = time.monotonic() - began < GRACE
        for pid in found - told if patient else found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if patient else signal.SIGKILL)
        told |= found
        time.sleep(0.05)


def remove(root: Path) -> None:
    """Ends a rehearsal and removes its directory."""
    if not (root / LABEL).is_file():
        raise SystemExit(f"{root} is not the directory of a rehearsal")
    end_all(root)
    shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="guard", description="Ends a rehearsal and removes its directory.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--now", action="store_true", help="do not wait for the end of standard input")
    options = parser.parse_args()
    if options.now or KEEP not in sys.stdin.buffer.read():
        remove(options.directory.resolve())


if __name__ == "__main__":
    main()
