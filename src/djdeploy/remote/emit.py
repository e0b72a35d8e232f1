"""A step and the agent: `tell.py name=value ...` tells the client what the step found out, as one JSON object."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping


def emit(values: Mapping[str, object]) -> None:
    """One line on the descriptor that the agent reads, or on standard output when run by hand."""
    fd = int(os.environ.get("DJDEPLOY_OUTPUT_FD", "1"))
    os.write(fd, json.dumps(values).encode() + b"\n")


def wait_for_others() -> bool:
    """Waits until the steps that this one runs beside have ended. False: there were none."""
    fd = os.environ.pop("DJDEPLOY_COMPANY_FD", None)
    if fd is None:
        return False
    os.read(int(fd), 1)  # until it is closed
    return True


def main(words: list[str]) -> None:
    emit({name: value for name, _, value in (word.partition("=") for word in words)})
