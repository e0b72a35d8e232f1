"""Environments that are finished are shared by releases, and written to by nobody.

    environment finish ENVIRONMENT [compiled]
    environment separate LINK RELEASE [UV]
    environment settle LINK
    environment remove ENVIRONMENT

`finish` compiles what is in an environment, and takes everybody's right to write. LINK is a release's, to a finished
one: `separate` leads it to a copy that the release's build may change, `settle` back if the build has not changed it.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from subprocess import DEVNULL

COMPLETE = ".complete"
SHARED = ".shared"  # in a copy: what it is a copy of
OURS = (COMPLETE, SHARED, ".lock")

PROGRAM = """\
#!/bin/sh
# uv makes virtualenvs without pip, and does its work.
exec "$(dirname "$0")/python" -I -m pip "$@"
"""
MODULE = """\
# uv makes virtualenvs without pip, and does its work.
import os, subprocess, sys

os.environ.pop("UV_SYSTEM_PYTHON", None)
os.environ["UV_PYTHON"] = sys.executable
status = subprocess.call([{uv!r}, "pip", *sys.argv[1:]])
if status:
    print("djdeploy: this pip is uv. If it is to be pip itself: name it in a lock file", file=sys.stderr)
sys.exit(status)
"""
SHIMS = {"bin/pip": PROGRAM, "bin/pip3": PROGRAM, "lib/python*/site-packages/pip.py": MODULE}
"""What a build finds as `pip`, `pip3` and `python -m pip`; a real pip in its place is a package, and stronger."""


def finish(environment: str, compiled: str = "") -> None:
    """On the disk before it is marked: else a power loss could leave the mark, and packages without their contents.

    Args:
        compiled: not empty if it has its bytecode already, which nobody could keep in it later.
    """
    if not compiled:
        compile_all(environment)
    if subprocess.run(["sync", "-f", environment], stderr=DEVNULL, check=False).returncode != 0:
        os.sync()
    for path in everything_in(environment):
        change_mode(path, remove=0o222)
    with open(os.path.join(environment, COMPLETE), "w", encoding="ascii") as mark:
        os.fchmod(mark.fileno(), 0o444)
    change_mode(environment, remove=0o222)


def compile_all(environment: str) -> None:
    command = [
        os.path.join(environment, "bin/python"),
        "-I",
        "-m",
        "compileall",
        "-qq",
        os.path.join(environment, "lib"),
    ]
    for at_once in (["-j", "0"], []):  # where processes cannot be started side by side, one after the other
        if subprocess.run([*command, *at_once], stdout=DEVNULL, stderr=DEVNULL, check=False).returncode == 0:
            break


def separate(link: str, release: str, uv: str = "") -> None:
    shared = os.path.realpath(link)
    if not os.path.exists(os.path.join(shared, COMPLETE)):
        return  # somebody skips the steps that finish one
    # As long as the name that it replaces in scripts and elsewhere, so that even binary files stay what they are.
    name = hashlib.sha256(f"{os.path.basename(shared)} {release}".encode()).hexdigest()[: len(os.path.basename(shared))]
    own = os.path.join(os.path.dirname(shared), name)
    remove(own)
    subprocess.run(["cp", "-a", "--reflink=auto", "--", shared, own], check=True)
    change_mode(own, add=0o200)
    for path in everything_in(own):
        change_mode(path, add=0o200)
        rename_inside(path, place_of(shared), place_of(own))
    os.unlink(os.path.join(own, COMPLETE))
    with open(os.path.join(own, SHARED), "w", encoding="utf-8") as file:
        file.write(shared)
    if uv and not os.path.lexists(os.path.join(own, "bin/pip")):
        give_pip(own, uv)
    lead(link, own)


def settle(link: str) -> None:
    own = os.path.realpath(link)
    if not os.path.exists(os.path.join(own, SHARED)):
        return
    with open(os.path.join(own, SHARED), encoding="utf-8") as file:
        shared = file.read()
    take_pip(own)
    if state(own) == state(shared):
        lead(link, shared)
        remove(own)
    else:
        print("djdeploy: the build has changed the virtualenv, so the release has one of its own")
        finish(own)


def give_pip(environment: str, uv: str) -> None:
    for path, template in shims(environment):
        with open(path, "w", encoding="utf-8") as file:
            file.write(template.replace("{uv!r}", repr(uv)))
        os.chmod(path, 0o700 if template is PROGRAM else 0o600)


def take_pip(environment: str) -> None:
    """Takes it away again, unless the build has installed another one there."""
    for path, template in shims(environment):
        with contextlib.suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8") as file:
            if file.read().startswith(template.partition("{")[0]):
                os.unlink(path)


def shims(environment: str) -> Iterator[tuple[str, str]]:
    """(path, template) of each."""
    for pattern, template in SHIMS.items():
        for directory in glob.glob(os.path.join(glob.escape(environment), os.path.dirname(pattern))):
            yield os.path.join(directory, os.path.basename(pattern)), template


def place_of(environment: str) -> bytes:
    """The end of its path: what is before it may be written in other ways."""
    return os.fsencode(os.path.join(*environment.split(os.sep)[-2:]))


def everything_in(environment: str) -> Iterator[str]:
    for directory, directories, names in os.walk(environment):
        yield from (os.path.join(directory, name) for name in directories + names)


def change_mode(path: str, add: int = 0, remove: int = 0) -> None:
    mode = os.lstat(path).st_mode
    if not stat.S_ISLNK(mode):
        os.chmod(path, stat.S_IMODE(mode) & ~remove | add)


def rename_inside(path: str, old: bytes, new: bytes) -> None:
    """Writes a new name where a file, or a link, has the old one. Its times stay, by which bytecode knows it."""
    if os.path.islink(path):
        target = os.fsencode(os.readlink(path))
        if old in target:
            os.unlink(path)
            os.symlink(target.replace(old, new), path)
    elif os.path.isfile(path):
        with open(path, "rb") as file:
            content = file.read()
        if old in content:
            status = os.stat(path)
            with open(path, "wb") as file:
                file.write(content.replace(old, new))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def state(environment: str) -> dict[str, tuple[object, ...]]:
    """What would be another if somebody had changed an environment. Bytecode would not: it follows its source."""
    found: dict[str, tuple[object, ...]] = {}
    for path in everything_in(environment):
        name = os.path.relpath(path, environment)
        if "__pycache__" in name.split(os.sep) or name in OURS:
            continue
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            found[name] = ("directory",)
        elif stat.S_ISLNK(status.st_mode):
            found[name] = ("link", len(os.readlink(path)))
        else:
            found[name] = (status.st_size, status.st_mtime_ns, status.st_mode & 0o111)
    return found


def lead(link: str, environment: str) -> None:
    """By a rename, so that there always is one."""
    beside = f"{link}.{os.getpid()}"
    os.symlink(os.path.relpath(environment, os.path.realpath(os.path.dirname(link))), beside)
    os.replace(beside, link)


def remove(environment: str) -> None:
    """Also where nobody may write any more."""
    for directory, _, _ in os.walk(environment):
        change_mode(directory, add=0o200)
    subprocess.run(["rm", "-rf", "--", environment], check=True)


TASKS: dict[str, Callable[..., None]] = {
    "finish": finish,
    "separate": separate,
    "settle": settle,
    "remove": remove,
}


def main(words: list[str]) -> None:
    task, *rest = words
    TASKS[task](*rest)
