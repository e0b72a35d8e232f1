"""What a user types, in the words of this very run: a remedy works as it is shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WITH_PORT = r"(\[.*\]|[^:]*):(\d+)"


@dataclass(frozen=True)
class Call:
    """How `fab` was called: what a command that is shown must have as well, or it does something else.

    Args:
        options: those of `fab` itself, which stand before the tasks, such as `-H` and its hosts.
        stage: what stands before the name of each task, such as `staging.`.
        tasks: the names of the tasks behind it.
    """

    options: Sequence[str] = ()
    stage: str = ""
    tasks: frozenset[str] = frozenset()

    def adapt(self, text: str) -> str:
        """The text, with each command of these tasks as it must be typed."""

        def whole(found: re.Match[str]) -> str:
            if found[1] not in self.tasks:
                return found[0]
            return f"{shlex.join(['fab', *self.options])} {self.stage}{found[1]}"

        return re.sub(r"\bfab ([a-z]+(?:-[a-z]+)*)(?![-\w]|\.\w)", whole, text)


class ThisCall:
    """The call of this process. One that is not `fab` has none, and adapts nothing."""

    made = Call()


def as_typed(text: str) -> str:
    """The text, whose commands work in this very fabfile, with its stages and hosts."""
    return ThisCall.made.adapt(text)


def ssh_to(host: str, program: str = "ssh") -> Sequence[str]:
    """What a user types to log in to a host, which they have written as Fabric takes it."""
    user, at, address = host.rpartition("@")
    with_port = re.fullmatch(WITH_PORT, address)
    name, port = with_port.groups() if with_port else (address, "")
    return [program, *(["-p", port] if port else []), f"{user}{at}{name.strip('[]')}"]


def ssh_as_root(host: str) -> Sequence[str]:
    """What a user types to be root on a host."""
    return ssh_to(f"root@{host.rpartition('@')[2]}")


def copied_to(host: str, path: str) -> str:
    """What a user types to copy a file to a path of a host."""
    user, at, address = host.rpartition("@")
    with_port = re.fullmatch(WITH_PORT, address)
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
