"""The many ways in which SSH fails, each as one error that names what failed, what it said, and what to do."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ..errors.kinds import ConnectionFailed
from .dialing import ProgramSocket
from .transport import NothingInCommon

if TYPE_CHECKING:
    from .route import Hop


def failed(error: Exception, host: str, hop: Hop | None) -> ConnectionFailed:
    """The error for what was raised.

    Args:
        host: the host as the user wrote it.
        hop: the connection that was being opened; None once all are.
    """
    from paramiko.ssh_exception import AuthenticationException, ChannelException

    is_jump = hop is not None and hop.is_jump
    where = f"the jump host {hop.name}" if hop and is_jump else "the server"
    if hop and isinstance(error, AuthenticationException):
        port = f"-p {hop.connection.port} " if hop.connection.port != 22 else ""
        lists = "" if getattr(error, "tried", True) else "List your keys: ssh-add -l\n"
        remedy = f"{lists}Try: ssh {port}{hop.connection.user}@{hop.connection.host}"
        code = "login-refused" if getattr(error, "hung_up", False) else "key-refused"
        return ConnectionFailed(f"{where} {error}", code=code, host=host, remedy=remedy)
    if isinstance(error, NothingInCommon):
        return ConnectionFailed(f"{where} and this client {error}", code="ssh-algorithms", host=host)
    if hop and isinstance(error, socket.gaierror):
        what = (
            f"the name {hop.connection.host} {'of a jump host ' if is_jump else ''}cannot be resolved: {error.strerror}"
        )
        return ConnectionFailed(what, code="host-unresolved", host=host)
    if isinstance(error, TimeoutError):
        what = f"no answer from {where if is_jump else 'the host'} in time"
        return ConnectionFailed(what, code="host-unreachable", host=host)
    if hop and hop.before and isinstance(error, ChannelException):
        what = f"the jump host {hop.before.name} cannot connect to {hop.name}: {error.text}"
        return ConnectionFailed(what, code="host-unreachable", host=host)
    why = getattr(error, "strerror", None) or error or type(error).__name__
    why = "no SSH server answers" if str(why).startswith("Error reading SSH protocol banner") else why
    to = f" to {where}" if is_jump else ""
    what = f"the connection{to} failed: {'; '.join(filter(None, [str(why), words_of_program(hop)]))}"
    return ConnectionFailed(what, code="host-unreachable", host=host)


def words_of_program(hop: Hop | None) -> str:
    """What the program of `ProxyCommand` said, if there is one."""
    if hop is None or not isinstance(hop.socket, ProgramSocket):
        return ""
    words = hop.socket.words
    return f"ProxyCommand says: {words}" if words else "its ProxyCommand ended"
