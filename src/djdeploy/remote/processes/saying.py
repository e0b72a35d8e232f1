"""How the programs that change processes say what they do, and why they fail."""

from __future__ import annotations

from ..failing import Coded


class Failed(Coded):
    """An instance does not serve the release."""


def note(text: str) -> None:
    print(f"djdeploy: {text}", flush=True)


def show(lines: list[str]) -> None:
    for line in lines:
        print(f"  {line}", flush=True)
