"""The one program of ours on a server while a task runs: it holds the lock, looks around, and runs steps.

It arrives over the standard input of one SSH channel, lives as long as that, and speaks JSON, one object a line:

    in   {"home", "lock", "create", "look"}                       once, first
         {"do": "run", "steps": [...], "if_lost": [...]}          a stage: stops at the first step that fails
         {"do": "interrupt"} | {"do": "ping"} | {"do": "look"} | {"do": "quit"}
    out  {"djdeploy": 1, ...}                                     the answer to the first line
         {"begin": i} {"out": text} {"data": ...} {"end": i, "status", "why", "ms"} {"done": true}

When the client vanishes (end of input, or no word for `SILENCE` seconds), the running step's process group is ended,
the stage's `if_lost` steps restore what it had promised, and the lock falls with the last process that holds it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import queue
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    Table = Mapping[str, Any]

SILENCE = 45  # seconds without a word from the client, who speaks every 10: the network is cut
GRACE = 8  # seconds between TERM and KILL for a step that is ended
TEMPORARY: list[str] = []  # directories to remove when we end
LINGER = 0.3  # seconds for the last output of a step whose children keep its pipe open


class Refused(Exception):
    """The task cannot begin on this host."""

    def __init__(self, why: str, **details: object) -> None:
        super().__init__(why)
        self.answer = dict(details, refused=why)


# --- the lock -------------------------------------------------------------------------------------------------------


class Lock:
    """An exclusive kernel lock on a file. Every step inherits it, so that an orphan keeps the next deploy out."""

    def __init__(self, path: str, holder: Table) -> None:
        self.path, self.holder = path, dict(holder, pid=os.getpid(), since=time.time())
        self.fd = self._take()
        self.says("")

    def _take(self) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                with contextlib.closing(os.fdopen(fd, "rb")) as file:
                    raise Refused("locked", holder=with_orphans(holder_in(file), self.path)) from None
            if self._is_the_file(fd):
                return fd
            os.close(fd)  # somebody removed the directory between open and flock

    def _is_the_file(self, fd: int) -> bool:
        try:
            named, opened = os.stat(self.path), os.fstat(fd)
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def says(self, step: str) -> None:
        """Keeps in the file who holds the lock and what runs, for whoever is refused."""
        text = json.dumps(dict(self.holder, step=step)).encode()
        with contextlib.suppress(OSError):  # a full disk must not stop a rollback
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, text, 0)


def holder_in(file: IO[bytes]) -> dict[str, Any]:
    """Who holds the lock. Between taking it and saying so there is a moment."""
    for _ in range(20):
        file.seek(0)
        holder = parsed(file.read())
        if holder:
            return holder
        time.sleep(0.05)
    return {}


def with_orphans(holder: dict[str, Any], path: str) -> dict[str, Any]:
    """The holder of a lock; if it is gone, also the processes of its step that still run, and so keep the lock."""
    holding = {pid: command_of(pid) for pid in pids_with(path) if pid != os.getpid()}
    if not holder or holder.get("pid") in holding:
        return holder
    return dict(holder, orphans=[{"pid": pid, "command": command} for pid, command in sorted(holding.items())])


def pids_with(path: str) -> Iterator[int]:
    """The processes that have this file open, as far as we may look."""
    for pid in filter(str.isdigit, listing("/proc")):
        for fd in listing(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samefile(f"/proc/{pid}/fd/{fd}", path):
                    yield int(pid)
                    break


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(200).replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return ""


# --- looking --------------------------------------------------------------------------------------------------------


def look(home: str, options: Table) -> dict[str, Any]:
    """What is on this server now. Reads only."""
    found: dict[str, Any] = {
        "python": sys.version.split()[0],
        "user": user(),
        "home": kind(home),
        "owned": owned(home),
        "current": link(os.path.join(home, "current")),
        "previous": link(os.path.join(home, "previous")),
        "tools": {name: tool(name) for name in options.get("tools", ())},
        "shared": {path: kind(os.path.join(home, "shared", path)) for path in options.get("shared", ())},
        "launcher": kind(os.path.join(home, options.get("launcher", "bin"))),
        "time": time.time(),
        "free": free_bytes(home),
    }
    found["releases"] = list(releases(home, sizes=options.get("sizes", False)))
    if options.get("lock"):
        found["lock"] = lock_state(os.path.join(home, ".djdeploy", "lock"))
    if options.get("in_use"):
        import processes  # ours, beside this program

        found["in_use"] = sorted(processes.releases_in_use(home))
    return found


def releases(home: str, sizes: bool) -> Iterator[dict[str, Any]]:
    """The manifests of this directory's releases. A directory without one is not ours."""
    for name in sorted(listing(home)):
        root = os.path.join(home, name)
        if os.path.islink(root):
            continue
        try:
            with open(os.path.join(root, "release.json"), "rb") as file:
                manifest = parsed(file.read())
        except OSError:
            continue
        if manifest.get("name") == name:
            yield dict(manifest, size=size(root)) if sizes else manifest


