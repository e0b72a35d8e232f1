"""The facts of a server as it is now. Reads only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from ..processes import proc
from .lock import listing, lock_state, parsed

if TYPE_CHECKING:
    from ..wire import Facts, Free, Kind, Link, Look, Manifest, ReleaseName


def look(home: str, options: Look) -> Facts:
    """What is on this server now. Reads only."""
    # First: whoever sees that it is free, then sees what its last holder has left.
    lock = lock_state(os.path.join(home, ".djdeploy", "lock")) if options["lock"] else None
    found: Facts = {
        "python": sys.version.split()[0],
        "place": place(home),
        "current": link(home, "current"),
        "previous": link(home, "previous"),
        "tools": {name: tool(name) for name in options["tools"]},
        "shared": {path: kind(os.path.join(home, "shared", path)) for path in options["shared"]},
        "time": time.time(),
        "free": free(home),
        "noexec": noexec(home),
        "venv": all(importlib.util.find_spec(name) for name in ("ensurepip", "venv")),
        "releases": list(releases(home, sizes=options["sizes"])),
    }
    found["environments"] = environments(home, [release["name"] for release in found["releases"]])
    if lock:
        found["lock"] = lock
    if options["in_use"]:
        found["in_use"] = cast("list[ReleaseName]", sorted(proc.releases_in_use(home)))
    return found


def releases(home: str, sizes: bool) -> Iterator[Manifest]:
    """The manifests of this directory's releases. A directory without one is not ours."""
    for name in sorted(listing(home)):
        root = os.path.join(home, name)
        if os.path.islink(root):
            continue
        try:
            with open(os.path.join(root, "release.json"), "rb") as file:
                manifest = cast("Manifest", parsed(file.read()))
        except OSError:
            continue
        if manifest.get("name") == name:
            if sizes:
                manifest["size"] = size(root)
            yield manifest


def environments(home: str, names: Sequence[str]) -> dict[str, list[str]]:
    """The values that the variables of these releases have. Whoever shows what they print must know what to hide."""
    values: dict[str, set[str]] = {}
    for name in names:
        with contextlib.suppress(OSError, AttributeError), open(os.path.join(home, name, "runtime.json"), "rb") as file:
            for variable, value in (parsed(file.read()).get("env") or {}).items():
                values.setdefault(variable, set()).add(str(value))
    return {variable: sorted(each) for variable, each in values.items()}


def size(root: str) -> int:
    """Bytes on disk below a directory; a file with several names counts once. Links are not followed."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for directory, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(directory, name))
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
    return total


def place(home: str) -> str | None:
    """What tells this directory on this machine from all others, whatever they are called."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            status = os.stat(home)
            return f"{file.read().strip()}:{status.st_dev}:{status.st_ino}"
    except OSError:
        return None


def kind(path: str) -> Kind:
    if os.path.islink(path):
        return "link"
    if os.path.isdir(path):
        return "directory"
    return "file" if os.path.exists(path) else "missing"


def link(home: str, name: str) -> Link:
    """What kind of thing this is, and where it points if it is a link."""
    path = os.path.join(home, name)
    return {"kind": kind(path), "target": target(home, os.readlink(path)) if os.path.islink(path) else None}


def target(home: str, path: str) -> str:
    """A link's target from `home`: as a path in it, also where a hand made the link absolute; else as it is."""
    parent, name = os.path.split(path.rstrip("/"))
    inside = os.path.relpath(os.path.realpath(os.path.join(home, parent)), os.path.realpath(home))
    return path if inside.split("/")[0] == ".." else os.path.normpath(os.path.join(inside, name))


def owned(home: str) -> bool:
    """Whether we can create and remove entries here."""
    return os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK)


def tool(name: str) -> str | None:
    """The path of a program; a login shell would also look into ~/.local/bin, where uv installs itself."""
    places = [*os.environ.get("PATH", os.defpath).split(os.pathsep), os.path.expanduser("~/.local/bin")]
    paths = (os.path.join(place, name) for place in places)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def free(path: str) -> Free:
    """What is free on the disk where this is or will be. A file system without a table of inodes says 0 of 0."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return {"bytes": status.f_bavail * status.f_frsize, "inodes": status.f_favail if status.f_files else None}


def noexec(home: str) -> str | None:
    """The first of the places of an environment on which nothing can be executed, wherever links and mounts lead."""
    for path in (home, os.path.join(home, ".djdeploy", "virtualenvs")):
        there = os.path.realpath(path)
        while not os.path.exists(there):
            there = os.path.dirname(there)
        if os.statvfs(there).f_flag & os.ST_NOEXEC:
            return path
    return None


def user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())
