"""The program `django_settings`: reports what a release's own settings say (see `settings`)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec


def main(words: Sequence[str]) -> int:
    if not find_spec("django"):  # some other project that has a manage.py
        return 0
    from . import settings

    return settings.main(words)
