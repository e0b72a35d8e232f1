#!/usr/bin/env python3
"""Becomes one instance of a process, in the current release: `djdeploy-launch-1 [--socket] PROCESS INSTANCE`.

Supervisor runs this, installed as `home/bin/djdeploy-launch-1`, instead of the server. It prepares what a restart
without lost requests needs, and then becomes the server by exec, with the same pid. What to run and with which
environment comes from the release (`runtime.json`), so Supervisor's configuration never changes with a deploy.

`--socket`: Supervisor holds the listening socket and gives it as standard input (`[fcgi-program]`).

One file, since it is installed as one. `become`, near its end, says what happens in which order.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import math
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import stat
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:  # installed, it is one file, and has nothing of ours to import
    from collections.abc import Iterator

    from .wire import Manifest, Process, Runtime

NAME = "djdeploy-launch-1"  # its number changes only when a printed configuration would no longer fit it
VERSION = 4  # counts up with each change that matters on a server: a deploy replaces an older launcher, never a newer
END = "# the end: a file without this line is not whole"

USAGE, NO_RELEASE, NO_SOCKET, NO_FILE, NO_COMMAND = 64, 66, 68, 73, 127  # exit codes, as in sysexits.h and sh

POLL = 0.2  # seconds between two looks at `current`
YOUNG = 10  # seconds: a server that dies before has died young
PAUSES = (0, 0, 1, 2, 4, 8, 10)  # seconds before a start, by how often in a row this release has died young here
GIVEN_UP = 3  # deaths in a row after which a release that was never published is left for the one before it
UNREADABLE = 5  # seconds in which a release that cannot be read may become readable
BUSY = 10  # seconds in which the old server's address must become free, when we bind it ourselves
BACKLOG = 2048  # as Gunicorn's own
FULL = (errno.ENOSPC, errno.EDQUOT)  # no room, or no inode
WATCH = "--watch"  # the word by which it watches over a server that it has become
LOOK = 1  # seconds between two looks of who watches
ANSWER = 5  # seconds in which a server that serves answers anything
HEALTH = "DJDEPLOY_HEALTH_SOCKET"  # the variable that says where this instance alone listens, if it does


class Failed(Exception):
    """This instance cannot be started."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Unreadable(Failed):
    """`current` leads to nothing that could be run, whatever the process."""


class Instance(NamedTuple):
    """Which instance of which process we are to become."""

    home: str
    process: str
    number: str

    @property
    def run(self) -> str:
        return os.path.join(self.home, "run")

    @property
    def name(self) -> str:
        """The name of its files in `run` and `log`."""
        return f"{self.process}-{self.number}"


class Launch(NamedTuple):
    """What to become: a process of a release."""

    release: str  # the physical directory: a swap of `current` must never mix two releases in one process
    runtime: Runtime
    process: Process


# --- which release ----------------------------------------------------------------------------------------------------


def runtime_of(release: str) -> Runtime | None:
    """What a release runs with. A release that another tool made has no such file."""
    try:
        with open(os.path.join(release, "runtime.json"), encoding="utf-8") as file:
            runtime: Runtime = json.load(file)
    except FileNotFoundError:
        return None
    if not isinstance(runtime, dict) or not isinstance(runtime.get("processes"), list):
        raise ValueError("it names no processes")
    return runtime


def runtime_for(home: str, release: str) -> Runtime | None:
    """Its own, or else that of the release that `previous` or `current` names: after a rollback to foreign work."""
    others = [os.path.realpath(os.path.join(home, link)) for link in ("current", "previous")]
    for directory in [release, *others]:
        runtime = runtime_of(directory)
        if runtime is not None:
            runtime["release"] = os.path.basename(release)
            return runtime
    return None


def current_of(home: str) -> str:
    """The directory of the current release, whether it is there or not."""
    return os.path.realpath(os.path.join(home, "current"))


def process_of(runtime: Runtime, name: str) -> Process | None:
    return next((process for process in runtime.get("processes", ()) if process["name"] == name), None)


