"""A load of HTTP requests from a process of its own: `python -m djdeploy.rehearsal.load URL --rate 100 --seconds 30`.

The load is open: when each request is sent is decided in advance, so a slow server does not slow it down, and its
latency counts from the moment that was planned.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TextIO
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from .waiting import wait_until

TIMEOUT = 10.0
"""Seconds after which a request has failed."""

CRLF = "\r\n"

CSRF_TOKEN = "c" * 32


@dataclass(frozen=True)
class Answer:
    """One request, and what came of it.

    Args:
        planned: when it was to be sent, in seconds since the load began.
        milliseconds: from then to the end of its answer, or to its failure.
        failure: empty, or how it failed: `refused`, `reset`, `closed`, `stale keep-alive`, `timeout`, `HTTP 502`...
        status: of the response; 0 if there was none.
        release: the response's `X-Release`.
        pid: the response's `X-Pid`.
    """

    planned: float
    milliseconds: float
    failure: str = ""
    status: int = 0
    release: str = ""
    pid: str = ""

    @property
    def ended(self) -> float:
        return self.planned + self.milliseconds / 1000


@dataclass(frozen=True)
class Summary:
    """What a load has seen. Latencies are milliseconds of good answers; all else is seconds since the load began.

    Args:
        failures: how many failed in which way.
        longest_gap: the longest time without a good answer, the beginning and the end included.
        releases: how many good answers each release gave.
        first, last: when each release first and last answered.
    """

    sent: int
    failed: int
    failures: Mapping[str, int]
    p50: float
    p99: float
    max: float
    longest_gap: float
    releases: Mapping[str, int]
    first: Mapping[str, float]
    last: Mapping[str, float]

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> Summary:
        every = sorted(answers, key=lambda answer: answer.ended)
        good = [answer for answer in every if not answer.failure]
        latencies = sorted(answer.milliseconds for answer in good)
        return cls(
            sent=len(every),
            failed=len(every) - len(good),
            failures=dict(Counter(answer.failure for answer in every if answer.failure)),
            p50=percentile(latencies, 50),
            p99=percentile(latencies, 99),
            max=percentile(latencies, 100),
            longest_gap=longest_gap(every),
            releases=dict(Counter(answer.release for answer in good)),
            first={answer.release: round(answer.ended, 3) for answer in reversed(good)},
            last={answer.release: round(answer.ended, 3) for answer in good},
        )

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.failures.items())
        return (
            f"{self.sent} requests sent, {self.failed} failed{kinds and f' ({kinds})'}; "
            f"p50 {self.p50:.0f} ms, p99 {self.p99:.0f} ms, max {self.max:.0f} ms; "
            f"longest gap {self.longest_gap:.2f} s"
        )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that this share of an ordered sequence does not exceed; 0 if it is empty."""
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 1) if ordered else 0.0


def longest_gap(ordered: Sequence[Answer]) -> float:
    if not ordered:
        return 0.0
    good = [answer.ended for answer in ordered if not answer.failure]
    moments = [0.0, *good, max(ordered[-1].ended, 0.0)]
    return round(max(b - a for a, b in itertools.pairwise(moments)), 3)


# --- one request ------------------------------------------------------------------------------------------------------


class Failed(Exception):
    """A request got no whole answer; says how."""


class Kept(NamedTuple):
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Response(NamedTuple):
    """What the load looks at of a response."""

    status: int
    headers: Mapping[str, str]


class Client:
    """Sends requests to one place.

    Args:
        url: `http://host:port/path`, or `http+unix://%2Fpath%2Fof.sock/path`.
        keep_alive: whether connections are used again.
        form: the fields of a form, which is posted with Django's CSRF token; empty: a page is asked for.
    """

    def __init__(self, url: str, keep_alive: bool, form: Sequence[tuple[str, str]] = ()) -> None:
        parts = urlsplit(url)
        self.socket = unquote(parts.netloc) if parts.scheme == "http+unix" else ""
        self.host, self.port = parts.hostname or "localhost", parts.port or 80
        self.keep_alive = keep_alive
        self.idle: list[Kept] = []
        host = "localhost" if self.socket else parts.netloc
        path = f"{parts.path or '/'}{parts.query and f'?{parts.query}'}"
        connection = "keep-alive" if keep_alive else "close"
        head = f"{'POST' if form else 'GET'} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n"
        self.request = f"{head}{posted(form) if form else CRLF}".encode()

    async def send(self) -> Response:
        """One request.

        Raises:
            Failed: says how.
        """
        while self.idle:
            kept = self.idle.pop()
            if not kept.reader.at_eof():  # as any client does: a connection that the server has closed is not used
                return await self._ask(kept, "stale keep-alive")
            kept.writer.close()
        try:
            made = await self._connect()
        except ConnectionRefusedError:
            raise Failed("refused") from None
        except OSError as error:
            raise Failed(os.strerror(error.errno) if error.errno else type(error).__name__) from None
        return await self._ask(made, "closed")

    async def _connect(self) -> Kept:
        if self.socket:
            return Kept(*await asyncio.open_unix_connection(self.socket))
        return Kept(*await asyncio.open_connection(self.host, self.port))

    async def _ask(self, connection: Kept, no_answer: str) -> Response:
        try:
            response = await self._exchange(connection, no_answer)
        except BaseException:
            connection.writer.transport.abort()
            raise
        if self.keep_alive and response.headers.get("connection", "").lower() != "close":
            self.idle.append(connection)
        else:
            connection.writer.close()
        return response

    async def _exchange(self, connection: Kept, no_answer: str) -> Response:
        """Args: no_answer: what it means if the server closes the connection before it says anything."""
        reader, writer = connection
        try:
            writer.write(self.request)
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise Failed("broken" if error.partial else no_answer) from None
        except OSError:
            raise Failed(no_answer if no_answer == "stale keep-alive" else "reset") from None
        except asyncio.LimitOverrunError:
            raise Failed("broken") from None
        try:
            response = parsed(head)
            await read_body(reader, response.headers)
        except (OSError, EOFError, ValueError, IndexError):
            raise Failed("broken") from None
        return response


