"""Removes releases, and then the environments that no release links to any more: `remove HOME PROJECT NAME...`.

What is current or previous, what a process runs in, and what is not a release of this project is left alone, whatever
was asked for.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Container, Iterator, Sequence

from ..emit import emit
from ..processes import proc

COMPLAINTS = 3
AT_ONCE = "4"

RUN = "[0-9a-f]{16}"  # what a run of a task puts into the names that are its own
OURS = {  # what has exactly such a name is ours, and nothing else
    "": rf"\.(current|previous)-{RUN}",
    ".djdeploy": rf"(new|replaced)-{RUN}|programs-\w{{8}}",
    "bin": rf"djdeploy-launch-\d+\.{RUN}",
    "run": r"\.[a-z0-9_-]+-smoke-\d+(\.pid)?",
}


def is_release_of(project: str, root: str, name: str) -> bool:
    try:
        with open(os.path.join(root, "release.json"), "rb") as file:
            manifest = json.load(file)
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("name") == name and manifest.get("project") == project


def linked(home: str) -> Iterator[str]:
    """The releases that `current` and `previous` name."""
    for name in ("current", "previous"):
        path = os.path.join(home, name)
        if os.path.islink(path):
            yield os.path.basename(os.path.realpath(path))


def reason_to_keep(home: str, project: str, name: str, used: Container[str]) -> str | None:
    root = os.path.join(home, name)
    if os.path.islink(root) or os.path.basename(name) != name or not is_release_of(project, root, name):
        return f"it is not a release of {project}"
    if name in linked(home):
        return "it is current or previous"
    if name in used:
        return "a process runs in it"
    return None


def remove(home: str, name: str) -> None:
    """Out of sight by one rename first: a half-removed release is never taken for a whole one."""
    trash = os.path.join(home, ".djdeploy", "trash")
    place = os.path.join(trash, f"{name}.{os.getpid()}")
    try:
        os.makedirs(trash, exist_ok=True)
    except OSError:  # the disk is full, which is why somebody removes releases
        place = os.path.join(home, ".djdeploy", f"replaced-{os.urandom(8).hex()}")
    os.rename(os.path.join(home, name), place)


def unused_environments(home: str) -> list[str]:
    """The environments that no release links to."""
    directory = os.path.join(home, ".djdeploy", "virtualenvs")
    links = (os.path.join(home, name, "virtualenv") for name in os.listdir(home))
    used = {os.path.basename(os.readlink(path)) for path in links if os.path.islink(path)}
    return [os.path.join(directory, name) for name in listing(directory) if name not in used]


def leftovers(home: str) -> Iterator[str]:
    """What deploys that were killed have left half made. We hold the lock, so nobody is making any of it now."""
    for directory, names in OURS.items():
        path = os.path.join(home, directory)
        yield from (os.path.join(path, name) for name in listing(path) if re.fullmatch(names, name))


def listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def main(words: list[str]) -> None:
    home, project, *names = words
    used = proc.releases_in_use(home)
    removed = []
    for name in names:
        reason = reason_to_keep(home, project, name, used)
        if reason:
            print(f"djdeploy: kept {name}: {reason}")
            continue
        remove(home, name)
        removed.append(name)
    trash = os.path.join(home, ".djdeploy", "trash")
    environments = unused_environments(home)
    delete([*(os.path.join(trash, name) for name in listing(trash)), *environments, *leftovers(home)])
    emit({"removed": removed, "environments": len(environments)})


def delete(paths: Sequence[str]) -> None:
    """Some at a time: releases are many small files, and each waits for the disk."""
    # A finished environment is not writable, not even for its owner.
    one = 'find "$1" -type d ! -perm -u+w -exec chmod u+w {} +; rm -rf -- "$1"'
    command = ["xargs", "-0", "-r", "-n", "1", "-P", AT_ONCE, "sh", "-c", one, "sh"]
    done = subprocess.run(command, input=b"\0".join(map(os.fsencode, paths)), stderr=subprocess.PIPE, check=False)
    complaints = done.stderr.decode("utf-8", "backslashreplace").splitlines()
    for line in complaints[:COMPLAINTS]:
        print(f"djdeploy: {line}")
    if len(complaints) > COMPLAINTS:
        print(f"djdeploy: and {len(complaints) - COMPLAINTS} more that cannot be removed")
