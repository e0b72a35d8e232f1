"""Progress of a running task: live on a terminal, in whole lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from ..errors.redaction import printable, values_to_hide
from ..script.stages import Stage
from ..script.steps import Step
from ..server.shell import sh
from ..ssh.step_run import NOTE, StepRun, Watcher, failure

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


class Output:
    """A stream whose failure stops no task: its reader may leave, its disk fill up, its encoding lack a character."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self._try(self.stream.write, text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self) -> None:
        self._try(self.stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _try(self, do: Any, *words: str) -> None:
        try:
            do(*words)
        except BlockingIOError:  # the reader is slow
            pass
        except (OSError, ValueError):
            # The rest goes nowhere, so that Python's last flush at exit does not change our exit code.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


class Report(Watcher):
    """Shows a task as it runs. This class is for logs: one whole line per event, nothing moving.

    Args:
        out: where to.
        project: prefix of lines that concern no single host.
        echo: whether to show every line that the steps print.
    """

    def __init__(self, out: IO[str] | None = None, *, project: str = "", echo: bool = False) -> None:
        self.out, self.project, self.echo = Output(out or sys.stdout), project, echo
        self._writing = threading.Lock()
        self.began = time.monotonic()

    def write(self, text: str) -> None:
        """Whole lines."""
        with self._writing:
            self.out.write(printable(text, keep="\n") + "\n")
            self.out.flush()

    @contextmanager
    def task(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        """Shows what begins, and on which hosts."""
        self.write(f"{self.project}: {title} on {', '.join(hosts)}")
        yield

    def stage_began(self, stage: Stage, hosts: Sequence[str]) -> None:
        """A stage begins on these hosts."""
        self.write(f"{self.project}: {stage.name}: {stage.promise}")

    def line(self, host: str, run: StepRun, line: str) -> None:
        if self.echo or line.startswith(NOTE):
            self.write(f"{host} |          {printable(line.removeprefix(NOTE))}")

    def step_ended(self, host: str, run: StepRun) -> None:
        state = "ok" if run.ok else "ended" if run.why == "cancelled" else "FAILED"
        self.write(f"{host} | {state:6} {printable(run.step.title)}, {seconds(run.milliseconds)}")

    def say(self, text: str) -> None:
        """A result."""
        self.write(f"{self.project}: {text}")

    def warn(self, text: str) -> None:
        """Something that went wrong and does not stop the task."""
        self.write(f"{self.project}: warning: {text}")

    def elapsed(self) -> str:
        return seconds((time.monotonic() - self.began) * 1000)


class _Silent(Report):
    """Shows nothing."""

    def write(self, text: str) -> None: ...


SILENT = _Silent()


class TerminalReport(Report):
    """Progress on a terminal: the steps that have ended, and below them a live row for each host."""

    def __init__(self, out: IO[str] | None = None, *, project: str = "", echo: bool = False) -> None:
        from rich.console import Console

        super().__init__(out, project=project, echo=echo)
        self.console = Console(file=cast("IO[str]", self.out), highlight=False)
        self._rows: dict[str, Any] = {}
        self._titles: dict[str, list[str]] = {}
        self._progress: Progress | None = None

    def write(self, text: str) -> None:
        self._show(text)

    @contextmanager
    def task(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        self._show(f"{self.project}: {title}", style="bold")
        self._progress = rows_of_hosts(self)
        for host in hosts:  # before it is shown, since adding a row redraws all of them
            self._rows[host] = self._progress.add_task("connecting", host=printable(host), busy=True, total=None)
        with self._progress:
            yield

    def stage_began(self, stage: Stage, hosts: Sequence[str]) -> None:
        self._show(f"  {stage.name}", style="bold", then=f": {stage.promise}")
        for host in hosts:
            self._row(host)

    def step_began(self, host: str, step: Step) -> None:
        self._titles.setdefault(host, []).append(printable(step.title))
        self._row(host)

    def line(self, host: str, run: StepRun, line: str) -> None:
        if self.echo:
            self.write(f"        {f'{host} | ' if self.is_for_many else ''}{printable(line)}")
        if shown := printable(line.removeprefix(NOTE)).strip():
            room = max(20, self.console.width - len(run.step.title) - len(host) - 20)
            self._row(host, f"{printable(run.step.title)}: {shown[:room]}")

    def step_ended(self, host: str, run: StepRun) -> None:
        with suppress(ValueError):
            self._titles.get(host, []).remove(printable(run.step.title))
        self._row(host)
        if not self.is_for_many and run.why != "cancelled":
            self._ended(run.ok, printable(run.step.title), run.milliseconds, run.notes)

    def stage_ended(self, host: str, stage: Stage, runs: Sequence[StepRun], milliseconds: float) -> None:
        if self.is_for_many:
            failed = failure(runs)
            what = f"{host}: {printable(failed.step.title)}" if failed else host
            self._ended(not failed, what, milliseconds, [note for run in runs for note in run.notes])

    @property
    def is_for_many(self) -> bool:
        """With several hosts one line stands for a host's whole stage: nobody reads fifteen steps ten times."""
        return len(self._rows) > 1

    def _ended(self, ok: bool, what: str, milliseconds: float, notes: Sequence[str]) -> None:
        from rich.text import Text

        mark, style = ("✓", "green") if ok else ("✗", "bold red")
        text = Text("    ").append(mark, style=style).append(f" {printable(what)}")
        text.append(f"  {seconds(milliseconds)}", style="dim")
        for note in notes:
            text.append(f"\n        {printable(note)}", style="dim")
        self.console.print(text, soft_wrap=True)

    def say(self, text: str) -> None:
        self._show(f"{self.project}: {text}", style="bold green")

    def warn(self, text: str) -> None:
        self._show(f"{self.project}: warning: {text}", style="yellow")

    def _show(self, text: str, style: str = "", then: str = "") -> None:
        from rich.text import Text

        shown = Text(printable(text, keep="\n"), style=style).append(then, style="not bold dim")
        self.console.print(shown, soft_wrap=True)

    def _row(self, host: str, description: str = "") -> None:
        if self._progress is not None and host in self._rows:
            titles = self._titles.get(host, [])
            waiting = "waiting for the other hosts" if self.is_for_many else ""
            shown = description or " · ".join(titles) or waiting
            self._progress.update(self._rows[host], description=shown, busy=bool(titles))


def rows_of_hosts(report: TerminalReport) -> Progress:
    """A row for each host. On a screen too low for all of them, rich would cut off the last."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Rows(Progress):
        def get_renderables(self) -> Iterator[Any]:
            shown, others = fitting(self.tasks, lambda task: bool(task.fields["busy"]), report.console.height - 1)
            yield self.make_tasks_table(shown)
            if others:
                busy = sum(task.fields["busy"] for task in others)
                yield Text(f"  {len(others)} other hosts: {busy} at work, {len(others) - busy} waiting", style="dim")

    # Without markup: brackets in a server's output must not be interpreted.
    host = TextColumn("{task.fields[host]}", style="cyan", markup=False)
    columns = (SpinnerColumn(), host, TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Rows(*columns, console=report.console, transient=True)


def fitting(rows: Sequence[T], is_busy: Callable[[T], bool], room: int) -> tuple[Sequence[T], Sequence[T]]:
    """The rows to show and the rest: all if there is room, otherwise the busy ones above a line with counts."""
    if len(rows) <= room:
        return rows, []
    busy, idle = [row for row in rows if is_busy(row)], [row for row in rows if not is_busy(row)]
    last = max(0, room - 1)
    return busy[:last], [*busy[last:], *idle]


def make_report(project: str, *, echo: bool = False, out: IO[str] | None = None) -> Report:
    """The report that fits its output.

    Args:
        out: standard output by default; a task that prints JSON there gives standard error.
    """
    out = out or sys.stdout
    encoding = (getattr(out, "encoding", None) or "utf-8").lower()
    moves = out.isatty() and os.environ.get("TERM") not in ("dumb", "unknown") and encoding.startswith("utf")
    return (TerminalReport if moves else Report)(out, project=project, echo=echo)


def seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s"


def program_text(stage: Stage, host: str, env: Mapping[str, str], steps: Sequence[Step]) -> str:
    """A stage on a host as one program, to be read or run by hand on the server."""
    lines = [f"# {host}, {stage.name}: {stage.promise}", "set -e"]
    lines += [f"export {name}={sh('{value}', value=value)}" for name, value in env.items()]
    lines += [sh('export PATH={bin}:"$PATH"', bin=f"{env['VIRTUAL_ENV']}/bin")] if "VIRTUAL_ENV" in env else []
    for step in steps:
        note = " (in the background of the steps that follow)" if step.background else ""
        lines += ["", f"# {step.name}: {printable(step.title)}{note}", "(", "set -eu", step.script, ")"]
    return printable(values_to_hide(env).hidden("\n".join(lines)), keep="\n")
