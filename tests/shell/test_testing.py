"""`djdeploy.testing`: what a project has for the tests of its own steps."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Deployment, Failure, Settings, Shell, Step, once, sh
from djdeploy.errors import SettingsError
from djdeploy.testing import deployment, plan_text, run


def write_version(d: Deployment) -> Sequence[Shell]:
    """Write the version"""
    return [sh("printf %s {name} > {file}", name=d.release, file=d.target.repository / "VERSION"), sh("echo written")]


def test_a_step_is_called_with_a_deployment_whose_values_a_test_may_choose() -> None:
    settings = Settings(project="shop", repository="r", home="/srv/my shop", branch="production")
    d = deployment(settings, current=None, failure=Failure("it failed", "", "build", "All is well."))
    assert (d.ref, d.departing, d.failure and d.failure.stage) == ("production", None, "build")
    assert deployment().departing is not None
    with pytest.raises(TypeError, match="colour"):
        deployment(colour="red")


def test_the_plan_of_a_step_is_text() -> None:
    unquoted: Any = lambda d: ["echo done"]  # noqa: E731
    assert plan_text(write_version) == (
        "printf %s 20260102-120000 > /srv/www/demo/20260102-120000/repository/VERSION\necho written"
    )
    assert plan_text(once(write_version), deployment(runs_once_steps=False)) == ""
    with pytest.raises(SettingsError, match="must return a list of sh"):
        plan_text(unquoted)


def test_a_step_is_run_in_a_directory_that_a_test_can_look_at(tmp_path: Path) -> None:
    result = run(write_version, home=tmp_path)
    assert (result.status, result.output) == (0, "written\n")
    assert (tmp_path / "20260102-120000/repository/VERSION").read_text() == "20260102-120000"


def test_the_first_command_that_fails_ends_a_step_and_unset_variables_are_errors() -> None:
    result = run(lambda d: [sh("echo one; exit 3"), sh("echo two")])
    assert (result.status, result.output) == (3, "one\n")
    assert run(lambda d: [sh('echo "$NOT_SET"')]).status != 0


def test_what_a_step_emits_is_in_its_outputs_and_what_it_is_given_can_be_read() -> None:
    def count(d: Deployment) -> Sequence[Step]:
        command = sh('{emit} lines="$(wc -l </dev/fd/$DJDEPLOY_INPUT_FD)"', emit=d.program("emit"))
        return [Step("count", "Count the lines", (command,), input="one\ntwo\n")]

    assert run(count).outputs == {"lines": "2"}


def test_a_step_sees_the_environment_of_the_project() -> None:
    settings = Settings(project="demo", repository="r", home="/srv/demo", env={"GREETING": "a 'b' $c"})
    command = sh('echo "$GREETING $EXTRA $DJDEPLOY_RELEASE"; command -v python')
    result = run(lambda d: [command], deployment(settings), env={"EXTRA": "more"})
    first, second = result.output.splitlines()
    assert first == "a 'b' $c more 20260102-120000"
    assert second.endswith("/20260102-120000/virtualenv/bin/python")


def test_a_step_that_takes_too_long_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run(lambda d: [Step("wait", "Wait", (sh("exec sleep 1000"),), timeout=0.5)])
