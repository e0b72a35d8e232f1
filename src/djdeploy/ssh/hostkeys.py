"""Checking a host's key as ssh does. Fabric alone does not: it accepts any."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionFailed
from .knownhosts import (
    AUTHORITY,
    CERTIFICATE,
    Key,
    KnownHosts,
    Line,
    certificate_of,
    hashed,
    is_valid_for,
    lines_in,
    signed_by,
    signer_of,
)
from .openssh import Options
from .transport import transport_of

if TYPE_CHECKING:
    from fabric import Connection

RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
"""What signs with a key that known_hosts calls `ssh-rsa`."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_host_key(connection: Connection, options: Options, accept_new: bool, jump: str, needs_agent: bool) -> None:
    """Makes a connection that is not open yet check the host's key.

    A policy that a project's own code has set on the connection stays.

    Args:
        accept_new: whether the settings accept a key that was never seen, where ssh_config leaves it open.
        jump: the name of the host, if it is a jump host: an error has that of the host we connect to.
        needs_agent: whether the settings want the agent forwarded there.
    """
    from paramiko import AutoAddPolicy

    if type(connection.client._policy) is not AutoAddPolicy:
        return
    paths = [*options.paths("userknownhostsfile"), *options.paths("globalknownhostsfile")]
    plain = options.get("hostkeyalias", str(connection.host))
    is_plain = connection.port == 22 or options.is_set("hostkeyalias")
    check = HostKeyCheck(
        KnownHosts(paths),
        name=plain if is_plain else f"[{plain}]:{connection.port}",
        plain=plain,
        path=paths[0] if options.paths("userknownhostsfile") else None,
        strict=strictness(options, str(connection.host), accept_new),
        revoked=next(iter(options.paths("revokedhostkeys")), None),
        jump=jump,
        options=options,
        connection=connection,
        needs_agent=needs_agent,
    )
    check.known.lines.extend(check._commanded("ORDER"))
    connection.client.set_missing_host_key_policy(check)
    connection.connect_kwargs["transport_factory"] = transport_of(check.preferred, options)


def strictness(options: Options, host: str, accept_new: bool) -> str:
    """`yes`, `accept-new` or `no`."""
    asked = options.get("stricthostkeychecking", "ask").lower()
    if options.get("nohostauthenticationforlocalhost") == "yes" and host in LOOPBACK:
        return "no"
    if asked in ("no", "off", "false"):
        return "no"
    return "accept-new" if asked == "accept-new" or (asked == "ask" and accept_new) else "yes"


