"""Changes a release's manifest: `echo '{"state": "published"}' | manifest RELEASE_DIRECTORY NAME=TEXT NAME ...`.

A name alone gets this moment.

Whole or not at all, and synced to the disk. What is long comes by standard input: a command line is bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any


def change(directory: str, values: Mapping[str, Any]) -> None:
    """Merges the values into `release.json`. A table is merged with the table of that name, so timings add up."""
    path = os.path.join(directory, "release.json")
    with open(path, "rb") as file:
        manifest = json.load(file)
    for name, value in values.items():
        old = manifest.get(name)
        manifest[name] = dict(old, **value) if isinstance(old, dict) and isinstance(value, dict) else value
    replace(path, json.dumps(manifest, indent=2) + "\n")


def replace(path: str, text: str) -> None:
    """Writes beside the file, syncs, and renames over it: a reader sees the old text or the new, also after a crash."""
    beside = f"{path}.{os.getpid()}"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:  # a full disk: leave no half behind
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def main(words: list[str]) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    texts = {name: text if given else now for name, given, text in (word.partition("=") for word in words[1:])}
    change(words[0], {**json.load(sys.stdin), **texts})
