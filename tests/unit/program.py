"""The programs of `djdeploy.remote` as functions of this process: no second Python, and a debugger reaches them."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from djdeploy.remote.programs import PROGRAMS


@dataclass
class Ran:
    """What became of a program.

    Args:
        code: its exit code.
        error: what it said when it gave up.
        outputs: what it emitted.
    """

    code: int
    error: str
    outputs: dict[str, Any]


def run(name: str, *words: str) -> Ran:
    """Runs a program of the table with these words of its command line."""
    main = import_module(f"djdeploy.remote.{PROGRAMS[name]}").main
    with tempfile.TemporaryFile() as file:
        os.environ["DJDEPLOY_OUTPUT_FD"] = str(file.fileno())
        try:
            status = main(list(words))
        except SystemExit as end:
            status = end.code
        finally:
            del os.environ["DJDEPLOY_OUTPUT_FD"]
        file.seek(0)
        outputs = {name: value for line in file for name, value in json.loads(line).items()}
    if isinstance(status, str):
        return Ran(1, status, outputs)
    return Ran(status or 0, "", outputs)
