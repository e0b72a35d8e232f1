"""Why a program of the server fails: a sentence, and its code in the client's catalogue of errors."""

from __future__ import annotations


class Coded(Exception):
    """What is wrong.

    Args:
        code: what `fab explain` takes; that of the class by default, which may be empty.
    """

    code = ""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code or self.code
