"""Begins inside of Django, as the project itself begins."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, execute_from_command_line

from ..migrations.databases import Failed
from ..migrations.in_manage import StandIn, in_manage
from . import unasked, verdicts
from .branch import Branch
from .report import Report


def review(options: argparse.Namespace, branch: Branch | None, top: str) -> Report:
    """The verdicts. Args: top: the directory from which files are told, where no branch has one."""
    if branch:
        unasked.refuse_connections()
    found: list[Report] = []

    def work(_: Callable[[], object]) -> int:
        found.append(verdicts.since(options, branch) if branch else verdicts.unapplied(options, top))
        return 0

    # A command that changes nothing, should an unusual manage.py run it and not us.
    words = ["showmigrations", *([f"--settings={options.settings}"] if options.settings else [])]
    try:
        in_project(words, work)
    except (ImproperlyConfigured, CommandError) as error:
        raise Failed(str(error) or type(error).__name__) from error
    except SystemExit as end:
        raise Failed(f"manage.py has ended before Django was set up: {end}") from end
    if not found:
        raise Failed("manage.py ran no management command in Django's way, so its settings are not known")
    return found[0]


def in_project(words: list[str], work: Callable[[Callable[[], object]], int]) -> None:
    """By manage.py where there is one, else by the settings that are named, as `django-admin` has it."""
    if os.path.exists("manage.py"):
        in_manage(words, work)
    elif len(words) > 1 or os.environ.get("DJANGO_SETTINGS_MODULE"):
        sys.path[0] = os.getcwd()
        with StandIn(work).installed():
            execute_from_command_line(["django-admin", *words])
    else:
        raise Failed(f"there is no manage.py in {os.getcwd()}{elsewhere()}")


def elsewhere() -> str:
    found = sorted([*glob.glob("*/manage.py"), *glob.glob("*/*/manage.py")])
    return f": --chdir={os.path.dirname(found[0])}" if found else ", and no --settings=MODULE either"
