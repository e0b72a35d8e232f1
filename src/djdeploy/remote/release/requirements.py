"""Checks that every requirement is pinned, and names the environment by what will be in it.

    requirements [--with REQUIREMENT]... [--also TEXT]... FILE...

Prints a digest of the files (and of those they include), of the extra requirements and of each TEXT (the installer, the
interpreter's options), and of the interpreter that runs this. Exit status 1 names each line that is not pinned.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence

from ..emit import emit_error

PINNED = re.compile(
    r"[A-Za-z0-9][\w.-]*\s*(\[[\w\s,.-]*\])?\s*(===?\s*[^\s*,;]+|@\s*\S+)"  # name[extra]==1.0 or name @ address
    r"(\s*;.*)?"  # for some Pythons only
)
OPTION = re.compile(r"\s--?[a-z][\w-]*[ =].*$", re.DOTALL)  # --hash=sha256:... behind a requirement
INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)$")


def logical_lines(path: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of each line, with continued lines joined and comments removed."""
    number, text = 0, ""
    with open(path, encoding="utf-8") as file:
        for count, line in enumerate(file, 1):
            number = number or count
            text += re.sub(r"(^|\s)#.*$", "", line.rstrip("\n"))
            if text.endswith("\\"):
                text = text[:-1] + " "
                continue
            if text.strip():
                yield number, text.strip()
            number, text = 0, ""
    if text.strip():
        yield number, text.strip()


def read(path: str, problems: list[str], seen: set[str]) -> Iterator[str]:
    """The texts that decide what is installed from this file; adds to `problems` what is not pinned."""
    if path in seen:
        return
    seen.add(path)
    for number, line in logical_lines(path):
        yield line
        included = INCLUDE.match(line)
        if included:
            target = os.path.normpath(os.path.join(os.path.dirname(path), included.group(1)))
            if os.path.isfile(target):
                yield from read(target, problems, seen)
            else:
                problems.append(f"{path}:{number}: includes {included.group(1)}, which does not exist")
        elif line.startswith(("-e", "--editable")):
            problems.append(f"{path}:{number}: an editable requirement is not pinned: {line}")
        elif not line.startswith("-") and not is_pinned(line):
            problems.append(f"{path}:{number}: not pinned: {line}")


def is_pinned(requirement: str) -> bool:
    return bool(PINNED.fullmatch(OPTION.sub("", requirement).strip()))


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--with", action="append", default=[], dest="extra")
    parser.add_argument("--also", action="append", default=[])
    parser.add_argument("files", nargs="*")
    options = parser.parse_args(words)
    problems = [f"extra_requirements: not pinned: {line}" for line in options.extra if not is_pinned(line)]
    texts = [sys.version, os.path.realpath(sys.executable), *options.also, "--with", *options.extra]
    for path in options.files:
        if os.path.isfile(path):
            texts += ["--file", *read(path, problems, set())]
        else:
            problems.append(f"{path} does not exist in this commit (settings: requirements)")
    if problems:
        print("\n".join(problems))
        print("Pin every line (name==version): pip-compile does it.")
        emit_error(code="unpinned")
        return 1
    print(hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24])
    return 0
