"""The program `migrations`: judges, applies and unapplies migrations with a release's own Django (see `commands`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from .records import is_known_by_records

QUESTIONS = ("plan", "applied", "back", "backup", "debt")


def main(words: Sequence[str]) -> int:
    if words[0] == "back" and is_known_by_records(words):
        print("djdeploy: both releases have the same migrations, as their manifests say: the database is not asked")
        return 0
    if find_spec("django"):
        from . import commands

        return commands.main(words)
    if words[0] in QUESTIONS:
        print("djdeploy: there is no Django in the virtualenv, so migrations are not judged")
        return 0
    # Some other project that has a manage.py: it is run as it is.
    own = words[words.index("--") + 1 :] if words[0] == "expand" else words
    return os.execv(sys.executable, [sys.executable, "manage.py", *own])
