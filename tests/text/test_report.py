"""What is shown while a task runs."""

from __future__ import annotations

import errno
import io
import json
import re
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from djdeploy import Shell, Step
from djdeploy.project.checkup import Checkup, Finding
from djdeploy.script.stages import BUILD, PUBLISH, Stage
from djdeploy.ssh.step_run import StepRun
from djdeploy.terminal.grid import print_table
from djdeploy.terminal.live import TerminalReport, cut, fitting
from djdeploy.terminal.overview import print_releases, print_status
from djdeploy.terminal.progress import Headline, Report, program_text
from djdeploy.terminal.reports import make_report
from djdeploy.terminal.tables import Printer, print_diff, print_findings, print_json


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(
    out: io.StringIO,
    *hosts: str,
    lines: list[str] | None = None,
    status: int = 0,
    echo: bool = False,
    report: Report | None = None,
) -> str:
    """What a report shows of one step on each host."""
    report = report or make_report("demo", out=out, echo=echo)
    with report.task("deploy main", hosts):
        report.stage_began(BUILD, hosts)
        for host in hosts:
            run = StepRun(Step("fetch_code", "Fetch the code", ()), status=status, milliseconds=1234)
            report.step_began(host, run.step)
            for line in lines or []:
                run.notes += [line.removeprefix("djdeploy: ")] if line.startswith("djdeploy: ") else []
                report.line(host, run, line)
            report.step_ended(host, run)
            report.stage_ended(host, BUILD, [run], 1234)
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


HOSTILE = "\x1b]0;title\x07\x9b2J\u202e[/red][link=http://evil]"


def commands(text: str) -> list[str]:
    """What a terminal would do with it beside colours and moves of our own."""
    return [c for c in ("\x1b]", "\x07", "\x9b", "\u202e", "\x1b[2J") if c in text]


