"""How the programs that change processes say what they do, and why they fail."""

from __future__ import annotations


class Failed(Exception):
    """An instance does not serve the release.

    Args:
        code: what `fab explain` takes; empty if it is not there.
    """

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


def note(text: str) -> None:
    print(f"djdeploy: {text}", flush=True)


def show(lines: list[str]) -> None:
    for line in lines:
        print(f"  {line}", flush=True)
