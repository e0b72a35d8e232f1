"""paramiko's transport, where it has to do as ssh does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from paramiko import Message, SSHException, Transport
from paramiko.auth_handler import AuthHandler

from .knownhosts import CERTIFICATE
from .openssh import Options


def transport_of(preferred: Callable[[str], bool], options: Options) -> Callable[..., Transport]:
    """Makes transports.

    Args:
        preferred: whether a server should show a host key that signs by this algorithm, before others that it has.
    """
    allowed = options.get("hostkeyalgorithms").split(",") if options.is_set("hostkeyalgorithms") else None

    class Ours(AsOpenSSH):
        @property
        def preferred_keys(self) -> tuple[str, ...]:
            usual = [name for name in super().preferred_keys if allowed is None or name in allowed]
            return tuple(sorted(usual, key=lambda name: (not preferred(name), not name.endswith(CERTIFICATE))))

    return Ours


class AsOpenSSH(Transport):  # type: ignore[misc]
    """Asks to log in once, however many keys it offers then, and remembers what the server says to people meanwhile.

    Attributes:
        said: that: its banner, and why it hung up.
        may_log_in: whether the server has said that we may try.
    """

    may_log_in = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.said: list[str] = []

    def auth_publickey(self, username: str, key: Any, event: threading.Event | None = None) -> list[str]:
        answered = event or threading.Event()
        if not self.active:
            raise SSHException("No existing session")
        self.auth_handler = Login(self)
        self.auth_handler.auth_publickey(username, key, answered)
        return list(self.auth_handler.wait_for_response(answered))

    def _parse_disconnect(self, message: Message) -> None:
        message.get_int()
        self.said.append(message.get_text())
        message.rewind()
        super()._parse_disconnect(message)


class Login(AuthHandler):  # type: ignore[misc]
    """Some servers hang up on a client that asks again whether it may log in, as paramiko does before each key."""

    def _request_auth(self) -> None:
        if self.transport.may_log_in:
            accepted = Message()
            accepted.add_string("ssh-userauth")
            accepted.rewind()
            self._parse_service_accept(accepted)
        else:
            super()._request_auth()

    def _parse_service_accept(self, message: Message) -> None:
        self.transport.may_log_in = True
        super()._parse_service_accept(message)

    def _parse_userauth_banner(self, message: Message) -> None:
        self.transport.said.append(" ".join(message.get_text().split())[:500])
        message.rewind()
        super()._parse_userauth_banner(message)
