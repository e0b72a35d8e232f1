"""Draws a deploy as it looks in a terminal, from a real run on the embedded target."""

from __future__ import annotations

import argparse
import os
import pty
import struct
import subprocess
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from djdeploy.rehearsal.target import Rehearsal

NAME = "terminal"
COLUMNS, LINES = 100, 200


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, default=Path("docs/deploy.svg"), metavar="FILE")


def run(options: argparse.Namespace, console: Console) -> bool:
    with Rehearsal() as server:
        server.write_fabfile(server.settings(hosts=["rehearsal"]))
        server.fab("setup")
        server.install_supervisor(server.fab("supervisor-conf").stdout)
        server.fab("deploy")
        server.repository.add_column()
        screen = watched(server, ["deploy"])
    picture = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115
    picture.print(Text("$ fab deploy", style="bold"))
    for line in lines_of(screen):
        picture.print(line)
    options.to.write_text(picture.export_svg(title="fab deploy"), encoding="utf-8")
    console.print(f"{options.to} shows a deploy as it went.")
    return True


def watched(server: Rehearsal, words: Sequence[str]) -> pyte.Screen:
    """What a terminal shows once `fab` has ended."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**server.developer, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(
        server.fab_command(*words), cwd=server.directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as fab:
        os.close(theirs)
        try:
            while chunk := os.read(ours, 65536):
                stream.feed(chunk)
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        finally:
            os.close(ours)
    if fab.returncode:
        raise RuntimeError("\n".join(screen.display).rstrip())
    return screen


def lines_of(screen: pyte.Screen) -> list[Text]:
    """The screen's lines as text with styles."""
    lines = []
    for number in range(screen.lines):
        line = Text()
        for column in range(screen.columns):
            cell = screen.buffer[number][column]
            line.append(cell.data, Style(color=named(cell.fg), bold=cell.bold or None, italic=cell.italics or None))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def named(colour: str) -> str | None:
    """A terminal's name of a colour as rich has it."""
    return {"default": None, "brown": "yellow"}.get(colour, colour if colour.isalpha() else f"#{colour}")
