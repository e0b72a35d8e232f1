"""Whose keys are accepted, and what an error says to type."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from fabric import Config, Connection

from djdeploy.errors.kinds import ConnectionFailed
from djdeploy.rehearsal.target import Rehearsal, write_key
from djdeploy.ssh.remote import Remote

SSH_CONFIG = """\
Host server jump
    HostName 127.0.0.1
    Port {server.port}
    IdentityFile {server.key_file}
    {options}
Host behind
    HostName 127.0.0.2
    ProxyJump jump
Host *
    User {server.user}
    UserKnownHostsFile {known}
"""


class Client:
    """Where we connect from: a known_hosts file and an ssh_config of its own."""

    def __init__(self, server: Rehearsal, directory: Path) -> None:
        self.server, self.directory = server, directory
        self.known = directory / "ssh/known_hosts"
        self.name = f"[127.0.0.1]:{server.port}"
        self.key = server.known_hosts.read_text().partition(" ")[2].strip()

    def knows(self, *lines: str, end: str = "\n") -> None:
        self.known.parent.mkdir(exist_ok=True)
        self.known.write_text("\n".join(lines) + end)

    def connect(self, *options: str, host: str = "server", **settings: Any) -> None:
        text = SSH_CONFIG.format(server=self.server, options="\n".join(options), known=self.known)
        (self.directory / "config").write_text(text)
        connection = Connection(
            host,
            config=Config(runtime_ssh_path=str(self.directory / "config")),
            connect_kwargs={"allow_agent": False, "look_for_keys": False},
        )
        remote = Remote(connection, self.server.settings(**settings), host)
        try:
            remote.connect()
        finally:
            remote.close()

    def refused(self, *options: str, **more: Any) -> ConnectionFailed:
        with pytest.raises(ConnectionFailed) as caught:
            self.connect(*options, **more)
        return caught.value

    def other_key(self) -> str:
        return write_key(self.directory / "other").strip()


@pytest.fixture
def client(shared_rehearsal: Rehearsal, tmp_path: Path) -> Client:
    return Client(shared_rehearsal, tmp_path)


def type_what_it_says(error: ConnectionFailed) -> None:
    command = error.remedy.partition("accept it: ")[2].rpartition("\nOr let")[0]
    subprocess.run(["/bin/sh", "-c", command], check=True)


@pytest.mark.parametrize("known", ["no directory", "empty", "another host", "no newline at its end"])
@pytest.mark.parametrize("option", ["", "HostKeyAlias our-server"])
def test_what_the_error_says_to_type_makes_the_next_connection_work(client: Client, known: str, option: str) -> None:
    if known != "no directory":
        client.knows(*([] if known == "empty" else [f"other {client.other_key()}"]), end="")
    before = client.known.read_text() if client.known.exists() else ""

    error = client.refused(option)
    type_what_it_says(error)

    assert "its host key is not known: ssh-ed25519 SHA256:" in error.what
    client.connect(option)
    assert client.known.read_text().startswith(before)
    assert client.known.read_text().splitlines()[-1].split()[1:] == client.key.split()[:2], "and no other key"


@pytest.mark.parametrize("option", ["", "HostKeyAlias our-server"])
def test_a_key_that_is_kept_is_known_from_then_on(client: Client, option: str) -> None:
    client.knows(f"other {client.other_key()}", end="")

    client.connect(option, host_keys="accept-new")

    client.connect(option)
    assert len(client.known.read_text().splitlines()) == 2


@pytest.mark.parametrize("keys", [1, 2])
def test_a_changed_key_is_refused_with_the_name_to_remove(client: Client, keys: int) -> None:
    client.knows(*[f"{client.name} {client.other_key()}" for _ in range(keys)])

    error = client.refused(host_keys="accept-new")

    assert "the host key has changed" in error.what
    assert f"ssh-keygen -R '{client.name}'" in error.remedy


def test_a_jump_host_is_checked_too(client: Client) -> None:
    error = client.refused(host="behind")
    assert "the host key of the jump host 127.0.0.1 is not known" in error.what
    assert error.error_code == "host-key-unknown"

    client.knows(f"{client.name} {client.other_key()}")
    error = client.refused(host="behind")
    assert "the host key has changed" in error.what
    assert f"ssh-keygen -R '{client.name}'" in error.remedy


def test_no_key_at_all_is_a_key_that_is_refused(client: Client) -> None:
    client.knows(f"{client.name} {client.key}")

    error = client.refused(host=f"127.0.0.1:{client.server.port}")

    assert error.error_code == "key-refused"
