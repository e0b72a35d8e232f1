"""Installs secret files: `secret.py SHARED [--check | --install KEEP | --restore KEEP]`.

Their contents come over a descriptor of our own, `DJDEPLOY_INPUT_FD`, as JSON of paths to base64: never on a command
line, nor in the environment. KEEP is a directory for what is replaced, from which `--restore` brings it back.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping

from tell import tell

MODE = 0o600
NEW = ".new"  # in KEEP: the names of files that there were not before


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


def write(path: str, content: bytes, beside: str) -> None:
    """Private before its first byte, whole before it has its name, on the disk before that."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, MODE)
        file.write(content)
        file.flush()
        os.fsync(fd)
    os.rename(beside, path)


def install(shared: str, keep: str, wanted: Mapping[str, bytes]) -> None:
    os.makedirs(keep, 0o700, exist_ok=True)
    new = []
    for number, (name, content) in enumerate(wanted.items()):
        path = os.path.join(shared, name)
        found = state(path, content)
        if found == "same":
            continue
        if found == "missing":
            new.append(name)
            with open(os.path.join(keep, NEW), "w", encoding="utf-8") as file:
                json.dump(new, file)
        else:
            kept = os.path.join(keep, name)
            os.makedirs(os.path.dirname(kept), exist_ok=True)
            os.link(path, kept)
        write(path, content, os.path.join(keep, f".beside-{number}"))
        print(f"djdeploy: {name} was {'installed' if found == 'missing' else 'replaced'}")


def restore(shared: str, keep: str) -> None:
    """Brings back what was replaced. It may be done twice."""
    for directory, _, names in os.walk(keep):
        for name in names:
            kept = os.path.join(directory, name)
            if directory == keep and name == NEW:
                with open(kept, encoding="utf-8") as file:
                    for made in json.load(file):
                        if os.path.lexists(os.path.join(shared, made)):
                            os.remove(os.path.join(shared, made))
            elif not name.startswith(".beside-"):
                os.rename(kept, os.path.join(shared, os.path.relpath(kept, keep)))
    shutil.rmtree(keep, ignore_errors=True)


def main(words: list[str]) -> None:
    shared, what = words[:2]
    if what == "--restore":
        return restore(shared, words[2])
    wanted = contents()
    if what == "--install":
        return install(shared, words[2], wanted)
    return tell({"secrets": {name: state(os.path.join(shared, name), content) for name, content in wanted.items()}})


if __name__ == "__main__":
    main(sys.argv[1:])
