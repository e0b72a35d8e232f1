"""Secret files: where their contents come from, on this machine, and how they stay out of everything that is shown."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from .errors import SettingsError
from .settings import Secret, Settings

HIDDEN = "***"

SUSPICIOUS = ("secret", "password", "passwd", "token", "key", "dsn", "credential", "private", "database_url")
"""Parts of the names of variables whose values are secret."""

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
    """What must not be shown: suspicious variables, and each line of a secret file and the value of its assignment."""
    found = {value for name, value in env.items() if any(word in name.lower() for word in SUSPICIOUS)}
    for content in contents:
        for line in content.decode("utf-8", "replace").splitlines():
            name, equals, value = line.partition("=")
            found |= {line.strip(), value.strip().strip("\"'") if equals and name.strip() else ""}
    # The longest first, since one may contain another.
    return sorted((value for value in found if len(value) > SHORT), key=len, reverse=True)


def hidden(text: str, values: Collection[str]) -> str:
    """The text without these values."""
    for value in values:
        text = text.replace(value, HIDDEN)
    return text
