"""The way to a host: the connection, and those of the jump hosts before it, each as `ssh HOST` would make it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors.kinds import ConnectionFailed, SettingsError
from ..project.settings import Settings
from .address import Address, address
from .dialing import by_program, dialled
from .hostkeys import check_host_key
from .identities import OF_AUTHENTICATION, Identities, agent_socket, answers, key_files
from .openssh import Options, login, options_for

if TYPE_CHECKING:
    import socket as sockets

    from fabric import Connection

MOST_HOPS = 8


@dataclass(eq=False)
class Hop:
    """A connection on the way.

    Args:
        options: ssh's for this host.
        before: the jump host through which it is opened.
        is_jump: whether it is one itself.

    Attributes:
        socket: over which it was opened; None if that was a jump host's channel.
    """

    connection: Connection
    options: Options
    before: Hop | None = None
    is_jump: bool = False
    socket: sockets.socket | None = None

    def open(self) -> None:
        """Raises: OSError, EOFError, SSHException, DeployError."""
        connection, given = self.connection, self.connection.connect_kwargs
        if connection.gateway or "sock" in given or connection.is_connected:
            connection.open()
            return
        timeout = given.get("timeout", connection.connect_timeout) or None
        if self.options.is_set("proxycommand"):
            self.socket = by_program(self.options, timeout)
        else:
            self.socket = dialled(connection.host, connection.port, timeout, self.options)
        given["sock"] = self.socket
        try:
            connection.open()
        except BaseException:
            connection.client.close()
            self.socket.close()
            raise
        finally:  # it serves once, and Fabric may open this connection again
            del given["sock"]

    @property
    def name(self) -> str:
        port = None if self.connection.port == 22 else self.connection.port
        return str(Address(None, self.connection.host, port))


def route(connection: Connection, settings: Settings, host: str) -> Sequence[Hop]:
    """Prepares connections that are not open yet; returns them in the order in which they are to be opened.

    Args:
        host: as the user wrote it.

    Raises:
        ConnectionFailed: ssh_config cannot be read, or leads in a circle.
        SettingsError: an agent is to be forwarded, and there is none.
    """
    written = address(host)
    if written.host != connection.original_host:  # another name for it, which says nothing of user and port
        written = Address(None, connection.original_host, None)
    return list(Router(settings).hops(connection, written))


class Router:
    """Prepares the connections of one way.

    Attributes:
        found: how many there are so far.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.found = settings, 0

    def hops(
        self, connection: Connection, written: Address, *, before: Hop | None = None, is_jump: bool = False
    ) -> Iterator[Hop]:
        """The connection, after those that it goes through.

        Args:
            before: through which it goes; where there is one, what ssh_config says of the way to it does not count.
        """
        self.found += 1
        if self.found > MOST_HOPS:
            raise ConnectionFailed(f"more than {MOST_HOPS} hosts: ssh_config leads in a circle", code="ssh-config")
        given = dict(connection.connect_kwargs)
        files = [file for file in key_files(given) if file not in connection.ssh_config.get("identityfile", [])]
        asked = with_user_and_port(connection, written)
        options = options_for(connection, asked, files)
        connection.connect_kwargs = given
        take(connection, options, asked)
        if before:
            connection.gateway = before.connection
        else:
            for before in self.gateways(connection, options):
                yield before
        self.prepare(connection, options, files, is_jump)
        yield Hop(connection, options, before, is_jump)

    def gateways(self, connection: Connection, options: Options) -> Iterator[Hop]:
        """The jump hosts before a connection, each through the one before it; or the program that connects."""
        from fabric import Connection as FabricConnection

        own = connection.gateway if not {"proxyjump", "proxycommand"} & set(connection.ssh_config) else None
        if own:  # a project's: its code, or Fabric's configuration, which may also say a command
            if not isinstance(own, str):
                yield from self.hops(own, Address(None, own.original_host, None), is_jump=True)
            return
        connection.gateway, before = False, None
        for text in options.get("proxyjump").split(",") if options.is_set("proxyjump") else ():
            where = address(text.removeprefix("ssh://"))
            jump = FabricConnection(
                where.host, user=where.user, port=where.port, config=connection.config, gateway=False
            )
            hops = list(self.hops(jump, where, before=before, is_jump=True))
            connection.gateway, before = jump, hops[-1]
            yield from hops

    def prepare(self, connection: Connection, options: Options, files: Sequence[str], is_jump: bool) -> None:
        """Which keys are offered, which are accepted, and whether an agent is forwarded."""
        given = connection.connect_kwargs
        if connection.authentication.strategy_class is None and "auth_strategy" not in given:
            ours = {name: given.pop(name) for name in OF_AUTHENTICATION if name in given}
            given["auth_strategy"] = Identities(connection.user, options, ours | {"key_filename": files})
        accept_new = self.settings.host_keys == "accept-new"
        needs_agent = self.settings.forward_agent and not is_jump
        check_host_key(connection, options, accept_new, connection.host if is_jump else "", needs_agent)
        if not is_jump:
            forward_agent(connection, options, self.settings)


def with_user_and_port(connection: Connection, written: Address) -> Address:
    """The address with what a project's own code has given to the connection; ssh_config is not asked for that."""
    read, config = connection.ssh_config, connection.config
    user = connection.user if connection.user not in (read.get("user"), config.user) else None
    port = connection.port if connection.port not in (int(read.get("port", 0)), config.port) else None
    return Address(written.user or user, written.host, written.port or port)


def take(connection: Connection, options: Options, asked: Address) -> None:
    """Host, user, port and patience, as ssh_config has them, or else Fabric's configuration."""
    config, user, port = connection.config, options.get("user"), int(options.get("port", "22"))
    connection.host = options.get("hostname", asked.host).strip("[]")
    is_fabrics = not asked.user and user == login() and config.user != local_user()
    connection.user = config.user if is_fabrics else user
    connection.port = int(config.port) if port == 22 and not asked.port else port
    patience = options.get("connecttimeout")
    if patience.isdigit() and "timeout" not in connection.connect_kwargs:
        connection.connect_timeout = int(patience)
    connection.connect_kwargs.setdefault("compress", options.get("compression") == "yes")


def local_user() -> str | None:
    """What Fabric takes for the account's name; a container's may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def forward_agent(connection: Connection, options: Options, settings: Settings) -> None:
    """Without an agent, git on the server would wait for an answer until its step's time is over."""
    wanted = connection.forward_agent or options.get("forwardagent", "no") != "no"
    connection.forward_agent = bool(wanted and answers(agent_socket(options)))
    if settings.forward_agent and not connection.forward_agent:
        raise SettingsError(
            "forward_agent", ["no SSH agent answers here, so there is none to forward"], code="no-agent"
        )
