"""A project that only waits: many hosts on one machine do not share a processor for it."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.contenders import Work
from djdeploy.rehearsal.repository import SampleRepository

BRANCH = "stand-in"

SERVER = '''\
"""Waits as long as a project takes to import, and says which release it is."""

import http.server
import os
import sys
import time

time.sleep(1.5)
host, port = sys.argv[sys.argv.index("--bind") + 1].rsplit(":", 1)
if "--pid" in sys.argv:
    with open(sys.argv[sys.argv.index("--pid") + 1], "w") as file:
        file.write(str(os.getpid()))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-Release", os.environ["DJDEPLOY_RELEASE"])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
'''

WORK = Work(BRANCH, requirements=(), manage=(), steps=["sleep 1"] * 4, command="python server.py --bind 0.0.0.0:{port}")


def add_branch(repository: SampleRepository, without: Iterable[str]) -> None:
    """A branch of its own; the repository goes back to `main`.

    Args:
        without: the files that it does not have: to unpack many is work, not waiting.
    """
    repository.branch(BRANCH)
    repository.commit({"src/server.py": SERVER, **dict.fromkeys(without)}, "A stand-in for the server")
    repository.branch("main")
