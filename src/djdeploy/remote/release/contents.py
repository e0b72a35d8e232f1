"""Digests of files and directories by what is in them, wherever they lie and whenever they were written."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

from .requirements_file import local_path
from .texts import text_in

SKIPPED = ("__pycache__", ".git")
IRRELEVANT = re.compile(
    r"CACHE|CERT|COLOR|CONCURRENT|KEYRING|LOG|PASSWORD|PROGRESS|PROXY|QUIET|TIMEOUT|TOKEN|USER(NAME)?$"
)


def digest_of(path: str) -> str:
    """The digest of a file, or of all files below a directory with their names."""
    found = hashlib.sha256()
    if not os.path.isdir(path):
        add_file(found, path)
        return found.hexdigest()
    for directory, directories, names in os.walk(path):
        directories[:] = sorted(name for name in directories if name not in SKIPPED)
        for name in sorted(names):
            file = os.path.join(directory, name)
            found.update(os.fsencode(os.path.relpath(file, path)) + b"\0")
            add_file(found, file)
    return found.hexdigest()


def add_file(found: hashlib._Hash, path: str) -> None:
    """Adds a file's size and contents; what is no file, or a link to nowhere, has none."""
    if not os.path.isfile(path):
        return
    found.update(b"%d\0" % os.path.getsize(path))
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(2**20), b""):
            found.update(chunk)


def configuration(directory: str, top: str) -> Iterator[str]:
    """What the project configures pip and uv with: by variables, and by the file that uv finds, up to a directory."""
    for name, value in sorted(os.environ.items()):
        if name.startswith(("PIP_", "UV_")) and not IRRELEVANT.search(name):
            yield f"{name}={value}"
            yield from (digest_of(word) for word in value.split() if os.path.isfile(word))  # such as PIP_CONSTRAINT
    while True:
        text = uv_configuration(directory)
        if text or directory in (top, os.path.dirname(directory)):
            break
        directory = os.path.dirname(directory)
    yield text
    for value in re.findall(r"\"([^\"\n]+)\"|'([^'\n]+)'", text):
        path = os.path.join(directory, local_path(value[0] or value[1]))
        if os.path.exists(path) and os.path.realpath(path) != os.path.realpath(directory):
            yield digest_of(path)


def uv_configuration(directory: str) -> str:
    """uv's part of the configuration in a directory; empty if there is none."""
    whole = text_in(os.path.join(directory, "uv.toml"))
    if whole:
        return whole
    chosen, inside = [], False
    for line in text_in(os.path.join(directory, "pyproject.toml")).splitlines():
        header = re.match(r"\s*\[+\s*([^\]]*?)\s*\]", line) if line.lstrip().startswith("[") else None
        if header and re.fullmatch(r"[\w.\"' -]+", header.group(1)):
            inside = bool(re.match(r"[\"']?tool[\"']?\s*\.\s*[\"']?uv\b", header.group(1)))
        if inside:
            chosen.append(line)
    return "\n".join(chosen)
