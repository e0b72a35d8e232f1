"""What is secret: what a name says is secret, and what is long and random in a secret file. Of URLs: `urls`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

from .urls import passwords

SAYS_SECRET = re.compile(
    r"secret|passw|passphrase|token|credential|authorization|webhook|dsn|connection_string|mnemonic"
    r"|(?<!mon)(?<!tur)(?<!don)(?<!hoc)keys?(_|\d|$)|(^|_|db|pg)(pass|pwd|pw)(_|\d|$)"
    r"|(^|_)(pin|auth|salt|creds?|jwt|otp|pat|psk|bearer)s?(_?\d+)?$"
)
"""Names of secret values, in lower case and with `_` between their words."""

SAYS_SOMETHING_ELSE = re.compile(
    r"(^|_)(primary|foreign|sort|partition|cache|routing|lookup)_keys?$"
    r"|(^|_)(file|path|dir|directory|prefix|suffix|timeout|ttl|age|lifetime|expiry|expires?"
    r"|expiration|seconds|minutes|hours|days|hashers?|validators?|backends?|class|names?|headers?|alg|algorithm|length"
    r"|size|min|max|count|limit|enabled|disabled|required|hosts?|port|users?|username|ur[li]|endpoint|type|format|issuer"
    r"|audience|id|domain|version|fields?|function|policy|errors?|exception|warning|missing|invalid|models?|mode|method"
    r"|strategy|scheme|provider|service|realm|region|template|view|page|engine|storage|manager|generator|rounds"
    r"|iterations|leeway|interval|rotation|reset|label|title)$"
)
"""Names that have such a word in them, and are of something else: `PASSWORD_HASHERS`, `TOKEN_TTL`."""

SAYS_PUBLIC = re.compile(r"(^|_)(public|publishable|pubkey|pub)(_|\d|$)")
SAYS_SECRET_ALL_THE_SAME = re.compile(r"secret|passw|private")
"""`NEXT_PUBLIC_KEY` is public, however random; `PUBLIC_API_SECRET` is not."""

PUBLIC = re.compile(r"pk_(live|test)_\w+|(ssh-|ecdsa-|sk-)\S+ AAAA\S+( .*)?")
"""Values that are public, whatever they are called: a publishable key of Stripe, a public key of SSH."""

SCHEME = re.compile(r"^(bearer|basic|token)\s+", re.I)
"""What is before the secret in a header."""

PLAIN = re.compile(r"true|false|yes|no|on|off|none|null|nil|enabled|disabled|\*+|(~|\.{0,2})(/[\w.@+-]+)+/?", re.I)
"""Values that no name makes secret: switches, and paths."""

COMMON = frozenset(
    ("localhost", "127.0.0.1", "postgres", "postgresql", "mysql", "redis", "django", "admin", "password", "secret")
)
"""Words that stand in many messages: a password that is one of them is hidden beside its name only."""

SHORT = 4
"""Characters up to which a value is hidden beside its name only: `1` or `on` stand everywhere."""

LONG = 20
"""Characters from which a value may be taken for random."""

PAIR = re.compile(
    r"(?P<quote>[\"']?)(?P<name>[A-Za-z_][\w.-]*)(?P=quote)\]?\s*(?:=>|:=|=|:(?=[\s\"'\[{]))[ \t]*"
    r"(?:\"{3}(?P<long>.*?)\"{3}|\"(?P<double>(?:[^\"\\]|\\.)*)\"|'(?P<single>(?:[^'\\]|\\.)*)'"
    r"|(?P<block>[|>][+-]?\n(?:[ \t]+[^\n]*(?:\n|$))+)|(?P<list>\[[^\]{]*\]|\n(?:[ \t]*-[ \t][^\n]*(?:\n|$))+)"
    r"|(?P<bare>[^\n]*))",
    re.DOTALL,
)
"""A name and its value, as `.env`, ini, TOML, YAML, JSON, shell and Python write them."""

OTHER_PAIRS = (
    re.compile(r"\b(?:login|account)\s+\S+\s+(?P<name>password)\s+(?P<bare>\S+)"),
    re.compile(r"^\s*(?P<name>[A-Za-z_][\w.-]*):(?P<bare>(?!//)\S+)", re.MULTILINE),
    re.compile(r"<(?P<name>[A-Za-z_][\w.-]*)[^<>]*>(?P<bare>[^<>]+)<"),
)
"""The same as in `.netrc`, in properties and in XML."""

ARMOUR = re.compile(r"-----BEGIN (?P<what>[^-]+)-----(?P<body>.*?)-----END [^-]+-----", re.DOTALL)
"""A key, or a certificate, as PEM and PGP write it."""


def secrets_in(text: str, name: str = "") -> Iterator[str]:
    """The secret values in a text whose words may be shown: those that have such a name, and passwords of URLs.

    Args:
        name: what the whole text is called.
    """
    yield from passwords(text)
    yield from keys(text)
    if says_public(name, text):
        return
    if says_secret(name, text):
        yield from of_value(text)
    for found in [*pairs(text), *(found for pattern in OTHER_PAIRS for found in pattern.finditer(text))]:
        for value in secret_values_of(found):
            if says_secret(found["name"], value):
                yield from of_value(value)


def secrets_in_file(content: bytes, name: str = "") -> Iterator[str]:
    """The secret values in the contents of a secret file: also what is long and random, whatever it is called.

    Args:
        name: of the file, or of the variable that it comes from.
    """
    text = content.decode("utf-8", "replace").strip()
    if "\ufffd" in text:  # perhaps a key store, which nobody prints as it is
        yield base64.b64encode(content).decode()
    yield from secrets_in(text)
    has_names = False
    for found in pairs(text):
        has_names = True
        yield from (value for value in secret_values_of(found) if is_random(value))
    lines = [line.strip() for line in text.splitlines() if not is_public_line(line)]
    yield from (line for line in lines if is_random(line))
    if not has_names and (is_random(text) or says_secret(name, text)):
        yield from of_value(text)
        yield from (part for line in lines for part in (line, line.rpartition(":")[2]))  # as .pgpass has it


def of_value(value: str) -> Iterator[str]:
    """What is secret of a value that its name says is secret: of a URL only what is no address."""
    if "://" in value and not re.search(r"\s", value):
        yield from passwords(value)
        yield from (part for part in re.split(r"[/?&=:@#]", value) if is_random(part))
    else:
        yield value
        yield SCHEME.sub("", value)


def says_secret(name: str, value: str) -> bool:
    """Whether a value is secret by its name."""
    words = words_of(name)
    if says_public(name, value) or not SAYS_SECRET.search(words) or PLAIN.fullmatch(value.strip()):
        return False
    return not SAYS_SOMETHING_ELSE.search(words) or is_random(value)


def says_public(name: str, value: str) -> bool:
    """Whether everybody may see a value, however random it is: by its name, or by itself."""
    words = words_of(name)
    is_named = SAYS_PUBLIC.search(words) and not SAYS_SECRET_ALL_THE_SAME.search(words)
    return bool(is_named or PUBLIC.fullmatch(value.strip()))


def is_public_line(line: str) -> bool:
    found = PAIR.fullmatch(line.strip().removeprefix("export ").rstrip(","))
    return found is not None and not secret_values_of(found)


def secret_values_of(found: re.Match[str]) -> Sequence[str]:
    """A value in the ways in which programs read it; none if everybody may see it."""
    values = list(values_of(found))
    return [] if any(says_public(found["name"], value) for value in values) else values


def words_of(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def pairs(text: str) -> Iterator[re.Match[str]]:
    """The names with values in a text, also those inside of a value: `{"db": {"password": ...}}`."""
    place = 0
    while found := PAIR.search(text, place):
        yield found
        is_bare = found["bare"] is not None
        place = found.start("bare") if is_bare else found.end()
        if inside := found["double"] or found["single"] or found["list"]:
            yield from pairs(inside)


def values_of(found: re.Match[str]) -> Iterator[str]:
    """A value in the ways in which programs read it."""
    groups = found.groupdict()
    if items := groups.get("list"):
        yield from (item.strip(" \t\"'") for item in re.split(r"[\[\],\n]|^[ \t]*-[ \t]", items, flags=re.MULTILINE))
    elif block := groups.get("block"):
        yield block.partition("\n")[2]
    elif quoted := groups.get("long") or groups.get("double") or groups.get("single"):
        yield quoted
        if "\\" in quoted:
            with suppress(ValueError):
                yield str(json.loads(f'"{quoted}"', strict=False))
    elif bare := (groups["bare"] or "").strip():
        without_comment = re.split(r"\s[#;]", bare, maxsplit=1)[0].strip()
        first = re.split(r"[\s,;}\])]", bare, maxsplit=1)[0]
        # A word alone is a word of several: `Bearer`, or the first of a passphrase.
        yield from {bare, without_comment, without_comment.rstrip(",;"), "" if first.isalpha() else first}


def keys(text: str) -> Iterator[str]:
    """Private keys: the whole of each, and each of its lines, since output comes in lines."""
    for found in ARMOUR.finditer(text.replace("\\n", "\n")):
        if "CERTIFICATE" not in found["what"] and "PUBLIC" not in found["what"]:
            yield found["body"].strip()
            yield from (line.strip() for line in found["body"].splitlines())


def is_random(text: str) -> bool:
    """Whether this looks as if it was drawn: long, without spaces, and letters of either case mixed with digits."""
    if len(text) < LONG or re.search(r"\s", text) or not re.search(r"\d", text):
        return False
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" if c.isalpha() else "" for c in text]
    beside = [(a, b) for a, b in pairwise(kinds) if a and b]
    return len(beside) >= LONG / 2 and sum(a != b for a, b in beside) >= len(beside) / 5


def may_be_secret(text: str) -> bool:
    """Whether anything in a text of nobody knows whom looks like a secret."""
    return any(True for _ in secrets_in(text)) or any(map(is_random, re.split(r"[\s\"'=,;()]+", text)))