def lock_state(path: str) -> dict[str, Any]:
    """Whether the lock is held, and by whom; asked of the kernel, since to try it would be to hold it for a moment."""
    try:
        status = os.stat(path)
        with open(path, "rb") as file:
            holder = parsed(file.read())
        with open("/proc/locks") as file:
            locks = file.read().splitlines()
    except OSError:
        return {"held": False, "holder": {}}
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    held = any(" FLOCK " in line and place in line.split() for line in locks)
    return {"held": held, "holder": with_orphans(holder, path) if held else holder}


def size(root: str) -> int:
    """Bytes on disk below a directory; a file with several names counts once. Links are not followed."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for directory, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(directory, name))
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
    return total


def kind(path: str) -> str:
    """`missing`, `link`, `directory` or `file`."""
    if os.path.islink(path):
        return "link"
    if os.path.isdir(path):
        return "directory"
    return "file" if os.path.exists(path) else "missing"


def link(path: str) -> dict[str, str | None]:
    """What kind of thing this is, and where it points if it is a link."""
    return {"kind": kind(path), "target": os.readlink(path) if os.path.islink(path) else None}


def owned(home: str) -> bool:
    """Whether we can create and remove entries here."""
    return os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK)


def tool(name: str) -> str | None:
    """The path of a program; a login shell would also look into ~/.local/bin, where uv installs itself."""
    places = [*os.environ.get("PATH", os.defpath).split(os.pathsep), os.path.expanduser("~/.local/bin")]
    paths = (os.path.join(place, name) for place in places)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def free_bytes(path: str) -> int:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def user() -> str:
    import pwd

    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return str(os.getuid())


def listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def parsed(text: bytes) -> dict[str, Any]:
    """The JSON object that this is, or an empty one."""
    try:
        value = json.loads(text.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


# --- preparing ------------------------------------------------------------------------------------------------------


def create(home: str, directories: Sequence[str]) -> None:
    """Makes `home` and what we keep in it."""
    if kind(home) not in ("missing", "directory", "link"):
        raise Refused("home", path=home, detail="is not a directory")
    for path in [home] + [os.path.join(home, name) for name in directories]:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise Refused("home", path=path, detail=error.strerror, user=user()) from None
    if not owned(home):
        raise Refused("home", path=home, detail=os.strerror(errno.EACCES), user=user())


def install(files: Mapping[str, str], home: str) -> str:
    """Writes our programs where steps can run them: beside the caches, or in a temporary directory.

    The directory is named by its content, so a second deploy finds it complete.
    """
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
    private = os.path.join(home, ".djdeploy")
    target = os.path.join(private, "programs", digest)
    if not os.path.isdir(target):
        try:
            made = tempfile.mkdtemp(prefix="programs-", dir=private)
            write_all(files, made)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.chmod(made, 0o755)  # noqa: S103 - programs, no secrets; each step may run them
            os.rename(made, target)
        except OSError:  # nothing of ours here yet, or a full disk: a look, or a rollback, works all the same
            shm = "/dev/shm"  # noqa: S108 - mkdtemp makes a directory of its own in it, for us alone
            target = tempfile.mkdtemp(prefix="djdeploy-", dir=shm if os.path.isdir(shm) else None)
            TEMPORARY.append(target)
            write_all(files, target)
    sys.path.insert(0, target)
    return target


def write_all(files: Mapping[str, str], directory: str) -> None:
    for name, text in files.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


# --- running --------------------------------------------------------------------------------------------------------


class Running:
    """One step: its shell, in a process group of its own, and what it says."""

    def __init__(self, step: Table, lock_fd: int | None) -> None:
        self.name = step["name"]
        self.why = ""  # why it was ended, if we ended it
        self.started = time.monotonic()
        self.timeout = step.get("timeout")
        self.output, output = os.pipe()
        self.data, data = os.pipe()
        self.ended, self._wake = os.pipe()
        environment = dict(os.environ, **step["env"])
        environment["DJDEPLOY_DATA_FD"] = str(data)
        given = [input_fd(step["input"])] if step.get("input") else []
        if given:
            environment["DJDEPLOY_INPUT_FD"] = str(given[0])
        environment["PATH"] = os.pathsep.join([*step.get("path", []), os.environ.get("PATH", os.defpath)])
        self.shell = subprocess.Popen(
            ["/bin/sh"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
            cwd="/",
            start_new_session=True,
            pass_fds=[data, *given] + ([lock_fd] if lock_fd is not None else []),
        )
        for fd in given:
            os.close(fd)
        os.close(output)
        os.close(data)
        # By standard input, since a command line is public and bounded. The braces make the shell read all of it first.
        assert self.shell.stdin
        with contextlib.suppress(BrokenPipeError), self.shell.stdin:
            self.shell.stdin.write(("{{\nset -eu\n{}\n}} </dev/null\n".format(step["script"])).encode())
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        self.shell.wait()
        os.close(self._wake)

    def follow(self, say: Callable[[Table], object]) -> int:
        """Says its output and data until it has ended; returns the exit status, negative for a signal."""
        lines = b""
        with selectors.DefaultSelector() as selector:
            for fd in (self.output, self.data, self.ended):
                selector.register(fd, selectors.EVENT_READ)
            until = None if self.timeout is None else self.started + self.timeout
            while selector.get_map():
                ready = selector.select(None if until is None else max(0, until - time.monotonic()))
                if not ready:
                    if self.shell.poll() is not None:
                        break  # a child that it left behind keeps the pipe open
                    self.end("timeout")
                    until = time.monotonic() + GRACE + 2
                for key, _ in ready:
                    chunk = os.read(key.fd, 32768)
                    if not chunk:
                        selector.unregister(key.fd)
                    if key.fd == self.ended:
                        until = time.monotonic() + LINGER
                    elif key.fd == self.output and chunk:
                        say({"out": chunk.decode("utf-8", "replace")})
                    elif chunk:
                        *whole, lines = (lines + chunk).split(b"\n")
                        for line in whole:
                            say({"data": parsed(line)})
        for fd in (self.output, self.data, self.ended):
            os.close(fd)
        return self.wait()

    def end(self, why: str) -> None:
        """TERM to the whole group, and KILL to what is left of it after `GRACE`."""
        self.why = self.why or why
        self._signal(signal.SIGTERM)
        timer = threading.Timer(GRACE, self._signal, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def wait(self) -> int:
        """The shell's status; if we ended it, once its whole group is gone: what restores must not meet it at work."""
        status = self.shell.wait()
        until = time.monotonic() + GRACE + 2
        while self.why and self._signal(0) and time.monotonic() < until:
            time.sleep(0.02)
        return status

    def _signal(self, number: int) -> bool:
        """Whether there is somebody to signal."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.shell.pid, number)
            return True
        return False


def input_fd(text: str) -> int:
    """A descriptor that this text is read from: secrets, so it never touches a disk."""
    fd = os.memfd_create("input")
    os.write(fd, text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class Agent:
    """Answers one client."""

    def __init__(self, files: Mapping[str, str], stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.files, self.stdin, self.stdout = files, stdin, stdout
        self.saying = threading.Lock()
        self.changing = threading.RLock()
        self.work: queue.Queue[Table | None] = queue.Queue()
        self.heard = time.monotonic()
        self.lock: Lock | None = None
        self.running: Running | None = None
        self.if_lost: Sequence[Table] = []
        self.interrupted = self.lost = False

    def say(self, message: Table) -> None:
        with self.saying:
            try:
                self.stdout.write(json.dumps(message).encode() + b"\n")
                self.stdout.flush()
            except OSError:
                self.work.put(None)

    def serve(self) -> None:
        hello = json.loads(self.stdin.readline())
        try:
            self.say(self.begin(hello))
        except Refused as refused:
            self.say(dict({"djdeploy": 1}, **refused.answer))
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: threading.Thread(target=self.lose).start())
        threading.Thread(target=self.listen, daemon=True).start()
        threading.Thread(target=self.watch, daemon=True).start()
        for message in iter(self.work.get, None):
            if message["do"] == "look":
                self.say({"look": look(self.home, message["look"])})
            else:
                self.run(message["steps"], message["if_lost"])
        self.lose()

    def begin(self, hello: Table) -> Table:
        os.umask(0o022)
        self.home = hello["home"]
        if hello["create"] is not None:
            create(self.home, hello["create"])
        if hello["lock"] is not None and os.path.isdir(os.path.join(self.home, ".djdeploy")):
            self.lock = Lock(os.path.join(self.home, ".djdeploy", "lock"), hello["lock"])
        programs = install(self.files, self.home)
        return {"djdeploy": 1, "programs": programs, "look": look(self.home, hello["look"])}

    def listen(self) -> None:
        """Reads what the client sends; the end of it means that the client is gone."""
        for line in self.stdin:
            self.heard = time.monotonic()
            message = json.loads(line)
            if message["do"] == "ping":
                self.say({"pong": True})
            elif message["do"] == "interrupt":
                self.interrupt()
            elif message["do"] == "quit":
                self.work.put(None)
                return
            else:
                self.interrupted = False
                self.work.put(message)
        self.lose()

    def watch(self) -> None:
        while time.monotonic() - self.heard < SILENCE:
            time.sleep(1)
        self.lose()

    def interrupt(self) -> None:
        with self.changing:
            self.interrupted = True
            if self.running:
                self.running.end("interrupted")

    def run(self, steps: Sequence[Table], if_lost: Sequence[Table]) -> None:
        self.if_lost = if_lost
        for number, step in enumerate(steps):
            self.say({"begin": number})
            if self.run_step(number, step) != 0:
                break
        else:
            self.if_lost = []
        self.say({"done": True})

    def run_step(self, number: int, step: Table) -> int:
        with self.changing:
            if self.interrupted or self.lost:
                self.say({"end": number, "status": -1, "why": "interrupted", "ms": 0})
                return -1
            self.running = running = self.start(step)
        status = running.follow(self.say)
        with self.changing:
            self.running = None
        milliseconds = round((time.monotonic() - running.started) * 1000)
        self.say({"end": number, "status": status, "why": running.why, "ms": milliseconds})
        return status or (1 if running.why else 0)

    def start(self, step: Table) -> Running:
        if self.lock:
            self.lock.says(step["name"])
        return Running(step, self.lock.fd if self.lock else None)

    def lose(self) -> None:
        """The client is gone: ends the running step, restores what its stage promised, and ends this program."""
        with self.changing:
            is_first, self.lost = not self.lost, True
            running = self.running
            if running and is_first:
                running.end("lost")
        if not is_first:  # another thread is at it, which ends this program; to return now could end it before
            threading.Event().wait()
        if running:
            running.wait()
        for step in self.if_lost:
            with contextlib.suppress(OSError):
                self.start(step).follow(lambda _: None)
        if running and self.lock:
            self.lock.says(running.name)  # what has left the step's group still holds the lock
        for path in TEMPORARY:
            shutil.rmtree(path, ignore_errors=True)
        os._exit(0)


if __name__ == "__main__":
    # FILES is set by the line that started us: the names and texts of all our programs.
    Agent(globals()["FILES"], sys.stdin.buffer, sys.stdout.buffer).serve()
