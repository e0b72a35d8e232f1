"""Writes a report in the format that was asked for."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from .as_github import as_github
from .as_json import as_gitlab, as_json
from .as_text import as_text
from .report import Report

AS_LINES: dict[str, Callable[[Report, int], Iterator[str]]] = {"text": as_text, "github": as_github}
AS_JSON: dict[str, Callable[[Report, int], Any]] = {"json": as_json, "gitlab": as_gitlab}


def write(report: Report, name: str, code: int, out: TextIO) -> None:
    """Writes a report. For GitLab, whose file nobody reads, the text is in the job's log."""
    if name == "gitlab":
        show(as_text(report, code), sys.stderr)
    if name in AS_LINES:
        show(AS_LINES[name](report, code), out)
    else:
        json.dump(AS_JSON[name](report, code), out, indent=2)
        out.write("\n")
    out.flush()


def show(lines: Iterator[str], out: TextIO) -> None:
    """Folds lines for a terminal, and only there: who searches or annotates a log has them whole."""
    width = shutil.get_terminal_size().columns if out.isatty() else 0
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        out.write("\n".join(folded(line, width, indent) if width else [line]) + "\n")


def folded(line: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
