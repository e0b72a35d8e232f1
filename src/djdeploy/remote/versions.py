"""Emits the versions of the tools that a deploy uses on the server."""

from __future__ import annotations

import contextlib
import importlib
import re
import subprocess
import sys

from .agent.facts import tool
from .emit import emit


def tools() -> dict[str, str]:
    """The versions of what a deploy needs on the server, as far as it is there."""
    asked = {"git": ["git", "--version"], "uv": [tool("uv") or "uv", "--version"], "Supervisor": ["supervisord", "-v"]}
    answers = {name: re.search(r"\d+(\.\d+)+", said_by(command)) for name, command in asked.items()}
    found = {name: answer[0] for name, answer in answers.items() if answer}
    with contextlib.suppress(ImportError, OSError):
        found["pip"] = importlib.import_module("ensurepip").version()
    return {"Python": sys.version.split()[0], **found}


def said_by(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def main(_: list[str]) -> None:
    emit({"versions": tools()})
