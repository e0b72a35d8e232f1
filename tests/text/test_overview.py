"""`fab releases` and `fab status` on a terminal of 80 columns, and in a pipe."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from djdeploy.terminal.grid import Column, print_table
from djdeploy.terminal.overview import print_releases, print_status
from djdeploy.terminal.phrases import ago, clock, listed, short_names

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)
WEB1, WEB2, WEB3 = "demo@web1.example.com", "demo@web2.example.com:2222", "demo@web3.example.com"


def at(**ago: float) -> str:
    return (NOW - timedelta(**ago)).isoformat()


def release(host: str, name: str, state: str = "good", **more: Any) -> dict[str, Any]:
    return {
        "host": host,
        "name": name,
        "state": state,
        "commit": "4be0efa1" + "0" * 32,
        "ref": "main",
        "by": "ann@laptop",
        "at": at(hours=2),
        "published": at(hours=2),
        "size": 187_000_000,
        "subject": "Orders can be paid with vouchers, and a voucher is good once",
        **more,
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["terminal", "pipe"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where something is shown: a terminal of 80 columns, or a pipe."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal() if request.param == "terminal" else io.StringIO()


def shown(screen: io.StringIO, show: Callable[..., None], *what: object) -> list[str]:
    """The lines that it shows."""
    with redirect_stdout(screen):
        show(*what)
    return re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).splitlines()


def test_a_release_is_one_row_for_all_hosts_with_its_whole_name_and_its_subject(screen: io.StringIO) -> None:
    rows = [release(host, "20261128-100000", "live") for host in (WEB1, WEB2, WEB3)]
    rows += [release(WEB1, "20261101-080000", at=at(days=27), subject="Short")]
    lines = shown(screen, print_releases, rows, [WEB1, WEB2, WEB3], NOW)
    heading, first, second = lines
    assert heading.split()[:4] == ["name", "state", "hosts", "when"]
    assert re.match(r"20261128-100000  live   all 3  2 h ago      4be0efa1  .*Orders can", first)
    assert re.match(r"20261101-080000  good   web1   27 days ago  4be0efa1  .*Short$", second)
    if screen.isatty():
        assert max(map(len, lines)) <= 80
        assert first.endswith("…")
    else:
        assert first.endswith("good once")
        assert "ann@laptop" in first


@pytest.mark.parametrize("name", ["20261128-100000", "20261128-100000-feature-vouchers-4be0efa1b2c3", "ü" * 70])
def test_a_name_is_never_cut(screen: io.StringIO, name: str) -> None:
    lines = shown(screen, print_releases, [release(WEB1, name, "unfinished")], [WEB1], NOW)
    assert f"{name}  unfinished" in lines[1]


def test_where_a_release_stands_differently_is_said_below_it(screen: io.StringIO) -> None:
    rows = [release(WEB1, "r2", "live"), release(WEB2, "r2", "failed"), release(WEB2, "r1", "live", at=at(days=1))]
    lines = shown(screen, print_releases, rows, [WEB1, WEB2, WEB3], NOW)
    text = "\n".join(lines)
    assert "r2    live, failed  web1, web2" in text
    assert "live on web1; failed on web2" in text
    assert "No release is on web3." in text


def test_releases_of_one_name_and_two_commits_are_two(screen: io.StringIO) -> None:
    lines = shown(
        screen, print_releases, [release(WEB1, "r1"), release(WEB2, "r1", commit="f" * 40)], [WEB1, WEB2], NOW
    )
    assert len(lines) == 3


def test_a_release_that_failed_or_is_bad_says_why(screen: io.StringIO) -> None:
    why = "it has died young 3 times in a row"
    rows = [release(host, "r2", "failed", why=why) for host in (WEB1, WEB2)]
    lines = shown(screen, print_releases, [*rows, release(WEB3, "r2", "live")], [WEB1, WEB2, WEB3], NOW)
    assert f"failed on web1, web2; live on web3; {why}" in " ".join("\n".join(lines).split())


def row(host: str, current: str | None, *processes: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = release(host, current or "", **more)
    known = {} if current else {"commit": "", "at": "", "published": "", "by": "", "ref": "", "subject": ""}
    return {**made, **known, "current": current, "processes": list(processes)}


def instance(number: int, runs: str, note: str = "", healthy: bool = True) -> dict[str, Any]:
    found = {"process": "web", "instance": number, "pid": 4711 + number, "release": runs, "healthy": healthy}
    return {**found, "note": note, "uptime": 7200, "latency_ms": 4.2}


def test_status_says_what_is_live_where_since_when_and_by_whom(screen: io.StringIO) -> None:
    lines = shown(
        screen, print_status, [row(host, "r2", instance(0, "r2"), instance(1, "r2")) for host in (WEB1, WEB2)], NOW
    )
    assert lines[0] == "r2 is live on web1, web2"
    assert lines[1].startswith("  4be0efa1 Orders can be paid")
    assert lines[2] == "  published 2 h ago (2026-11-28 10:00 UTC), by ann@laptop, from main"
    assert lines[4].split() == ["web1", "web", "0", "4711", "2", "h", "ok,", "4", "ms"]
    assert len(lines) == 8
    assert "warning" not in "".join(lines)


def test_with_one_host_no_row_names_it(screen: io.StringIO) -> None:
    lines = shown(screen, print_status, [row(WEB1, "r2", instance(0, "r2"))], NOW)
    assert lines[3].split()[0] == "process"
    assert lines[4].startswith("web 0")


def test_a_note_is_whole_wherever_it_stands(screen: io.StringIO) -> None:
    note = "crashed 3 times in the last hour, the last time with exit 3: ModuleNotFoundError: No module named 'x'"
    lines = shown(screen, print_status, [row(WEB1, "r2", instance(0, "r1", note, healthy=False))], NOW)
    text = "\n".join(lines)
    assert f"runs r1, not the current release; {note}" in text
    assert "FAILS" in text


def test_status_warns_where_hosts_differ_and_says_what_to_type(screen: io.StringIO) -> None:
    rows = [row(WEB1, "r2"), row(WEB2, "r2"), row(WEB3, "r1", commit="f" * 40)]
    lines = shown(screen, print_status, rows, NOW)
    text = "\n".join(lines)
    assert "warning: the hosts differ: web1, web2: r2; web3: r1" in text
    command = re.search(r"fab deploy .*", text)
    assert command
    assert shlex.split(command[0])[1:] == ["deploy", "--branch=4be0efa10000", f"--only={WEB3}"]


def test_hosts_with_one_commit_do_not_differ_whatever_they_call_it(screen: io.StringIO) -> None:
    assert "warning" not in "\n".join(shown(screen, print_status, [row(WEB1, "r2"), row(WEB2, "x7")], NOW))


@pytest.mark.parametrize(("mark", "is_said"), [("published", False), ("ready", True), ("bad", True)])
def test_status_says_of_what_is_live_that_nobody_published_it(screen: io.StringIO, mark: str, is_said: bool) -> None:
    lines = shown(screen, print_status, [{**row(WEB1, "r2"), "mark": mark}], NOW)
    assert ("  not published: its deploy still runs, or was cut off" in "\n".join(lines)) is is_said


def test_a_host_on_which_nothing_is_live_differs_too(screen: io.StringIO) -> None:
    lines = shown(screen, print_status, [row(WEB1, None), row(WEB2, "r2", instance(0, "r2"))], NOW)
    text = "\n".join(lines)
    assert "Nothing is live on web1." in text
    assert f"--only={WEB1}" in text
    assert "No processes on web1." in text


def test_hosts_are_named_as_shortly_as_tells_them_apart() -> None:
    def names(*hosts: str) -> list[str]:
        return list(short_names(hosts).values())

    assert names(WEB1, WEB2) == ["web1", "web2"]
    assert names("web.one.example", "web.two.example") == ["web.one.example", "web.two.example"]
    assert names("127.0.0.1:2222", "127.0.0.1:2223") == ["127.0.0.1:2222", "127.0.0.1:2223"]
    assert names("ann@web1", "bob@web1") == ["ann@web1", "bob@web1"]
    assert names("10.0.0.1", "demo@10.0.0.2:22") == ["10.0.0.1", "10.0.0.2"]
    assert names("demo@[fd00::1]:2222", "fd00::2") == ["[fd00::1]", "fd00::2"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((0, "just now"), (-30, "just now"), (42, "42 s ago"), (300, "5 min ago"), (6300, "2 h ago")),
        *((86400, "24 h ago"), (3 * 86400, "3 days ago"), (90 * 86400, "2026-08-30")),
    ],
)
def test_a_moment_is_shown_by_how_long_ago_it_was(seconds: int, shown: str) -> None:
    then = NOW - timedelta(seconds=seconds)
    assert ago(then.isoformat(), NOW) == ago(then.isoformat().replace("+00:00", "Z"), NOW) == shown


def test_what_is_no_moment_is_shown_as_it_is() -> None:
    assert ago("yesterday", NOW) == "yesterday"
    assert ago("", NOW) == ago(None, NOW) == ""
    assert ago("2026-11-28T11:00:00", NOW) == "60 min ago"


def test_small_things() -> None:
    assert [clock(s) for s in (0.4, 64, 3723)] == ["0:00", "1:04", "1:02:03"]
    assert listed(["a", "b", "c", "d", "e"]) == "a, b and 3 more"


def test_no_table_is_wider_than_its_terminal_while_anything_can_be_cut_or_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = [Column("a"), Column("b", rank=1, may_be_cut=True), Column("c", rank=2), Column("d", below=True)]
    for width in range(10, 60):
        out = Terminal()
        monkeypatch.setenv("COLUMNS", str(width))
        lines = shown(out, print_table, [{"a": "a" * 8, "b": "b" * 20, "c": "c" * 5, "d": "d" * 9}], columns)
        table = [line for line in lines if not line.startswith("    ")]
        assert max(map(len, table)) <= width
        assert "a" * 8 in table[1]


def test_status_says_that_the_site_went_back_by_itself_and_why(screen: io.StringIO) -> None:
    fell = {"at": at(hours=1), "from": "r2", "why": "has died young 3 times in a row"}
    lines = shown(screen, print_status, [{**row(WEB1, "r1"), "fell_back": fell}], NOW)
    said = "It went back from r2 by itself, which has died young 3 times in a row: fab logs"
    assert said in " ".join("\n".join(lines).split())
