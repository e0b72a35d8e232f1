"""The command `djdeploy`: the judge and the version, which need no Fabric; every other word goes to `fab`.

`djdeploy deploy` and `fab deploy` are one: whoever installs djdeploy by pipx or `uv tool` gets this name only.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from . import __version__

USAGE = """\
Usage: djdeploy judge [--since=REF] [--help]   judges migrations, in any Django project
       djdeploy version                        versions of djdeploy and of what it runs on
       djdeploy TASK [--help]                  fab TASK, with the fabfile of this folder; all tasks: djdeploy --list"""

FAB = "import sys; from fabric.main import program; sys.argv[0] = 'fab'; program.run()"


def main() -> int:
    match sys.argv[1:]:
        case [] | ["-h" | "--help" | "help"]:
            print(USAGE)
            return 0
        case ["judge", *words]:
            from .project.interpreter import judge

            return judge(words)
        case ["version" | "-V" | "--version"]:
            print(versions())
            return 0
        case words:
            return fab(words)


def versions() -> str:
    found = [f"djdeploy {__version__}", f"Python {platform.python_version()}"]
    for name in ("Fabric", "Django"):
        try:
            found.append(f"{name} {version(name.lower())}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def fab(words: Sequence[str]) -> int:
    """Becomes `fab WORDS`."""
    if not find_spec("fabric"):
        print(f"djdeploy: {words[0]!r} is for fab, and there is no Fabric in {sys.prefix}", file=sys.stderr)
        return 2
    if not any(word.startswith("-") for word in words) and not fabfiles():
        why = "is neither judge nor version, and there is no fabfile here for fab"
        print(f"djdeploy: {words[0]!r} {why}", file=sys.stderr)
        return 2
    return os.execv(sys.executable, [sys.executable, "-c", FAB, *words])


def fabfiles() -> list[Path]:
    """Where fab looks for one."""
    here = Path.cwd()
    found = [place / name for place in (here, *here.parents) for name in ("fabfile.py", "fabfile/__init__.py")]
    return [path for path in found if path.exists()]


if __name__ == "__main__":
    sys.exit(main())
