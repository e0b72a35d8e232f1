"""Locales that do not speak UTF-8, made for a test where the machine has none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

LOCALES = ("C", "de_DE.ISO-8859-1")


def in_locale(name: str, directory: Path) -> dict[str, str]:
    """The variables with which a program runs in this locale."""
    if name == "C":
        return {"LC_ALL": "C"}
    language, _, charset = name.partition(".")
    try:
        made = subprocess.run(["localedef", "-i", language, "-f", charset, str(directory / name)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("no localedef here")
    if not (directory / name).is_dir():
        pytest.skip(f"this locale cannot be made here: {made.stderr.decode()}")
    return {"LC_ALL": name, "LOCPATH": str(directory)}
