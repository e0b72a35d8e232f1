"""What a project's own `migrate` would apply, where it has options that Django's has not: it is asked for its plan."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from django.core.management import get_commands, load_command_class
from django.core.management.commands.migrate import Command as Migrate

NOTHING_PLANNED = "No planned migration operations"
PLANNED = re.compile(r"^([A-Za-z_]\w*)\.(\S+)$", re.MULTILINE)


def planned_by_itself(options: Any) -> set[tuple[str, str]] | None:
    """The migrations that a command says it would run; None for Django's own, and for one that does not say it."""
    words = list(getattr(options, "words", []))
    if not words or words[0] != "migrate" or not has_own_options(options):
        return None
    app = get_commands()["migrate"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            command = load_command_class(app, "migrate") if isinstance(app, str) else app
            command.run_from_argv(["manage.py", *words, "--plan", "--no-color", "--skip-checks"])
    except (Exception, SystemExit) as error:
        print(f"djdeploy: `{' '.join(words)}` does not say what it would apply ({error}): all is judged")
        return None
    found = {(app, name) for app, name in PLANNED.findall(said.getvalue())}
    if not found and NOTHING_PLANNED not in said.getvalue():
        print(f"djdeploy: `{' '.join(words)} --plan` names no migration: all is judged")
        return None
    return found


def has_own_options(options: Any) -> bool:
    """Whether a `migrate` was given what Django's own does not know."""
    parser = Migrate().create_parser("manage.py", "migrate")
    known = {action.dest for action in parser._actions} | {"words"}
    app = get_commands()["migrate"]
    command = load_command_class(app, "migrate") if isinstance(app, str) else app
    if type(command) is Migrate:
        return False
    own = command.create_parser("manage.py", "migrate")
    return any(value != own.get_default(name) for name, value in vars(options).items() if name not in known)
