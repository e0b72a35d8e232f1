"""paramiko's transport, where it has to do as ssh does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from paramiko import Message, SSHException, Transport
from paramiko.auth_handler import AuthHandler
from paramiko.ssh_exception import IncompatiblePeer

from .algorithms import CIPHERS, HOST_KEYS, KEY_EXCHANGE, MACS, USER_KEYS, allowed
from .knownhosts import CERTIFICATE
from .openssh import Options


def transport_of(preferred: Callable[[str], bool], options: Options) -> Callable[..., Transport]:
    """Makes transports.

    Args:
        preferred: whether a server should show a host key that signs by this algorithm, before others that it has.

    Raises:
        ConnectionFailed: ssh_config allows nothing that paramiko can do.
    """
    host_keys = sorted(allowed(options, HOST_KEYS), key=lambda name: (not preferred(name), is_plain(name)))
    ciphers, user_keys = allowed(options, CIPHERS), allowed(options, USER_KEYS)
    only_authenticated = all("gcm@" in name for name in ciphers)

    class Ours(AsOpenSSH):
        _preferred_ciphers = ciphers
        _preferred_macs = MACS.usual if only_authenticated else allowed(options, MACS)
        _preferred_kex = allowed(options, KEY_EXCHANGE)
        _preferred_pubkeys = tuple(dict.fromkeys(name.removesuffix(CERTIFICATE) for name in user_keys))

        @property
        def preferred_keys(self) -> tuple[str, ...]:
            return tuple(host_keys)

    return Ours


def is_plain(name: str) -> bool:
    return not name.endswith(CERTIFICATE)


class NothingInCommon(IncompatiblePeer):  # type: ignore[misc]
    """Server and client have no algorithm of some kind in common."""


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

    def _really_parse_kex_init(self, m: Message, **more: Any) -> dict[str, Any]:
        parsed: dict[str, Any] = super()._really_parse_kex_init(m, **more)
        for kind, field, ours in (
            (KEY_EXCHANGE, "kex_algo_list", self.preferred_kex),
            (HOST_KEYS, "server_key_algo_list", self.preferred_keys),
            (CIPHERS, "client_encrypt_algo_list", self.preferred_ciphers),
            (MACS, "client_mac_algo_list", self.preferred_macs),
        ):
            if not set(parsed[field]) & set(ours):
                has, wants = ", ".join(parsed[field]), ", ".join(ours)
                raise NothingInCommon(f"have no {kind.words} in common: it has {has}; ssh_config allows {wants}")
        return parsed

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
