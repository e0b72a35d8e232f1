"""The forms in which programs print a value: quoted, escaped, encoded, and broken over lines."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "***"

BETWEEN = str.maketrans("", "", " \t\r\n\"'\\")
"""What a program may put between the characters of a value: quotes, what escapes them, and the end of a line."""

LONGEST_ENCODED = 4096
"""Characters up to which a value is looked for in every encoding."""

SHORTEST = 5
"""Characters that a form has at least."""


def forms_of(values: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """Values as programs print them, without what `BETWEEN` has; the longest first, since one may contain another."""
    found = {form.translate(BETWEEN) for value in values for form in encodings(value)}
    return sorted({form for form in {*found, *others} if len(form) >= SHORTEST}, key=len, reverse=True)


def encodings(value: str) -> Iterator[str]:
    """A value as it is, and as JSON, Python, a URL, HTML or base64 have it."""
    data = value.encode("utf-8", "surrogateescape")
    yield from (value, json.dumps(value), ascii(value), repr(data)[1:])
    if len(value) <= LONGEST_ENCODED:
        for url in (quote(data), quote(data, safe=""), quote_plus(data)):
            yield from (url, re.sub(r"%\w\w", lambda found: found[0].lower(), url))
        escaped = html.escape(value)
        yield from (escaped, html.escape(value, quote=False), escaped.replace("&#x27;", "&#39;"))
        yield escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    # What a program prints that has another locale, and what we then read of it.
    yield from (value.encode(other, "replace").decode("utf-8", "replace") for other in ("ascii", "latin-1"))
    yield from in_base64(data)


def in_base64(data: bytes) -> Iterator[str]:
    """Data wherever it stands in what is encoded; only the characters that nothing but the data decides."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        certain = text[(0, 2, 3)[before] : (len(data) + before) * 8 // 6]
        if len(certain) >= 8:
            yield from {certain, certain.replace("+", "-").replace("/", "_")}


def replaced(text: str, places: Iterable[tuple[int, int]]) -> str:
    """The text with `***` at these places of it as it is without what `BETWEEN` has."""
    if places := sorted(places, reverse=True):
        index = [number for number, c in enumerate(text) if ord(c) not in BETWEEN]
        for begin, end in places:
            text = text[: index[begin]] + HIDDEN + text[index[end - 1] + 1 :]
    return text


def place_in(text: str, place: int) -> int:
    """Where in a text a place is of it as it is without what `BETWEEN` has."""
    return [number for number, c in enumerate(text) if ord(c) not in BETWEEN][place]
