"""Checking host keys, which Fabric alone does not: it accepts any."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionFailed
from ..project.settings import Settings

if TYPE_CHECKING:
    from fabric import Connection

OWN = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
EVERYBODYS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"


def check_host_keys(connection: Connection, settings: Settings, whose: str = "its host key") -> None:
    """Makes a connection that is not open yet check the host's key, and those of the jump hosts on the way to it.

    `known_hosts` and the ssh_config options `UserKnownHostsFile`, `GlobalKnownHostsFile`, `HostKeyAlias` and
    `StrictHostKeyChecking` are honoured, as `ssh` does. A policy that a project's own code has set on the connection
    stays.
    """
    from paramiko import AutoAddPolicy

    client, config, jump = connection.client, connection.ssh_config, jump_host(connection)
    if jump:
        check_host_keys(jump, settings, f"the host key of the jump host {jump.host}")
    if type(client._policy) is not AutoAddPolicy:
        return
    own = files_of(config.get("userknownhostsfile", OWN))
    name = known_as(connection)
    client._system_host_keys = KnownHosts(name, [*own, *files_of(config.get("globalknownhostsfile", EVERYBODYS))])
    asked = config.get("stricthostkeychecking", "").lower()
    if asked in ("no", "off"):
        return
    accept = asked == "accept-new" or (not asked and settings.host_keys == "accept-new")
    policy = KeepUnknownKey(name, own[0]) if accept else RefuseUnknownKey(name, own[0], whose)
    client.set_missing_host_key_policy(policy)


def files_of(option: str) -> Sequence[Path]:
    """The files that an option of ssh_config names. paramiko has removed the quotes around a single one already."""
    whole = Path(option).expanduser()
    return [whole] if whole.is_file() else [Path(file.strip('"')).expanduser() for file in option.split()]


def jump_host(connection: Connection) -> Connection | None:
    """The host through which we connect, if that is a connection of ours and no command."""
    return connection.gateway if connection.gateway and not isinstance(connection.gateway, str) else None


def known_as(connection: Connection) -> str:
    """The name under which known_hosts has the host."""
    host = str(connection.host) if connection.port == 22 else f"[{connection.host}]:{connection.port}"
    return str(connection.ssh_config.get("hostkeyalias", host))


def found_as(connection: Connection, host: str) -> str:
    """The same for a host that may be the connection's own or a jump host on the way to it."""
    jump = jump_host(connection)
    return found_as(jump, host) if jump and connection.host != host else known_as(connection)


class KnownHosts:
    """The keys that known_hosts files have for a host, as paramiko's client asks for them.

    paramiko's own class stops at a line that it cannot read.
    """

    def __init__(self, name: str, files: Iterable[Path]) -> None:
        from paramiko.hostkeys import HostKeyEntry, HostKeys

        self.keys: list[Any] = []
        lines = [line for file in files if file.is_file() for line in file.read_text("utf-8", "replace").splitlines()]
        for line in lines:
            with contextlib.suppress(Exception):  # whatever it is that one line has: the others count
                entry = HostKeyEntry.from_line(line.strip())
                if entry and HostKeys()._hostname_matches(name, entry):
                    self.keys.append(entry.key)

    def get(self, _: str) -> HostsKeys | None:
        return HostsKeys(self.keys) if self.keys else None


class HostsKeys:
    """The keys of one host, equal to any one of them.

    A host may have several of a type, of which paramiko's own class knows the first.
    """

    def __init__(self, keys: Sequence[Any]) -> None:
        self._keys = keys

    def keys(self) -> Sequence[str]:
        return [key.get_name() for key in self._keys]

    def values(self) -> Sequence[Any]:
        return self._keys

    def get(self, kind: str) -> Any:
        same = [key for key in self._keys if key.get_name() == kind]
        return HostsKeys(same) if len(same) > 1 else next(iter(same), None)

    def __eq__(self, key: object) -> bool:
        return key in self._keys

    __hash__ = None  # type: ignore[assignment]


class RefuseUnknownKey:
    """Says the fingerprint, and how to accept exactly this key.

    Args:
        name: under which known_hosts would have it.
        path: of that file.
        whose: the words for the key, in an error that names the host we connect to.
    """

    def __init__(self, name: str, path: Path, whose: str) -> None:
        self.name, self.path, self.whose = name, path, whose

    def missing_host_key(self, _client: Any, _hostname: str, key: Any) -> None:
        make = "" if self.path.parent.is_dir() else f"mkdir -p -m 700 {shlex.quote(str(self.path.parent))}; "
        line, path = shlex.quote(line_for(self.name, key, self.path)), shlex.quote(str(self.path))
        raise ConnectionFailed(
            f"{self.whose} is not known: {key.get_name()} {key.fingerprint}",
            code="host-key-unknown",
            remedy=f"Compare the fingerprint with the server's own, then accept it: {make}echo {line} >> {path}\n"
            'Or let djdeploy accept unknown keys, never changed ones: host_keys="accept-new" in the settings.',
        )


class KeepUnknownKey:
    """Accepts the key of a host that was never seen, and keeps it, so that a change is noticed.

    Args:
        name: under which known_hosts has it from then on.
        path: of that file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path

    def missing_host_key(self, _client: Any, _hostname: str, key: Any) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = line_for(self.name, key, self.path)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def line_for(name: str, key: Any, path: Path) -> str:
    """The line of a key in known_hosts, after a newline that the file lacks at its end."""
    before = path.read_bytes() if path.is_file() else b""
    newline = "\n" if before and not before.endswith(b"\n") else ""
    return f"{newline}{name} {key.get_name()} {key.get_base64()}"
