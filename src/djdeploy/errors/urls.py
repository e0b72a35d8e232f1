"""Passwords and tokens in URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

IN_URL = (
    r"(?P<user>://[^\s/:@\[]*:)(?P<password>[^\s/]+|(?!\d+/)[^\s@\"'<>,]+)(?=@)"
    r"|(?P<scheme>https?://)(?P<name>[^\s/:@?#]+)(?=@(?!(?:[\w-]+\.)*(?:ingest|sentry)\.))"
)
"""In a URL: what comes after the user's name; over HTTP also a lone name, which is a token as often as not.
That of a Sentry is not: each visitor's browser gets it.

A password with a `/` in it is a mistake, and still a secret: with digits alone before the `/`, those are a port.
"""

LONG_NAME = r"[\w-]{26,}"
"""A lone name in a URL that is certainly a token: nobody's name is that long."""


def passwords(text: str) -> Iterator[str]:
    """The passwords and long tokens in URLs, as they are written there and as they are meant."""
    for found in re.finditer(IN_URL, text) if "://" in text else ():
        if secret := found["password"] or (found["name"] if re.fullmatch(LONG_NAME, found["name"] or "") else ""):
            yield from (secret, unquote(secret))
            if "/" in secret:  # parsers take what is before it for a port, and say so
                yield secret.partition("/")[0]


def has_password(text: str) -> bool:
    """Whether there is a URL with a password or a token in it."""
    return next(passwords(text), None) is not None
