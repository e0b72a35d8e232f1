"""What runs on a server: a process, how its health is checked, and the requests that a task sends to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from ..remote.launch import OTHER, ServerCommand
from .compound import Either, MappingOf, One, OrNone
from .kinds import Amount, Choice, Count, Seconds, Share
from .strings import AnyText, Bind, Command, HeaderName, HeaderValue, Name, PidFile, RequestPath
from .values import Checked, declared, duplicates, setting

if TYPE_CHECKING:
    from ..remote import wire

SOCKETS = {
    "uvicorn": "uvicorn --fd 3",
    "hypercorn": "hypercorn --bind fd://3",
    "daphne": "daphne --fd 3",
    "uwsgi": "uwsgi --http-socket fd://3",
    "granian": "",
    "waitress": "",
    "waitress-serve": "",
}
"""How servers are told to take a socket as descriptor 3; empty for those that cannot."""


@dataclass(frozen=True)
class Health(Checked):
    """The request that a healthy process answers. `fab explain Health` says what each field is for.

    Raises:
        SettingsError: names all problems.
    """

    path: str = field(metadata=declared(RequestPath(), "path and query of the request"))
    headers: Mapping[str, str] = setting(
        {}, MappingOf(HeaderName(), HeaderValue()), "headers of the request, such as `Host` or `X-Forwarded-Proto`"
    )
    status: int | None = setting(
        None, OrNone(Count(minimum=100, maximum=599)), "the one status that is healthy; None: any 2xx or 3xx"
    )
    contains: str | None = setting(None, OrNone(AnyText()), "text that the body of the answer must contain")
    timeout: float = setting(5, Seconds(), "seconds that an answer may take")


@dataclass(frozen=True)
class Probe(Checked):
    """The requests that djdeploy sends while a task may hurt the site. `fab explain Probe` explains each field.

    Raises:
        SettingsError: names all problems.
    """

    rate: float = setting(
        10, Amount("requests a second", maximum=1000), "requests a second to each process that has a `bind`"
    )
    path: str | None = setting(
        None, OrNone(RequestPath()), "path and query of the requests; None: those of the process's health check"
    )
    max_failures: int | None = setting(
        None,
        OrNone(Count()),
        "how many requests may fail before the old release is brought back; None: it never is for that",
    )
    max_share: float = setting(
        0.1,
        Share(),
        "what part of the requests may fail, in the worst ten seconds; beyond it the task ends with exit code 6",
    )


@dataclass(frozen=True)
class Process(Checked):
    """What the process manager keeps running. `fab explain Process` explains each field.

    Raises:
        SettingsError: names all problems.
    """

    name: str = field(metadata=declared(Name(), "short name, unique in the project: `web`, `worker`"))
    command: str = field(
        metadata=declared(Command(), "what to run, in the folder of `manage.py`, with the virtualenv first on `PATH`")
    )
    bind: str | None = setting(
        None, OrNone(Bind()), "the address it listens on; None: a worker without a socket, such as Celery"
    )
    instances: int = setting(1, Count(minimum=1), "how many run side by side; two or more let a deploy lose no request")
    pid_file: str = setting(
        "run/{name}-{instance}.pid",
        PidFile(),
        "relative to `home`; below `current/` it is inside the release, as in the original script. "
        "Instances count from 0",
    )
    health: Health | str | None = setting(
        None,
        OrNone(Either(RequestPath(), One(Health))),
        "what each instance must answer before the next one is restarted: a path, or a `Health`",
    )
    timeout: float = setting(60, Seconds(), "seconds in which an instance must become ready")
    stop_timeout: float | None = setting(
        None,
        OrNone(Seconds()),
        "seconds that an ending process may take before it is killed; None: what Gunicorn's own configuration says, "
        "30 for other servers, and 300 without `bind`",
    )
    server: Literal["auto", "gunicorn", "descriptor", "other"] = setting(
        "auto",
        Choice("auto", "gunicorn", "descriptor", "other"),
        "the server that `command` becomes: `gunicorn`; one that is told to listen on `descriptor` 3; or an `other`, "
        "which binds its address itself. `auto` finds it in the command, also behind `env`, `nice` and the like, but "
        "not in a script that the command runs",
    )

    def __post_init__(self) -> None:
        if isinstance(self.health, str):
            object.__setattr__(self, "health", Health(self.health))

    @property
    def kind(self) -> str:
        """The server that the command becomes, as the release records it."""
        return ServerCommand.parse(self.command).kind if self.server == "auto" else self.server

    @property
    def recorded(self) -> wire.Process:
        """As `runtime.json` has it."""
        return cast("wire.Process", asdict(self) | {"server": self.kind})

    def problems(self) -> Iterator[str]:
        names = (self.pid_file.format(name=self.name, instance=instance) for instance in range(2))
        if self.instances > 1 and len(set(names)) < 2:
            yield f"`pid_file` must contain {{instance}}, since there are {self.instances} instances"
        if self.bind and self.instances > 1 and self.kind == OTHER:
            yield from self._takes_no_socket()

    def _takes_no_socket(self) -> Iterator[str]:
        """What a server that is known must be told, so that it does not bind the address that Supervisor holds."""
        command = ServerCommand.parse(self.command).server
        server = next((name for name in SOCKETS if command.place_of(name) is not None), None)
        if server and SOCKETS[server]:
            yield (
                f"`command` must tell {server} to take the socket that Supervisor holds for {self.instances} "
                f"instances: {SOCKETS[server]}"
            )
        elif server:
            yield (
                f"`instances` must be 1: {server} cannot take the socket that Supervisor holds for several. "
                "Gunicorn takes it by itself, and uvicorn by --fd 3"
            )


def clashes(processes: Sequence[Process]) -> Iterator[str]:
    """What no two processes of a host may have in common."""
    yield from (f"`processes` has two named {name!r}" for name in duplicates([p.name for p in processes]))
    binds = [p.bind for p in processes if p.bind]
    yield from (f"`processes` has two that bind {bind!r}" for bind in duplicates(binds))
