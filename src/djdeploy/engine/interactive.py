"""Management commands that ask questions. A step has no terminal: they would skip what they do, or fail."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ..errors import DeployError
from ..errors.typed import ssh_to
from ..script.deployment import Deployment
from ..ssh.step_run import StepRun
from ..terminal.tables import Printer

ANSWERED_BY: dict[str, Sequence[str]] = {
    "changepassword": (),
    "createsuperuser": ("--noinput", "--no-input"),
    "dbshell": ("--",),
    "shell": ("-c", "--command"),
    "shell_plus": ("-c", "--command"),
}
"""Django's commands that ask in any case, each with the options with which it does not."""

HAS_ASKED = re.compile(r"EOFError: |.*\bnot running in a TTY\b")
"""What a command prints that found nobody to ask."""


class Listener(Printer):
    """Prints what a command prints, and hears whether it has asked.

    Attributes:
        has_asked: the hosts on which it has.
    """

    def __init__(self, names: bool) -> None:
        super().__init__(names)
        self.has_asked: list[str] = []

    def line(self, host: str, run: StepRun, line: str) -> None:
        super().line(host, run, line)
        if HAS_ASKED.match(line):
            self.has_asked.append(host)


def asks(words: Sequence[str]) -> bool:
    """Whether it is known of a command that it asks."""
    if not words or words[0] not in ANSWERED_BY:
        return False
    given = [word.partition("=")[0] for word in words[1:]]
    return not any(answer in given for answer in ANSWERED_BY[words[0]])


def nobody_to_ask(d: Deployment, words: Sequence[str]) -> DeployError:
    """The error for a command that asks, with what runs it in a terminal."""
    live = d.layout.home / "current"
    directory = live / "repository" / d.settings.source_dir
    python = shlex.quote(str(live / "virtualenv/bin/python"))
    command = f"cd {shlex.quote(str(directory))} && {python} manage.py {shlex.join(words)}"
    ssh = [*ssh_to(d.host)]
    typed = shlex.join([ssh[0], "-t", *ssh[1:], command])
    variables = "; it may need the variables of `env` in the settings" if d.settings.env else ""
    return DeployError(
        f"manage.py {words[0]} asks questions, and nobody can answer here: it was not done",
        code="asks-questions",
        host=d.host,
        remedy=f"In a terminal of the server: {typed}{variables}",
    )
