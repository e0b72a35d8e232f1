"""Installs secret files: `secret_files SHARED [--check | --install KEEP | --restore KEEP]`.

Their contents come through a descriptor of their own, `DJDEPLOY_INPUT_FD`, as JSON of paths to base64: never on a
command line, nor in the environment. KEEP is a directory for what is replaced, from which `--restore` brings it back.

`shared` may be another file system, and what is in it may belong to others: everything is written beside its place,
and what is replaced is kept as a copy.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from typing import Any

from ..emit import emit, emit_error

MODE = 0o600
RECORD = "record.json"  # in KEEP: what was there before, by its name in `shared`


def contents() -> dict[str, bytes]:
    with os.fdopen(int(os.environ["DJDEPLOY_INPUT_FD"]), "rb") as file:
        return {name: base64.b64decode(text) for name, text in json.loads(file.read()).items()}


def state(path: str, content: bytes) -> str:
    """`same`, `missing` or `differs`, also in its mode."""
    try:
        with open(path, "rb") as file:
            same = file.read() == content and stat.S_IMODE(os.fstat(file.fileno()).st_mode) == MODE
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "differs"
    return "same" if same else "differs"


def beside(path: str) -> str:
    """Where a file is written before it has its name: in the same directory, since a rename crosses no file system."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.djdeploy-new")


def write(path: str, content: bytes, mode: int = MODE, group: int | None = None) -> None:
    """Private before its first byte, whole before it has its name, on the disk before that."""
    new = beside(path)
    with contextlib.suppress(FileNotFoundError):
        os.remove(new)  # left by a power loss; whoever is at work has the lock
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, MODE)
        file.write(content)
        if group is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(fd, -1, group)
        os.fchmod(fd, mode)
        file.flush()
        os.fsync(fd)
    os.rename(new, path)


def write_over(path: str, content: bytes) -> None:
    """Into the file that is there, which is as private: the way back from a full disk has no other."""
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()
        os.fsync(file.fileno())


def remembered(path: str, copy: str) -> dict[str, Any] | None:
    """What is there, if anything, so that `bring_back` can make it again."""
    if os.path.islink(path):
        return {"link": os.readlink(path)}
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            write(copy, file.read())
    except FileNotFoundError:
        return None
    return {"copy": copy, "mode": stat.S_IMODE(found.st_mode), "group": found.st_gid}


def bring_back(path: str, before: dict[str, Any] | None) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(beside(path))
    if before is None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    elif "link" in before:
        try:
            os.symlink(before["link"], beside(path))
            os.rename(beside(path), path)
        except OSError:  # the disk is full, and what is there has the only inode
            os.remove(path)
            os.symlink(before["link"], path)
    else:
        with open(before["copy"], "rb") as file:
            content = file.read()
        try:
            write(path, content, before["mode"], before["group"])
        except OSError:
            write_over(path, content)


def install(shared: str, keep: str, wanted: Mapping[str, bytes]) -> None:
    os.makedirs(keep, 0o700, exist_ok=True)
    record = {}
    for number, (name, content) in enumerate(wanted.items()):
        path = os.path.join(shared, name)
        found = state(path, content)
        if found == "same":
            continue
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            record[name] = remembered(path, os.path.join(keep, str(number)))
            write(os.path.join(keep, RECORD), json.dumps(record).encode())
            write(path, content)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            emit_error(code="disk-full" if is_full else "secret-not-installed")
            sys.exit(f"{name} could not be {'installed' if found == 'missing' else 'replaced'}: {error}")
        print(f"djdeploy: {name} was {'installed' if found == 'missing' else 'replaced'}")


def restore(shared: str, keep: str) -> None:
    """Brings back what was replaced. It may be done twice."""
    record = os.path.join(keep, RECORD)
    if os.path.exists(record):
        with open(record, "rb") as file:
            replaced = json.load(file)
        for name, before in replaced.items():
            bring_back(os.path.join(shared, name), before)
        os.remove(record)  # first: what it speaks of goes next
    shutil.rmtree(keep, ignore_errors=True)


def main(words: list[str]) -> None:
    shared, what = words[:2]
    if what == "--restore":
        return restore(shared, words[2])
    wanted = contents()
    if what == "--install":
        return install(shared, words[2], wanted)
    return emit({"secrets": {name: state(os.path.join(shared, name), content) for name, content in wanted.items()}})
