"""Texts as they may be shown: without secrets, and without characters that command a terminal."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from .forms import BETWEEN, HIDDEN, dense, encoded, forms_of, place_in, replaced
from .output import without_colours, without_escapes
from .secrecy import COMMON, SHORT, secrets_in, secrets_in_file
from .urls import IN_URL

WORD = re.compile(r"[^\W\d_]{1,11}|\d{1,11}")
"""A value that may be a part of other words, and so is hidden only where it stands alone."""

BESIDE_A_NAME = (
    r"(?P<name>(?i:secret|passw|passphrase|token|key|credential|dsn|pass|pwd|pw|pin|auth|salt|otp|psk)[\w.-]*[\"'\\]*\s*(?:=>|[=:\s])"
    r"\s*[\"'\\]*)VALUE(?!\w)"
)
"""A value that stands in many texts, where a name before it says that it is secret."""

BEGINNING = 3
"""Characters of a secret by whose appearance at the end of a line we wait for the next: fewer end half of all lines."""


class Secrets:
    """Values that must not be shown, in every form in which a program prints them.

    They are looked for without quotes, backslashes and spaces, so it does not matter how a program quotes a value, or
    where it breaks the line.

    Args:
        values: the secrets.
        shown: texts that everybody may see, such as paths. A secret that is a word of them, or of everybody's, is
            hidden only beside a name that says so: else it would be seen by what is hidden.
    """

    def __init__(self, values: Iterable[str] = (), shown: Iterable[str] = ()) -> None:
        public = COMMON | {word.lower() for text in shown for word in re.findall(r"\w+|[\w.-]+", text)}
        stripped = {value.strip() for value in values} - {""}
        self._key = frozenset(stripped), frozenset(public)
        plain = {value for value in stripped if len(value) > SHORT and value.lower() not in public}
        words = {value for value in plain if WORD.fullmatch(value)}
        self._forms = forms_of(plain - words, {form for word in words for form in encoded(word)})
        self._words = any_of(words, r"(?:(?<![^\W_])|(?<=-p))VALUE(?![^\W_])")
        self._beside = any_of(stripped - plain, BESIDE_A_NAME)
        self._beginnings: dict[str, list[str]] = {}
        for form in self._forms:
            self._beginnings.setdefault(form[:BEGINNING], []).append(form)
        self._longest = max(map(len, self._forms), default=0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secrets) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def and_also(self, values: Collection[str]) -> Secrets:
        """These and others, in texts of the same words."""
        known, public = self._key
        return self if known.issuperset(value.strip() for value in values) else Secrets({*known, *values}, public)

    def hidden(self, text: str) -> str:
        """The text without these values, and without the passwords of URLs."""
        searched = dense(text)
        places = []
        for form in self._candidates(searched):
            while (at := searched.find(form)) >= 0:
                places.append((at, at + len(form)))
                searched = searched[:at] + "\0" * len(form) + searched[at + len(form) :]
        text = replaced(text, places)
        for pattern in (self._words, self._beside):
            text = (
                pattern.sub(lambda found: f"{found.groupdict().get('name') or ''}{HIDDEN}", text) if pattern else text
            )
        return without_passwords(text)

    def _candidates(self, searched: str) -> Sequence[str]:
        """The forms whose beginnings are in a text, which are few; the longest first."""
        there = {searched[place : place + BEGINNING] for place in range(len(searched) - BEGINNING + 1)}
        found = (form for beginning in there & self._beginnings.keys() for form in self._beginnings[beginning])
        return sorted(found, key=len, reverse=True)

    def unfinished(self, text: str, before: str = "") -> int:
        """Where at the end of a text a value may have begun that goes on in the next; its length if nowhere.

        Args:
            before: the end of what was before it.
        """
        if not self._beginnings:
            return len(text)
        tail = (before + text)[-3 * self._longest :]
        searched = dense(tail)
        for place in range(max(0, len(searched) - self._longest), len(searched) - BEGINNING + 1):
            forms = self._beginnings.get(searched[place : place + BEGINNING])
            if forms and any(form.startswith(rest := searched[place:]) and form != rest for form in forms):
                return max(0, len(text) - len(tail) + place_in(tail, place))
        return len(text)

    def lines(self) -> HiddenLines:
        """Takes a stream apart."""
        return HiddenLines(self)

    @property
    def longest(self) -> int:
        return self._longest


class HiddenLines:
    """The lines of a stream without secrets, also where one goes on in the next line or chunk, and without colours.

    Args:
        longest: characters after which nobody waits for the end of a line: it must not fill our memory.
    """

    def __init__(self, secrets: Secrets, longest: int = 10_000) -> None:
        self._secrets, self._longest = secrets, longest
        self._rest = self._before = ""

    def take(self, text: str) -> list[str]:
        """Takes a piece, and returns the lines that are whole now. One with the beginning of a secret has to wait."""
        self._rest = without_escapes(self._rest + text)
        end = self._rest.rfind("\n") + 1
        is_endless = len(self._rest) - end > self._longest
        end = len(self._rest) if is_endless else end
        sure = self._secrets.unfinished(self._rest[:end], self._before)
        if not is_endless:
            sure = self._rest.rfind("\n", 0, sure) + 1
        elif end > self._longest + 3 * self._secrets.longest:
            sure = end
        return self._shown(sure)

    def end(self) -> list[str]:
        """The lines that are left."""
        begun = self._secrets.unfinished(self._rest, self._before)
        if len(self._rest) - begun > SHORT:
            self._rest = self._rest[:begun] + HIDDEN
        return self._shown(len(self._rest))

    def _shown(self, end: int) -> list[str]:
        text, self._rest = self._rest[:end], self._rest[end:]
        if not text:
            return []
        before, self._before = f"{self._before}\n", (self._before + text).translate(BETWEEN)[1 - BEGINNING :]
        whole = self._secrets.hidden(before + text)
        known = next(n for n in range(len(before), -1, -1) if whole.startswith(before[:n]))
        return whole[known:].removesuffix("\n").split("\n")


def values_to_hide(
    env: Mapping[str, str], contents: Mapping[str, bytes] | None = None, shown: Iterable[str] = ()
) -> Secrets:
    """What must not be shown of an environment, and of the contents of secret files by their names."""
    found = {value for name, text in env.items() for value in secrets_in(text, name)}
    found |= {value for name, content in (contents or {}).items() for value in secrets_in_file(content, name)}
    return Secrets(found, shown)


def any_of(values: Iterable[str], pattern: str) -> re.Pattern[str] | None:
    """A pattern in which one of the values stands for `VALUE`."""
    choices = "|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    return re.compile(pattern.replace("VALUE", f"(?:{choices})")) if choices else None


NOTHING = Secrets()
_known: dict[Secrets, None] = {}


def forget() -> None:
    """Nothing is known any more: for tests, which are many programs in one."""
    _known.clear()


def remember(secrets: Secrets) -> Secrets:
    """From now on these are in nothing that this program shows, whatever it comes from."""
    _known[secrets] = None
    return secrets


def hidden(text: str, secrets: Secrets) -> str:
    """The text without secrets, nor the passwords of URLs."""
    return secrets.hidden(text)


def hidden_by_its_looks(text: str) -> str:
    """A text of which nobody knows what is in it, without what looks like a secret."""
    return Secrets(secrets_in_file(text.encode("utf-8", "replace"))).hidden(text)


def printable(text: str, keep: str = "") -> str:
    """The text as it may be shown: without secrets, and control characters escaped, which command a terminal."""
    keep += "\t"
    text = without_passwords(without_colours(text))
    for secrets in list(_known):
        text = secrets.hidden(text)
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def without_passwords(text: str) -> str:
    """The text without the passwords of URLs, whoever wrote them there."""
    if "://" not in text:
        return text
    return re.sub(IN_URL, lambda found: f"{found['user'] or found['scheme']}{HIDDEN}", text)


def kind_of(value: object) -> str:
    """What a value is, for an error that must not quote it, since it may be secret: `a string`, `a list`."""
    names = {type(None): "nothing", bool: "a truth value", str: "a string", list: "a list", tuple: "a list"}
    names |= {int: "a whole number", float: "a number", dict: "a mapping", bytes: "bytes"}
    return names.get(type(value), f"a value of type {type(value).__name__}")