def posted(form: Sequence[tuple[str, str]]) -> str:
    """The rest of a request that posts this form. The token of its cookie and that of its field need only be equal."""
    body = urlencode([*form, ("csrfmiddlewaretoken", CSRF_TOKEN)])
    kind = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
    return f"{kind}Cookie: csrftoken={CSRF_TOKEN}\r\n\r\n{body}"


def parsed(head: bytes) -> Response:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return Response(int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs})


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> None:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    elif "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    else:
        await reader.read()


async def ask(client: Client, planned: float, began: float) -> Answer:
    """One request, planned for now."""
    response, failure = Response(0, {}), ""
    try:
        response = await asyncio.wait_for(client.send(), TIMEOUT)
    except asyncio.TimeoutError:
        failure = "timeout"
    except Failed as failed:
        failure = str(failed)
    if response.status >= 400:
        failure = f"HTTP {response.status}"
    return Answer(
        planned=round(planned, 4),
        milliseconds=round((time.monotonic() - began - planned) * 1000, 2),
        failure=failure,
        status=response.status,
        release=response.headers.get("x-release", ""),
        pid=response.headers.get("x-pid", ""),
    )


# --- the load ---------------------------------------------------------------------------------------------------------


async def send(client: Client, rate: float, seconds: float, stopped: asyncio.Event, out: TextIO | None) -> Summary:
    """Sends requests at their times until it is stopped, then waits for the answers that are on their way."""
    answers: list[Answer] = []
    under_way: set[asyncio.Task[Answer]] = set()

    def done(task: asyncio.Task[Answer]) -> None:
        under_way.discard(task)
        answers.append(task.result())
        if out:
            print(json.dumps(asdict(answers[-1])), file=out, flush=True)

    began = time.monotonic()
    for number in range(max(1, round(rate * seconds))):
        planned = number / rate
        if await happens(stopped, began + planned - time.monotonic()):
            break
        task = asyncio.ensure_future(ask(client, planned, began))
        under_way.add(task)
        task.add_done_callback(done)
    await asyncio.gather(*under_way)
    await asyncio.sleep(0)  # the last callbacks
    return Summary.of(answers)


async def happens(event: asyncio.Event, within: float) -> bool:
    if within > 0:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(event.wait(), within)
    return event.is_set()


async def run(options: argparse.Namespace) -> Summary:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if options.until_eof:
        loop.add_reader(sys.stdin, stopped.set)
    client = Client(options.url, options.keep_alive, parse_qsl(options.form, keep_blank_values=True))
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(options.out.open("w", encoding="utf-8")) if options.out else None
        return await send(client, options.rate, options.seconds, stopped, out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="load", description="Sends HTTP requests at fixed times; prints a summary.")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=50, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30, help="how long; SIGTERM or Ctrl-C ends it early")
    parser.add_argument(
        "--keep-alive", action="store_true", help="use connections again; else each request has its own"
    )
    parser.add_argument("--form", default="", metavar="FIELDS", help="post this form (`a=1&b=2`); else GET")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where each answer goes, one JSON object a line")
    parser.add_argument("--until-eof", action="store_true", help="end also when standard input does")
    print(json.dumps(asdict(asyncio.run(run(parser.parse_args())))))


# --- from Python ------------------------------------------------------------------------------------------------------


class Load:
    """A load that runs, in its own process, while a `with` block does.

    Args:
        url: what to request.
        rate: requests a second.
        keep_alive: whether connections are used again.
        seconds: when it ends by itself.
        form: the fields of a form to post instead, with Django's CSRF token.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: float = 50,
        keep_alive: bool = False,
        seconds: float = 600,
        form: Mapping[str, str] | None = None,
    ) -> None:
        self.words = [url, "--rate", str(rate), "--seconds", str(seconds), "--form", urlencode(form or {})]
        self.words += ["--keep-alive"] if keep_alive else []

    def __enter__(self) -> Load:
        self._directory = tempfile.TemporaryDirectory()
        self._out = Path(self._directory.name, "answers.jsonl")
        command = [sys.executable, "-m", "djdeploy.rehearsal.load", *self.words, "--until-eof", "--out", str(self._out)]
        self._summary: Summary | None = None
        # Its standard input ends with us, however we end. Ctrl-C is for us: we end it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            wait_until("the load's first answer", self._has_begun, TIMEOUT + 20)
        except BaseException:
            self._process.kill()
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Sends no more requests, and waits for the answers that are on their way."""
        if self._process.returncode is None:
            self._printed, _ = self._process.communicate(timeout=TIMEOUT + 20)
            self._answers = list(self._read())
            self._directory.cleanup()

    def summary(self) -> Summary:
        """What was seen so far; all of it, once the block has ended."""
        return Summary.of(self.answers())

    def answers(self) -> Sequence[Answer]:
        """Each request that has its answer, or has failed."""
        return self._answers if self._process.returncode is not None else list(self._read())

    def _read(self) -> Iterator[Answer]:
        if self._out.exists():
            for line in self._out.read_text(encoding="utf-8").splitlines(keepends=True):
                if line.endswith("\n"):  # else it is being written
                    yield Answer(**json.loads(line))

    def _has_begun(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError("the load ended before it began")
        return bool(self.answers())


if __name__ == "__main__":
    main()
