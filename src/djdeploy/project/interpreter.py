"""Finds a project's own Python, and runs the judge in it: the code that runs on servers, which needs Django alone."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..remote.review.options import parser

PACKAGE = Path(__file__).parents[1] / "remote/__init__.py"

START = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("djdeploy_remote", sys.argv.pop(1))
sys.modules[spec.name] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])
from djdeploy_remote.programs import main
main(["judge", *sys.argv[1:]])
"""
"""Runs the package where it lies: libraries of ours on the project's `sys.path` would hide its own."""


def judge(words: Sequence[str]) -> int:
    """Becomes `djdeploy judge WORDS`; returns if there is no Python for it."""
    every = parser()
    every.add_argument("--python", metavar="PATH", help="the project's Python, if it is not found")
    options = every.parse_args(words)
    looked_at = [options.python] if options.python else list(dict.fromkeys(candidates(Path(options.chdir))))
    found = [options.python] if options.python else [each for each in looked_at if has_django(each)][:1]
    if not found:
        print("djdeploy judge: no Python here has Django; looked at:", *looked_at, sep="\n  ", file=sys.stderr)
        print("The project's own: djdeploy judge --python=PATH", file=sys.stderr)
        return 1
    try:
        os.execvp(found[0], [found[0], "-c", START, str(PACKAGE), *without_python(words)])
    except OSError as error:
        print(f"djdeploy judge: {found[0]}: {error.strerror}", file=sys.stderr)
        return 1


def without_python(words: Sequence[str]) -> list[str]:
    """The words that are for the judge itself."""
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument("--python")
    return ours.parse_known_args(words)[1]


def candidates(folder: Path) -> Iterator[str]:
    """The Pythons that may be the project's: the virtualenv that is active or lies beside it, this one, any on PATH."""
    active = os.environ.get("VIRTUAL_ENV", sys.prefix)
    if os.path.realpath(active) != os.path.realpath(sys.prefix):  # else it is ours: pipx and pre-commit activate it
        yield f"{active}/bin/python"
    for place in [folder.absolute(), *folder.absolute().parents]:
        yield from (str(python) for name in (".venv", "venv") if (python := place / name / "bin/python").exists())
        if (place / ".git").exists():
            break
    yield sys.executable
    for place in map(Path, os.environ.get("PATH", "").split(os.pathsep)):
        yield from (str(python) for name in ("python", "python3") if (python := place / name).exists())


def has_django(python: str) -> bool:
    if python == sys.executable:
        return find_spec("django") is not None
    try:
        done = subprocess.run([python, "-c", "import django"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0