def look(instance: Instance) -> Launch:
    """What to become now; raises what is missing for it."""
    release = current_of(instance.home)
    if not os.path.isdir(release):
        if os.path.islink(os.path.join(instance.home, "current")):
            raise Unreadable(NO_RELEASE, f"{release} is gone")
        raise Failed(NO_RELEASE, "nothing has been deployed yet")
    try:
        runtime = runtime_for(instance.home, release)
        process = process_of(runtime or {}, instance.process)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unreadable(NO_RELEASE, f"cannot read runtime.json of {release}: {error}") from None
    if runtime is None or process is None:
        raise Failed(NO_RELEASE, f"{os.path.basename(release)} has no process {instance.process!r}")
    return Launch(release, runtime, process)


def wait_for_release(instance: Instance) -> Launch:
    """Waits for a release that has this process.

    To exit instead would make Supervisor give up (FATAL) before the first deploy, and only root could start it then.
    """
    said, since = "", time.monotonic()
    own = mark_of(__file__)
    while True:
        if mark_of(__file__) != own:
            own = mark_of(__file__)
            give_way()
        try:
            return look(instance)
        except Failed as failed:
            if str(failed) != said:
                said, since = str(failed), time.monotonic()
                log(instance, f"waiting for a release: {said}")
            if isinstance(failed, Unreadable) and time.monotonic() - since > UNREADABLE:
                go_back(instance, current_of(instance.home), said)
                since = time.monotonic()
        time.sleep(POLL)


def mark_of(path: str) -> tuple[int, ...]:
    """What tells a file from one that has taken its place."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_size, found.st_mtime_ns
    return ()


def give_way() -> None:
    """Becomes the launcher that has been installed since this one began to wait, if that is whole."""
    with contextlib.suppress(OSError, UnicodeDecodeError), open(__file__, encoding="utf-8") as file:
        if is_whole(file.read()):
            os.execv(sys.executable, [sys.executable, "-I", *sys.argv])


def is_whole(text: str) -> bool:
    """Whether a launcher is all there, and Python could run it."""
    try:
        compile(text, "launcher", "exec")
    except (SyntaxError, ValueError):
        return False
    return text.endswith(f"{END}\n")


# --- starting again what has died -------------------------------------------------------------------------------------


def back_off(instance: Instance, launch: Launch) -> bool:
    """Waits before a release is started that has died young here again and again; False when another became current.

    Supervisor would count those deaths and give up, and its own pauses do not end when the good release is back.
    """
    path, release = starts_file(instance), launch.release
    deaths = crash_count(path, release, YOUNG if is_proven(release) else patience(launch))
    count_start(path, deaths, release)  # a deploy that waits for us shall know at once
    if deaths >= GIVEN_UP and go_back(instance, release, f"has died young {deaths} times in a row"):
        return False
    pause = PAUSES[min(deaths, len(PAUSES) - 1)]
    if pause:
        log(instance, f"{os.path.basename(release)} has died young {deaths} times in a row: next start in {pause} s")
    until = time.monotonic() + pause
    while time.monotonic() < until:
        if current_of(instance.home) != release:
            return False
        time.sleep(POLL)
    count_start(path, deaths, release)
    return True


def starts_file(instance: Instance) -> str:
    return os.path.join(instance.run, f"{instance.name}.starts")


def count_start(path: str, deaths: int, release: str) -> None:
    with contextlib.suppress(OSError):  # a full disk must not stop the site
        write_somehow(path, f"{deaths} {release}\n")


def count_restart(instance: Instance, release: str) -> None:
    """How often it had to be started again in this release, for `fab status`: who ends it on purpose removes the file.

    The other count is of deaths in a row, and forgets a server that lives for a while each time.
    """
    path = os.path.join(instance.run, f"{instance.name}.restarts")
    count_start(path, counted(path, release) + 1, release)


def crash_count(path: str, release: str, young: float = YOUNG) -> int:
    """How often in a row this release has died young, this time included."""
    with contextlib.suppress(OSError):
        is_young = 0 <= time.time() - os.stat(path).st_mtime < young
        return counted(path, release) + 1 if is_young and counted(path, release) >= 0 else 0
    return 0


def beginning_of(path: str, most: int = 4096) -> str:
    """What a file says that anything may have taken the place of: a pipe would keep us waiting for ever.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.read(fd, most).decode("utf-8", "replace")
    finally:
        os.close(fd)


def counted(path: str, release: str) -> int:
    """The deaths before the last start; -1 if the last start was that of another release."""
    try:
        count, _, what = beginning_of(path).strip().partition(" ")
        return int(count) if what == release else -1
    except (OSError, ValueError):
        return -1


