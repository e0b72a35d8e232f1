"""Progress on a terminal: what has ended, and below it live lines that never wrap and never jump."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, TypeVar, cast

from ..errors.redaction import printable
from ..errors.typed import as_typed
from ..errors.wrapping import wrapped
from ..script.stages import Stage
from ..script.steps import Step
from ..ssh.step_run import NOTE, StepRun, failure
from .phrases import clock, listed, short_names
from .progress import Headline, Report, seconds

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

T = TypeVar("T")

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
TURNS = 10
"""Pictures of the spinner in a second, and times that the live lines are drawn."""

CLOCK = 7
"""Columns of a clock, with the gap before it."""

STAGE = 7
"""Columns of the name of a stage."""

WIDEST_NAME = 20

WIDEST = 80
"""Columns in which the steps that have ended are shown: a duration far away belongs to no step."""


@dataclass
class Row:
    """What a host does now.

    Args:
        running: its steps, each with the moment at which it began.
        newest: the last line that one of them printed.
    """

    name: str
    running: dict[str, float] = field(default_factory=dict)
    newest: str = ""


class TerminalReport(Report):
    """The steps that have ended; below them what is being done, and a line for each host."""

    def __init__(self, out: IO[str] | None = None, *, project: str = "", echo: bool = False) -> None:
        from rich.console import Console

        super().__init__(out, project=project, echo=echo)
        self.console = Console(file=cast("IO[str]", self.out), highlight=False)
        self.rows: dict[str, Row] = {}
        self._headline = Headline("")
        self._stage = ""
        self._countdown = ""
        self._live: Live | None = None

    def write(self, text: str) -> None:
        self._show(text)

    @contextmanager
    def task(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        from rich.live import Live

        names = short_names(hosts)
        self._show(f"{self.project}: {title}", style="bold", then=f" on {listed(list(names.values()), 4)}")
        self.rows = {host: Row(printable(name)) for host, name in names.items()}
        self._headline = Headline(title)
        self._live = Live(get_renderable=self.lines, console=self.console, refresh_per_second=TURNS, transient=True)
        with self._live:
            yield

    def about(self, headline: Headline) -> None:
        self._headline = headline
        for line in headline.lines:
            self._show(f"  {line}", style="dim")

    def stage_began(self, stage: Stage, hosts: Sequence[str]) -> None:
        self._stage, self._countdown = stage.name, ""
        self._show(f"  {stage.name}", style="bold", then=f": {stage.promise}")

    def step_began(self, host: str, step: Step) -> None:
        if (row := self.rows.get(host)) and not step.lasting:
            row.running[printable(step.title)] = time.monotonic()

    def line(self, host: str, run: StepRun, line: str) -> None:
        if self.echo:
            self.write(f"        {f'{self._name(host)} | ' if self.is_for_many else ''}{printable(line)}")
        if (row := self.rows.get(host)) and (shown := printable(line.removeprefix(NOTE)).strip()):
            row.newest = shown

    def step_ended(self, host: str, run: StepRun) -> None:
        if row := self.rows.get(host):
            row.running.pop(printable(run.step.title), None)
            row.newest = ""
        if not self.is_for_many and run.why != "cancelled":
            self._ended(run, printable(run.step.title), run.milliseconds, run.notes)

    def stage_ended(self, host: str, stage: Stage, runs: Sequence[StepRun], milliseconds: float) -> None:
        if self.is_for_many:
            failed = failure(runs)
            name = self._name(host)
            what = f"{name}: {printable(failed.step.title)}" if failed else name
            self._ended(failed, what, milliseconds, [note for run in runs for note in run.notes])

    def say(self, text: str) -> None:
        self._show(as_typed(f"{self.project}: {text}"), style="bold green")

    def countdown(self, text: str) -> float:
        self._countdown = printable(text)
        return 1.0

    def warn(self, text: str) -> None:
        self._show(as_typed(f"{self.project}: warning: {text}"), style="yellow")

    @property
    def is_for_many(self) -> bool:
        """With several hosts one line stands for a host's whole stage: nobody reads fifteen steps ten times."""
        return len(self.rows) > 1

    def _name(self, host: str) -> str:
        return self.rows[host].name if host in self.rows else printable(host)

    def _ended(self, run: StepRun | None, what: str, milliseconds: float, notes: Sequence[str]) -> None:
        from rich.cells import cell_len
        from rich.text import Text

        mark, style = ("✓", "green") if run is None or run.ok else ("✗", "bold red")
        if run and run.was_stopped:
            mark, style = "■", "yellow"
        text = Text("    ").append(mark, style=style).append(f" {printable(what)}")
        took = seconds(milliseconds)
        room = min(WIDEST, self.console.width) - cell_len(text.plain)
        text.append(took.rjust(max(2 + len(took), room)), style="dim")
        for note in notes:
            text.append("\n" + wrapped(f"      {printable(note)}", self.console.width), style="dim")
        self.console.print(text, soft_wrap=True)

    def _show(self, text: str, style: str = "", then: str = "") -> None:
        from rich.text import Text

        begin = printable(text, keep="\n")
        shown = Text(wrapped(begin + printable(then), self.console.width), style="not bold dim")
        shown.stylize(style, 0, len(begin) if then else None)
        self.console.print(shown, soft_wrap=True)

    # --- the live lines

    def lines(self) -> Text:
        """All live lines, each exactly as wide as the terminal: they cannot wrap, and nothing in them moves."""
        from rich.text import Text

        width, rows = self.console.width, list(self.rows.values())
        shown, others = fitting(rows, lambda row: bool(row.running), self.console.height - 2 - bool(self._countdown))
        drawn = [self._top(width), *(self._row(row, width) for row in shown)]
        if not self.is_for_many and rows and rows[0].newest:
            drawn.append(Text(cut(f"  {rows[0].newest}", width), style="dim"))
        if self._countdown:
            drawn.append(Text(cut(f"  {self._countdown}", width), style="bold green"))
        if others:
            busy = sum(bool(row.running) for row in others)
            counts = f"  {len(others)} other hosts: {busy} at work, {len(others) - busy} waiting"
            drawn.append(Text(cut(counts, width), style="dim"))
        return Text("\n", no_wrap=True, overflow="crop").join(drawn)

    def _top(self, width: int) -> Text:
        """What is done, and for how long; from the left what matters most."""
        from rich.text import Text

        took = clock(time.monotonic() - self.began).rjust(CLOCK)
        stage = f"  {self._stage:{STAGE}}"
        room = width - len(took) - len(stage)
        what = self._headline.in_a_line([row.name for row in self.rows.values()], room)
        return Text().append(cut(what, room, fill=True), style="bold").append(stage, style="cyan").append(took)

    def _row(self, row: Row, width: int) -> Text:
        from rich.text import Text

        now = time.monotonic()
        turning = SPINNER[int(now * TURNS) % len(SPINNER)] if row.running else " "
        column = min(WIDEST_NAME, max(len(each.name) for each in self.rows.values()))
        name = f"{cut(row.name, column, fill=True)}  " if self.is_for_many else ""
        took = clock(now - min(row.running.values())).rjust(CLOCK) if row.running else ""
        what = " · ".join(row.running) or ("waiting for the other hosts" if self.is_for_many else "")
        if self.is_for_many and row.newest and row.running:
            what = f"{what}: {row.newest}"
        room = width - 2 - len(name) - len(took)
        text = Text().append(f"{turning} ", style="green").append(name, style="cyan")
        return text.append(cut(what, room, fill=True), style="" if row.running else "dim").append(took, style="dim")


def cut(text: str, width: int, *, fill: bool = False) -> str:
    """Text that is at most this wide, with an ellipsis where it was longer; or exactly this wide."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return set_cell_size(text, width) if fill else text
    return f"{set_cell_size(text, max(0, width - 1))}…" if width > 0 else ""


def fitting(rows: Sequence[T], is_busy: Callable[[T], bool], room: int) -> tuple[Sequence[T], Sequence[T]]:
    """The rows to show and the rest: all if there is room, otherwise the busy ones above a line with counts."""
    if len(rows) <= room:
        return rows, []
    busy, idle = [row for row in rows if is_busy(row)], [row for row in rows if not is_busy(row)]
    last = max(0, room - 1)
    return busy[:last], [*busy[last:], *idle]
