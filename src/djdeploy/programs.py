"""Our programs for the server, and the line that starts them there."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import zlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

START = """\
import base64,hashlib,json,os,sys
i=sys.stdin.buffer
HELLO=json.loads(base64.b64decode(sys.argv[1]))
FOLDER=os.path.join(HELLO["home"],".djdeploy/programs",HELLO["programs"])
def text(n):
    with open(os.path.join(FOLDER,n),encoding="utf-8") as f:
        return f.read()
try:
    FILES={n:text(n) for n in os.listdir(FOLDER) if n.endswith(".py")}
except (OSError,ValueError):
    FILES={}
if hashlib.sha256(json.dumps(FILES,sort_keys=True).encode()).hexdigest()!=HELLO["programs"]:
    print(json.dumps({"djdeploy":"programs"}),flush=True)
    import tempfile,zlib
    FILES=json.loads(zlib.decompress(i.read(int(i.readline()))))
    FOLDER=tempfile.mkdtemp(prefix="djdeploy-",dir="/dev/shm" if os.access("/dev/shm",os.W_OK|os.X_OK) else None)
    for n in FILES:
        with open(os.path.join(FOLDER,n),"w",encoding="utf-8") as f:
            f.write(FILES[n])
sys.path.insert(0,FOLDER)
import agent
agent.main(HELLO,FOLDER)
"""
"""Becomes the agent. Our programs are on the server already, unchanged, or are asked for and read from its input."""

BOOTSTRAP = f"exec({START!r})"
"""One line, and no apostrophe in its text: not every login shell takes more lines, and fish reads \\' as one."""


def agent_command(python: str, hello: Mapping[str, Any]) -> str:
    """The command that starts the agent. What it is told first goes along: the network is crossed once less.

    In base64, in which no login shell finds anything to interpret. A command line is public: nothing secret goes here.
    """
    told = base64.b64encode(json.dumps(hello).encode()).decode()
    return f"exec {shlex.quote(python)} -ES -c {shlex.quote(BOOTSTRAP)} {told}"


@cache
def programs() -> bytes:
    """The names and texts of our programs for the server, as JSON."""
    folder = resources.files("djdeploy") / "remote"
    files = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".py")}
    return json.dumps(files, sort_keys=True).encode()


@cache
def digest() -> str:
    """Names our programs by their content."""
    return hashlib.sha256(programs()).hexdigest()


@cache
def packed() -> bytes:
    """Our programs as an agent reads them: a length, a newline, and that many bytes."""
    data = zlib.compress(programs(), 9)
    return b"%d\n%s" % (len(data), data)