def patience(launch: Launch) -> float:
    """Seconds in which a server of this process must become ready; one that dies before has never served."""
    given = launch.process.get("timeout")
    return max(YOUNG, float(given)) if isinstance(given, (int, float)) else YOUNG


# --- the way back -----------------------------------------------------------------------------------------------------
#
# The power was cut while a release was being published, so nobody is left who would undo that. The links are put back
# here, and not only another release started, so that all who look at the site see what it really runs.


def is_proven(release: str) -> bool:
    """Whether a release has been published, or is another tool's work. What nobody can read proves nothing."""
    return os.path.isdir(release) and state_of(release) in ("published", None)


def state_of(release: str) -> str | None:
    """What its manifest says of it: empty if that cannot be read, None if there is none."""
    try:
        return str(manifest_of(release).get("state", ""))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ""


def manifest_of(release: str) -> Manifest:
    with open(os.path.join(release, "release.json"), encoding="utf-8") as file:
        manifest: Manifest = json.load(file)
    if not isinstance(manifest, dict):
        raise ValueError("not a manifest")
    return manifest


def release_before(home: str, release: str) -> str | None:
    """Where to go back to: what `previous` names, unless its manifest is against it; else the newest proven one."""
    previous = os.path.realpath(os.path.join(home, "previous"))
    if os.path.isdir(previous) and previous != release and state_of(previous) in ("published", "", None):
        return previous
    paths = [os.path.join(home, name) for name in os.listdir(home)]
    others = [path for path in paths if path != release and not os.path.islink(path)]
    return max((path for path in others if state_of(path) == "published"), key=number_of, default=None)


def number_of(release: str) -> int:
    number = manifest_of(release).get("number")
    return number if isinstance(number, int) else 0


def go_back(instance: Instance, release: str, why: str) -> bool:
    """Makes the release before this one current if this one was never published; False: that is not for us to do."""
    home = instance.home
    with contextlib.suppress(OSError), nobody_deploys(home):
        before = None if is_proven(release) or release != current_of(home) else release_before(home, release)
        if before is None:
            return False
        left, name = os.path.basename(release), os.path.basename(before)
        log(instance, f"{left} was never published and {why}: back to {name}")
        make_current(home, before)
        note_way_back(instance, release, before, why)
        return True
    return False


