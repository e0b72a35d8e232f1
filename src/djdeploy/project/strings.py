"""The strings that settings are made of: what each must be, as a pattern and in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..errors.urls import has_password
from .kinds import Kind, Schema, quoted

RESERVED = ("current", "previous", "shared", "run", "log", "bin")
"""Names under `home` that no release may take."""

UNIX_PATH = 107
"""Bytes that the kernel allows the path of a socket."""


class Text(Kind):
    """A string that matches a pattern, which JSON schema's dialect must understand too."""

    type = "str"
    must = "a string that is not empty"
    plural = "strings that are not empty"
    pattern = r"[^\x00]*[^\s\x00][^\x00]*"

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and is_unicode(value) and bool(re.fullmatch(self.pattern, value))

    def shown(self, value: object) -> str:
        # Of a string that is secret there is nothing to say: what it must be has been said.
        return "" if self.is_secret and isinstance(value, str) else super().shown(value)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}


class SecretText(Text):
    """A string that may be a secret, or lead to one."""

    is_secret = True


class Name(Text):
    must = "a name of a-z, 0-9, - and _ that does not begin with -"
    plural = "names"
    pattern = r"[a-z0-9_][a-z0-9_-]*"


NO_PARENT = r"(?!(?:[^\x00]*/)?\.\.(?:/|$))"
"""Looks ahead: `..` is no part of the path."""


class PathInRepository(Text):
    must = "a path inside the repository"
    plural = "paths inside the repository"
    pattern = rf"(?![/-]){NO_PARENT}{Text.pattern}"


class PathBelowRepository(PathInRepository):
    must = "a path inside the repository, and not all of it"
    pattern = rf"(?![./]*$){PathInRepository.pattern}"


class Template(Text):
    """A string in which some names in braces are replaced.

    Attributes:
        names: a value that each of them may have.
        result: what the string must be then.
    """

    names: Mapping[str, object] = {}
    result = Text.pattern

    def accepts(self, value: object) -> bool:
        try:
            return super().accepts(value) and bool(re.fullmatch(self.result, str(value).format(**self.names)))
        except (AttributeError, KeyError, IndexError, ValueError):
            return False


class Variable(Text):
    """The name of an environment variable. Who writes `NAME=value` in its place has written the value, too."""

    must = "a name of letters, digits and _ that begins neither with a digit nor with DJDEPLOY_"
    plural = "names of variables"
    pattern = r"(?!DJDEPLOY_)[A-Za-z_][A-Za-z0-9_]*"
    is_secret = True


class LocalVariable(SecretText):
    """The name of a variable of whoever deploys. In its place may stand what that variable should hold."""

    must = "the name of an environment variable"
    plural = "names of environment variables"
    pattern = r"[A-Za-z_][A-Za-z0-9_]*"


class AnyText(Text):
    """A string, which may be empty."""

    must = "a string"
    plural = "strings"
    pattern = r"[^\x00]*"

    def problems(self, subject: str, value: object) -> Iterator[str]:
        if isinstance(value, str) and not self.accepts(value):
            yield f"{subject} must be UTF-8 without NUL characters"
        else:
            yield from super().problems(subject, value)


class VariableValue(AnyText):
    is_secret = True

    def shown(self, value: object) -> str:
        is_plain = isinstance(value, (bool, int, float))
        return super().shown(value) + ("; put it in quotes" if is_plain else "")


class Repository(SecretText):
    must = "an address that `git clone` takes and that does not begin with -"
    pattern = rf"(?!-){Text.pattern}"

    def problems(self, subject: str, value: object) -> Iterator[str]:
        if isinstance(value, str) and has_password(value):
            yield (
                f"{subject} must have no password and no token in it, which every process list on the server would "
                "show: use `deploy_key`, or keep it there: git config --global credential.helper store"
            )
        else:
            yield from super().problems(subject, value)


class HomeDirectory(Text):
    must = "an absolute directory on the server without .., such as /srv/www/demo"
    pattern = rf"{NO_PARENT}/[^/\x00][^\x00]*"


