"""What `make demo` and `python -m djdeploy.rehearsal` do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from djdeploy.rehearsal import guard
from djdeploy.rehearsal.waiting import wait_until


@pytest.mark.slow  # what it does is in test_embedded_target.py and test_deploys.py too
def test_the_demonstration_loses_no_request_and_leaves_nothing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KEEP"}
    command = [sys.executable, "-m", "djdeploy.rehearsal"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 failed;") == 2
    assert "No request was lost." in done.stdout
    found = re.search(r"now run\s+in\s+(\S+),", done.stdout)
    assert found
    assert not Path(found[1]).exists()
    assert guard.processes_of(Path(found[1])) == []


def test_an_interrupted_demonstration_leaves_nothing() -> None:
    command = [sys.executable, "-u", "-m", "djdeploy.rehearsal"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as demo:
        assert demo.stdout
        printed = ""
        while "$ fab deploy" not in printed:
            printed += demo.stdout.readline()
        found = re.search(r"now run\s+in\s+(\S+),", printed)
        demo.terminate()

    assert found
    root = Path(found[1])
    wait_until("the end of all", lambda: not root.exists() and not guard.processes_of(root))
