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

LONGEST_IN_NUMBERS = 256
"""Characters up to which a value is looked for as numbers: longer ones have lines, which are looked for."""

LETTERS, LETTERS_BEFORE = re.compile(r"[^\W_]+"), re.compile(r"[^\W_]+\Z")

LONGEST_REST = 8
"""Letters and digits on either side of a value that are hidden with it: more are something else."""

SHORTEST = 5
"""Characters that a form has at least."""


def forms_of(values: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """Values as programs print them, as `dense` has it; the longest first, since one may contain another."""
    found = {dense(form) for value in values for form in encodings(value)}
    return sorted({form for form in {*found, *map(dense, others)} if len(form) >= SHORTEST}, key=len, reverse=True)


def dense(text: str) -> str:
    """A text without what `BETWEEN` has, and in lower case, since neither says anything of what is printed."""
    text = text.translate(BETWEEN)
    if text.isascii():
        return text.lower()
    return "".join(lower if len(lower := c.lower()) == 1 else c for c in text)  # each stays in its place


def encodings(value: str) -> Iterator[str]:
    """A value as it is, and as JSON, Python, a URL, HTML, base64 or numbers have it."""
    data = value.encode("utf-8", "surrogateescape")
    yield from (value, json.dumps(value), ascii(value), repr(data)[1:])
    if len(value) <= LONGEST_ENCODED:
        for url in (quote(data), quote(data, safe=""), quote_plus(data)):
            yield from (url, quote(url))
        escaped = html.escape(value)
        yield from (escaped, html.escape(value, quote=False), escaped.replace("&#x27;", "&#39;"))
        yield escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
        for signs in ("<>&", "<>&'", "<>&'\""):  # as JSON stands in a page
            table = {ord(sign): f"u{ord(sign):04x}" for sign in signs}
            yield from (value.translate(table), json.dumps(value).strip('"').translate(table))
    if len(value) <= LONGEST_IN_NUMBERS:
        yield from in_numbers(value, data)
    # What a program prints that has another locale, and what we then read of it.
    yield from (value.encode(other, "replace").decode("utf-8", "replace") for other in ("ascii", "latin-1"))
    yield from in_base64(data)


def encoded(word: str) -> Iterator[str]:
    """The forms of a word that are no word themselves."""
    data = word.encode()
    yield from in_base64(data)
    yield from (form for form in in_numbers(word, data) if len(form) >= 10)


def in_numbers(value: str, data: bytes) -> Iterator[str]:
    """What has a number for each byte or character: a dump, or an escape that is used for all of them."""
    yield from (data.hex(), data.hex(":"), data.hex("-"), ",".join(map(str, data)))
    for byte in ("%{:02x}", "={:02x}", "x{:02x}", "0x{:02x},", "{:03o}"):
        yield "".join(map(byte.format, data)).rstrip(",")
    for character in ("&#{};", "&#x{:x};", "u{:04x}"):
        yield "".join(character.format(ord(c)) for c in value)


def in_base64(data: bytes) -> Iterator[str]:
    """Data wherever it stands in what is encoded; only the characters that nothing but the data decides."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        certain = text[(0, 2, 3)[before] : (len(data) + before) * 8 // 6]
        if len(certain) >= 8:
            yield from {certain, certain.replace("+", "-").replace("/", "_")}


def whole_word(text: str, begin: int, end: int) -> tuple[int, int]:
    """A place with the letters and digits beside it: what is left of a word would say that the rest is secret."""
    before = LETTERS_BEFORE.search(text, max(0, begin - LONGEST_REST - 1), begin)
    behind = LETTERS.match(text, end, end + LONGEST_REST + 1)
    first, last = before.start() if before else begin, behind.end() if behind else end
    return first if begin - first <= LONGEST_REST else begin, last if last - end <= LONGEST_REST else end


def replaced(text: str, places: Iterable[tuple[int, int]]) -> str:
    """The text with `***` at these places of it as it is without what `BETWEEN` has."""
    if places := sorted(places, reverse=True):
        index = [number for number, c in enumerate(text) if ord(c) not in BETWEEN]
        edge = len(text)
        for begin, end in places:
            first, last = whole_word(text[:edge], index[begin], index[end - 1] + 1)
            text, edge = text[:first] + HIDDEN + text[last:], first
    return text


def place_in(text: str, place: int) -> int:
    """Where in a text a place is of it as it is without what `BETWEEN` has."""
    return [number for number, c in enumerate(text) if ord(c) not in BETWEEN][place]
