"""What a user types, in the words of this very run: a remedy works as it is shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

WITH_PORT = re.compile(r"(\[.*\]|[^:]*):(\d+)")


def ssh_to(host: str, program: str = "ssh") -> Sequence[str]:
    """What a user types to log in to a host, which they have written as Fabric takes it."""
    user, at, address = host.rpartition("@")
    with_port = WITH_PORT.fullmatch(address)
    name, port = with_port.groups() if with_port else (address, "")
    return [program, *(["-p", port] if port else []), f"{user}{at}{name.strip('[]')}"]


def ssh_as_root(host: str) -> Sequence[str]:
    """What a user types to be root on a host."""
    return ssh_to(f"root@{host.rpartition('@')[2]}")


def copied_to(host: str, path: str) -> str:
    """What a user types to copy a file to a path of a host."""
    user, at, address = host.rpartition("@")
    with_port = WITH_PORT.fullmatch(address)
    name, port = with_port.groups() if with_port else (address, "")
    return shlex.join(["scp", *(["-P", port] if port else []), "FILE", f"{user}{at}{name}:{path}"])


def filled(text: str, known: Mapping[str, str]) -> str:
    """A text whose words in CAPITALS are replaced as far as they are known, `HOST` by a host as ssh takes it."""

    def value(found: re.Match[str]) -> str:
        program, root, name = found.groups()
        if name not in known:
            return found[0]
        if not program:
            return known[name]
        return shlex.join(ssh_as_root(known[name]) if root else ssh_to(known[name], program))

    return re.sub(r"(?:\b(ssh|ssh-copy-id) (root@)?)?\b([A-Z]{4,})\b", value, text)
