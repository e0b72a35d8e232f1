"""Secret files: where their contents come from, on this machine, and how they stay out of everything that is shown."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from .errors import HIDDEN, SettingsError, without_passwords
from .settings import Secret, Settings

SUSPICIOUS = re.compile(
    r"secret|passw|passphrase|token|key|dsn|credential|private|webhook|database_url|connection_string"
    r"|(^|_|db)(pass|pwd|pw)(_|\d|$)",
    re.IGNORECASE,
)
"""Names of variables whose values are secret."""

SHORT = 4
"""Characters up to which a value is no secret that could be hidden: `1` or `on` stand everywhere."""


def read_secrets(settings: Settings) -> Mapping[str, bytes]:
    """The contents of all secret files, by their paths in `shared`.

    Raises:
        SettingsError: names every one that cannot be read.
    """
    contents: dict[str, bytes] = {}
    problems = []
    for name, secret in settings.secret_files.items():
        try:
            contents[name] = read(secret)
        except (OSError, KeyError, subprocess.CalledProcessError) as error:
            problems.append(f"{name}: {reason(secret, error)}")
    if problems:
        raise SettingsError("secret_files", problems)
    return contents


def read(secret: Secret) -> bytes:
    if secret.file:
        return Path(secret.file).expanduser().read_bytes()
    if secret.env:
        return os.environb[secret.env.encode()]
    # The user's own command, with the user's own pipes.
    done = subprocess.run(secret.command or "", shell=True, check=True, capture_output=True)  # noqa: S602
    return done.stdout


def secrets_at_hand(settings: Settings) -> Iterator[bytes]:
    """The contents that can be had without a word: a command may ask for a passphrase, for which a log is no reason."""
    for secret in settings.secret_files.values():
        if not secret.command:
            with suppress(OSError, KeyError):
                yield read(secret)


def reason(secret: Secret, error: Exception) -> str:
    """Why a secret cannot be read. What a command printed may be the secret, what it complained about is not."""
    if isinstance(error, subprocess.CalledProcessError):
        complaint = error.stderr.decode("utf-8", "replace").strip()
        return f"`{secret.command}` failed (exit {error.returncode}): {complaint}"
    if isinstance(error, KeyError):
        return f"the environment variable {secret.env} is not set"
    return f"{secret.file}: {getattr(error, 'strerror', None) or error}"


def as_input(contents: Mapping[str, bytes]) -> str:
    """As `secret.py` on the server reads them."""
    return json.dumps({name: base64.b64encode(content).decode() for name, content in contents.items()})


# --- hiding -----------------------------------------------------------------------------------------------------------


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
    """The passwords of URLs, as they are written there and as they are meant."""
    for found in re.finditer(r"://[^\s/:@]*:([^\s/]+)@", text):
        yield from (found[1], unquote(found[1]))


def forms(value: str) -> Iterator[str]:
    """A value as it is, in JSON's or Python's quotes, and each of these in a shell's, as we write it or as `set -x`."""
    for text in {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}:
        yield from (text, text.replace("'", "'\"'\"'"), text.replace("'", "'\\''"))


def hidden(text: str, values: Collection[str]) -> str:
    """The text without these values, nor the passwords of URLs."""
    for value in values:
        text = text.replace(value, HIDDEN)
    return without_passwords(text)