@pytest.mark.parametrize("line", [HOSTILE, f"djdeploy: {HOSTILE}", "[/srv/x]", "[bold]", ":key:"])
def test_no_output_of_a_server_commands_the_users_terminal(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for out in (io.StringIO(), Terminal()):
        for hosts in (["web1"], ["web1", "web[/2]"]):
            assert not commands(shown(out, *hosts, lines=[line], echo=True))
        if line.startswith(("[", ":")):
            assert line in out.getvalue()


def test_the_row_of_a_host_shows_brackets_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "[/srv/x] [link=http://evil]"
    assert "web[/1]" in rows(monkeypatch, ["web[/1]", "web2"], lines={"web[/1]": line})
    assert line in rows(monkeypatch, ["web1"], lines={"web1": line})


def test_nothing_that_is_printed_commands_the_users_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    instance = {"process": HOSTILE, "instance": 0, "pid": 1, "release": HOSTILE, "healthy": True, "note": HOSTILE}
    now = datetime(2026, 11, 28, tzinfo=timezone.utc)
    names = ("host", "name", "state", "current", "commit", "ref", "by", "at", "published", "size", "subject")
    row = dict.fromkeys(names, HOSTILE)
    print_status([{**row, "processes": [instance]}, {**row, "current": "r1", "processes": []}], now)
    print_releases([row], [HOSTILE, "web1"], now)
    print_findings({HOSTILE: Checkup({HOSTILE: HOSTILE}, [Finding(HOSTILE, HOSTILE)])})
    print_table([{"host": HOSTILE, "name": HOSTILE}], ["host", "name"])
    print_diff(
        {
            "release": HOSTILE,
            "from": HOSTILE,
            "to": HOSTILE,
            "ahead": 1,
            "behind": 0,
            "gone": [],
            "commits": [{"commit": HOSTILE, "subject": HOSTILE, "author": HOSTILE}],
            "requirements": [{"name": HOSTILE, "old": HOSTILE, "new": HOSTILE}],
            "migrations_gone": [{"app": HOSTILE, "name": HOSTILE}],
            "migrations": [{"app": HOSTILE, "name": HOSTILE, "operations": [{"operation": HOSTILE, "class": HOSTILE}]}],
            "settings": [{"file": HOSTILE, "names": [HOSTILE]}],
            "fabfile": [HOSTILE],
            "secrets": {HOSTILE: "differs"},
            "not_compared": [HOSTILE],
        }
    )
    print_json({HOSTILE: HOSTILE})
    Printer(names=True).line(HOSTILE, StepRun(Step("x", HOSTILE, ())), HOSTILE)
    report = Report(project="demo")
    report.say(HOSTILE)
    report.warn(HOSTILE)
    with report.task(HOSTILE, [HOSTILE]):
        report.stage_began(Stage(HOSTILE, HOSTILE), [HOSTILE])
    text = capsys.readouterr().out
    assert "title" in text
    assert not commands(text)


def test_a_migration_that_waits_says_so_in_what_would_be_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = dict.fromkeys(
        (
            "ahead",
            "behind",
            "gone",
            "commits",
            "requirements",
            "migrations_gone",
            "settings",
            "fabfile",
            "not_compared",
        ),
        (),
    )
    operation = {"operation": "RemoveField", "class": "destructive"}
    less = {"app": "shop", "name": "0002_less", "operations": [operation], "waits": True}
    more = {**less, "name": "0003_more", "waits": False}
    names = {"release": "r1", "from": "a", "to": "b", "ahead": 0, "behind": 0, "secrets": {}}
    print_diff({**found, **names, "migrations": [less, more], "waiting": ["shop.0001_least"]})
    assert capsys.readouterr().out.splitlines()[1:4] == [
        "migration: shop.0002_less (waits until the old code is gone): RemoveField (destructive)",
        "migration: shop.0003_more: RemoveField (destructive)",
        "a deploy runs what has waited: shop.0001_least",
    ]


def test_json_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": HOSTILE})
    assert json.loads(capsys.readouterr().out) == {"a": HOSTILE}


def test_a_dry_run_keeps_its_lines_and_commands_no_terminal() -> None:
    step = Step("x", f"X\n{HOSTILE}", (Shell(f"echo a\n\techo '{HOSTILE}'"),))
    text = program_text(BUILD, HOSTILE, {"A": HOSTILE}, [step])
    assert not commands(text)
    assert "echo a\n\techo '" in text


# --- many hosts -------------------------------------------------------------------------------------------------------


def rows(
    monkeypatch: pytest.MonkeyPatch,
    hosts: list[str],
    *,
    lines: dict[str, str] | None = None,
    height: int = 24,
    width: int = 100,
    headline: Headline | None = None,
) -> str:
    """The live lines of a terminal of this size while these hosts are at work and the others wait."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))
    report = TerminalReport(Terminal(), project="demo")
    with report.task("deploy main", hosts):
        report.about(headline or Headline("deploy main"))
        report.stage_began(BUILD, hosts)
        for host, line in (lines or {}).items():
            run = StepRun(Step("fetch_code", "Fetch the code", ()))
            report.step_began(host, run.step)
            report.line(host, run, line)
        out = io.StringIO()
        Console(file=out, width=width).print(report.lines())
    return out.getvalue()


def test_a_host_that_is_done_says_that_it_waits_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    text = rows(monkeypatch, ["web1", "web2"], lines={"web1": "reading"})
    assert re.search(r"⠋|⠙|⠹|⠸|⠼|⠴|⠦|⠧|⠇|⠏ web1  Fetch the code: reading +0:00", text)
    assert re.search(r"  web2  waiting for the other hosts", text)


def test_a_countdown_is_one_live_line_and_elsewhere_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    report, out = TerminalReport(Terminal(), project="demo"), io.StringIO()
    with report.task("deploy main", ["web1"]):
        seconds = [report.countdown(f"1 migration waits, {left} s more") for left in (20, 19)]
        Console(file=out, width=80).print(report.lines())
        report.stage_began(PUBLISH, ["web1"])
        assert "waits" not in report.lines().plain
    assert (seconds, re.findall(r"\d+ s more", out.getvalue())) == ([1.0, 1.0], ["19 s more"])
    plain = io.StringIO()
    assert Report(plain, project="demo").countdown("1 migration waits, 90 s more") == 30.0
    assert plain.getvalue() == "demo: 1 migration waits, 90 s more\n"


HEADLINE = Headline("deploy main", "4be0efa1" * 5, "A subject", ["20261127-090000"], "20261128-101500")
LONG = "Downloading a-package-with-a-very-long-name-1.2.3-cp311-manylinux_2_17_x86_64.whl " * 3
BUSY = re.compile(r"^[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] .* \d+:\d\d$")


@pytest.mark.parametrize("width", [40, 60, 80, 132])
@pytest.mark.parametrize("line", ["short", LONG, "漢字" * 80, "", "[bold]x[/bold]" * 20])
@pytest.mark.parametrize(
    "hosts", [["web1"], ["demo@web1.example.com", "demo@a-host-with-a-long-name.example.com:2222"]]
)
def test_a_live_line_keeps_its_spinner_and_its_clock_and_no_column_moves(
    monkeypatch: pytest.MonkeyPatch, width: int, line: str, hosts: list[str]
) -> None:
    text = rows(monkeypatch, hosts, lines=dict.fromkeys(hosts, line), width=width, headline=HEADLINE)
    top, *shown = text.splitlines()
    assert re.search(r"  build +\d+:\d\d$", top)
    for each in shown[: len(hosts)]:
        assert BUSY.match(each), each
        assert each.index("Fetch") == (2 if len(hosts) == 1 else 2 + len("a-host-with-a-long-n") + 2)
    assert all(cell_len(each) <= width for each in text.splitlines())
    assert {cell_len(each) for each in [top, *shown[: len(hosts)]]} == {width}


def test_with_one_host_its_newest_line_stands_below_and_no_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text = rows(monkeypatch, ["demo@web1.example.com"], lines={"demo@web1.example.com": "reading"}, width=80)
    _, busy, newest = text.splitlines()
    assert "web1" not in busy
    assert newest == "  reading"


def test_hosts_are_named_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["demo@web1.example.com", "demo@web2.example.com:2222"]
    text = rows(monkeypatch, hosts, lines=dict.fromkeys(hosts, "reading"))
    assert "example.com" not in text
    assert "web1  Fetch the code: reading" in text
    assert "✓ web2" in re.sub(r"\x1b\[[\d;]*m", "", shown(Terminal(), *hosts))


def test_the_headline_says_what_which_commit_from_where_to_where_on_which_hosts_and_the_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = {
        width: re.split(
            "  +", rows(monkeypatch, ["web1", "web2", "web3"], width=width, headline=HEADLINE).splitlines()[0]
        )
        for width in (100, 80, 72, 50)
    }
    whole = "deploy main 4be0efa 20261127-090000 → 20261128-101500"
    assert shown[100][0] == f"{whole} on web1, web2, web3"
    assert shown[80][0] == f"{whole} on 3 hosts"
    assert shown[72][0] == whole
    assert shown[50][0] == "deploy main 4be0efa"
    for parts in shown.values():
        assert parts[1] == "build"
        assert re.fullmatch(r"0:0\d", parts[2])
    log = io.StringIO()
    Report(log, project="demo").about(HEADLINE)
    assert log.getvalue() == "demo: 4be0efa14be0 A subject\ndemo: 20261127-090000 → 20261128-101500\n"


def test_a_first_release_comes_from_nothing_and_a_restart_goes_nowhere() -> None:
    assert Headline("deploy", departing=["nothing"], target="r1").way == "nothing → r1"
    assert Headline("restart", departing=["r1"], target="r1").way == "r1"
    assert Headline("deploy", departing=["r1", "r2", "r3"], target="r4").way == "r1 and 2 more → r4"


def test_what_is_too_long_ends_in_an_ellipsis() -> None:
    assert [cut("abcdef", 4), cut("abc", 4), cut("abc", 4, fill=True), cut("漢字漢字", 4), cut("ab", 0)] == [
        "abc…",
        "abc",
        "abc ",
        "漢 …",
        "",
    ]


# --- in a CI that folds -----------------------------------------------------------------------------------------------


def test_stages_fold_in_github_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    lines = shown(io.StringIO(), "web1").splitlines()
    assert lines[1:4] == [
        "::group::demo: build: a failure here harms nothing",
        "web1 | ok     Fetch the code, 1.2 s",
        "::endgroup::",
    ]
    assert lines[4] == "demo: it is live"


def test_stages_fold_in_gitlab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    text = shown(io.StringIO(), "web1")
    assert re.search(r"\x1b\[0Ksection_start:\d+:djdeploy_build\[collapsed=true\]\r\x1b\[0Kdemo: build: ", text)
    assert re.search(r"\x1b\[0Ksection_end:\d+:djdeploy_build\r\x1b\[0K\ndemo: it is live", text)


def test_what_goes_wrong_is_not_folded_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    out = io.StringIO()
    report = make_report("demo", out=out)
    with suppress(KeyError), report.task("deploy", ["web1"]):
        report.stage_began(BUILD, ["web1"])
        report.warn("a disk is nearly full")
        report.stage_began(PUBLISH, ["web1"])
        raise KeyError
    assert [line.split()[0] for line in out.getvalue().splitlines()] == [
        *("demo:", "::group::demo:", "::endgroup::", "demo:", "::group::demo:", "::endgroup::")
    ]


def test_more_hosts_than_lines_show_those_that_work_and_count_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [f"web{number}" for number in range(64)]
    text = rows(monkeypatch, hosts, lines={"web62": "a", "web63": "b"})
    assert "web62" in text
    assert "web63" in text
    assert "62 other hosts: 0 at work, 62 waiting" in text
    text = rows(monkeypatch, hosts, lines=dict.fromkeys(hosts, "reading"))
    assert "43 other hosts: 43 at work, 0 waiting" in text
    assert len(text.splitlines()) < 24


def test_rows_that_fit_are_all_shown_in_their_order() -> None:
    assert fitting([1, 2, 3], lambda row: row > 1, 3) == ([1, 2, 3], [])
    assert fitting([1, 2, 3, 4], lambda row: row > 1, 3) == ([2, 3], [4, 1])
    assert fitting([1, 2], lambda row: True, 0) == ([], [1, 2])


def test_with_echo_each_line_of_several_hosts_names_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "web2 | chatter" in shown(Terminal(), "web1", "web2", lines=["chatter"], echo=True)
    assert "web1 | chatter" not in shown(Terminal(), "web1", lines=["chatter"], echo=True)


def test_a_terminal_that_cannot_move_shows_whole_lines_with_echo_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    text = shown(Terminal(), "web1", lines=["chatter"], echo=True)
    assert "web1 |          chatter\nweb1 | ok     Fetch the code, 1.2 s\n" in text
    assert "\x1b" not in text


# --- nothing that shows a deploy stops it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(), OSError(errno.ENOSPC, "No space left on device"), BlockingIOError(), ValueError("closed file")],
    ids=["a reader that leaves", "a full disk", "a slow reader", "a closed file"],
)
@pytest.mark.parametrize("kind", [Report, TerminalReport])
def test_no_output_that_fails_stops_a_deploy(
    monkeypatch: pytest.MonkeyPatch, kind: type[Report], error: Exception
) -> None:
    class Failing(Terminal):
        def write(self, text: str) -> Any:
            raise error

        def flush(self) -> None:
            raise error

    monkeypatch.setenv("TERM", "xterm-256color")
    shown(Failing(), "web1", "web2", lines=["djdeploy: a note"], report=kind(Failing(), project="demo"))


@pytest.mark.parametrize("kind", [Report, TerminalReport])
def test_an_output_that_lacks_our_characters_shows_others(monkeypatch: pytest.MonkeyPatch, kind: type[Report]) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    data = io.BytesIO()
    report = kind(io.TextIOWrapper(data, encoding="ascii"), project="demo")
    shown(io.StringIO(), "web1", "wéb2", lines=["djdeploy: → tökén \udcff"], report=report)
    assert b"t\\xf6k\\xe9n" in data.getvalue()


def test_a_terminal_without_unicode_shows_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ascii(Terminal):
        encoding = "ascii"

    monkeypatch.setenv("TERM", "xterm-256color")
    assert type(make_report("demo", out=Ascii())) is Report


@pytest.mark.parametrize("reader", ["/dev/full", "head -c 0"])
def test_what_cannot_be_written_does_not_change_the_exit_code(reader: str) -> None:
    program = "from djdeploy.terminal.progress import Report; [Report().say('x' * 9999) for _ in range(99)]"
    target = f"> {reader}" if reader.startswith("/") else f"| {reader}"
    command = f'{{ {sys.executable} -c "{program}"; echo exit $? >&2; }} {target}'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert done.stderr == "exit 0\n"


def test_what_is_only_needed_later_is_only_loaded_then() -> None:
    program = "import sys, djdeploy.tasks; print([m for m in ('rich', 'django', 'asyncssh') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("why", ["interrupted", "cancelled"])
def test_a_step_that_was_stopped_is_not_called_failed(why: str) -> None:
    run = StepRun(Step("x", "Install the requirements", ()), status=-15, why=why)
    plain, moving = io.StringIO(), io.StringIO()
    Report(plain).step_ended("web1", run)
    report = TerminalReport(moving, project="demo")
    with report.task("deploy main", ["web1", "web2"]):
        report.stage_ended("web1", BUILD, [run], 1000)
    assert plain.getvalue() == "web1 | ended  Install the requirements, 0.0 s\n"
    assert "✗" not in moving.getvalue()
