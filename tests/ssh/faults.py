"""A small site on the embedded target, made to deploy in seconds, and the faults that strike it meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from djdeploy import DEPLOY, ROLLBACK, Deployment, Process, Recipe, Settings, Step
from djdeploy.rehearsal import guard
from djdeploy.rehearsal.fabfile import fabfile
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.target import Rehearsal
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.script.stages import STAGES
from djdeploy.server.snapshot import Snapshot
from tests.hurry import HURRIED, IMPATIENT, PATIENT, with_durations
from tests.local_host import commit

MANAGE = """\
import signal, subprocess, sys, time
from pathlib import Path
print("manage", *sys.argv[1:])
held = Path("hold").read_text().split()
if sys.argv[1] in held:
    if "stubborn" in held:
        signal.signal(signal.SIGTERM, lambda *_: Path("told").touch())
    sleep = subprocess.Popen(["sleep", "1000"])
    Path("began").touch()
    while "stubborn" in held or sleep.poll() is None:
        time.sleep(0.05)
"""
"""In the place of Django, which takes half a second to say the same. `hold` names what never ends, or never on TERM."""

SERVER = """\
import os, select, signal, socket, time
from pathlib import Path
if "serve" in Path("hold").read_text() and "SUPERVISOR_ENABLED" in os.environ:  # not in the smoke test
    Path("began").touch()
    time.sleep(1000)
release = os.environ["DJDEPLOY_RELEASE"]
answer = f"HTTP/1.1 200 OK\\r\\nX-Release: {release}\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"
ended, told = socket.socketpair()
told.setblocking(False)
signal.set_wakeup_fd(told.fileno())
signal.signal(signal.SIGTERM, lambda *_: None)
listener = socket.socket(fileno=3)
listener.setblocking(False)
while ended not in select.select([listener, ended], [], [])[0]:
    try:
        connection, _ = listener.accept()
    except OSError:
        continue  # the other instance was faster
    with connection:
        connection.settimeout(5)
        try:
            text = b""
            while b"\\r\\n\\r\\n" not in text:
                text += connection.recv(4096) or b"\\r\\n\\r\\n"
            connection.sendall(answer.encode())
        except OSError:
            pass  # that client has left
"""
"""A server that starts at once, and ends on TERM without dropping anybody."""


class Switch:
    """A network between client and server that can be cut without a word: what is sent is lost, and no end is seen."""

    def __init__(self, port: int) -> None:
        self.target, self.cut = port, threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.open: list[socket.socket] = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self.open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.cut.is_set():
                    return
                to.sendall(data)
            if not self.cut.is_set():
                to.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for each in self.open:
            with contextlib.suppress(OSError):
                each.close()


class Watch:
    """Somebody who looks all the time: is there a `current` whose release is complete, and does the site answer?"""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port, self.ended = home, port, threading.Event()
        self.wrong: list[str] = []
        self.looks = self.answers = 0

    def __enter__(self) -> Watch:
        duties = ((self._look, 0.005), (self._ask, 0.1))
        self.threads = [threading.Thread(target=self._repeat, args=duty) for duty in duties]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(30)

    def _repeat(self, look: Callable[[], None], pause: float) -> None:
        while not self.ended.wait(pause):
            try:
                look()
            except (OSError, ValueError, KeyError, http.client.HTTPException, AssertionError) as error:
                self.wrong.append(f"{time.monotonic():.3f}: {error!r}")

    def _look(self) -> None:
        manifest = json.loads((self.home / "current" / "release.json").read_text())
        assert manifest["state"] in ("ready", "published"), manifest
        self.looks += 1

    def _ask(self) -> None:
        answering(self.port)
        self.answers += 1


def answering(port: int) -> str:
    """The release that answers; the server may be frozen for a while."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.status == 200
        return str(response.headers["X-Release"])
    finally:
        connection.close()


