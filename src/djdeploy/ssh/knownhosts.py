"""What known_hosts says of a key, by the rules of OpenSSH: names, patterns, hashes, `@revoked`, `@cert-authority`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import SSHCertificate

CERTIFICATE = "-cert-v01@openssh.com"
REVOKED, AUTHORITY = "@revoked", "@cert-authority"


class Key(NamedTuple):
    """A public key, or a certificate with one."""

    kind: str
    blob: bytes

    @property
    def text(self) -> str:
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


class Line(NamedTuple):
    """A line of known_hosts."""

    marker: str
    names: str
    key: Key
    path: Path


class KnownHosts:
    """The lines of known_hosts files."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.lines = [line for path in paths for line in lines_of(path)]

    def about(self, name: str, marker: str = "") -> list[Line]:
        """The lines for a host, as known_hosts calls it: `web1`, `[web1]:2222` or an alias."""
        return [line for line in self.lines if line.marker == marker and names_match(name, line.names)]

    def is_revoked(self, name: str, key: Key) -> bool:
        return any(line.key == key for line in self.about(name, REVOKED))


def lines_of(path: Path) -> Iterator[Line]:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    yield from lines_in(text, path)


def lines_in(text: str, path: Path) -> Iterator[Line]:
    """Those that can be read: what one line has hides no other."""
    for line in text.splitlines():
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", REVOKED, AUTHORITY):
            continue
        try:
            yield Line(marker, words[0], Key(words[1], base64.b64decode(words[2], validate=True)), path)
        except ValueError:
            continue


def names_match(name: str, field: str) -> bool:
    """Whether the first field of a line means this host. A pattern with `!` that matches rules it out."""
    name = name.lower()
    if field.startswith("|1|"):
        return hash_matches(name, field)
    matches = {pattern.startswith("!") for pattern in field.split(",") if matches_pattern(name, pattern.lstrip("!"))}
    return matches == {False}


def hash_matches(name: str, field: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in field[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def hashed(name: str) -> str:
    """The first field of a line for this host, from which nobody reads its name."""
    salt = os.urandom(20)
    digest = hmac.new(salt, name.lower().encode(), hashlib.sha1).digest()
    return "|".join(["", "1", *(base64.b64encode(part).decode() for part in (salt, digest))])


def matches_pattern(name: str, pattern: str) -> bool:
    """`*` and `?`, and nothing else: brackets are part of a name."""
    parts = (".*" if sign == "*" else "." if sign == "?" else re.escape(sign) for sign in pattern.lower())
    return re.fullmatch("".join(parts), name) is not None


def certificate_of(key: Key) -> SSHCertificate | None:
    """The certificate that this is, whose signature is right; None if it is none."""
    try:
        found = serialization.load_ssh_public_identity(key.text.encode())
        if isinstance(found, serialization.SSHCertificate):
            found.verify_cert_signature()
            return found
    except (ValueError, InvalidSignature):
        pass
    return None


def signer_of(certificate: SSHCertificate) -> Key:
    public, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    kind, blob = certificate.signature_key().public_bytes(public, form).split()[:2]
    return Key(kind.decode(), base64.b64decode(blob))


def signed_by(certificate: SSHCertificate) -> str:
    """The algorithm of its signature, which comes last in it, behind the key that has signed."""
    blob, signer = base64.b64decode(certificate.public_bytes().split()[1]), signer_of(certificate).blob
    rest = blob[blob.rindex(signer) + len(signer) + 4 :]
    return rest[4 : 4 + int.from_bytes(rest[:4], "big")].decode("ascii", "replace")


def is_valid_for(certificate: SSHCertificate, host: str) -> bool:
    """Whether a certificate is for this host, whose name here has no port, and now."""
    names = [name.decode("utf-8", "replace") for name in certificate.valid_principals]
    return (
        certificate.type is serialization.SSHCertificateType.HOST
        and certificate.valid_after <= time.time() < certificate.valid_before
        and (not names or any(matches_pattern(host.lower(), name) for name in names))
        and not certificate.critical_options
    )