@dataclass(frozen=True)
class HostKeyCheck:
    """Accepts or refuses the key of a host: a policy that paramiko asks, since it is given no known keys itself.

    Args:
        name: the host as known_hosts calls it, with its port if that is not 22.
        plain: the same without the port.
        path: where a new key is kept; None if nowhere.
        strict: `yes` refuses a key that was never seen, `accept-new` keeps it, `no` accepts also one that has changed.
        revoked: a file of revoked keys.
        jump: its name, if it is a jump host.
        options: ssh's for this host.
        connection: to it.
        needs_agent: whether the settings want the agent there, so that it cannot be kept back.
    """

    known: KnownHosts
    name: str
    plain: str
    path: Path | None
    strict: str
    revoked: Path | None
    jump: str
    options: Options
    connection: Connection
    needs_agent: bool

    def missing_host_key(self, _client: Any, _hostname: str, key: Any) -> None:
        offered = Key(key.get_name(), key.asbytes())
        self.known.lines.extend(self._commanded("HOSTNAME", offered, key.fingerprint))
        if key.public_blob:
            offered_certificate = Key(key.public_blob.key_type, key.public_blob.key_blob)
            if self._is_certified(offered, offered_certificate):
                return
        self._raise_if_revoked(offered)
        if self._is_known(offered):
            return
        others = [line for line in self.known.about(self.name) if line.key.kind == offered.kind]
        if others:
            if self.strict != "no" or self.needs_agent:
                raise self._changed(others[0].path)
            self.connection.forward_agent = False  # whoever intercepts the connection would log in with it
        if self.strict == "yes" or not (others or self.path):
            raise self._unknown(key, offered)
        if not others and self.path:
            self._keep(self.path, offered)

    def preferred(self, algorithm: str) -> bool:
        """Whether a server that has several keys should show this one: a kind that we know it by."""
        if algorithm.endswith(CERTIFICATE):
            return bool(self._authorities())
        kinds = {line.key.kind for line in self.known.about(self.name) or self._of_any_port()}
        return algorithm in kinds or ("ssh-rsa" in kinds and algorithm in RSA)

    def _is_known(self, offered: Key) -> bool:
        lines = self.known.about(self.name)
        of_this_kind = [line for line in lines if line.key.kind == offered.kind]
        return any(line.key == offered for line in (of_this_kind or self._of_any_port()))

    def _of_any_port(self) -> Sequence[Line]:
        """Of a host whose port has no line of its own, a key without a port counts."""
        return self.known.about(self.plain)

    def _is_certified(self, offered: Key, shown: Key) -> bool:
        certificate = certificate_of(shown)
        if not certificate or not is_valid_for(certificate, self.plain):
            return False
        if signed_by(certificate) not in self.options.get("casignaturealgorithms", signed_by(certificate)).split(","):
            return False
        signer = signer_of(certificate)
        self._raise_if_revoked(offered)
        self._raise_if_revoked(signer)
        return signer in self._authorities()

    def _commanded(self, occasion: str, key: Key | None = None, fingerprint: str = "NONE") -> Iterator[Line]:
        """The lines that `KnownHostsCommand` prints."""
        if not self.options.is_set("knownhostscommand"):
            return
        kind, blob = key.text.split() if key else ("NONE", "NONE")
        more = {"I": occasion, "H": self.name, "t": kind, "K": blob, "f": fingerprint}
        command = [self.options.expanded(word, more) for word in shlex.split(self.options.get("knownhostscommand"))]
        try:
            asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except OSError:  # without it ssh connects, too, if it knows the key otherwise
            return
        if asked.returncode:
            said = asked.stderr.strip() or f"exit {asked.returncode}"
            raise ConnectionFailed(f"KnownHostsCommand {command[0]}: {said}", code="ssh-config")
        yield from lines_in(asked.stdout, Path(command[0]))

    def _authorities(self) -> Sequence[Key]:
        lines = [*self.known.about(self.name, AUTHORITY), *self.known.about(self.plain, AUTHORITY)]
        return [line.key for line in lines]

    @property
    def _whose(self) -> str:
        return f"the host key of the jump host {self.jump}" if self.jump else "its host key"

    def _raise_if_revoked(self, key: Key) -> None:
        is_marked = self.known.is_revoked(self.name, key) or self.known.is_revoked(self.plain, key)
        if self._in_file(key) or (is_marked and self.strict != "no"):
            raise ConnectionFailed(f"{self._whose} is revoked: nobody may use it any more", code="host-key-revoked")

    def _in_file(self, key: Key) -> bool:
        """Whether the file of revoked keys has it, or cannot be read. It has keys as text, or in OpenSSH's own form."""
        if self.revoked is None:
            return False
        try:
            listed = self.revoked.read_bytes()
        except OSError:
            return True
        if not listed.startswith(b"SSHKRL"):
            return any(key.text.encode() in line for line in listed.splitlines() if not line.startswith(b"#"))
        with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:
            file.write(f"{key.text}\n")
            file.flush()
            asked = subprocess.run(["ssh-keygen", "-Q", "-f", self.revoked, file.name], capture_output=True)
        return asked.returncode != 0

    def _changed(self, path: Path) -> ConnectionFailed:
        at = f"at the jump host {self.jump} " if self.jump else ""
        where = "" if path == Path.home() / ".ssh/known_hosts" else f" -f {shlex.quote(str(path))}"
        return ConnectionFailed(
            f"{at}the host key has changed: the server was reinstalled, or somebody is intercepting the connection",
            code="host-key-changed",
            remedy=f"Only if you know why it changed: ssh-keygen -R {shlex.quote(self.name)}{where}",
        )

    def _unknown(self, key: Any, offered: Key) -> ConnectionFailed:
        """Says the fingerprint, and how to accept exactly this key."""
        remedy = 'Or let djdeploy accept unknown keys, never changed ones: host_keys="accept-new" in the settings.'
        if self.path:
            folder = self.path.parent
            make = "" if folder.is_dir() else f"mkdir -p -m 700 {shlex.quote(str(folder))}; "
            line, path = shlex.quote(self._line(self.path, offered)), shlex.quote(str(self.path))
            accept = f"Compare the fingerprint with the server's own, then accept it: {make}echo {line} >> {path}\n"
            remedy = accept + remedy
        what = f"{self._whose} is not known: {key.get_name()} {key.fingerprint}"
        return ConnectionFailed(what, code="host-key-unknown", remedy=remedy)

    def _keep(self, path: Path, offered: Key) -> None:
        """So that a change is noticed."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = self._line(path, offered)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _line(self, path: Path, offered: Key) -> str:
        """The line of a key in known_hosts, after a newline that the file lacks at its end."""
        before = path.read_bytes() if path.is_file() else b""
        newline = "\n" if before and not before.endswith(b"\n") else ""
        name = hashed(self.name) if self.options.get("hashknownhosts") == "yes" else self.name
        return f"{newline}{name} {offered.text}"