class FaultySite:
    """The small site, its server, and the switch on the way to it. Deployed to again and again, whatever happens."""

    def __init__(self, server: Rehearsal) -> None:
        self.server, self.home = server, server.home
        self.port = free_port()
        self.project = server.root / "small"
        self.switch = Switch(server.port)
        web = Process("web", "python serve.py --fd 3", bind=f"127.0.0.1:{self.port}", instances=2, health="/")
        self.settings = settings_for(server, self.project, web)
        files = {"manage.py": MANAGE, "serve.py": SERVER, "requirements.txt": "", "static/a.css": "", "hold": ""}
        commit(self.project, files)
        self.with_settings("fabfile")
        host_key = server.known_hosts.read_text().partition(" ")[2]
        with server.known_hosts.open("a") as known:
            known.write(f"[127.0.0.1]:{self.switch.port} {host_key}")
        # The same, over the switch.
        through = replace(self.settings, hosts=[f"{server.user}@127.0.0.1:{self.switch.port}"])
        (server.directory / "impatient.py").write_text(with_durations(fabfile(through), IMPATIENT))
        (server.directory / "patient.py").write_text(with_durations(fabfile(self.settings), PATIENT))

    def install(self) -> None:
        """Two releases, the newer one live: a rollback has somewhere to go."""
        self.fab("setup")
        self.server.install_supervisor(self.server.fab("supervisor-conf").stdout)
        self.durations = {}
        self.server.fab("deploy")
        for task in ("deploy", "rollback", "deploy"):
            began = time.monotonic()
            self.server.fab(task)
            self.durations[task] = time.monotonic() - began
        wait_until("the site", lambda: answering(self.port) == self.current)

    # --- what is there

    @property
    def current(self) -> str:
        return str((self.home / "current").readlink())

    def manifest(self, release: str) -> Mapping[str, Any]:
        return dict(json.loads((self.home / release / "release.json").read_text()))

    def state(self, release: str) -> str:
        return str(self.manifest(release)["state"])

    def states(self) -> dict[str, str]:
        """What the manifests of all releases say."""
        return {path.parent.name: self.state(path.parent.name) for path in self.home.glob("[0-9]*/release.json")}

    def is_free(self) -> bool:
        """Whether nobody holds the lock."""
        with (self.home / ".djdeploy/lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return True

    def wait_for_the_lock(self, seconds: float = 60) -> None:
        wait_until("the lock to be free", self.is_free, seconds)

    def litter(self) -> list[str]:
        """What a deploy makes on its way, and nobody needs afterwards."""
        patterns = (
            ".[!d]*",
            ".djdeploy/new-*",
            ".djdeploy/programs-*",
            ".djdeploy/trash/*",
            "bin/*.*",
            "run/.*-smoke-*",
            "[0-9]*/*.tar",
            "[0-9]*/release.json.*",
        )
        found = [path for pattern in patterns for path in self.home.glob(pattern)]
        return sorted(str(path.relative_to(self.home)) for path in found)

    # --- deploying

    def popen(self, *words: str) -> Client:
        for path in self.home.glob("[0-9]*/repository/began"):  # of a step that was held before
            path.unlink()
        command = self.server.fab_command(*words)
        return Client(
            subprocess.Popen(
                command,
                cwd=self.server.directory,
                env=self.server.developer,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )

    def fab(self, *words: str) -> str:
        done = self.server.fab(*words)
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def holding(self, *what: str) -> Iterator[None]:
        """Meanwhile these management commands never end, or the server never begins."""
        commit(self.project, {"hold": " ".join(what)})
        try:
            yield
        finally:
            commit(self.project, {"hold": ""})

    def wait_for_hold(self, said: str = "began") -> None:
        """Until what never ends has begun."""
        wait_until("the step that is held", lambda: [*self.home.glob(f"[0-9]*/repository/{said}")], 120)

    def with_settings(self, name: str, **settings: Any) -> None:
        """A fabfile beside the others: `fab -c NAME`."""
        (self.server.directory / f"{name}.py").write_text(
            with_durations(fabfile(replace(self.settings, **settings)), HURRIED)
        )

    def agents(self) -> list[int]:
        """The agents that run on the server, and the shells that are about to become one: what its sshd has started."""
        return children(self.server.sshd.pid)

    def session(self) -> list[int]:
        """An agent and all that it has started."""
        return [pid for agent in self.agents() for pid in family(agent)]

    def machine(self) -> list[int]:
        """All that runs on the server."""
        return guard.processes_of(self.server.root)


class Client:
    """A `fab` that runs, whose lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, list[str]()
        self.new_line = threading.Condition()
        assert self.process.stdout
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def _read(self, out: IO[str]) -> None:
        for line in out:
            with self.new_line:
                self.lines.append(line)
                self.new_line.notify_all()
        with self.new_line:
            self.lines.append("")  # the end
            self.new_line.notify_all()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str, seconds: float = 90) -> None:
        """Returns as soon as a line has this in it."""

        def found() -> bool:
            return text in self.output or self.lines[-1:] == [""]

        with self.new_line:
            assert self.new_line.wait_for(found, seconds), f"waited {seconds} s for {text!r}:\n{self.output}"
        assert text in self.output, f"it ended without {text!r}:\n{self.output}"

    def wait(self, seconds: float = 90) -> int:
        """The exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"fab did not end within {seconds} s:\n{self.output}") from None
        self.reader.join(10)
        return code

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


# --- processes --------------------------------------------------------------------------------------------------------


def command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def children(pid: int) -> list[int]:
    """The processes that a process has started, each of its threads, and that are not yet reaped."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def family(pid: int) -> Iterator[int]:
    """A process and all that descends from it."""
    yield pid
    for child in children(pid):
        yield from family(child)


def send(number: signal.Signals, pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


# --- faults -----------------------------------------------------------------------------------------------------------


def kill_client(site: FaultySite, client: Client) -> None:
    client.process.kill()


def kill_agent(site: FaultySite, client: Client) -> None:
    """Only itself: the step that it runs is an orphan then, and goes on."""
    send(signal.SIGKILL, site.agents())


def kill_session(site: FaultySite, client: Client) -> None:
    """All that the login has started, at once: nothing is left that could restore anything."""
    pids = site.session()
    send(signal.SIGSTOP, pids)
    send(signal.SIGKILL, [*pids, *site.session()])


def interrupt(site: FaultySite, client: Client) -> None:
    """Ctrl-C."""
    send(signal.SIGINT, [client.process.pid])


def cut_network(site: FaultySite, client: Client) -> None:
    site.switch.cut.set()


def freeze_host(site: FaultySite, client: Client, seconds: float = 1) -> None:
    """Every process of the server stops, as when a virtual machine is moved, and goes on a moment later."""
    stopped: set[int] = set()
    while now := set(site.machine()) - stopped:  # some may have been born meanwhile
        send(signal.SIGSTOP, [*now])
        stopped |= now
    time.sleep(seconds)  # the fault itself
    send(signal.SIGCONT, site.machine())


def freeze_host_for_long(site: FaultySite, client: Client) -> None:
    """For longer than client and agent wait for each other's word."""
    freeze_host(site, client, 14)


Fault = Callable[[FaultySite, Client], None]
FAULTS: Mapping[str, Fault] = {
    "client": kill_client,
    "agent": kill_agent,
    "session": kill_session,
    "interrupt": interrupt,
    "network": cut_network,
    "host": freeze_host,
}
LONG: Mapping[str, Fault] = {"host_for_long": freeze_host_for_long}
"""Too slow to strike everywhere."""


# --- instants ---------------------------------------------------------------------------------------------------------


def settings_for(server: Rehearsal | None, project: Path, web: Process) -> Settings:
    return Settings(
        project="demo",
        repository=str(project),
        home=str(server.home) if server else "/srv/www/demo",
        hosts=[server.host] if server else [],
        processes=[web],
        manage_steps=["check", "migrate"],
        shared_dirs=["data"],
        static_dir="static",
        keep_releases=3,
    )


def steps_of(task: str) -> Sequence[Step]:
    """The steps of a task on this site, in order: a recipe is a value, so they are known before anything runs."""
    releases = [{"name": f"r{n}", "state": "published", "number": n, "project": "demo"} for n in (1, 2)]
    links = {name: {"kind": "link", "target": target} for name, target in (("current", "r2"), ("previous", "r1"))}
    facts: Any = {"releases": releases, "tools": {"uv": "uv", "git": "git"}, "python": "3", **links}
    seen = Snapshot.parse(facts)
    settings = settings_for(None, Path("/srv/git/project"), Process("web", "server", bind="127.0.0.1:1", health="/"))
    release = {"deploy": "r3", "rollback": "r1"}[task]
    recipe: Recipe = {"deploy": DEPLOY, "rollback": ROLLBACK}[task]
    d = Deployment(settings=settings, host="", snapshot=seen, release=release, task=task, token="t")
    return [step for stage in STAGES for step in recipe.plan(stage, d)]


BOUNDARIES = [(task, step) for task in ("deploy", "rollback") for step in steps_of(task)]


def random_instant(seed: int) -> tuple[str, str, float]:
    """A task, a fault, and how much of the task is over when it strikes."""
    chance = random.Random(seed)
    return chance.choice(["deploy", "deploy", "rollback"]), chance.choice([*FAULTS, *LONG]), chance.uniform(0.05, 1)
