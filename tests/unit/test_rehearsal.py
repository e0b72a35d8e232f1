"""`python -m djdeploy.rehearsal` says what to install before anything fails; ports are given to one process each."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import pytest

from djdeploy.rehearsal import __main__ as rehearsal
from djdeploy.rehearsal import ports


@pytest.mark.parametrize("name", rehearsal.MODULES)
def test_what_the_extra_would_have_brought_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda each: None if each == name else find_spec(each))
    assert rehearsal.main([]) == 2
    assert capsys.readouterr().err == f"A rehearsal needs {name}: pip install 'djdeploy[rehearsal]'\n"


def test_git_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert rehearsal.missing() == "A rehearsal needs git. On Debian, as root: apt-get install -y git"


def test_where_all_is_there_nothing_is_missing() -> None:
    assert rehearsal.missing() == ""


def test_a_port_that_one_process_was_given_is_given_to_no_other() -> None:
    port = ports.free_port()
    assert ports.is_free(port), "nobody listens on it yet"
    program = f"import sys; from djdeploy.rehearsal import ports; sys.exit(ports.reserve({port}))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0, "it was not given"


def test_a_reservation_ends_with_its_process() -> None:
    program = "from djdeploy.rehearsal import ports; print(ports.free_port())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ports.reserve(int(done.stdout))
