"""Fabric reads ssh_config by itself, before any task, and ends with a traceback where OpenSSH knows more than paramiko.

What it cannot read is left out of its reading, since OpenSSH is asked when a host is connected to (`openssh`).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paramiko import ConfigParseError, SSHConfig

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
