"""Deploys a real Django project to this machine while requests run, and shows it: `python -m djdeploy.rehearsal`.

It needs the extra, `pip install 'djdeploy[rehearsal]'`, and neither root nor Docker.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence

MODULES = ("asyncssh", "supervisor", "uv")
"""What the extra brings."""


def missing() -> str:
    """What to install before a rehearsal can run, in one sentence; empty if all is there."""
    if not sys.platform.startswith("linux"):
        return "A rehearsal needs Linux: it finds its processes in /proc."
    absent = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if absent:
        return f"A rehearsal needs {', '.join(absent)}: pip install 'djdeploy[rehearsal]'"
    if shutil.which("git") is None:
        return "A rehearsal needs git. On Debian, as root: apt-get install -y git"
    return ""


def main(words: Sequence[str] | None = None) -> int:
    """Runs the rehearsal.

    Args:
        words: the command line, without the program.

    Returns:
        The exit code: 0 if no request was lost, 1 if one was or a step failed, 2 if something has to be installed
        first, 130 if it was interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="python -m djdeploy.rehearsal",
        description="Deploys a sample Django project to an SSH server and a Supervisor in a temporary directory, rolls "
        "it back and breaks it, while requests run; says how many were lost.",
    )
    parser.add_argument("--keep", action="store_true", help="leave everything up at the end (KEEP=1 does the same)")
    options = parser.parse_args(words)
    if needed := missing():
        print(needed, file=sys.stderr)
        return 2

    from .demo import rehearse

    return rehearse(keep=options.keep or os.environ.get("KEEP", "") not in ("", "0"))


if __name__ == "__main__":
    sys.exit(main())
