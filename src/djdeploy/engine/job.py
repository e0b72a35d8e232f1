"""One run of a task: its project, hosts and user; and a single run for all hosts where Fabric would make several."""

from __future__ import annotations

import getpass
import inspect
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fabric import Connection, Task
from fabric import main as fabric_main
from invoke.config import DataProxy

from ..errors import DeployError, SettingsError
from ..project.host import Host
from ..project.settings import Settings
from ..project.values import duplicates, nearest
from ..remote.durations import USUAL, Durations
from ..ssh.address import Address, address

if TYPE_CHECKING:  # what a task needs is imported when one is called: see `engine`
    from invoke.context import Context

    from ..script.recipes import Recipe
    from ..ssh.remote import Remote
    from ..terminal.progress import Report
    from .session import Who


@dataclass(frozen=True)
class Job:
    """One run of a task: the project, its hosts, and who runs it.

    Args:
        connections: the hosts, each with its connection.
        others: the project's hosts that are left out, by `--only` or `--except`.
        recipe: what the task does, where the fabfile has one of its own.
        durations: how long client and servers wait for each other.
    """

    settings: Settings
    connections: Mapping[Host, Connection]
    who: Who
    echo: bool
    dry: bool
    recipe: Recipe | None = None
    durations: Durations = USUAL
    others: Mapping[Host, Connection] = field(default_factory=dict)

    def report(self, json: bool = False) -> Report:
        """Shows progress: on standard error if standard output is for JSON."""
        from ..terminal.reports import make_report

        return make_report(self.settings.project, echo=self.echo, out=sys.stderr if json else sys.stdout)

    @property
    def remotes(self) -> Sequence[Remote]:
        if not self.connections:
            raise SettingsError("hosts", ["no hosts: fab -H USER@HOST TASK, or hosts=[...] in the settings"])
        return self._remotes(self.connections)

    @property
    def left_out(self) -> Sequence[Remote]:
        """The project's hosts that this task does not work on."""
        return self._remotes(self.others)

    def _remotes(self, connections: Mapping[Host, Connection]) -> Sequence[Remote]:
        from ..ssh.remote import Remote

        return [
            Remote(connection, self.settings.on(host), host.name, host.skip, self.durations)
            for host, connection in connections.items()
        ]

    def raise_if_dry(self) -> None:
        """Raises an error under `fab --dry`, for tasks that change something and have no dry run."""
        if self.dry:
            raise SettingsError("--dry", ["only deploy, rollback and cleanup have a dry run"])


class DeployTask(Task):  # type: ignore[misc]
    """A Fabric task whose body takes a `Job` instead of a context.

    Fabric runs a task with `-H a,b` once for each host, one after the other. A deploy of several hosts is one thing, so
    the first of these calls works on all of them, and the others have nothing left to do.

    Attributes:
        durations: how long client and servers wait for each other. A test that cannot wait as long sets its own.
    """

    durations: Durations = USUAL

    def __init__(
        self,
        body: Callable[..., Any],
        *,
        settings: Settings | None = None,
        recipe: Recipe | None = None,
        **options: Any,
    ) -> None:
        super().__init__(body, **options)
        self.settings, self.recipe, self.options = settings, recipe, options

    def __call__(self, c: Context, *args: Any, **kwargs: Any) -> Any:
        hosts = self._hosts_of_fab(c)
        if hosts and c != Connection(hosts[0], config=c.config):  # as Fabric made it of the same words
            return None
        settings = self.settings or settings_of(c)
        self.times_called += 1
        everywhere = connections_for(c, settings, hosts)
        connections = chosen(everywhere, kwargs.pop("only", None), kwargs.pop("except_", None))
        others = {host: connection for host, connection in everywhere.items() if host not in connections}
        echo, dry = bool(c.config.run.echo), bool(c.config.run.dry)
        job = Job(settings, connections, who_runs(), echo, dry, self.recipe, self.durations, others)
        try:
            return self.body(job, *args, **kwargs)
        except DeployError as error:
            account = next((connection.user for connection in connections.values()), "")
            known = {"HOME": settings.home, "PROJECT": settings.project, "REPOSITORY": settings.repository}
            known["TASK"] = self.name.replace("_", "-")
            error.known = known | ({"ACCOUNT": account} if account else {})
            error.in_colour = has_colours(sys.stderr)
            raise

    def _hosts_of_fab(self, c: Context) -> list[str]:
        """The whole list of `-H`, if the running `fab` calls this very task for each of its hosts."""
        program = fabric_main.program
        if not isinstance(c, Connection) or not getattr(program, "tasks", None):
            return []
        given = program.core[0].args.hosts.value
        called = (program.collection[parsed.name] for parsed in program.tasks if parsed.name in program.collection)
        return given.split(",") if given and any(task is self for task in called) else []


