"""What is shown while a task runs."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from typing import Any

import pytest

from djdeploy import Step
from djdeploy.report import Report, make_report
from djdeploy.runner import StepRun


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO, *hosts: str, lines: list[str] | None = None, status: int = 0) -> str:
    """What a report shows of one step on each host."""
    report = make_report("demo", out=out)
    with report.task("deploy main", hosts):
        report.stage_began("build", hosts)
        for host in hosts:
            run = StepRun(Step("fetch_code", "Fetch the code", ()), status=status, milliseconds=1234)
            report.step_began(host, run.step)
            for line in lines or []:
                run.notes += [line.removeprefix("djdeploy: ")] if line.startswith("djdeploy: ") else []
                report.line(host, run, line)
            report.step_ended(host, run)
            report.stage_ended(host, "build", [run], 1234)
    report.say("it is live")
    return out.getvalue()


def test_elsewhere_than_on_a_terminal_there_are_whole_plain_lines() -> None:
    assert shown(io.StringIO(), "web1", lines=["chatter", "djdeploy: a note"]).splitlines() == [
        "demo: deploy main on web1",
        "demo: build: a failure here harms nothing",
        "web1 |          a note",
        "web1 | ok     Fetch the code, 1.2 s",
        "demo: it is live",
    ]


def test_a_terminal_has_colours_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m✓" in shown(Terminal(), "web1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", shown(Terminal(), "web1"))


def test_with_several_hosts_a_terminal_has_one_line_for_each_hosts_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    text = shown(Terminal(), "web1", "web2")
    assert len(re.findall("✓", text)) == 2
    failed = shown(Terminal(), "web1", "web2", status=1)
    assert "web2: Fetch the code" in failed


def test_no_output_of_a_server_commands_the_users_terminal() -> None:
    evil = "djdeploy: \x1b]0;title\x07\x1b[2J\u202e"
    for out in (io.StringIO(), Terminal()):
        text = shown(out, "web1", lines=[evil])
        assert "\x1b]0" not in text
        assert "\x07" not in text
        assert "\u202e" not in text


def test_a_reader_that_leaves_does_not_stop_a_deploy() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> Any:
            raise BrokenPipeError

    Report(Gone()).say("it is live")


def test_what_is_only_needed_later_is_only_loaded_then() -> None:
    program = "import sys, djdeploy.tasks; print([m for m in ('rich', 'django', 'asyncssh') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
