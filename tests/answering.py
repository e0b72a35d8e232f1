"""A site that answers as it is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Listens on a port of this machine. Use it in a `with`.

    Args:
        act: called for each request; returns the status of the answer.
        port: any, by default.
    """

    daemon_threads = True

    def __init__(self, act: Callable[[], int], port: int = 0) -> None:
        self.act, self.asked = act, 0
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        with contextlib.suppress(OSError):
            self.send_response(self.server.act())
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None: ...
