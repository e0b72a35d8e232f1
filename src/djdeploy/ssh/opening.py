"""How a task opens a host: what it looks at, and what it takes and makes there if it changes something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..remote import wire


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a task wants to know of a server, besides what every task does.

    Args:
        tools: names of programs.
        shared: paths below `shared`.
        sizes: whether the sizes of releases are wanted.
        lock: whether it is wanted who holds the lock.
        in_use: whether the releases that processes run are wanted.
    """

    tools: Sequence[str] = ()
    shared: Sequence[str] = ()
    sizes: bool = False
    lock: bool = False
    in_use: bool = False

    def as_message(self) -> wire.Look:
        return {
            "tools": list(self.tools),
            "shared": list(self.shared),
            "sizes": self.sizes,
            "lock": self.lock,
            "in_use": self.in_use,
        }


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who takes the locks, and for which run of which task.

    Args:
        at: when the task began, in ISO 8601.
        run: names this run of the task on all of its hosts.
    """

    task: str
    by: str
    at: str
    run: str

    def on(self, host: str) -> wire.Claim:
        return {"task": self.task, "by": self.by, "at": self.at, "run": self.run, "host": host}


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a task opens its hosts.

    Args:
        claim: takes the lock; without it the task only looks.
        create: directories to make below `home`; None makes nothing.
        look: what it wants to know.
    """

    claim: Claim | None = None
    create: Sequence[str] | None = None
    look: Look = field(default_factory=Look)
