"""Becomes the agent: its text is what `python -IS` runs over the channel, with the client's first orders as argument.

The package is on the server already, unchanged, or is asked for and read from the channel. This file is sent in every
task, so it is short, and it imports the package only once that is there.
"""

from __future__ import annotations

import binascii  # `base64` would import twice as much
import hashlib
import importlib.util
import json
import os
import sys

PACKAGE = "djdeploy_remote"
MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp makes a private directory there


def installed(folder: str) -> dict[str, bytes]:
    """The modules that an earlier task has installed, by their paths; empty if they cannot be read."""
    found = {}
    try:
        for directory, _, names in os.walk(folder):
            for name in names:
                if name.endswith(".py"):
                    path = os.path.join(directory, name)
                    with open(path, "rb") as file:
                        found[path[len(folder) + 1 :]] = file.read()
    except OSError:
        return {}
    return found


def digest(files: dict[str, bytes]) -> str:
    """Names modules by their paths and contents."""
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(b"%s %d\n" % (os.fsencode(path), len(files[path])))
        whole.update(files[path])
    return whole.hexdigest()


def received() -> str:
    """A new private directory, in memory where that may be, with the package that the client sends."""
    print(json.dumps({"djdeploy": "programs"}), flush=True)
    import tempfile  # these take as long to import as the rest of this file, and are seldom needed
    import zlib

    channel = sys.stdin.buffer
    files = json.loads(zlib.decompress(channel.read(int(channel.readline()))))
    folder = tempfile.mkdtemp(prefix="djdeploy-", dir=MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None)
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return folder


def load(folder: str) -> None:
    """Makes the package importable from where it is, and nothing else from there."""
    root = os.path.join(folder, PACKAGE)
    spec = importlib.util.spec_from_file_location(
        PACKAGE, os.path.join(root, "__init__.py"), submodule_search_locations=[root]
    )
    assert spec
    assert spec.loader
    sys.modules[PACKAGE] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


def main(argument: str) -> None:
    """Args: argument: the client's `Hello`, as JSON in base64."""
    os.umask(0o022)  # before the first file of ours, whatever the account has
    hello = json.loads(binascii.a2b_base64(argument))
    folder = os.path.join(hello["home"], ".djdeploy/programs", hello["programs"])
    if digest(installed(folder)) != hello["programs"]:
        folder = received()
    load(folder)
    importlib.import_module(f"{PACKAGE}.agent.agent").main(hello, folder)


if __name__ == "__main__":
    main(sys.argv[-1])
