"""Secret files: where their contents come from, on this machine, and how they stay out of everything that is shown."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path, PurePath

from ..errors import SettingsError
from ..errors.redaction import Secrets
from ..errors.secrecy import secrets_in, secrets_in_file
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


def secrets_at_hand(settings: Settings) -> Mapping[str, bytes]:
    """The contents that can be had without a word: a command may ask for a passphrase, for which a log is no reason."""
    found = {}
    for name, secret in settings.secret_files.items():
        if not secret.command:
            with suppress(OSError, KeyError):
                found[name] = read(secret)
    return found


def secrets_of(settings: Settings, contents: Mapping[str, bytes]) -> Secrets:
    """What must not be shown: the secrets in the settings, and in the contents of the secret files."""
    texts = list(named_texts("", settings))
    found = [value for name, text in texts for value in secrets_in(text, name)]
    for path, content in contents.items():
        secret = settings.secret_files.get(path)
        found += secrets_in_file(content, f"{PurePath(path).name} {secret.env or '' if secret else ''}")
    everybodys = [settings.project, settings.home, settings.repository, settings.branch]
    everybodys += [host.name for host in settings.servers] + [process.name for process in settings.processes]
    return made_once(frozenset(found), frozenset(everybodys))


@cache
def made_once(values: frozenset[str], everybodys: frozenset[str]) -> Secrets:
    """Hosts mostly have the same secrets."""
    return Secrets(values, everybodys)


def named_texts(name: str, value: object) -> Iterator[tuple[str, str]]:
    """All strings in the settings, each with the name that a project gives it: of a variable, a header or a field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from named_texts(str(key), each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from named_texts(name, each)
    elif is_dataclass(value) and not isinstance(value, type):
        ours = {f.name for f in fields(Settings)} if isinstance(value, Settings) else {f.name for f in fields(value)}
        for f in fields(value):
            yield from named_texts("" if f.name in ours else f.name, getattr(value, f.name))


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
