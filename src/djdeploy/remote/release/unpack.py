"""Unpacks a tar for somebody who only reads it: `unpack DIRECTORY < TAR`. A large file is a hole of its size."""

from __future__ import annotations

import os
import sys
import tarfile

LARGE = 8 * 2**20  # bytes; nothing that is read as text or as Python has as many


def unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    if member.isdir():
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.issym():
        os.symlink(member.linkname, path)
    elif member.isfile():
        content = tar.extractfile(member) if member.size <= LARGE else None
        with open(path, "wb") as file:
            file.write(content.read() if content else b"")
            file.truncate(member.size)


def main(words: list[str]) -> int:
    os.makedirs(words[0])
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            for member in tar:
                unpack(tar, member, os.path.join(words[0], member.name))
    except tarfile.ReadError as error:
        print(f"djdeploy: the files of the commit did not arrive: {error}")
        return 1
    return 0
