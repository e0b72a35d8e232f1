"""Which algorithms a connection may use: those that ssh_config allows, in its order, as far as paramiko has them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from paramiko import Transport

from ..errors.kinds import ConnectionFailed
from .knownhosts import CERTIFICATE
from .openssh import Options

OTHER_NAMES = {"curve25519-sha256": "curve25519-sha256@libssh.org"}
"""What OpenSSH calls otherwise than paramiko. Servers know both names."""


WEAK = re.compile("cbc|md5|sha1$|sha1-")


class Kind(NamedTuple):
    """A kind of algorithms.

    Args:
        option: of ssh_config.
        known: what paramiko has of it.
        usual: what paramiko offers where ssh_config is not known.
        words: what a person calls them.
    """

    option: str
    known: Collection[str]
    usual: Sequence[str]
    words: str


CIPHERS = Kind("Ciphers", Transport._cipher_info, Transport._preferred_ciphers, "cipher")
MACS = Kind("MACs", Transport._mac_info, Transport._preferred_macs, "MAC")
KEY_EXCHANGE = Kind("KexAlgorithms", Transport._kex_info, Transport._preferred_kex, "key exchange")
HOST_KEYS = Kind("HostKeyAlgorithms", Transport._key_info, Transport._preferred_keys, "kind of host key")
USER_KEYS = Kind("PubkeyAcceptedAlgorithms", Transport._key_info, Transport._preferred_pubkeys, "kind of key")


def allowed(options: Options, kind: Kind) -> Sequence[str]:
    """The algorithms of a kind.

    Raises:
        ConnectionFailed: ssh_config allows only such as paramiko does not have.
    """
    said = options.get(kind.option.lower())
    if not said or said[0] in "+-^":  # changes to a list that only OpenSSH knows, which is not installed here
        return [*kind.usual, *(name for name in kind.known if name.removesuffix(CERTIFICATE) in kind.usual)]
    usable = list(
        dict.fromkeys(name for word in said.split(",") if (name := OTHER_NAMES.get(word, word)) in kind.known)
    )
    if not usable:
        strong = ", ".join(name for name in kind.usual if not WEAK.search(name))
        raise ConnectionFailed(
            f"ssh_config allows only {said} ({kind.option}), which djdeploy cannot do",
            code="ssh-algorithms",
            remedy=f"Add one of these to {kind.option}: {strong}",
        )
    return usable
