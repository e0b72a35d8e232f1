"""A management command that asks questions is not said to be done."""

from __future__ import annotations

import shlex

import pytest

from djdeploy.engine.interactive import Listener, asks, nobody_to_ask
from djdeploy.script.steps import Step
from djdeploy.ssh.step_run import StepRun

from .test_plan import deployment


@pytest.mark.parametrize(
    "command",
    ["createsuperuser", "createsuperuser --username=a", "shell", "shell -i python", "dbshell", "changepassword a"],
)
def test_commands_of_django_that_ask_are_known(command: str) -> None:
    assert asks(shlex.split(command))


@pytest.mark.parametrize(
    "command",
    [
        "createsuperuser --noinput --username=a",
        "shell -c 'print(1)'",
        "shell --command='print(1)'",
        "dbshell -- -c 'select 1'",
        "migrate --plan",
        "",
    ],
)
def test_those_that_have_their_answers_run(command: str) -> None:
    assert not asks(shlex.split(command))


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("Superuser creation skipped due to not running in a TTY. You can run `manage.py createsuperuser`", True),
        ("EOFError: EOF when reading a line", True),
        ("EOFErrors are counted", False),
        ("Operations to perform:", False),
    ],
)
def test_others_are_heard_asking(line: str, asked: bool) -> None:
    listener = Listener(names=False)
    listener.line("web1", StepRun(Step("manage", "manage.py x", ())), line)
    assert listener.has_asked == (["web1"] if asked else [])


def test_what_to_type_runs_it_in_a_terminal_of_the_server() -> None:
    d = deployment()
    message = nobody_to_ask(d, ["createsuperuser", "--username=o'b"]).message
    typed = shlex.split(message.partition("server: ")[2].splitlines()[0].partition(";")[0])
    assert typed[:2] == ["ssh", "-t"]
    home = str(d.layout.home)
    assert shlex.split(typed[-1]) == [
        *("cd", f"{home}/current/repository/src", "&&", f"{home}/current/virtualenv/bin/python", "manage.py"),
        *("createsuperuser", "--username=o'b"),
    ]
