"""Which report fits an output."""

from __future__ import annotations

import os
import sys
from typing import IO

from .progress import Report


def make_report(project: str, *, echo: bool = False, out: IO[str] | None = None) -> Report:
    """The report that fits its output.

    Args:
        out: standard output by default; a task that prints JSON there gives standard error.
    """
    out = out or sys.stdout
    encoding = (getattr(out, "encoding", None) or "utf-8").lower()
    moves = out.isatty() and os.environ.get("TERM") not in ("dumb", "unknown") and encoding.startswith("utf")
    if not moves:
        return Report(out, project=project, echo=echo)
    from .live import TerminalReport

    return TerminalReport(out, project=project, echo=echo)
