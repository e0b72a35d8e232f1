"""Works inside `manage.py`, which alone knows how its settings are found."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.management import ManagementUtility

from .databases import Failed


class StandIn:
    """Takes the place of a management command; remembers how it ended."""

    def __init__(self, work: Callable[[Callable[[], object]], int]) -> None:
        self.work = work
        self.status: int | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        fetch = ManagementUtility.fetch_command

        def fetch_command(utility: Any, name: str) -> StandIn:
            self.real = lambda: fetch(utility, name).run_from_argv(utility.argv)
            return self

        ManagementUtility.fetch_command = fetch_command
        try:
            yield
        finally:
            ManagementUtility.fetch_command = fetch

    def run_from_argv(self, _: Sequence[str]) -> None:
        _ = settings.INSTALLED_APPS  # raises what Django has kept for the command
        self.status = self.work(self.real)


def in_manage(words: Sequence[str], work: Callable[[Callable[[], object]], int]) -> int | None:
    """Does the work where `manage.py WORDS` would do its command's, whatever it does before to find its settings.

    None if manage.py came to its end without it.

    Args:
        work: gets a function that runs the real command, and returns an exit status.
    """
    manage = os.path.realpath("manage.py")
    if not os.path.exists(manage):
        raise Failed(f"there is no {manage} (settings: source_dir)", code="no-manage")
    sys.path[0] = os.path.dirname(manage)  # as `python manage.py` has it
    sys.argv = ["manage.py", *words]
    stand_in = StandIn(work)
    with stand_in.installed():
        try:
            runpy.run_path(manage, run_name="__main__")
        except SystemExit:
            if stand_in.status is None:
                raise
    return stand_in.status
