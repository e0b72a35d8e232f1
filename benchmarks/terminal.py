"""Draws djdeploy's screens in a terminal of 80 columns: those of one host from real runs on the embedded target."""

from __future__ import annotations

import argparse
import getpass
import os
import pty
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from djdeploy.rehearsal.target import Rehearsal

NAME = "terminal"
COLUMNS, LINES = 80, 120

Until = Callable[[str], bool]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, default=Path("docs"), metavar="DIRECTORY")


def run(options: argparse.Namespace, console: Console) -> bool:
    made = {f"screens/{name}-of-several": scene(name) for name in ("live", "releases", "status")}
    with Rehearsal() as server:
        server.write_fabfile(server.settings(hosts=["rehearsal"]))
        server.fab("setup")
        server.install_supervisor(server.fab("supervisor-conf").stdout)
        server.fab("deploy")
        server.repository.add_column()
        frames: list[Sequence[Text]] = []
        made["deploy"] = fab(server, "deploy", middle=frames)
        made["screens/live"] = [Text("$ fab deploy", style="bold"), *frames[-1]]
        made["screens/status"] = fab(server, "status")
        server.repository.break_settings()
        made["screens/failed"] = fab(server, "deploy", code=1)
        made["screens/releases"] = fab(server, "releases")
        server.repository.restore()
        log = server.fab("deploy", env={"GITHUB_ACTIONS": "true"}).stdout
        made["screens/ci"] = [Text("$ fab deploy", style="bold"), *map(Text, log.splitlines())]
        private = {str(server.root): "/srv", sys.base_prefix: "/usr", me(): ("ann@laptop.example")[: len(me())]}
    for name, lines in made.items():
        path = options.to / f"{name}.svg"
        path.parent.mkdir(exist_ok=True)
        draw([without(line, private) for line in lines], path)
        console.print(f"{path}", highlight=False)
    return True


def me() -> str:
    """Who we are, as a server is told."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def without(line: Text, private: Mapping[str, str]) -> Text:
    """A line without what is of this machine."""
    for old, new in private.items():
        while (at := line.plain.find(old)) >= 0:
            line = Text.assemble(line[:at], new, line[at + len(old) :])
    return line


def draw(lines: Sequence[Text], path: Path) -> None:
    picture = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115
    for line in lines:
        picture.print(line)
    path.write_text(picture.export_svg(title=lines[0].plain.removeprefix("$ "), unique_id=path.stem), encoding="utf-8")


def scene(name: str) -> Sequence[Text]:
    """A screen of several hosts; of one that moves, as it is once it shows what is done."""
    command = [sys.executable, "-m", "benchmarks.scenes", name]
    title = f"$ fab {'deploy' if name == 'live' else name}"
    frames: list[Sequence[Text]] = []
    screen = watched(command, os.environ, frames)
    return [Text(title, style="bold"), *(frames[-1] if name == "live" else lines_of(screen))]


def fab(server: Rehearsal, *words: str, code: int = 0, middle: list[Sequence[Text]] | None = None) -> Sequence[Text]:
    """What a terminal shows once `fab` has ended."""
    command = server.fab_command(*words)
    screen = watched(command, server.developer, middle, cwd=server.directory, code=code)
    return [Text(f"$ fab {' '.join(words)}", style="bold"), *lines_of(screen)]


def watched(
    command: Sequence[str],
    environment: Mapping[str, str],
    middle: list[Sequence[Text]] | None = None,
    *,
    cwd: Path | None = None,
    code: int = 0,
) -> pyte.Screen:
    """What a terminal shows once a program has ended.

    Args:
        middle: gets what it showed in between, whenever a host was at work and its newest output was there.
    """
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**environment, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    with subprocess.Popen(command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as program:
        os.close(theirs)
        try:
            while chunk := os.read(ours, 65536):
                stream.feed(chunk)
                if middle is not None and is_at_work(screen):
                    middle.append(lines_of(screen))
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        finally:
            os.close(ours)
    if program.returncode != code:
        raise RuntimeError("\n".join(screen.display).rstrip())
    return screen


def is_at_work(screen: pyte.Screen) -> bool:
    """Whether the live lines are all there: one with a spinner, and what is below it or behind it."""
    shown = [line.rstrip() for line in screen.display if line.strip()]
    working = [number for number, line in enumerate(shown) if line[0] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"]
    return bool(working) and (len(shown) > working[-1] + 1 or ": " in shown[working[-1]])


def lines_of(screen: pyte.Screen) -> Sequence[Text]:
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
