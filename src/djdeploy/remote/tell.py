"""Tells the client what a step found out: `tell.py name=value ...` becomes one JSON object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping


def tell(values: Mapping[str, object]) -> None:
    """One line on the descriptor that the agent reads, or on standard output when run by hand."""
    fd = int(os.environ.get("DJDEPLOY_DATA_FD", "1"))
    os.write(fd, json.dumps(values).encode() + b"\n")


if __name__ == "__main__":
    tell({name: value for name, _, value in (word.partition("=") for word in sys.argv[1:])})
