"""Where a host is, as people write it: `user@host:port`, also with an IPv6 address, `user@[fd00::1]:2222`."""

from __future__ import annotations

import re
from typing import NamedTuple

BRACKETED = r"(?:(?P<user>[^@]*)@)?\[(?P<host>[^\]]+)\](?::(?P<port>\d+))?"
"""What Fabric takes for a host's name, brackets, port and all."""

PLAIN = r"(?:(?P<user>.*)@)?(?P<host>[^@:]+|[^@]*:[^@]*:[^@]*)(?::(?P<port>\d+))?"


class Address(NamedTuple):
    """What somebody has written of it; None or empty for what was left out."""

    user: str | None
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "".join([f"{self.user}@" if self.user else "", host, f":{self.port}" if self.port else ""])


def address(text: str) -> Address:
    found = re.fullmatch(BRACKETED, text) or re.fullmatch(PLAIN, text)
    if not found:
        return Address(None, text, None)
    return Address(found["user"] or None, found["host"], int(found["port"]) if found["port"] else None)
