"""What a step sends to the client, besides its output: `emit name=value ...`, as one JSON object.

`emit error=CODE` says why the step is about to fail, by its code in the client's catalogue of errors.
"""

from __future__ import annotations

import json
import os
import select
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


class Others:
    """The steps beside which a step in the background runs. The agent closes a pipe when they have ended."""

    def __init__(self) -> None:
        given = os.environ.pop("DJDEPLOY_OTHERS_FD", None)  # it is for us alone
        self._fd = None if given is None else int(given)

    def have_ended(self, within: float = 0) -> bool:
        """Whether they have ended, or there are none. Args: within: seconds to wait for it."""
        return self._fd is None or bool(select.select([self._fd], [], [], within)[0])

    def wait(self) -> bool:
        """Waits until they have ended. False: there are none."""
        if self._fd is None:
            return False
        os.read(self._fd, 1)  # its end is all that ever comes
        return True


def main(words: list[str]) -> None:
    values = {name: value for name, _, value in (word.partition("=") for word in words)}
    emit_error(values.pop("error", ""))
    if values:
        emit(values)
