"""Checks that every requirement is pinned, and names the environment by what will be in it.

    requirements [--with REQUIREMENT]... [--also TEXT]... [--source-dir DIRECTORY] FILE...
    requirements --hashes FILE...
    requirements --installed ENVIRONMENT [--with REQUIREMENT]... FILE...

It is run in the checkout. Prints a digest of the files (and of those they include), of the extra requirements, of the
files on this machine that any of them name, of each TEXT (the installer, the interpreter's options), of what pip and uv
are configured with, and of the interpreter that runs this. Exit status 1 names each line that is not pinned or cannot
be read. With `--hashes`, prints `--require-hashes` if any of the files has a hash. With `--installed`, compares an
environment with what was asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence

from ..emit import emit_error
from .contents import configuration, digest_of
from .installed import missing, sees_the_system, unlisted
from .pins import absent_from, path_in, places_in, problem_with, text_of
from .requirements_file import Line, Unreadable, parsed, read
from .requirements_file import text_of as text_of_file

PIN = "Pin every line: name==version, as pip-compile does; or an address that always means the same."
READ = "A requirement that cannot be read might be anything, so nothing is installed."

# How the programs that compile lock files say for which Python; `(?!...)`: for all of them.
COMPILED_FOR = re.compile(
    r"^#.*(?:by pip-compile with python |uv pip compile (?!.*--universal).*(?:--python(?:-version)?|-p)[ =])(\d+\.\d+)",
    re.IGNORECASE | re.MULTILINE,
)


class Requirements:
    """What the files and the settings ask for.

    Args:
        files: paths, from the checkout.
        extra: the requirements of the settings.
    """

    def __init__(self, files: Sequence[str], extra: Sequence[str]) -> None:
        self.lines: list[Line] = []
        self.unreadable: list[Unreadable] = []
        for path in files:
            if not os.path.isfile(path):
                why = f"{path} does not exist in this commit (settings: requirements)"
                self.unreadable.append(Unreadable(why, code="requirements-absent"))
                continue
            for line in read(path):
                if isinstance(line, Unreadable):
                    self.unreadable.append(line)
                else:
                    self.lines.append(line)
        for text in extra:
            try:
                self.lines.append(parsed("extra_requirements", text))
            except Unreadable as error:
                self.unreadable.append(Unreadable(f"extra_requirements: {error}", code=error.code))
        self.unreadable += [problem for line in self.lines for problem in absent_from(line)]

    def unpinned(self) -> Iterator[str]:
        for line in self.lines:
            problem = problem_with(line)
            if problem:
                yield f"{line.place}: {problem}"

    def texts(self) -> Iterator[str]:
        """All that decides what is installed."""
        for line in self.lines:
            yield text_of(line)
            for path in filter(None, (path_in(line), *places_in(line))):
                yield digest_of(path)

    def notes(self) -> Iterator[str]:
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        for path in filter(None, dict.fromkeys(line.file for line in self.lines)):
            found = COMPILED_FOR.search(text_of_file(path)[:2000])
            if found and found.group(1) != here:
                yield (
                    f"{path} was compiled for Python {found.group(1)}, and the server has {here}. "
                    f'Compile it by Python {here}; or, in the settings: python="python{found.group(1)}"'
                )


def compare(lines: Sequence[Line], environment: str) -> int:
    absent = [] if sees_the_system(environment) else list(missing(lines, environment))
    if absent:
        print("\n".join(absent))
        emit_error(code="not-installed")
        return 1
    others = unlisted(lines, environment)
    if others:
        print(
            f"djdeploy: no lock file names {', '.join(others)}, so another host, or a later build, may get another "
            "version. Compile a lock file with all that it needs: pip-compile requirements.in"
        )
    return 0


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--with", action="append", default=[], dest="extra")
    parser.add_argument("--also", action="append", default=[])
    parser.add_argument("--hashes", action="store_true")
    parser.add_argument("--installed", default="")
    parser.add_argument("--source-dir", default=".")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args(words)
    found = Requirements(options.files, options.extra)
    if options.hashes:
        print("--require-hashes" if any({"hash", "require_hashes"} & set(line.options) for line in found.lines) else "")
        return 0
    if options.installed:
        return compare(found.lines, options.installed)
    unpinned = list(found.unpinned())
    if unpinned or found.unreadable:
        print("\n".join([*map(str, found.unreadable), *unpinned, PIN if unpinned else READ]))
        emit_error(code="unpinned" if unpinned else found.unreadable[0].code)
        return 1
    for note in found.notes():
        print(f"djdeploy: {note}", file=sys.stderr)
    interpreter = [sys.version, os.path.realpath(sys.executable), *options.also]
    configured = configuration(os.path.abspath(options.source_dir), os.getcwd())
    texts = [*interpreter, "--lines", *found.texts(), "--configuration", *configured]
    print(hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24])
    return 0
