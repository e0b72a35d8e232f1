"""Which keys are offered to a host, in the order in which ssh offers them, and what came of it."""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from paramiko import AgentKey, ECDSAKey, Ed25519Key, Message, PKey, RSAKey, SSHException
from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey, OnDiskPrivateKey, Password
from paramiko.ssh_exception import AuthenticationException, PasswordRequiredException

from .algorithms import USER_KEYS, allowed
from .openssh import DEFAULT_KEYS, Options

OF_AUTHENTICATION = ("allow_agent", "key_filename", "look_for_keys", "passphrase", "password", "pkey")
"""What Fabric's `connect_kwargs` may say about it."""


class Identities(AuthStrategy):  # type: ignore[misc]
    """Keys of the agent that ssh_config names, then its other keys, then the files; last a password that was given.

    Args:
        options: ssh's, with the files that were given to Fabric first.
        given: of `OF_AUTHENTICATION`, what was given to Fabric.

    Attributes:
        unusable: the keys that cannot be used, each with the reason.
    """

    def __init__(self, user: str, options: Options, given: Mapping[str, Any]) -> None:
        super().__init__(ssh_config=None)
        self.user, self.options, self.given = user, options, given
        self.unusable: list[str] = []

    def authenticate(self, transport: Any) -> None:
        """Raises: NotLetIn."""
        tried, wants_more = [], []
        said: dict[str, None] = {}
        self.unusable = []
        for source in self.get_sources():
            if not transport.is_active():  # it has had enough
                break
            tried.append(name_of(source))
            try:
                wants_more = source.authenticate(transport)
            except SSHException as error:
                said[str(error)] = None
                continue
            if not wants_more:
                return
        own_words = list(dict.fromkeys(filter(None, getattr(transport, "said", ()))))
        if own_words and not transport.is_active():  # it hung up, perhaps on a key that it knows
            raise NotLetIn(self.user, tried, [], own_words, hung_up=True)
        said.pop("Authentication failed.", None)
        if wants_more:
            said[f"it wants {' and '.join(wants_more)}, too"] = None
        raise NotLetIn(self.user, tried, self.unusable, [*said, *own_words])

    def get_sources(self) -> Iterator[AuthSource]:
        ways = ways_in(self.options)
        if "publickey" in ways:
            yield from self._keys()
        elif not (self.given.get("password") and ways):
            self.unusable.append(f"ssh_config allows no SSH key ({what_forbids_keys(self.options)})")
        if self.given.get("password") and "password" in ways:
            yield Password(self.user, lambda: self.given["password"])

    def _keys(self) -> Iterator[AuthSource]:
        if self.given.get("pkey"):
            yield InMemoryPrivateKey(self.user, self.given["pkey"])
        with contextlib.closing(self._agent()) as agent:
            paths = self._paths()
            named = {public: path for path in paths if (public := public_blob(path))}
            keys = agent.get_keys()
            first = [key for key in keys if key.asbytes() in named]
            others = [] if self.options.get("identitiesonly") == "yes" else [key for key in keys if key not in first]
            for key in [*first, *others]:
                for variant in self._variants(key, named.get(key.asbytes())):
                    yield InMemoryPrivateKey(self.user, variant)
            held = {named[key.asbytes()] for key in first}
            for path in paths:
                if path not in held and (loaded := self._load(path)):
                    for variant in self._variants(loaded, path):
                        yield OnDiskPrivateKey(self.user, "ssh-config", path, variant)
        if self.options.is_set("pkcs11provider"):
            library = self.options.get("pkcs11provider")
            self.unusable.append(f"PKCS11Provider: djdeploy asks the agent for such keys: ssh-add -s {library}")

    def _variants(self, key: PKey, path: Path | None) -> Iterator[PKey]:
        """A key with each of its certificates, and by itself; without what ssh_config does not allow."""
        beside = [path.with_name(f"{path.name}-cert.pub")] if path else []
        certificates = [
            file for file in (*beside, *self.options.paths("certificatefile")) if certified(file) == key.asbytes()
        ]
        for certificate in dict.fromkeys(certificates):
            with_certificate = copied(key)
            with_certificate.load_certificate(str(certificate))
            if self._is_allowed(with_certificate.public_blob.key_type):
                yield with_certificate
        if self._is_allowed(key.get_name()):
            yield key
        else:
            self.unusable.append(
                f"{path or 'the agent'}: ssh_config does not allow {key.get_name()} (PubkeyAcceptedAlgorithms)"
            )

    def _is_allowed(self, kind: str) -> bool:
        usable = allowed(self.options, USER_KEYS)
        return kind in usable or (kind.startswith("ssh-rsa") and any(name.startswith("rsa-") for name in usable))

    def _agent(self) -> Agent:
        agent = Agent()
        path = agent_socket(self.options)
        if path and self.given.get("allow_agent", True):
            agent.ask(path)
        return agent

    def _paths(self) -> Sequence[Path]:
        """The files of keys that there are. ssh does not mind those that are not there."""
        lines = self.options.values.get("identityfile", ())
        if not self.given.get("look_for_keys", True):
            lines = [line for line in lines if not line.startswith(DEFAULT_KEYS)]
        paths = [Path(self.options.expanded(line)) for line in lines if line.lower() != "none"]
        return [path for path in dict.fromkeys(paths) if path.is_file() or path.with_name(f"{path.name}.pub").is_file()]

    def _load(self, path: Path) -> PKey | None:
        """The private key in a file; None if it cannot be used, which is noted."""
        try:
            status = path.stat()
            if status.st_uid == os.getuid() and status.st_mode & 0o077:
                raise SSHException("other accounts can read it; ssh ignores it, too: chmod 600")
            passphrase = self.given.get("passphrase")
            return private_key(path, passphrase.encode() if passphrase else None)
        except FileNotFoundError:  # the private half is in the agent, or nowhere
            return None
        except PasswordRequiredException:
            self.unusable.append(f"{path} has a passphrase: ssh-add {path}, or fab --prompt-for-passphrase")
        except WrongPassphrase:
            self.unusable.append(f"{path} has another passphrase than the one that was given")
        except Exception as error:  # whatever is in that file: the other keys count
            self.unusable.append(f"{path}: {error}")
        return None


