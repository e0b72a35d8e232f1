"""Where the contents of a secret file come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .compound import OrNone
from .strings import LocalVariable, SecretText
from .values import Checked, setting


@dataclass(frozen=True)
class Secret(Checked):
    """Where a secret file's contents come from, on the machine of whoever deploys: one of these.

    Raises:
        SettingsError: it is none of them, or several.
    """

    file: str | None = setting(
        None,
        OrNone(SecretText()),
        "a path; a relative one begins where `fab` is started, and `~` is your home directory",
    )
    env: str | None = setting(None, OrNone(LocalVariable()), "the name of an environment variable")
    command: str | None = setting(
        None,
        OrNone(SecretText()),
        "a shell command that prints them, such as `pass show demo/env` or `sops -d production.env`",
    )

    def problems(self) -> Iterator[str]:
        if sum(value is not None for value in (self.file, self.env, self.command)) != 1:
            yield "exactly one of `file`, `env` and `command` must be given"
