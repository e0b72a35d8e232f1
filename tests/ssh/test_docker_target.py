"""The Docker target is what a real server is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from tests.docker_target import LABEL, DockerTarget, owner, wait_until

Targets = Callable[..., DockerTarget]


def test_the_account_logs_in_with_its_key_and_has_no_privileges(docker_target: Targets) -> None:
    target = docker_target()
    assert target.ssh("id", "-un").stdout == "demo\n"
    assert target.ssh("sh", "-c", "command -v sudo").returncode != 0
    assert target.ssh("cat", "/etc/shadow").returncode != 0
    assert target.ssh("sh", "-c", "supervisorctl status").returncode != 0, "the control socket is root's"


def test_a_foreign_key_is_refused(docker_target: Targets, keys: Any) -> None:
    target = docker_target()
    command = [
        "ssh",
        "-p",
        str(target.port),
        *target.ssh_options[1:],
        "-i",
        str(keys / "other"),
        "demo@127.0.0.1",
        "true",
    ]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr


def test_supervisor_starts_a_killed_program_again(docker_target: Targets) -> None:
    target = docker_target()
    target.supervisor("[program:sleeper]\ncommand=/bin/sleep 1000\nuser=demo\nautorestart=true\nstartsecs=0\n")

    def pid() -> str:
        return target.root("pgrep", "-u", "demo", "-x", "sleep")[1].strip()

    first = wait_until("the program", pid)
    target.ssh("kill", first)
    assert wait_until("its successor", lambda: pid() not in ("", first))


def test_pip_installs_from_the_index_into_a_virtualenv(docker_target: Targets) -> None:
    target = docker_target()
    made = target.ssh(
        "sh", "-ec", "python3 -m venv /tmp/v\n/tmp/v/bin/pip install -q six==1.16.0\n/tmp/v/bin/python -c 'import six'"
    )
    assert made.returncode == 0, made.stderr


def test_two_targets_have_ports_of_their_own_and_are_removed(docker_engine: Any, docker_target: Targets) -> None:
    one, two = docker_target(), docker_target()
    assert one.port != two.port
    one.remove()
    mine = docker_engine.containers.list(all=True, filters={"label": f"{LABEL}={owner()}"})
    assert [container.id for container in mine] == [two.container.id]
