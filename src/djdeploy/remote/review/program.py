"""`djdeploy judge`: the judge alone, in any Django project and any CI; `python -m djdeploy.judge` is the same.

It needs Django, which the project has, and git for `--since`: no server, no fabfile, and with `--since` no database.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO

from ..failing import Coded
from .branch import Branch
from .formats import write
from .options import exit_code, options_of

if TYPE_CHECKING:
    from .report import Report

CANNOT = 1


def main(words: Sequence[str]) -> int:
    options = options_of(words)
    out, top = own_output(), os.getcwd()
    try:
        os.chdir(options.chdir)
        found = review(options, top)
    except (Coded, OSError) as error:
        print(f"djdeploy judge: {error}", file=sys.stderr)
        return CANNOT
    code = exit_code(found.worst) if found.worst else 0
    try:
        write(found, options.format, code, out)
    except BrokenPipeError:  # as in `| head -1`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    return code


def own_output() -> TextIO:
    """Standard output, for us alone: what the project prints goes where errors go."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    sys.stdout.flush()
    os.dup2(2, 1)
    return out


def review(options: argparse.Namespace, top: str) -> Report:
    if not find_spec("django"):
        raise Coded(f"there is no Django in {sys.prefix}: it is run by the project's own Python")
    branch = Branch(options.since) if options.since else None
    from . import inside  # Django is here

    return inside.review(options, branch, top)
