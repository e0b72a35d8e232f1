"""What a step sends to the client, besides its output: `emit name=value ...`, as one JSON object.

`emit error=CODE` says why the step is about to fail, by its code in the client's catalogue of errors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping


def emit(values: Mapping[str, object]) -> None:
    """One line on the descriptor that the agent reads, or on standard output when run by hand."""
    fd = int(os.environ.get("DJDEPLOY_OUTPUT_FD", "1"))
    os.write(fd, json.dumps(values).encode() + b"\n")


def emit_error(code: str) -> None:
    """Says why the step fails, besides the sentence that the program prints.

    Args:
        code: what `fab explain` takes. Empty if there is none: nothing is said.
    """
    if code:
        emit({"error": {"code": code}})


def wait_for_others() -> bool:
    """For a step in the background: waits until the other steps have ended. False: it does not run there."""
    fd = os.environ.pop("DJDEPLOY_OTHERS_FD", None)
    if fd is None:
        return False
    os.read(int(fd), 1)  # until it is closed
    return True


def main(words: list[str]) -> None:
    values = {name: value for name, _, value in (word.partition("=") for word in words)}
    emit_error(values.pop("error", ""))
    if values:
        emit(values)
