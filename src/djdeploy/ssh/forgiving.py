"""Fabric reads ssh_config by itself, before any task, and ends with a traceback where OpenSSH knows more than paramiko.

What it cannot read is left out of its reading, since OpenSSH is asked when a host is connected to (`openssh`).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paramiko import ConfigParseError, SSHConfig, SSHConfigDict

from .address import address
from .openssh import NO_FILE, leads_in_a_circle

if TYPE_CHECKING:
    from fabric import Config

READABLE: dict[str, Callable[[str], bool]] = {
    "forwardagent": lambda value: value in ("yes", "no"),
    "connecttimeout": str.isdigit,
    "port": str.isdigit,
}
"""Options that Fabric converts, and what it can convert."""


def forgive(config: Config) -> None:
    """Before Fabric's configuration reads any file."""
    if shutil.which("ssh"):
        config._set(base_ssh_config=Forgiving())


class Forgiving(SSHConfig):  # type: ignore[misc]
    """What paramiko understands of ssh_config."""

    def parse(self, file: Any) -> None:
        with contextlib.suppress(ConfigParseError):
            super().parse(file)
        for block in self._config:
            options = block.get("config", {})
            for name, is_readable in READABLE.items():
                if name in options and not is_readable(str(options[name])):
                    del options[name]

    def lookup(self, hostname: str) -> SSHConfigDict:
        """What it says of a host.

        Raises:
            ConnectionFailed: its jump hosts lead in a circle, in which Fabric would go on for ever.
        """
        found = self._read(hostname)
        self._follow(found, (hostname,))
        return found

    def _read(self, hostname: str) -> SSHConfigDict:
        try:
            found = super().lookup(hostname)
        except Exception:  # such as `CanonicalizeHostname` without domains
            found = SSHConfigDict(hostname=hostname)
        if found.get("proxyjump", "").lower() == NO_FILE:
            del found["proxyjump"]
        return found

    def _follow(self, found: SSHConfigDict, way: tuple[str, ...]) -> None:
        for text in filter(None, found.get("proxyjump", "").split(",")):
            jump = address(text.removeprefix("ssh://")).host
            if jump in way:
                raise leads_in_a_circle((*way, jump))
            self._follow(self._read(jump), (*way, jump))