KINDS = {
    ed25519.Ed25519PrivateKey: Ed25519Key,
    ec.EllipticCurvePrivateKey: ECDSAKey,
    rsa.RSAPrivateKey: RSAKey,
}


class WrongPassphrase(Exception):
    """Of an encrypted private key."""


def private_key(path: Path, passphrase: bytes | None) -> PKey:
    """The key in a file, in whatever form ssh knows it; without the certificate that may be beside it.

    Raises:
        PasswordRequiredException: it is encrypted, and there is no passphrase.
        WrongPassphrase: it is encrypted otherwise.
    """
    data = path.read_bytes()
    load = serialization.load_ssh_private_key if b"BEGIN OPENSSH" in data else serialization.load_pem_private_key
    try:
        loaded = load(data, password=None)
    except TypeError:  # it is encrypted
        if passphrase is None:
            raise PasswordRequiredException(str(path)) from None
        try:
            loaded = load(data, password=passphrase)
        except ValueError:
            raise WrongPassphrase from None
    kind = next((ours for theirs, ours in KINDS.items() if isinstance(loaded, theirs)), None)
    if kind is None:
        raise SSHException("a kind of key that djdeploy does not know")
    form = serialization.PrivateFormat.OpenSSH  # which paramiko reads of all kinds
    text = loaded.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    return kind.from_private_key(io.StringIO(text))


def copied(key: PKey) -> PKey:
    return AgentKey(key.agent, key.blob, key.comment) if isinstance(key, AgentKey) else copy.copy(key)


