"""Progress of a running task in whole lines, for logs and pipes; `live` has it for terminals."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from ..errors.redaction import printable, values_to_hide
from ..errors.typed import as_typed
from ..script.stages import Stage
from ..script.steps import Step
from ..server.shell import sh
from ..ssh.step_run import NOTE, StepRun, Watcher
from .folding import folding
from .phrases import listed


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


@dataclass(frozen=True)
class Headline:
    """What a task does, and with what.

    Args:
        title: the task, as it was asked for.
        commit, subject: the code.
        departing: what is live on the hosts now; several where they differ.
        target: the release that will be.
    """

    title: str
    commit: str = ""
    subject: str = ""
    departing: Sequence[str] = ()
    target: str = ""

    @property
    def way(self) -> str:
        """From where to where."""
        departing = [name for name in self.departing if name != self.target]
        return f"{listed(departing, 2)} → {self.target}" if departing else self.target

    @property
    def lines(self) -> Sequence[str]:
        return [*filter(None, [f"{self.commit[:12]} {self.subject}".strip(), self.way])]

    def in_a_line(self, hosts: Sequence[str], room: int) -> str:
        """The same, as much as there is room for; the hosts by their number before anything is left out."""
        what = f"{self.title} {self.commit[:7]}".strip()
        on = [f"on {listed(hosts, 4)}", f"on {len(hosts)} host{'s' if len(hosts) > 1 else ''}"]
        ways = [f" {self.way}" if self.way else "", f" → {self.target}" if self.target else ""]
        lines = [f"{what}{ways[0]} {on[0]}", f"{what}{ways[0]} {on[1]}", f"{what}{ways[0]}", f"{what}{ways[1]}", what]
        return next((line for line in lines if len(line) <= room), what)


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
        self._folding, self._folded = folding(), ""
        self.began = time.monotonic()

    def write(self, text: str) -> None:
        """Whole lines."""
        self._write_as_it_is(printable(text, keep="\n"))

    @contextmanager
    def task(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        """Shows what begins, and on which hosts."""
        self.write(f"{self.project}: {title} on {', '.join(hosts)}")
        try:
            yield
        finally:
            self._unfold()

    def about(self, headline: Headline) -> None:
        """What the task is about, once that is known."""
        for line in headline.lines:
            self.say(line)

    def stage_began(self, stage: Stage, hosts: Sequence[str]) -> None:
        """A stage begins on these hosts."""
        self._unfold()
        title = printable(f"{self.project}: {stage.name}: {stage.promise}")
        self._folded = stage.name
        self._write_as_it_is(self._folding.begin(stage.name, title))

    def _unfold(self) -> None:
        """What comes now is not folded away with the last stage."""
        if self._folded and (text := self._folding.end(self._folded)):
            self._write_as_it_is(text)
        self._folded = ""

    def _write_as_it_is(self, text: str) -> None:
        with self._writing:
            self.out.write(text + "\n")
            self.out.flush()

    def line(self, host: str, run: StepRun, line: str) -> None:
        if self.echo or line.startswith(NOTE):
            self.write(f"{host} |          {printable(line.removeprefix(NOTE))}")

    def step_ended(self, host: str, run: StepRun) -> None:
        state = "ok" if run.ok else "ended" if run.was_stopped else "FAILED"
        self.write(f"{host} | {state:6} {printable(run.step.title)}, {seconds(run.milliseconds)}")

    def say(self, text: str) -> None:
        """A result."""
        self.write(as_typed(f"{self.project}: {text}"))

    def warn(self, text: str) -> None:
        """Something that went wrong and does not stop the task."""
        self._unfold()
        self.write(as_typed(f"{self.project}: warning: {text}"))

    def countdown(self, text: str) -> float:
        """Says for how long it is still waited; returns the seconds after which that is worth another word."""
        self.say(text)
        return 30.0

    def elapsed(self) -> str:
        return seconds((time.monotonic() - self.began) * 1000)


class _Silent(Report):
    """Shows nothing."""

    def _write_as_it_is(self, text: str) -> None: ...


SILENT = _Silent()


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
