"""Everything that is shown while a task runs: live on a terminal, in whole lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from .errors import printable
from .plan import Step
from .runner import NOTE, StepRun, Watcher, failure
from .secret import hidden, values_to_hide
from .shell import sh

if TYPE_CHECKING:
    from rich.console import Console

PROMISES = {
    "build": "a failure here harms nothing",
    "migrate": "the old code still serves, on the new schema",
    "publish": "a failure here brings the old release up again",
    "finish": "a failure here is a warning",
}


class Report(Watcher):
    """Shows a task as it runs. In this form, for logs: one whole line for each thing that happened, nothing moving.

    Args:
        out: where to.
        project: begins the lines that concern no single host.
        echo: also each line that the steps put out.
    """

    def __init__(self, out: IO[str] | None = None, *, project: str = "", echo: bool = False) -> None:
        self.out, self.project, self.echo = out or sys.stdout, project, echo
        self._writing = threading.Lock()
        self.began = time.monotonic()

    def write(self, text: str) -> None:
        # A reader that leaves, such as `head`, must not stop a deploy.
        with self._writing, suppress(BrokenPipeError):
            self.out.write(text + "\n")
            self.out.flush()

    @contextmanager
    def task(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        """Shows what begins, and on which hosts."""
        self.write(f"{self.project}: {title} on {', '.join(hosts)}")
        yield

    def stage_began(self, stage: str, hosts: Sequence[str]) -> None:
        """A stage begins on these hosts."""
        self.write(f"{self.project}: {stage}: {PROMISES.get(stage, stage)}")

    def line(self, host: str, run: StepRun, line: str) -> None:
        if self.echo or line.startswith(NOTE):
            self.write(f"{host} |          {printable(line.removeprefix(NOTE))}")

    def step_ended(self, host: str, run: StepRun) -> None:
        state = "ok" if run.ok else "ended" if run.why == "needless" else "FAILED"
        self.write(f"{host} | {state:6} {printable(run.step.title)}, {seconds(run.milliseconds)}")

    def say(self, text: str) -> None:
        """A result."""
        self.write(f"{self.project}: {printable(text, keep=chr(10))}")

    def warn(self, text: str) -> None:
        """Something that did not go well, and does not stop us."""
        self.write(f"{self.project}: warning: {printable(text, keep=chr(10))}")

    def elapsed(self) -> str:
        return seconds((time.monotonic() - self.began) * 1000)


class _Silent(Report):
    """For what nobody needs to see."""

    def write(self, text: str) -> None: ...


SILENT = _Silent()


class TerminalReport(Report):
    """The same on a terminal: a line for each host that says what runs there, under the steps that have ended."""

    def __init__(self, console: Console, *, project: str = "", echo: bool = False) -> None:
        super().__init__(project=project, echo=echo)
        self.console = console
        self._rows: dict[str, Any] = {}
        self._titles: dict[str, list[str]] = {}
        self._progress: Any = None

    def write(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._show(f"{self.project}: {title}", style="bold")
        columns = (SpinnerColumn(), TextColumn("{task.fields[host]}", style="cyan"), TextColumn("{task.description}"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
        with self._progress:
            for host in hosts:
                self._rows[host] = self._progress.add_task("connecting", host=host, total=None)
            yield

    def stage_began(self, stage: str, hosts: Sequence[str]) -> None:
        self._show(f"  {stage}", style="bold", then=f": {PROMISES.get(stage, '')}")

    def step_began(self, host: str, step: Step) -> None:
        self._titles.setdefault(host, []).append(printable(step.title))
        self._row(host)

    def line(self, host: str, run: StepRun, line: str) -> None:
        if self.echo:
            self.write(f"        {printable(line)}")
        if shown := printable(line.removeprefix(NOTE)).strip():
            room = max(20, self.console.width - len(run.step.title) - len(host) - 20)
            self._row(host, f"{printable(run.step.title)}: {shown[:room]}")

    def step_ended(self, host: str, run: StepRun) -> None:
        with suppress(ValueError):
            self._titles.get(host, []).remove(printable(run.step.title))
        self._row(host)
        if not self.is_for_many and run.why != "needless":
            self._ended(run.ok, printable(run.step.title), run.milliseconds, run.notes)

    def stage_ended(self, host: str, stage: str, runs: Sequence[StepRun], milliseconds: float) -> None:
        if self.is_for_many:
            failed = failure(runs)
            what = f"{host}: {printable(failed.step.title)}" if failed else host
            self._ended(not failed, what, milliseconds, [note for run in runs for note in run.notes])

    @property
    def is_for_many(self) -> bool:
        """With several hosts a line stands for a host's whole stage: nobody reads ten times fifteen steps."""
        return len(self._rows) > 1

    def _ended(self, ok: bool, what: str, milliseconds: float, notes: Sequence[str]) -> None:
        from rich.text import Text

        mark, style = ("✓", "green") if ok else ("✗", "bold red")
        text = Text("    ").append(mark, style=style).append(f" {what}")
        text.append(f"  {seconds(milliseconds)}", style="dim")
        for note in notes:
            text.append(f"\n        {printable(note)}", style="dim")
        self.console.print(text, soft_wrap=True)

    def say(self, text: str) -> None:
        self._show(f"{self.project}: {printable(text, keep=chr(10))}", style="bold green")

    def warn(self, text: str) -> None:
        self._show(f"{self.project}: warning: {printable(text, keep=chr(10))}", style="yellow")

    def _show(self, text: str, style: str, then: str = "") -> None:
        from rich.text import Text

        self.console.print(Text(text, style=style).append(then, style="not bold dim"), soft_wrap=True)

    def _row(self, host: str, description: str = "") -> None:
        if self._progress is not None and host in self._rows:
            titles = " · ".join(self._titles.get(host, []))
            self._progress.update(self._rows[host], description=description or titles)


def make_report(project: str, *, echo: bool = False, out: IO[str] | None = None) -> Report:
    """The report that fits where it is shown.

    Args:
        out: standard output by default; a task that prints JSON there gives standard error.
    """
    out = out or sys.stdout
    if not out.isatty():
        return Report(out, project=project, echo=echo)
    from rich.console import Console

    console = Console(file=out, highlight=False)
    return TerminalReport(console, project=project, echo=echo) if console.is_terminal else Report(out, project=project)


def seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s"


def program_text(stage: str, host: str, env: Mapping[str, str], steps: Sequence[Step]) -> str:
    """A stage on a host as one program that can be read, and run by hand on the server."""
    lines = [f"# {host}, {stage}: {PROMISES[stage]}", "set -e"]
    lines += [f"export {name}={sh('{value}', value=value)}" for name, value in env.items()]
    lines += [sh('export PATH={bin}:"$PATH"', bin=f"{env['VIRTUAL_ENV']}/bin")] if "VIRTUAL_ENV" in env else []
    for step in steps:
        beside = " (beside the steps that follow)" if step.beside else ""
        lines += ["", f"# {step.name}: {step.title}{beside}", "(", "set -eu", step.script, ")"]
    return hidden("\n".join(lines), values_to_hide(env))
