"""What must not be shown: secret values, passwords in URLs, and characters that command a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from urllib.parse import unquote

HIDDEN = "***"

SUSPICIOUS = re.compile(
    r"secret|passw|passphrase|token|key|dsn|credential|private|webhook|database_url|connection_string"
    r"|(^|_|db)(pass|pwd|pw)(_|\d|$)",
    re.IGNORECASE,
)
"""Names of variables whose values are secret."""

IN_URL = re.compile(
    r"(?P<user>://[^\s/:@]*:)(?P<password>[^\s/]+)(?=@)|(?P<scheme>https?://)(?P<name>[^\s/:@?#]+)(?=@)"
)
"""In a URL: what comes after the user's name; over HTTP also a lone name, which is a token as often as not."""

TOKEN = re.compile(r"[\w-]{26,}")
"""A lone name in a URL that is certainly a token: nobody's name is that long."""

SHORT = 4
"""Characters up to which a value is no secret that could be hidden: `1` or `on` stand everywhere."""


def values_to_hide(env: Mapping[str, str], contents: Iterable[bytes] = ()) -> Collection[str]:
    """What must not be shown, in every form in which it may stand in a text."""
    texts = [value for name, value in env.items() if SUSPICIOUS.search(name)]
    texts += [content.decode("utf-8", "replace") for content in contents]
    found = {part.strip() for text in texts for part in parts(text)}
    found |= {password for text in (*env.values(), *texts) for password in passwords(text)}
    shown = {form for value in found if len(value) > SHORT for form in forms(value)}
    # The longest first, since one may contain another.
    return sorted(shown, key=len, reverse=True)


def parts(text: str) -> Iterator[str]:
    """What is secret of a text: all of it; each line, since output comes in lines; and what a line gives a name to."""
    yield text
    for line in text.splitlines():
        yield line
        yield re.split(r"=|: ", line, maxsplit=1)[-1].strip(" \t\"',")


def passwords(text: str) -> Iterator[str]:
    """The passwords and long tokens in URLs, as they are written there and as they are meant."""
    for found in IN_URL.finditer(text):
        if secret := found["password"] or (found["name"] if is_token(found["name"]) else ""):
            yield from (secret, unquote(secret))


def is_token(name: str | None) -> bool:
    return bool(TOKEN.fullmatch(name or ""))


def has_password(text: str) -> bool:
    """Whether there is a URL with a password or a token in it."""
    return next(passwords(text), None) is not None


def forms(value: str) -> Iterator[str]:
    """A value as it is, in JSON's or Python's quotes, and each of these in a shell's, as we write it or as `set -x`."""
    for text in {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}:
        yield from (text, text.replace("'", "'\"'\"'"), text.replace("'", "'\\''"))


def hidden(text: str, values: Collection[str]) -> str:
    """The text without these values, nor the passwords of URLs."""
    for value in values:
        text = text.replace(value, HIDDEN)
    return without_passwords(text)


def printable(text: str, keep: str = "") -> str:
    """The text as it may be shown: no password in a URL, and control characters escaped, which command a terminal."""
    keep += "\t"
    text = without_passwords(text)
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def without_passwords(text: str) -> str:
    """The text without the passwords of URLs, whoever wrote them there."""
    return IN_URL.sub(lambda found: f"{found['user'] or found['scheme']}{HIDDEN}", text) if "://" in text else text


def kind_of(value: object) -> str:
    """What a value is, for an error that must not quote it, since it may be secret: `a string`, `a list`."""
    names = {type(None): "nothing", bool: "a truth value", str: "a string", list: "a list", tuple: "a list"}
    names |= {int: "a whole number", float: "a number", dict: "a mapping", bytes: "bytes"}
    return names.get(type(value), f"a value of type {type(value).__name__}")
