"""Checking host keys, which Fabric alone does not: it accepts any."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConnectionFailed
from .settings import Settings

if TYPE_CHECKING:
    from fabric import Connection


def check_host_keys(connection: Connection, settings: Settings) -> None:
    """Makes a connection that is not open yet check the host's key.

    `known_hosts` and the ssh_config options `UserKnownHostsFile` and `StrictHostKeyChecking` are honoured, as `ssh`
    does. A policy that a project's own code has set on the connection stays.
    """
    from paramiko import AutoAddPolicy

    client, config = connection.client, connection.ssh_config
    if type(client._policy) is not AutoAddPolicy:
        return
    files = shlex.split(config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"))
    own = [Path(file).expanduser() for file in files]
    for path in (Path("/etc/ssh/ssh_known_hosts"), *own):
        if path.is_file():
            client.load_system_host_keys(str(path))
    asked = config.get("stricthostkeychecking", "").lower()
    if asked in ("no", "off"):
        return
    accept = asked == "accept-new" or (not asked and settings.host_keys == "accept-new")
    client.set_missing_host_key_policy(KeepUnknownKey(own[0]) if accept and own else RefuseUnknownKey())


class RefuseUnknownKey:
    """Says the fingerprint, and how to accept it."""

    def missing_host_key(self, _client: Any, hostname: str, key: Any) -> None:
        name, _, port = hostname.strip("[").partition("]:")
        scan = f"ssh-keyscan {f'-p {port} ' if port else ''}{shlex.quote(name)} >> ~/.ssh/known_hosts"
        raise ConnectionFailed(
            f"its host key is not known: {key.get_name()} {key.fingerprint}",
            remedy=f"Compare the fingerprint with the server's own, then accept it: {scan}\n"
            'Or let djdeploy accept unknown keys, never changed ones: host_keys="accept-new" in the settings.',
        )


class KeepUnknownKey:
    """Accepts the key of a host that was never seen, and keeps it, so that a change is noticed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def missing_host_key(self, _client: Any, hostname: str, key: Any) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.open("a", encoding="ascii") as file:
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def known_as(connection: Connection) -> str:
    """The name under which known_hosts has the host."""
    return str(connection.host) if connection.port == 22 else f"[{connection.host}]:{connection.port}"