def ways_in(options: Options) -> Sequence[str]:
    """The ways of logging in that ssh_config allows, of those that we can go."""
    switches = {"publickey": "pubkeyauthentication", "password": "passwordauthentication"}
    preferred = options.get("preferredauthentications", ",".join(switches)).split(",")
    return [way for way in switches if way in preferred and options.get(switches[way], "yes") not in ("no", "false")]


def what_forbids_keys(options: Options) -> str:
    if options.get("pubkeyauthentication", "yes") in ("no", "false"):
        return "PubkeyAuthentication no"
    return f"PreferredAuthentications {options.get('preferredauthentications')}"


class NotLetIn(AuthenticationException):  # type: ignore[misc]
    """Nothing that was offered is accepted.

    Args:
        user: the account.
        tried: what was offered.
        unusable: what could not be.
        said: what the server said to that.
        hung_up: whether it broke off then.
    """

    def __init__(
        self, user: str, tried: Sequence[str], unusable: Sequence[str], said: Sequence[str], *, hung_up: bool = False
    ) -> None:
        self.tried, self.hung_up = tried, hung_up
        what = f"rejected your SSH key for {user}: tried {', '.join(tried)}"
        if hung_up:
            what = f"does not let {user} in, who offered {', '.join(tried)}"
        elif not tried:
            what = f"wants an SSH key for {user}, and you have none to offer"
        super().__init__("; ".join([what, *unusable, *said]))


class Agent(AgentSSH):  # type: ignore[misc]
    """An agent that may have another address than `SSH_AUTH_SOCK`. Without one it has no keys."""

    def ask(self, path: str) -> None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            self._connect(connection)
        except (OSError, SSHException):
            connection.close()

    def close(self) -> None:
        self._close()


def agent_socket(options: Options) -> str:
    """Where the agent listens that is to be asked; empty if none is."""
    said = options.get("identityagent", "SSH_AUTH_SOCK")
    if said.lower() == "none":
        return ""
    if said == "SSH_AUTH_SOCK":
        return os.environ.get(said, "")
    if said.startswith("$") and not said.startswith("${"):
        return os.environ.get(said[1:], "")
    return options.expanded(said)


def answers(path: str) -> bool:
    """Whether an agent listens there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        return bool(path)
    return False


def key_files(given: Mapping[str, Any]) -> Sequence[str]:
    files = given.get("key_filename") or []
    return [files] if isinstance(files, str) else [str(file) for file in files]


def public_blob(path: Path) -> bytes:
    """The public half of the key in a file, which may be in another beside it; empty if it cannot be read."""
    for file in (path.with_name(f"{path.name}.pub"), path):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = file.read_text("ascii", "strict")
            if not text.startswith("-----"):
                return base64.b64decode(text.split()[1])
            return of_private(base64.b64decode("".join(text.splitlines()[1:-1])))
    return b""


def certified(path: Path) -> bytes:
    """The public key that a certificate in a file is for; empty if it is none."""
    with contextlib.suppress(OSError, ValueError):
        found = serialization.load_ssh_public_identity(path.read_bytes())
        if isinstance(found, serialization.SSHCertificate):
            form, public = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            return base64.b64decode(found.public_key().public_bytes(form, public).split()[1])
    return b""


def of_private(data: bytes) -> bytes:
    """The public half, which stands in a private file of OpenSSH also if that has a passphrase."""
    if not data.startswith(b"openssh-key-v1\0"):
        raise ValueError
    message = Message(data[len(b"openssh-key-v1\0") :])
    for _ in ("cipher", "kdf", "its options"):
        message.get_string()
    message.get_int()
    return bytes(message.get_string())


def name_of(source: AuthSource) -> str:
    """A key or a password that was tried, in words."""
    if isinstance(source, OnDiskPrivateKey):
        return str(source.path)
    key = getattr(source, "pkey", None)
    if isinstance(key, AgentKey):
        return f"{key.comment or key.fingerprint} of the agent"
    return "the password" if isinstance(source, Password) else "the key"
