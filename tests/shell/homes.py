"""A home with releases, as a deploy leaves it, and a real Supervisor that runs what `supervisor-conf` prints."""

from __future__ import annotations

import atexit
import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from djdeploy import Health, Process, Settings
from djdeploy.project.supervisor_conf import supervisor_conf
from djdeploy.remote.durations import VARIABLE, Durations
from djdeploy.server.layout import STARTER
from djdeploy.ssh import programs
from tests.hurry import HURRIED

REMOTE = Path(__file__).parents[2] / "src/djdeploy/remote"
VIRTUALENV = Path(sys.prefix)

APP = """
import os, threading, time
RELEASE = os.environ["DJDEPLOY_RELEASE"]

def application(environ, start_response):
    {body}
    start_response("200 OK", [("X-Release", RELEASE), ("Content-Length", str(len(RELEASE)))])
    return [RELEASE.encode()]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    headers = [(b"x-release", RELEASE.encode()), (b"content-length", str(len(RELEASE)).encode())]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": RELEASE.encode()}})
{more}
"""


@functools.cache
def starter() -> Path:
    """The script that runs our programs, installed as on a server."""
    folder = Path(tempfile.mkdtemp(prefix="djdeploy-programs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    programs.write_to(folder)
    return folder / STARTER


@dataclass
class Ran:
    """What `rolling_restart` or another program did."""

    status: int
    output: str
    outputs: dict[str, Any]
    seconds: float

    def instances(self) -> dict[str, str]:
        return {f"{i['process']} {i['instance']}": i["state"] for i in self.outputs["instances"]}


@dataclass
class Home:
    """A home on a short path, since a unix socket's address has 107 bytes."""

    root: Path
    project: str = "demo"
    name: str = "home"
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    durations: Durations = HURRIED

    def __post_init__(self) -> None:
        for name in ("run", "log", "bin", "shared"):
            (self.path / name).mkdir(parents=True)
        self.install_launcher()

    @property
    def path(self) -> Path:
        return self.root / self.name

    def install_launcher(self, source: Path = REMOTE / "launch.py") -> None:
        shutil.copy(source, self.path / "bin/djdeploy-launch-1")

    def settings(self, *processes: Process, **more: Any) -> Settings:
        return Settings(
            project=self.project,
            repository="/nowhere.git",
            home=str(self.path),
            python=sys.executable,
            processes=list(processes),
            **more,
        )

    def release(
        self,
        name: str,
        *processes: Process,
        body: str = "pass",
        more: str = "",
        state: str = "published",
        **runtime: Any,
    ) -> Path:
        """A release whose site answers with its name; `body` runs in each request, `more` when it is imported."""
        root = self.path / name
        (root / "repository").mkdir(parents=True)
        (root / "virtualenv").symlink_to(VIRTUALENV)
        (root / "repository/site_of.py").write_text(APP.format(body=body, more=more))
        (root / "release.json").write_text(json.dumps({"name": name, "project": self.project, "state": state}))
        written = {
            "project": self.project,
            "release": name,
            "commit": "c0ffee",
            "source_dir": ".",
            "env": {},
            "processes": [as_runtime(process) for process in processes],
        }
        (root / "runtime.json").write_text(json.dumps(written | runtime))
        return root

    def switch(self, name: str) -> None:
        """What the deploy does with the links before it restarts anything."""
        current = self.path / "current"
        if current.is_symlink():
            self._link("previous", str(current.readlink()))
        self._link("current", name)

    def _link(self, name: str, target: str) -> None:
        beside = self.path / f".{name}.new"
        beside.symlink_to(target)
        beside.rename(self.path / name)

    def supervise(self, text: str, control: bool = False) -> subprocess.Popen[bytes]:
        """Starts a Supervisor with these programs."""
        config = self.root / "supervisord.conf"
        head = f"[supervisord]\nlogfile={self.root}/supervisord.log\npidfile={self.root}/supervisord.pid\n"
        if control:
            head += f"[unix_http_server]\nfile={self.root}/ctl\n[supervisorctl]\nserverurl=unix://{self.root}/ctl\n"
            head += "[rpcinterface:supervisor]\n"
            head += "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        config.write_text(f"{head}\n{text}")
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def supervise_printed(self, *processes: Process, control: bool = False, **more: Any) -> None:
        self.supervise(supervisor_conf(self.settings(*processes, **more)), control)

    def run(self, program: str, *words: str, fds: Sequence[int] = (), **env: str) -> Ran:
        """Runs one of our programs as the agent does, and reads what it tells."""
        began = time.monotonic()
        with self.starting(program, *words, fds=fds, **env) as (process, told):
            output, _ = process.communicate(timeout=120)
            seconds = time.monotonic() - began
            print(f"--- {program} {words}: {process.returncode} after {seconds:.1f} s\n{output.decode()}")
            return Ran(process.returncode, output.decode(), told(), seconds)

    @contextlib.contextmanager
    def starting(
        self, program: str, *words: str, fds: Sequence[int] = (), **env: str
    ) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], dict[str, Any]]]]:
        waits = {VARIABLE: json.dumps(self.durations.changed())}
        with tempfile.TemporaryFile() as data:
            process = subprocess.Popen(
                [sys.executable, "-E", str(starter()), program, str(self.path), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "DJDEPLOY_OUTPUT_FD": str(data.fileno()), **waits, **env},
                pass_fds=[data.fileno(), *fds],
                cwd="/",
                start_new_session=True,
            )

            def told() -> dict[str, Any]:
                data.seek(0)
                lines = [json.loads(line) for line in data]
                return {name: value for line in lines for name, value in line.items()}

            try:
                yield process, told
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()

    def restart(self, release: str, *words: str, **env: Any) -> Ran:
        return self.run("rolling_restart", release, *words, **env)

    def deploy(self, name: str, *words: str, **env: Any) -> Ran:
        """Switches the links and restarts."""
        current = self.path / "current"
        old = ["--old", str(current.readlink())] if current.is_symlink() else []
        self.switch(name)
        return self.restart(name, *old, *words, **env)

    def pid(self, name: str) -> int:
        return int((self.path / f"run/{name}.pid").read_text())

    def log(self, name: str) -> str:
        path = self.path / f"log/{name}.log"
        return path.read_text() if path.exists() else ""

    def end(self) -> None:
        """Ends the Supervisors that we started, and all of their sessions."""
        for process in self.started:
            process.kill()
            process.wait()
            for pid in in_session(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def left(self, folder: str = "") -> list[int]:
        """The processes that work in this home, or in a folder of it."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(self.path / folder):
                    found.append(int(entry.name))
        return found


@contextlib.contextmanager
def a_home(project: str = "demo") -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="dj", dir="/tmp", ignore_cleanup_errors=True) as directory:
        home = Home(Path(directory).resolve(), project)
        try:
            yield home
        finally:
            home.end()


def in_session(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


def as_runtime(process: Process) -> dict[str, Any]:
    health = process.health
    return {
        "name": process.name,
        "command": process.command,
        "bind": process.bind,
        "instances": process.instances,
        "pid_file": process.pid_file,
        "timeout": process.timeout,
        "stop_timeout": process.stop_timeout,
        "server": process.kind,
        "health": None
        if not isinstance(health, Health)
        else {
            "path": health.path,
            "headers": dict(health.headers),
            "status": health.status,
            "contains": health.contains,
            "timeout": health.timeout,
        },
    }


def web(port: int, options: str = "", **more: Any) -> Process:
    """Two instances of a small Gunicorn."""
    settings: dict[str, Any] = {"instances": 2, "health": "/", "timeout": 30}
    command = more.pop("command", f"gunicorn site_of:application --graceful-timeout 5 {options}")
    return Process("web", command, **({"bind": f"127.0.0.1:{port}"} | settings | more))


def get(port: int, connection: http.client.HTTPConnection | None = None) -> str:
    """The release that answers."""
    used = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        used.request("GET", "/")
        response = used.getresponse()
        body = response.read().decode()
    finally:
        if connection is None:
            used.close()
    return body if response.status == 200 else f"HTTP {response.status}"


def answers(port: int) -> str | None:
    try:
        return get(port)
    except (OSError, http.client.HTTPException):
        return None
