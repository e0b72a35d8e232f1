"""Secret files: where their contents come from, on this machine, and how they stay out of everything that is shown."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import SettingsError
from .secret import Secret
from .settings import Settings


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
    """Why a secret cannot be read. The words of its command and what it printed may be secret; its complaint is not."""
    if isinstance(error, subprocess.CalledProcessError):
        complaint = error.stderr.decode("utf-8", "replace").strip()
        return f"its command failed (exit {error.returncode}): {complaint}"
    if isinstance(error, KeyError):
        return f"the environment variable {secret.env} is not set"
    return f"{secret.file}: {getattr(error, 'strerror', None) or error}"


def as_input(contents: Mapping[str, bytes]) -> str:
    """As `secret.py` on the server reads them."""
    return json.dumps({name: base64.b64encode(content).decode() for name, content in contents.items()})