class Ref(Text):
    """What `git check-ref-format` allows."""

    must = "the name of a branch, a tag or a commit"
    plural = "names of branches, tags or commits"
    pattern = r"(?!-)(?![^\x00]*\.\.)(?![^\x00]*(?:/|\.|\.lock)$)[^\s~^:?*\[\\\x00-\x1f\x7f]+"


class Program(Text):
    must = "a program that does not begin with -"
    pattern = rf"(?!-){Text.pattern}"


class Requirement(SecretText):
    must = "a requirement that is not empty"
    plural = "requirements"


class PathOfKey(SecretText):
    """A path: whoever pastes the key itself has line breaks in it."""

    must = "the path of a private key on the server"
    pattern = r"[^\x00\r\n]*[^\s\x00][^\x00\r\n]*"


class ReleaseName(Template):
    must = "the name of a directory with {date} in it, in which only {date}, {ref} and {sha} are replaced"
    names: Mapping[str, object] = {"date": "20261123-093000", "ref": "main", "sha": "0" * 12}
    pattern = r"[^\x00]*\{date[^\x00]*"
    result = rf"(?!(?:{'|'.join(RESERVED)})$)[A-Za-z0-9][A-Za-z0-9_.+-]*"


PORT = r"(?!0+$)(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


class HostName(Text):
    must = "user@host:port without a password"
    plural = "user@host:port"
    pattern = (
        r"(?!-)(?:[^\s\x00:]+@)?(?:[0-9A-Fa-f.]*(?::[0-9A-Fa-f.]*){2,}(?:%[^\s\x00@:\[\]]+)?"
        rf"|(?:\[[0-9A-Fa-f:.]+(?:%[^\s\x00@:\[\]]+)?\]|[^\s\x00@:\[\]]+)(?::{PORT})?)"
    )

    def shown(self, value: object) -> str:
        """Nothing of it where a password may stand in it."""
        return "" if "@" in str(value) else super().shown(value)


class RequestPath(Text):
    must = "a path that begins with / and has no spaces"
    plural = "paths that begin with /"
    pattern = r"/[!-~]*"

    def shown(self, value: object) -> str:
        """Without its query, which may have a token."""
        return quoted(value.partition("?")[0]) if isinstance(value, str) else super().shown(value)


class HeaderName(SecretText):
    must = "a name of letters, digits and -"
    plural = "names of headers"
    pattern = r"[A-Za-z0-9-]+"


class HeaderValue(SecretText):
    must = "a string of printable ASCII characters"
    plural = "strings of printable ASCII characters"
    pattern = r"[\t -~]*"


class Command(SecretText):
    must = "a command that is not empty"
    plural = "commands"


class Acknowledgement(SecretText):
    type = "str"
    must = 'the name of a migration and a reason, such as "shop.0042_drop_legacy: nothing reads it since 1.4"'
    plural = "names of migrations with their reasons"
    pattern = r"[A-Za-z_]\w*\.[A-Za-z0-9_]\w*(:[^\x00-\x1f]*)?"


class WhenToBackUp(SecretText):
    must = '"never", "before-destructive" or "always", or a command with a path or options'
    pattern = r"never|before-destructive|always|[^\x00]*[ /][^\x00]*"


class Bind(Text):
    must = "HOST:PORT or unix:/absolute/path"
    pattern = r"unix:/[^\x00-\x1f]*|(?:[A-Za-z0-9_.-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}"

    def accepts(self, value: object) -> bool:
        if not super().accepts(value):
            return False
        address = str(value)
        if address.startswith("unix:"):
            return len(address.encode()) - len("unix:") <= UNIX_PATH
        return 0 < int(address.rpartition(":")[2]) < 65536


class PidFile(Template):
    must = "a path without .. in which only {name} and {instance} are replaced"
    names: Mapping[str, object] = {"name": "web", "instance": 0}
    result = rf"{NO_PARENT}{Text.pattern}"


def is_unicode(text: str) -> bool:
    """Whether a string can be sent: half of a surrogate pair cannot."""
    return text.encode("utf-8", "replace").decode() == text
