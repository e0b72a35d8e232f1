"""Which process has accepted a connection is known from the kernel, and asking keeps nobody from serving."""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from djdeploy.remote.processes import accepted, health

KINDS = ["127.0.0.1", "::1", "127.0.0.1 at [::]", "unix"]


def listener(kind: str, tmp_path: Path) -> socket.socket:
    if kind == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(tmp_path / "socket"))
        made.listen()
        return made
    if kind.endswith("[::]"):
        return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server((kind, 0), family=socket.AF_INET6 if ":" in kind else socket.AF_INET)


def connection(kind: str, to: socket.socket) -> socket.socket:
    if kind == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.connect(to.getsockname())
        return made
    return socket.create_connection((kind.partition(" ")[0], to.getsockname()[1]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_is_nobodys_until_it_is_accepted_and_then_known(kind: str, tmp_path: Path) -> None:
    with listener(kind, tmp_path) as server, connection(kind, server) as client, connection(kind, server) as other:
        assert accepted.far_end(client) == 0
        taken, _ = server.accept()
        with taken:
            inode = accepted.far_end(client)
            assert inode == os.fstat(taken.fileno()).st_ino
            assert accepted.far_end(other) == 0
            assert accepted.holds([os.getpid()], inode)
            assert not accepted.holds([os.getppid()], inode)
        assert not accepted.holds([os.getpid()], inode)


@pytest.fixture
def worker() -> Iterator[socket.socket]:
    """Serves one connection after the other, and waits as long as it takes for its request."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                try:
                    taken, _ = server.accept()
                except OSError:
                    continue
                with taken:
                    taken.settimeout(20)
                    if taken.recv(1000):
                        taken.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

        serving = threading.Thread(target=serve)
        serving.start()
        yield server
        ended.set()
        serving.join()


def asked(server: socket.socket, *pids: int) -> health.Answer:
    where = health.Address("127.0.0.1", server.getsockname()[1])
    question = {"path": "/", "any": True, "headers": {"Host": "x"}, "timeout": 5}
    return health.ask(where, question, whose=lambda: pids)


def test_another_process_is_not_kept_from_serving_while_it_is_not_the_one(
    worker: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepted, "TRYING", 0.3)
    answer = asked(worker, 1)
    assert (answer.ok, answer.status, answer.kind) == (False, None, health.OTHERS)
    assert asked(worker, os.getpid()).status == 200


def test_what_nobody_accepts_has_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        ask = functools.partial(health.ask, health.Address("127.0.0.1", server.getsockname()[1]))
        answer = ask({"path": "/", "headers": {"Host": "x"}, "timeout": 0.2}, whose=lambda: [os.getpid()])
        assert (answer.ok, answer.kind) == (False, "timeout")
        assert time.monotonic() - began < 20  # and not for ever
