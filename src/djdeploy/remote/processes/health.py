"""Asks a server whether it is healthy, and says in plain words what its answer means."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from . import accepted

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from .. import wire

    Table = dict[str, Any]

OTHERS = "others"  # the kind of a failure to reach the one that is asked, among several

MEANINGS = {
    400: "Django does not accept the Host {host!r}: give health a Host header that ALLOWED_HOSTS has",
    401: "the page needs a login: give health a path that does not",
    403: "the page is forbidden: give health a path, or headers, that are allowed",
    404: "there is no such page: is the path right, and the Host {host!r} the site's?",
    405: "the page does not answer GET: give health a path that does",
    500: "the page raised an error, which its log has if LOGGING says so",
    502: "the page asks another server, which did not answer",
    503: "the page says that it is not ready",
}


class Address(NamedTuple):
    """Where a server listens."""

    host: str  # empty for a unix socket
    port: int
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


class Answer(NamedTuple):
    """What came of one request."""

    ok: bool
    status: int | None = None  # None: there was no answer
    why: str = ""  # in plain words; also of an answer that is healthy and means less than it seems
    kind: str = ""  # for counting failures
    milliseconds: float = 0
    release: str = ""  # what the site's X-Release header says
    code: str = ""  # what `fab explain` takes, of an answer that says so
    pid: int | None = None  # who listens, on a socket that one instance listens on alone


def address(bind: str) -> Address:
    """Where to ask a server that was told to bind this."""
    if bind.startswith("unix:"):
        return Address("", 0, bind[5:])
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    every = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - it is asked, not bound
    return Address(every.get(host, host), int(port))


def question(process: wire.Process) -> Table:
    """What to ask a process. One without a health path is ready when it answers anything at all."""
    asked: Table = dict(process.get("health") or {"path": "/", "any": True})
    headers = dict(asked.get("headers") or {})
    if "host" not in {name.lower() for name in headers}:
        bind = process.get("bind") or ""
        # ALLOWED_HOSTS knows localhost, and nobody calls a site by the address of all interfaces.
        headers["Host"] = "localhost" if bind.startswith(("unix:", "0.0.0.0:", "[::]:")) else bind
    headers.setdefault("User-Agent", "djdeploy")
    return dict(asked, headers=headers, timeout=float(asked.get("timeout") or 5))


def ask(
    where: Address, asked: Table, timeout: float | None = None, whose: Callable[[], Collection[int]] | None = None
) -> Answer:
    """One request over a new connection.

    Args:
        whose: for an address that others listen on too: their answers do not count.
    """
    from . import request  # with Python's HTTP client, which takes as long to import as all the rest

    began = time.monotonic()
    limit = timeout or asked["timeout"]
    connection = request.Connection(where.host, where.port, where.path, limit, whose)
    try:
        connection.request("GET", asked["path"], headers=asked["headers"])
        response = connection.getresponse()
        body = request.read(response, began + limit)
        answer = judged(response, body, asked)
    except (OSError, request.HTTPException, ValueError) as error:
        answer = failure(error, where, limit)
    finally:
        connection.close()
    return answer._replace(milliseconds=round((time.monotonic() - began) * 1000, 1), pid=connection.peer)


class Asking(threading.Thread):
    """A question on its way, so that nothing else waits for a server that hangs."""

    def __init__(self, question: Callable[[], Answer | None]) -> None:
        super().__init__(daemon=True)
        self.question = question
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        self.answer = self.question()


def judged(response: HTTPResponse, body: bytes, asked: Table) -> Answer:
    status, wanted = response.status, asked.get("status")
    host = next(value for name, value in asked["headers"].items() if name.lower() == "host")
    location = response.getheader("Location") or ""
    release = response.getheader("X-Release") or ""
    right = status == wanted if wanted else 200 <= status < 400
    if asked.get("any"):
        return Answer(True, status, release=release)
    if not right:
        why = f"{asked['path']} answered {status}" + (f" instead of {wanted}" if wanted else "")
        why += meaning(status, host, location)
        code = "allowed-hosts" if status == 400 else "page-error" if status == 500 else ""
        return Answer(False, status, why, f"HTTP {status}", release=release, code=code)
    text = asked.get("contains")
    if text and text.encode() not in body:
        why = f"{asked['path']} answered {status}, without the text {text!r}"
        return Answer(False, status, why, "wrong text", release=release)
    redirected = not wanted and 300 <= status < 400
    why = f"{asked['path']} answered {status}{meaning(status, host, location)}" if redirected else ""
    return Answer(True, status, why, release=release)


def meaning(status: int, host: str, location: str) -> str:
    """What such an answer means on a Django site."""
    if 300 <= status < 400:
        if location.startswith("https:"):
            return ": it sends to https: give health the header X-Forwarded-Proto: https (see SECURE_PROXY_SSL_HEADER)"
        if "login" in location or "next=" in location:
            return f": it sends to the login ({location}), so this says nothing about the page: choose an open one"
        return f": it sends to {location}"
    known = MEANINGS.get(status)
    return f": {known.format(host=host)}" if known else ""


def failure(error: Exception, where: Address, limit: float) -> Answer:
    """A request that got no answer."""
    if isinstance(error, (socket.timeout, TimeoutError)):  # one class from Python 3.10 on
        return Answer(False, why=f"no answer from {where} within {limit:g} s", kind="timeout")
    if isinstance(error, ConnectionRefusedError):
        return Answer(False, why=f"nothing listens on {where}", kind="refused")
    if isinstance(error, FileNotFoundError):
        return Answer(False, why=f"there is no socket {where}", kind="refused")
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):  # RemoteDisconnected is one of them
        return Answer(False, why=f"{where} closed the connection without an answer", kind="reset")
    if isinstance(error, accepted.ByOthers):
        return Answer(False, why=f"other processes answer on {where}, and this one does not", kind=OTHERS)
    if isinstance(error, (OSError, ValueError)):
        return Answer(False, why=f"{where}: {error}", kind="error")
    return Answer(False, why=f"{where} did not answer in HTTP, or not to the end", kind="broken")
