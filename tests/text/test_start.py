"""What `fab` imports before it knows which task to run: whoever types `fab --list` or `fab --help` waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FABFILE = """\
from djdeploy import Process, Settings, collection

ns = collection(
    Settings(
        project="demo",
        repository="git@example.com:demo.git",
        home="/srv/www/demo",
        hosts=["demo@web1.example.com"],
        processes=[Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", instances=2, health="/health/")],
    )
)
"""

LIST = "import sys; from fabric.main import program; program.run(sys.argv, exit=False); print(*sys.modules)"

NEEDED = {
    "djdeploy",
    "djdeploy.tasks",
    *(f"djdeploy.engine.{name}" for name in ("job", "mistakes")),
    *(f"djdeploy.errors.{name}" for name in ("debug_log", "kinds", "typed", "urls")),
    *(f"djdeploy.remote.{name}" for name in ("durations", "launch", "links")),
    "djdeploy.server.protocols",
    *(f"djdeploy.ssh.{name}" for name in ("address", "forgiving", "openssh")),
    "djdeploy.terminal.width",
}
"""What no task can do without, beside the settings. What is added here costs every start of `fab` a millisecond."""

ROOMS = {f"djdeploy.{name}" for name in ("engine", "errors", "remote", "server", "ssh", "terminal")}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    directory = tmp_path_factory.mktemp("start")
    Path(directory, "fabfile.py").write_text(FABFILE)
    words = [sys.executable, "-c", LIST, "--list"]
    listed = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=True).stdout
    assert "deploy" in listed
    return set(listed.splitlines()[-1].split())


def test_the_list_of_tasks_needs_only_the_settings_and_what_reads_the_command_line(imported: set[str]) -> None:
    ours = {name for name in imported if name.split(".")[0] == "djdeploy"}
    assert {name for name in ours if not name.startswith("djdeploy.project")} - ROOMS == NEEDED


def test_nothing_that_draws_is_imported_before_something_is_shown(imported: set[str]) -> None:
    assert imported.isdisjoint({"rich", "html", "django"})
