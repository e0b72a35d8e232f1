"""Judges the migrations of any Django project: `python -m djdeploy.judge`, by the project's own Python.

It needs Django, and nothing else. `djdeploy judge` is the same from anywhere: it looks for that Python.
"""

from __future__ import annotations

import sys

from .remote.review.program import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
