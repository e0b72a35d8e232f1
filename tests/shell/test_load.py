"""The load generator: what it counts as sent, failed, and how."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from djdeploy.rehearsal.load import Answer, Load, Summary
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.waiting import wait_until

OK = b"HTTP/1.1 200 OK\r\nX-Release: r1\r\nX-Pid: 7\r\nContent-Length: 2\r\n\r\nok"
CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
RESET = b""

Answering = Callable[[int], bytes]


class Server:
    """A server of one thread a connection, that answers as told: the n-th request of each connection gets n."""

    def __init__(self, listener: socket.socket, answer: Answering) -> None:
        self.listener, self.answer = listener, answer
        self.connections = self.requests = 0

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=[connection], daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            number = 0
            while connection.recv(65536):
                self.requests += 1
                answer = self.answer(number)
                if answer == RESET:  # an abrupt end: the client sees a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    return
                connection.sendall(answer)
                if b"Connection: close" in answer:
                    return
                number += 1


@contextmanager
def server(answer: Answering, path: Path | None = None) -> Iterator[tuple[Server, str]]:
    if path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        url = f"http+unix://{str(path).replace('/', '%2F')}/"
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    listener.listen(100)
    made = Server(listener, answer)
    threading.Thread(target=made.serve, daemon=True).start()
    with listener:
        yield made, url
        listener.shutdown(socket.SHUT_RDWR)


def loaded(url: str, *, keep_alive: bool = False, enough: int = 20) -> Summary:
    with Load(url, rate=100, keep_alive=keep_alive) as load:
        wait_until("the answers", lambda: load.summary().sent >= enough)
    return load.summary()


def test_a_healthy_server_fails_no_request() -> None:
    with server(lambda _: CLOSING) as (made, url):
        seen = loaded(url)

    assert seen.failed == 0
    assert seen.releases == {"r1": seen.sent}
    assert made.connections == made.requests == seen.sent
    assert 0 < seen.p50 <= seen.p99 <= seen.max


def test_kept_connections_are_used_again() -> None:
    with server(lambda _: OK) as (made, url):
        seen = loaded(url, keep_alive=True)

    assert (seen.failed, made.requests) == (0, seen.sent)
    assert made.connections < seen.sent / 2


def test_a_unix_socket_can_be_asked(tmp_path: Path) -> None:
    with server(lambda _: OK, tmp_path / "site.sock") as (_, url):
        assert loaded(url).failed == 0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (RESET, "reset"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "HTTP 502"),
        (CLOSING.replace(b"Length: 2", b"Length: 9"), "broken"),
        (b"HTTP/1.1 200 OK\r\nConnection: close", "broken"),
        (b"nonsense\r\nConnection: close\r\n\r\n", "broken"),
    ],
)
def test_each_way_to_fail_is_counted_by_its_name(answer: bytes, kind: str) -> None:
    with server(lambda _: answer) as (_, url):
        seen = loaded(url)

    assert seen.failures == {kind: seen.sent}
    assert seen.failed == seen.sent


def test_a_server_that_nobody_runs_refuses() -> None:
    seen = loaded(f"http://127.0.0.1:{free_port()}/")

    assert seen.failures == {"refused": seen.sent}
    assert seen.longest_gap > 0.15


def test_a_kept_connection_that_the_server_drops_is_a_stale_one() -> None:
    with server(lambda number: OK if number == 0 else RESET) as (_, url):
        seen = loaded(url, keep_alive=True)

    assert set(seen.failures) == {"stale keep-alive"}


def test_a_slow_server_does_not_slow_the_load() -> None:
    def slowly(_: int) -> bytes:
        time.sleep(0.5)
        return CLOSING

    with server(slowly) as (_, url):
        seen = loaded(url, enough=60)

    with_all_in_turn = seen.sent * 0.5
    assert max(seen.last.values()) < with_all_in_turn / 5
    assert seen.p50 >= 500


def test_releases_are_told_apart_with_their_first_and_last_answer() -> None:
    answers = [Answer(0.0, 10, "", 200, "r1", "1"), Answer(1.0, 10, "", 200, "r1"), Answer(2.0, 10, "", 200, "r2")]

    seen = Summary.of(answers)

    assert (seen.releases, seen.first) == ({"r1": 2, "r2": 1}, {"r1": 0.01, "r2": 2.01})
    assert seen.last == {"r1": 1.01, "r2": 2.01}


def test_the_gap_includes_the_beginning_and_the_end() -> None:
    refused = [Answer(n / 10, 0, "refused") for n in range(50)]

    assert Summary.of([Answer(0.0, 10, "", 200), *refused]).longest_gap == pytest.approx(4.89)
    assert Summary.of([*refused, Answer(4.95, 10, "", 200)]).longest_gap == pytest.approx(4.96)


def test_sigterm_ends_it_with_a_summary(tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    with server(lambda _: CLOSING) as (_, url):
        command = [sys.executable, "-m", "djdeploy.rehearsal.load", url, "--out", str(out), "--keep-alive"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            wait_until("the first answers", lambda: out.exists() and out.read_text().count("\n") > 3)
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    seen = json.loads(printed)
    assert seen["sent"] == len(out.read_text().splitlines())
    assert json.loads(out.read_text().splitlines()[0])["pid"] == "7"


def test_it_ends_when_the_program_that_started_it_is_killed(tmp_path: Path) -> None:
    program = """
import sys, time
from djdeploy.rehearsal.load import Load
with Load(sys.argv[1]) as load:
    print(load._process.pid, flush=True)
    time.sleep(60)
"""
    with server(lambda _: CLOSING) as (_, url):
        with subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True) as starter:
            assert starter.stdout
            pid = int(starter.stdout.readline())
            starter.kill()
        wait_until("the load's end", lambda: not lives(pid))


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
