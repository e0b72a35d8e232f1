"""A server, where it differs from the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .compound import ListOf, MappingOf, One, OrNone
from .process import Process, clashes
from .strings import HostName, Text, Variable, VariableValue
from .values import Checked, declared, setting


@dataclass(frozen=True)
class Host(Checked):
    """A server, where it differs from the others. `fab explain Host` explains each field.

    Raises:
        SettingsError: names all problems.
    """

    name: str = field(metadata=declared(HostName(), "`user@host:port` as in `hosts`, or a name of your ssh_config"))
    processes: Sequence[Process] | None = setting(
        None, OrNone(ListOf(One(Process))), "what runs there; None: the processes of the settings"
    )
    env: Mapping[str, str] = setting(
        {}, MappingOf(Variable(), VariableValue()), "variables that are added to `env` of the settings"
    )
    skip: Sequence[str] = setting(
        [], ListOf(Text()), "steps, or management commands, that a deploy leaves out there: their names"
    )
    labels: Sequence[str] = setting([], ListOf(Text()), "names for `--only`, which several hosts may share")

    def __hash__(self) -> int:
        return hash(self.name)

    def problems(self) -> Iterator[str]:
        return clashes(self.processes or ())
