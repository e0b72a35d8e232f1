"""The package that runs on the server, and the command that starts its agent there."""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ..remote.agent import bootstrap
from ..remote.wire import Hello
from ..server.layout import PACKAGE, STARTER

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

BECOME = "import binascii,sys,zlib;exec(zlib.decompress(binascii.a2b_base64(sys.argv[1])))"
"""What a command line can carry: one line, and no apostrophe in it, which login shells do not read alike."""


def agent_command(python: str, hello: Hello) -> str:
    """The command that starts the agent. The first orders go along, so that the network is crossed once less.

    In base64, in which no login shell finds anything to interpret. A command line is public: nothing secret goes here.
    Isolated (`-I`), so that nothing in the account's home directory is imported; in UTF-8, whatever its locale.
    """
    orders = base64.b64encode(json.dumps(hello).encode()).decode()
    return f"exec {shlex.quote(python)} -X utf8 -IS -c {shlex.quote(BECOME)} {bootstrap_text()} {orders}"


@cache
def bootstrap_text() -> str:
    """The text that becomes the agent, compressed, in base64."""
    text = (resources.files("djdeploy") / "remote/agent/bootstrap.py").read_bytes()
    return base64.b64encode(zlib.compress(text, 9)).decode()


@cache
def files() -> Mapping[str, str]:
    """The texts of all that is installed on the server, by their paths there."""
    remote = resources.files("djdeploy") / "remote"
    modules = {f"{PACKAGE}/{path}": text for path, text in modules_in(remote) if path != STARTER}
    return {STARTER: (remote / STARTER).read_text("utf-8"), **modules}


def modules_in(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from modules_in(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py"):
            yield f"{prefix}{entry.name}", entry.read_text("utf-8")


@cache
def digest() -> str:
    """Names the package by its content."""
    return bootstrap.digest({path: text.encode() for path, text in files().items()})


@cache
def packed() -> bytes:
    """The package as an agent reads it: a length, a newline, and that many bytes."""
    data = zlib.compress(json.dumps(files()).encode(), 9)
    return b"%d\n%s" % (len(data), data)


def write_to(folder: Path) -> None:
    """Writes what is installed on a server into a directory."""
    for name, content in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