@contextlib.contextmanager
def nobody_deploys(home: str) -> Iterator[None]:
    """Holds the lock of the deploys. Raises OSError if somebody has it, who will put the links back, or not."""
    try:
        fd = os.open(os.path.join(home, ".djdeploy", "lock"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield  # no deploy can be at work
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def make_current(home: str, release: str) -> None:
    """By a rename: on a disk that is full, of the link that the release has ready, or of `previous`."""
    name, beside = os.path.relpath(release, home), os.path.join(home, f".current-{os.getpid()}")
    previous = os.path.join(home, "previous")
    try:
        os.symlink(name, beside)
    except OSError:
        with contextlib.suppress(OSError):
            os.rename(os.path.join(release, ".link"), beside)
        if not os.path.islink(beside) and os.path.realpath(previous) == release:
            os.rename(previous, beside)
    os.rename(beside, os.path.join(home, "current"))


def note_way_back(instance: Instance, left: str, now: str, why: str) -> None:
    """For those who ask later what is live and why: `fab releases`, `fab status`, and readers of the history."""
    at, by = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), f"its launcher ({instance.name})"
    came_from = os.path.basename(left)
    change_manifest(left, state="failed", why=f"it {why}")
    change_manifest(now, published=at, published_by=by, fell_back={"at": at, "from": came_from, "why": why})
    line: dict[str, object] = {"task": "fallback", "outcome": "done", "release": os.path.basename(now)}
    line.update(
        {**of_code(now), "from": came_from, "why": why, "by": by, "at": at, "ended": at, "seconds": 0, "timings": {}}
    )
    history = os.path.join(instance.home, "log", "deploys.jsonl")
    with contextlib.suppress(OSError), open(history, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def change_manifest(release: str, **values: object) -> None:
    path = os.path.join(release, "release.json")
    with contextlib.suppress(OSError, ValueError):
        write_beside(path, json.dumps(dict(manifest_of(release), **values), indent=2) + "\n")


def of_code(release: str) -> dict[str, str]:
    """Which code a release has, as far as its manifest says so."""
    with contextlib.suppress(OSError, ValueError):
        manifest = manifest_of(release)
        return {"commit": manifest.get("commit") or "", "ref": manifest.get("ref") or ""}
    return {"commit": "", "ref": ""}


# --- what lives and does not serve ------------------------------------------------------------------------------------
#
# A server may live for ever while its workers die one after the other, as Gunicorn's do unless they end with a code of
# its own. Nobody starts it again, so nobody counts. As long as its release was never published, somebody watches it.


def watch_over(instance: Instance, launch: Launch) -> None:
    """Starts who watches, as a process of its own and no child of the server, which has others to care for."""
    if is_proven(launch.release) or not launch.process.get("bind"):
        return
    words = [sys.executable, "-I", os.path.realpath(__file__), WATCH, instance.process, instance.number]
    words += [os.path.basename(launch.release), str(os.getpid())]
    with contextlib.suppress(OSError):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:
            os.setsid()
            if os.fork() == 0:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # it may be the site's socket
                os.chdir("/")
                os.execv(words[0], words)
        finally:
            os._exit(0)


def watch(instance: Instance, release: str, pid: int) -> None:
    """Until the server has answered, has ended, or its release is published; else goes back, and ends it."""
    try:
        runtime = runtime_for(instance.home, release)
        process = process_of(runtime, instance.process) if runtime else None
        if runtime is None or process is None:
            return
        launch = Launch(release, runtime, process)
        began, until = start_of(pid), time.monotonic() + patience(launch)
        while began and start_of(pid) == began and not is_proven(release) and not answers(instance, process):
            if time.monotonic() > until and leave(instance, release, f"has not served within {patience(launch):g} s"):
                os.kill(pid, signal.SIGTERM)
                return
            time.sleep(LOOK)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log(instance, f"nobody watches whether {os.path.basename(release)} serves: {error!r}")


def leave(instance: Instance, release: str, why: str) -> bool:
    """Whether the site has another release now, by this or another instance, and nobody deploys who would end this."""
    if go_back(instance, release, why):
        return True
    with contextlib.suppress(OSError), nobody_deploys(instance.home):
        return current_of(instance.home) != release
    return False


def start_of(pid: int) -> str:
    """What tells a process from a later one of its number; empty if there is none."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]
    return ""


def answers(instance: Instance, process: Process) -> bool:
    """Whether a server answers anything at all; itself, if it has a socket of its own."""
    own, bind = health_path(instance), process.get("bind") or ""
    bind = f"unix:{own}" if kind_of(process) == GUNICORN and os.path.exists(own) else bind
    with contextlib.suppress(OSError), connected(bind) as connection:
        connection.sendall(request(process).encode())
        return bool(connection.recv(1))
    return False


def request(process: Process) -> str:
    """What a deploy asks, too: a page that a site does not have, or a wrong Host, would be in its log."""
    bind, health = process.get("bind") or "", process.get("health")
    headers = {"host": "localhost" if bind.startswith("unix:") else bind}
    headers.update({name.lower(): value for name, value in (health["headers"] if health else {}).items()})
    path = health["path"] if health else "/"
    lines = [f"GET {path} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""])


def connected(bind: str) -> socket.socket:
    if not bind.startswith("unix:"):
        host, _, port = bind.rpartition(":")
        return socket.create_connection((host.strip("[]") or "localhost", int(port)), ANSWER)
    os.chdir(os.path.dirname(bind[5:]))  # the address of a socket has 107 bytes
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(ANSWER)
    made.connect(os.path.basename(bind))
    return made


# --- the environment --------------------------------------------------------------------------------------------------


def environment(launch: Launch, home: str, number: str, inherited: dict[str, str]) -> dict[str, str]:
    """The server's environment: Supervisor's, then the release's, then ours."""
    runtime, virtualenv = launch.runtime, os.path.join(launch.release, "virtualenv")
    made = {k: v for k, v in inherited.items() if k not in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", HEALTH)}
    made.update(account())
    made.update(runtime.get("env", {}))
    made["PATH"] = os.path.join(virtualenv, "bin") + os.pathsep + made.get("PATH", os.defpath)
    made.update(
        VIRTUAL_ENV=virtualenv,
        PWD=folder(launch),  # Gunicorn believes this more than the directory it is in
        DJDEPLOY_HOME=home,
        DJDEPLOY_RELEASE=os.path.basename(launch.release),
        DJDEPLOY_COMMIT=runtime.get("commit") or "",
        DJDEPLOY_PROCESS="{}-{}".format(runtime["project"], launch.process["name"]),
        DJDEPLOY_INSTANCE=number,
    )
    made.setdefault("SPT_NOENV", "1")  # else setproctitle overwrites this environment, by which a deploy knows us
    return made


def account() -> dict[str, str]:
    """Supervisor's `user=` changes the user and leaves root's HOME."""
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return {}
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}


def folder(launch: Launch) -> str:
    """The folder of `manage.py`."""
    return os.path.normpath(os.path.join(launch.release, "repository", launch.runtime.get("source_dir") or "."))


# --- the command ------------------------------------------------------------------------------------------------------


GUNICORN, DESCRIPTOR, OTHER = "gunicorn", "descriptor", "other"  # what a server does with the sockets that it is given


class ServerCommand(NamedTuple):
    """The words of a process's command, and which server they become. The setting `server` may say it instead."""

    words: list[str]

    @classmethod
    def parse(cls, command: str) -> ServerCommand:
        """Of a command as the settings have it. One that no shell could read is split at its spaces."""
        try:
            return cls(shlex.split(command))
        except ValueError:
            return cls(command.split())

    @property
    def gunicorn(self) -> int | None:
        """The place of the word that is Gunicorn: the first, or after what becomes it, as `env` or `python -m`."""
        return self.place_of("gunicorn")

    def place_of(self, name: str) -> int | None:
        for place, word in enumerate(self.words):
            if word.endswith(".py"):
                break  # what follows are the words of a script
            if os.path.basename(word) == name and not re.search(r"\s", word):
                return place
        return None

    @property
    def server(self) -> ServerCommand:
        """The same without what becomes the server: its own name, and its own options."""
        scripts = [self.words[i + 1] for i, word in enumerate(self.words[:-1]) if re.fullmatch(r"-[a-z]*c", word)]
        shell = re.search(r"(?:^|\s)exec\s+(.*)", scripts[0], re.DOTALL) if scripts else None  # sh -c 'exec gunicorn'
        return ServerCommand.parse(shell[1]).server if shell else ServerCommand(self.words[self.gunicorn or 0 :])

    @property
    def kind(self) -> str:
        """`gunicorn` takes sockets by LISTEN_FDS, as many as there are; `descriptor` is told to listen on number 3."""
        server = self.server
        if server.gunicorn is not None:
            return GUNICORN
        return DESCRIPTOR if re.search(r"--fd[ =]3\b|\bfd:(//|fileno=)?3\b", " ".join(server.words)) else OTHER


def kind_of(process: Process) -> str:
    """Which server it is: one decision, which the release has recorded. A release of an older djdeploy has not."""
    return process.get("server") or ServerCommand.parse(process["command"]).kind


def command_of(launch: Launch, made: dict[str, str]) -> list[str]:
    """The words to run in this environment."""
    words = shlex.split(launch.process["command"])
    return with_options(words, gunicorn_options(launch), made) if kind_of(launch.process) == GUNICORN else words


def with_options(words: list[str], options: list[str], made: dict[str, str]) -> list[str]:
    """A command that gives its Gunicorn more options: after its own, or by the environment where a script starts it."""
    if options and ServerCommand(words).gunicorn is None:
        made["GUNICORN_CMD_ARGS"] = " ".join([made.get("GUNICORN_CMD_ARGS", ""), *map(shlex.quote, options)]).strip()
        return words
    return [*words, *options]


def gunicorn_options(launch: Launch) -> list[str]:
    """What Gunicorn is told besides: how long it may take to end, and nothing that instances would take from others."""
    options = []
    seconds = launch.process.get("stop_timeout")
    if seconds:
        options.append(f"--graceful-timeout={math.ceil(seconds)}")
    if has_control_socket(launch.release) and "control-socket" not in launch.process["command"]:
        # By default it is one path for all: each instance would remove the other's.
        options.append("--no-control-socket")
    return options


def has_control_socket(release: str) -> bool:
    """Gunicorn 25.1 and later."""
    pattern = os.path.join(glob.escape(release), "virtualenv/lib/python*/site-packages/gunicorn-*.dist-info")
    versions = [re.findall(r"\d+", os.path.basename(path)) for path in glob.glob(pattern)]
    return any(tuple(map(int, version[:2])) >= (25, 1) for version in versions)


def program(words: list[str], path: str, directory: str) -> str:
    """The file to run: on PATH, or, if its name has a /, from the directory in which it will run."""
    name = os.path.join(directory, words[0]) if "/" in words[0] else words[0]
    found = shutil.which(name, path=path)
    if found is None:
        where = directory if "/" in words[0] else f"{path.split(os.pathsep)[0]} nor on PATH"
        raise Failed(NO_COMMAND, f"there is no program {words[0]!r} in {where}: is its package in the requirements?")
    return found


# --- sockets ----------------------------------------------------------------------------------------------------------


def given_socket() -> int:
    """The socket that Supervisor gave us as standard input, on a descriptor out of the way."""
    try:
        if stat.S_ISSOCK(os.fstat(0).st_mode):
            with socket.socket(fileno=os.dup(0)) as given:
                if given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    return aside(0)
    except OSError:
        pass
    # It happens when Supervisor has closed its socket and opened it again meanwhile: the next start gets the new one.
    raise Failed(NO_SOCKET, "Supervisor gave no listening socket as standard input (is this an [fcgi-program]?)")


def bound_socket(bind: str) -> int:
    """The socket of a process with one instance, which binds it anew at each start."""
    until = time.monotonic() + BUSY
    while True:
        try:
            made = unix_socket(bind[5:], 0o666) if bind.startswith("unix:") else tcp_socket(bind)
            return aside(made.detach())
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise Failed(NO_SOCKET, f"cannot listen on {bind}: {error.strerror or error}") from None
        time.sleep(POLL)  # the old server's last worker still drains


def tcp_socket(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)
    made.listen(BACKLOG)
    return made


def unix_socket(path: str, mode: int) -> socket.socket:
    """A listening socket that takes its place by a rename: whoever connects meets the old one or the new one."""
    os.chdir(os.path.dirname(path))  # the address of a socket has 107 bytes: a name beside it is shorter than a path
    name, beside = os.path.basename(path), f".{os.getpid()}.socket"
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o777 & ~mode)
    try:
        made.bind(beside)
    except OSError as error:
        if error.errno not in FULL or not os.path.exists(name):
            raise
        os.unlink(name)  # of the server before: its inode is the only one
        made.bind(name)
        beside = name
    finally:
        os.umask(umask)
    made.listen(BACKLOG)
    os.rename(beside, name)
    return made


def health_path(instance: Instance) -> str:
    return os.path.join(instance.run, f"{instance.name}.health")


def health_socket(instance: Instance) -> int | None:
    """A socket that only this instance listens on, so that a deploy can ask it and no other.

    Without it the site serves all the same, and a deploy asks until it is this instance that answers.
    """
    path = health_path(instance)
    try:
        return aside(unix_socket(path, 0o600).detach())
    except OSError as error:
        log(instance, f"cannot make {path}: {error.strerror or error}; goes on without it")
        return None


def aside(fd: int) -> int:
    """The same on a high descriptor: it cannot be in the way when descriptors 3 and 4 are filled."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)


def hand_over(sockets: list[int]) -> dict[str, str]:
    """Puts the sockets where systemd would, from descriptor 3 on, and nothing on standard input.

    Left as standard input, as Supervisor gives it, the socket would reach every program that the site starts.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, fd in enumerate(sockets, 3):
        os.dup2(fd, number)
    return {"LISTEN_FDS": str(len(sockets)), "LISTEN_PID": str(os.getpid())} if sockets else {}


def sockets_for(instance: Instance, launch: Launch, with_socket: bool, made: dict[str, str]) -> list[int]:
    """What the server listens on. Its environment records whether it has a socket of its own, for whoever asks it."""
    bind, kind, sockets = launch.process.get("bind"), kind_of(launch.process), []
    if with_socket:
        sockets.append(given_socket())
    elif bind and kind != OTHER:
        sockets.append(bound_socket(bind))
    own = health_socket(instance) if sockets and kind == GUNICORN else None
    if own is not None:
        sockets.append(own)
        made[HEALTH] = health_path(instance)
    else:
        with contextlib.suppress(OSError):  # of a command that was another one before: nobody answers there
            os.unlink(health_path(instance))
    return sockets


# --- files ------------------------------------------------------------------------------------------------------------


def pid_file(home: str, release: str, process: Process, number: object) -> str:
    """Where the pid is: below `home`, or inside the release if the setting begins with `current/`."""
    template = process.get("pid_file") or "run/{name}-{instance}.pid"
    path: str = template.format(name=process["name"], instance=number)
    if path.startswith("current/"):
        return os.path.join(release, path[len("current/") :])
    return os.path.join(home, path)


def write_beside(path: str, text: str) -> None:
    """Writes beside the file and renames: nobody ever reads half a pid.

    Into a new file: in a directory such as /tmp, others may have made a link of this name.
    """
    beside = f"{path}.{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        with open(beside, "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def write_somehow(path: str, text: str) -> None:
    """The same; on a full disk into the file that is there: it has its inode, and room for a few digits."""
    try:
        write_beside(path, text)
    except OSError as error:
        if error.errno not in FULL or not os.path.isfile(path):
            raise
        with open(path, "r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()


def say_pid(instance: Instance, launch: Launch) -> None:
    path = pid_file(instance.home, launch.release, launch.process, instance.number)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_somehow(path, f"{os.getpid()}\n")
    except OSError as error:
        if error.errno not in FULL:
            raise Failed(NO_FILE, f"cannot write {path}: {error.strerror or error}") from None
        # A full disk must not stop the site: a deploy knows us by our environment too.
        log(instance, f"cannot write {path}: {error.strerror}; goes on without it")


# --- becoming it ------------------------------------------------------------------------------------------------------


def become(instance: Instance, with_socket: bool) -> NoReturn:
    os.umask(os.umask(0o022) | 0o022)  # Supervisor may give none, and then all that the site writes is for everybody
    launch = wait_for_release(instance)
    while not back_off(instance, launch):
        launch = wait_for_release(instance)
    count_restart(instance, launch.release)
    say_pid(instance, launch)  # before anything can fail: a deploy that waits for us sees who died
    log(instance, f"starts {os.path.basename(launch.release)}")
    made = environment(launch, instance.home, instance.number, dict(os.environ))
    words = command_of(launch, made)
    watch_over(instance, launch)
    sockets = sockets_for(instance, launch, with_socket, made)
    enter(folder(launch))
    path = program(words, made["PATH"], made["PWD"])
    made.update(hand_over(sockets), DJDEPLOY_SOCKET="given" if with_socket else "own")  # for those who look at us
    sys.stderr.flush()
    try:
        os.execve(path, words, made)
    except OSError as error:
        raise Failed(NO_COMMAND, f"cannot run {path}: {error.strerror}") from None


def enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise Failed(NO_RELEASE, f"cannot enter {directory}: {error.strerror}") from None


def log(instance: Instance, text: str) -> None:
    print(f"djdeploy: {instance.process} {instance.number}: {text}", file=sys.stderr, flush=True)


def home_of_this() -> str:
    return os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def main(words: list[str]) -> int:
    if words[:1] == [WATCH]:
        _, process, number, release, pid = words
        home = home_of_this()
        watch(Instance(home, process, number), os.path.join(home, release), int(pid))
        return 0
    with_socket = words[:1] == ["--socket"]
    rest = words[1:] if with_socket else words
    if len(rest) != 2 or not re.fullmatch(r"[a-z0-9_][a-z0-9_-]*", rest[0]) or not rest[1].isdigit():
        print(f"usage: {NAME} [--socket] PROCESS INSTANCE", file=sys.stderr)
        return USAGE
    instance = Instance(home_of_this(), rest[0], rest[1])
    try:
        become(instance, with_socket)
    except Failed as failed:
        log(instance, str(failed))
        return failed.code
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a runtime.json that is not one of ours
        log(instance, f"cannot use runtime.json: {error!r}")
        return NO_RELEASE


if __name__ == "__main__":
    if sys.getfilesystemencoding().lower() != "utf-8":  # the release's variables are, whatever Supervisor's locale is
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-I", *sys.argv])
    sys.exit(main(sys.argv[1:]))

# the end: a file without this line is not whole
