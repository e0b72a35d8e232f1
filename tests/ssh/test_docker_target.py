"""The Docker target is what a real server is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from djdeploy.rehearsal.waiting import wait_until
from tests.docker_target import LABEL, DockerTarget, owner, remove_containers

Targets = Callable[..., DockerTarget]


@pytest.fixture(scope="module")
def target(docker_engine: Any, keys: Path) -> Iterator[DockerTarget]:
    """One for all tests that leave it as it was."""
    made = DockerTarget(docker_engine, keys)
    yield made
    made.remove()


def test_the_account_logs_in_with_its_key_and_has_no_privileges(target: DockerTarget) -> None:
    assert target.ssh("id", "-un").stdout == "demo\n"
    assert target.ssh("sh", "-c", "command -v sudo").returncode != 0
    assert target.ssh("cat", "/etc/shadow").returncode != 0
    assert target.ssh("sh", "-c", "supervisorctl status").returncode != 0, "the control socket is root's"


def test_a_foreign_key_is_refused(target: DockerTarget, keys: Any) -> None:
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


def test_a_password_is_refused_even_if_it_is_right(target: DockerTarget) -> None:
    assert target.root("sh", "-c", "echo demo:secret | chpasswd")[0] == 0
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(target.known_hosts))
        with pytest.raises(paramiko.BadAuthenticationType) as refused:
            client.connect(
                "127.0.0.1", target.port, "demo", "secret", allow_agent=False, look_for_keys=False, timeout=30
            )
    assert refused.value.allowed_types == ["publickey"]


def test_a_connection_checks_the_host_key(target: DockerTarget) -> None:
    with target.connection() as connection:
        assert connection.run("id -un", hide=True, in_stream=False).stdout == "demo\n"
    known = target.known_hosts.read_text()
    target.known_hosts.write_text("")
    with pytest.raises(paramiko.SSHException, match="not found in known_hosts"), target.connection() as connection:
        connection.open()
    target.known_hosts.write_text(known)


def test_supervisor_starts_a_killed_program_again(target: DockerTarget) -> None:
    target.supervisor("[program:sleeper]\ncommand=/bin/sleep 1000\nuser=demo\nautorestart=true\nstartsecs=0\n")

    def pid() -> str:
        return target.root("pgrep", "-u", "demo", "-x", "sleep")[1].strip()

    first = wait_until("the program", pid)
    target.ssh("kill", first)
    assert wait_until("its successor", lambda: pid() not in ("", first))


def test_pip_installs_from_the_index_into_a_virtualenv(target: DockerTarget) -> None:
    made = target.ssh(
        "sh", "-ec", "python3 -m venv /tmp/v\n/tmp/v/bin/pip install -q six==1.16.0\n/tmp/v/bin/python -c 'import six'"
    )
    assert made.returncode == 0, made.stderr


def test_uv_installs_from_the_index_and_can_be_hidden(target: DockerTarget) -> None:
    install = "uv venv -q /tmp/by-uv && uv pip install -q --python /tmp/by-uv/bin/python six==1.16.0"
    made = target.ssh("sh", "-ec", install)
    assert made.returncode == 0, made.stderr
    target.root("mv", "/usr/local/bin/uv", "/root/")
    assert target.ssh("sh", "-c", "command -v uv").returncode != 0
    target.root("mv", "/root/uv", "/usr/local/bin/")


def test_a_target_may_have_a_small_disk(docker_target: Targets) -> None:
    target = docker_target(disk="4m")
    assert target.ssh("sh", "-c", "echo small > /srv/www/fits").returncode == 0
    full = target.ssh("sh", "-c", "head -c 5000000 /dev/zero > /srv/www/too-large")
    assert "No space left on device" in full.stderr


def test_two_targets_have_ports_of_their_own_and_are_removed(docker_engine: Any, docker_target: Targets) -> None:
    one, two = docker_target(), docker_target()
    assert one.port != two.port
    one.remove()
    mine = docker_engine.containers.list(all=True, ignore_removed=True, filters={"label": f"{LABEL}={owner()}"})
    names = {container.id for container in mine}
    assert two.container.id in names
    assert one.container.id not in names


KILLED = """
import sys, time
from pathlib import Path
from tests.docker_target import DockerTarget, engine
print(DockerTarget(engine(), Path(sys.argv[1])).container.id, flush=True)
time.sleep(100)
"""


def test_the_containers_of_a_killed_run_are_removed_by_the_next_and_those_of_a_living_one_stay(
    docker_engine: Any, keys: Path
) -> None:
    def there() -> bool:
        labelled = docker_engine.api.containers(all=True, filters={"label": LABEL})
        return any(found["Id"] == name for found in labelled)

    with subprocess.Popen([sys.executable, "-c", KILLED, str(keys)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        name = run.stdout.readline().strip()
        remove_containers(docker_engine, mine=False)
        assert there()
        run.kill()
    remove_containers(docker_engine, mine=False)
    assert not there()