def has_colours(stream: Any) -> bool:
    """Whether this is a terminal with colours, whose user wants them."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown") and not os.environ.get("NO_COLOR")


def connections_for(c: Context, settings: Settings, hosts: Sequence[str]) -> Mapping[Host, Connection]:
    """The hosts of a task: those of `-H`, the one it was called with, or those of the settings."""
    if twice := duplicates(list(hosts)):
        raise SettingsError("-H", [f"{host} is named twice" for host in twice])
    if isinstance(c, Connection):
        names = hosts or [name_of(c)]
        first = connection_to(hosts[0], c.config) if hosts and "[" in hosts[0] else c
        connections = {names[0]: first, **{host: connection_to(host, c.config) for host in hosts[1:]}}
    else:
        config = c.config if hasattr(c.config, "load_ssh_config") else None
        connections = {host.name: connection_to(host.name, config) for host in settings.servers}
    for connection in connections.values():
        connection.forward_agent = connection.forward_agent or settings.forward_agent
        if "timeout" not in connection.connect_kwargs:  # `fab -t`
            connection.connect_timeout = connection.connect_timeout or settings.connect_timeout
    return {entry_for(name, connection, settings): connection for name, connection in connections.items()}


def connection_to(host: str, config: Any) -> Connection:
    """A connection to `user@host:port`. Fabric itself takes an IPv6 address with a port for a name.

    Its jump hosts are found when it is opened: Fabric's own search for them may have no end.
    """
    written, gateway = address(host), (config.gateway if config else None) or False
    return Connection(written.host, user=written.user, port=written.port, gateway=gateway, config=config)


def entry_for(name: str, connection: Connection, settings: Settings) -> Host:
    """The entry of the settings for a host, however `-H` spells it: with or without its user and port."""
    if exact := [host for host in settings.servers if host.name == name]:
        return exact[0]
    entries = {host: connection_to(host.name, connection.config) for host in settings.servers}
    same = [host for host, known in entries.items() if known == connection]
    if not same and name == connection.original_host:
        same = [host for host, known in entries.items() if known.original_host == name]
    return replace(same[0], name=name) if len(same) == 1 else Host(name)


def chosen(connections: Mapping[Host, Connection], only: str | None, excepted: str | None) -> Mapping[Host, Connection]:
    """The hosts that a task works on: those that `--only` names, without those that `--except` names."""
    wanted = connections if only is None else named(connections, only, "--only")
    left_out = {} if excepted is None else named(connections, excepted, "--except")
    found = {host: connection for host, connection in wanted.items() if host not in left_out}
    if connections and not found:
        raise SettingsError("--except", ["no host is left to work on"])
    return found


def named(connections: Mapping[Host, Connection], wanted: str, option: str) -> Mapping[Host, Connection]:
    """The hosts that are named, by a label or by name with or without its user and port; several with commas."""
    words = [word.strip() for word in wanted.split(",")]
    found = {
        word: [host for host, connection in connections.items() if means(word, host, connection)] for word in words
    }
    known = sorted({n for h, connection in connections.items() for n in (h.name, connection.original_host, *h.labels)})
    if unknown := [word for word in words if not found[word]]:
        raise SettingsError(option, [f"{word!r} is no host and no label{nearest(word, known)}" for word in unknown])
    return {
        host: connection for host, connection in connections.items() if any(host in each for each in found.values())
    }


def means(word: str, host: Host, connection: Connection) -> bool:
    """Whether a word is a label of this host, or its name; what that says of user and port must be so."""
    if word in (host.name, *host.labels):
        return True
    user, name, port = address(word)
    is_it = name == connection.original_host
    return is_it and user in (None, connection.user) and port in (None, connection.port)


def name_of(connection: Connection) -> str:
    """A connection as a user would write it."""
    port = None if connection.port == 22 else connection.port
    return str(Address(connection.user, connection.original_host, port))


def settings_of(c: Context) -> Settings:
    """The settings in the `djdeploy:` table of Invoke's configuration."""
    table = plain(c.config.get("djdeploy"))
    if not isinstance(table, Mapping):
        raise SettingsError(
            "djdeploy",
            ["no settings: write ns = collection(Settings(...)) in the fabfile, or a djdeploy: table in fabric.yaml"],
        )
    return Settings.from_mapping(table)


def plain(value: Any) -> Any:
    """A value of Invoke's configuration without its proxies."""
    return {name: plain(value[name]) for name in iter(value)} if isinstance(value, (DataProxy, dict)) else value


def who_runs() -> Who:
    """Who runs the task: the person who started the CI job, or the local account."""
    from .session import Who

    names = (os.environ.get(name) for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN"))
    person = next(filter(None, names), None) or account()
    return Who(f"{person}@{socket.gethostname()}", datetime.now(timezone.utc))


def account() -> str:
    """The local account's name, which a container may not have."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def task(**options: Any) -> Callable[[Callable[..., Any]], DeployTask]:
    """Makes a task of a function that takes a `Job`; the options are those of `invoke.task`.

    Each task has `--only` and `--except` besides its own options.
    """
    options["help"] = {
        **options.get("help", {}),
        "only": "the hosts to work on, by name or label, with commas between them",
        "except_": "the hosts to leave out, likewise",
    }

    def make(body: Callable[..., Any]) -> DeployTask:
        own = inspect.signature(body)
        more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in ("only", "except_")]
        body.__signature__ = own.replace(parameters=[*own.parameters.values(), *more])  # type: ignore[attr-defined]
        return DeployTask(body, **options)

    return make


def whole_number(value: object, option: str) -> int | None:
    """A whole number from an option; a task called from Python may give one, `fab` gives a string."""
    try:
        return None if value is None else int(str(value))
    except ValueError:
        raise SettingsError(f"--{option}", [f"must be a whole number, not {value!r}"]) from None
