"""The text of files that a project may have."""

from __future__ import annotations


def text_in(path: str) -> str:
    """Empty if it is not there, or cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
