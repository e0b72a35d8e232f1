"""What `ssh HOST` would do, asked of OpenSSH itself: `ssh -G HOST` prints the options that ssh_config has for a host.

paramiko reads ssh_config too, but knows neither `Include` nor `ProxyJump none`, and no newer option. Its reading is
what remains where no OpenSSH is installed.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fabric import main as fabric_main

from ..errors.kinds import ConnectionFailed
from .address import Address

if TYPE_CHECKING:
    from fabric import Connection

NO_FILE = "none"
DEFAULT_KEYS = "~/.ssh/id_"
DEFAULT_KNOWN_HOSTS = {
    "userknownhostsfile": ["~/.ssh/known_hosts ~/.ssh/known_hosts2"],
    "globalknownhostsfile": ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"],
}


class Options:
    """The options for one host. Names are in lower case; an option may have several values.

    Args:
        original: the host as it was written, for `%n`.
    """

    def __init__(self, values: Mapping[str, Sequence[str]], original: str) -> None:
        self.values, self.original = values, original

    def get(self, name: str, default: str = "") -> str:
        return next(iter(self.values.get(name, ())), default)

    def is_set(self, name: str) -> bool:
        return self.get(name, NO_FILE).lower() != NO_FILE

    def paths(self, name: str) -> Sequence[Path]:
        """The files that an option names, in one line or several; those that have spaces in them, too."""
        lines = [line for line in self.values.get(name, ()) if line.lower() != NO_FILE]
        return [Path(self.expanded(path.strip('"'))) for line in lines for path in re.split(r'"? (?="?[~/])', line)]

    def expanded(self, text: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
        """A value with its `~`, its tokens such as `%h` and its `${VARIABLES}` replaced.

        Args:
            more: tokens that this option has besides.

        Raises:
            ConnectionFailed: a variable is not set; ssh ends there, too.
        """
        tokens = {**self.tokens(), **more}
        text = re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), text)
        return re.sub(r"\$\{(\w+)\}", variable, str(Path(text).expanduser()) if text.startswith("~") else text)

    def tokens(self) -> Mapping[str, str]:
        here, host = socket.gethostname(), self.get("hostname", self.original)
        user, port, jump = self.get("user"), self.get("port", "22"), self.get("proxyjump")
        alias = self.get("hostkeyalias", host)
        names = {"h": host, "n": self.original, "p": port, "r": user, "k": alias, "l": here, "L": here.split(".")[0]}
        whole = hashlib.sha1(f"{here}{host}{port}{user}{jump}".encode(), usedforsecurity=False).hexdigest()
        person = {"u": login(), "i": str(os.getuid()), "d": str(Path.home())}
        return names | person | {"j": jump, "C": whole, "%": "%"}


def variable(found: re.Match[str]) -> str:
    value = os.environ.get(found[1])
    if value is None:
        raise ConnectionFailed(f"ssh_config wants the variable {found[1]}, which is not set", code="ssh-config")
    return value


def login() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def options_for(connection: Connection, written: Address, keys: Iterable[str] = ()) -> Options:
    """The options for the host of a connection.

    Args:
        written: the host as the user wrote it: what that says wins over ssh_config.
        keys: files of private keys that were given otherwise; those of ssh_config come behind.

    Raises:
        ConnectionFailed: ssh cannot read its configuration.
    """
    file = config_file(connection)
    if file is not None:
        words = [*file, *option("-l", written.user), *option("-p", written.port)]
        words += [word for key in keys for word in ("-i", key)]
        try:
            asked = subprocess.run(
                ["ssh", *words, "-G", "--", written.host], stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
        except FileNotFoundError:  # no OpenSSH here
            return as_paramiko_reads(connection, written, keys)
        if "No user exists for uid" in asked.stderr:  # a container's, in which ssh does nothing at all
            return as_paramiko_reads(connection, written, keys)
        if asked.returncode:
            said = asked.stderr.strip() or f"exit {asked.returncode}"
            raise ConnectionFailed(f"ssh cannot read its configuration: {said}", code="ssh-config")
        values: dict[str, list[str]] = {}
        for line in asked.stdout.splitlines():
            name, _, value = line.partition(" ")
            values.setdefault(name, []).append(value)
        return Options(values, written.host)
    return as_paramiko_reads(connection, written, keys)


def leads_in_a_circle(way: Sequence[str]) -> ConnectionFailed:
    return ConnectionFailed(f"ProxyJump leads in a circle: {', '.join(way)}", code="ssh-config")


def option(name: str, value: object) -> Sequence[str]:
    return [name, str(value)] if value else []


def as_paramiko_reads(connection: Connection, written: Address, keys: Iterable[str]) -> Options:
    read = connection.config.base_ssh_config.lookup(written.host)
    values = {name: [value] if isinstance(value, str) else list(value) for name, value in read.items()}
    values["identityfile"] = [*keys, *values.get("identityfile", [])]
    values["identityfile"] = values["identityfile"] or [f"{DEFAULT_KEYS}{kind}" for kind in ("rsa", "ecdsa", "ed25519")]
    given = {"user": written.user, "port": written.port and str(written.port)}
    values |= {name: [value] for name, value in given.items() if value}
    return Options({"user": [login()], **DEFAULT_KNOWN_HOSTS, **values}, written.host)


def config_file(connection: Connection) -> Sequence[str] | None:
    """The words that make ssh read the configuration that Fabric has read; None if that came from no file."""
    config = connection.config
    program = fabric_main.program
    path = vars(config).get("_runtime_ssh_path") or config.get("ssh_config_path")
    if not path and hasattr(program, "core"):  # `fab -S`: a task's configuration is a copy, which has forgotten it
        path = program.core[0].args["ssh-config"].value
    elif not path and vars(config).get("_given_explicit_object"):
        return None
    if path:
        return ["-F", str(Path(path).expanduser())]
    if not config.load_ssh_configs:
        return ["-F", NO_FILE]
    own = Path.home() / ".ssh/config"  # ssh does not ask $HOME, but Fabric does, and so do we
    return ["-F", str(own)] if own.is_file() and Path.home() != home_of_account() else []


def home_of_account() -> Path:
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path.home()
