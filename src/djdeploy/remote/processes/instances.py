"""One instance of a process: which files are its own, and which process it is."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, NamedTuple

from .. import launch
from . import health, proc, unix_sockets
from .proc import Identity, Process

if TYPE_CHECKING:
    from .. import wire


class Found(NamedTuple):
    """The process that is an instance, and the release that it runs."""

    process: Process
    release: str | None

    @property
    def pid(self) -> int:
        return self.process.pid

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.release})"


class Instance(NamedTuple):
    """An instance of a process, as the release's `runtime.json` describes it."""

    home: str
    project: str
    process: wire.Process
    number: int

    @property
    def label(self) -> str:
        return f"{self.process['name']} {self.number}"

    @property
    def name(self) -> str:
        return f"{self.process['name']}-{self.number}"

    @property
    def who(self) -> Identity:
        return Identity(self.home, self.project, self.process["name"], self.number)

    @property
    def supervisor_name(self) -> str:
        """As in the configuration that we print: group and name."""
        group = f"{self.project}-{self.process['name']}"
        return f"{group}:{group}_{self.number}"

    def pid_files(self, releases: list[str]) -> list[str]:
        """Where its pid may be: in each of these releases, if the setting begins with `current/`."""
        roots = [os.path.join(self.home, release) for release in releases]
        paths = [launch.pid_file(self.home, root, self.process, self.number) for root in roots]
        return list(dict.fromkeys(paths))

    def find(self, releases: list[str], scan: bool = True) -> tuple[Found | None, list[str]]:
        """The process that is this instance now, and what was wrong with its pid files."""
        wrong: list[str] = []
        for path in self.pid_files(releases):
            claim = proc.claim(path, self.who)
            if claim.process:
                return self.found(claim.process), wrong
            wrong.append(claim.why)
        named = proc.masters(self.who) if scan else []
        return (self.found(max(named, key=lambda p: p.started)) if named else None), wrong

    def found(self, process: Process) -> Found:
        return Found(process, proc.release_of(process.pid, self.home))

    def launcher(self) -> Process | None:
        """Our launcher while it waits: Supervisor has the program, and it runs when there is a release for it."""
        tail = [self.process["name"], str(self.number)]
        for found in proc.everything():
            words = proc.command_of(found.pid)
            if words[-2:] == tail and any(self.is_launcher(word) for word in words[:-2]):
                return found
        return None

    def is_launcher(self, word: str) -> bool:
        name = os.path.basename(word)
        return name.startswith("djdeploy-launch-") and os.path.realpath(word) == os.path.realpath(
            os.path.join(self.home, "bin", name)
        )

    def is_launched(self, found: Found) -> bool:
        """Whether our launcher started it."""
        return proc.says(found.pid, self.who) is True

    def being_launched(self, found: Found) -> bool:
        """Whether it is still the launcher, about to become the server."""
        return any(self.is_launcher(word) for word in proc.command_of(found.pid)[1:-2])

    def ask(self, found: Found, timeout: float | None = None) -> health.Answer | None:
        """Its own answer to the health question, never another instance's; None if there is nothing to ask."""
        bind = self.process.get("bind")
        if not bind:
            return None
        asked, path = health.question(self.process), self.health_socket(found)
        if path is None:
            whose = functools.partial(proc.family, found.process)
            return health.ask(health.address(bind), asked, timeout, whose)
        answer = health.ask(health.Address("", 0, path), asked, timeout)
        if answer.pid is not None and not self.listens(found, answer.pid):
            return answer._replace(ok=False, status=None, why="its own socket still belongs to its predecessor")
        return answer

    def health_socket(self, found: Found) -> str | None:
        """Where this process alone listens: by its environment, or, if an older launcher started it, by the kernel."""
        path = os.path.join(self.home, "run", f"{self.name}.health")
        recorded = proc.environment_of(found.pid).get(launch.HEALTH)
        listener = None if recorded or not self.is_launched(found) else unix_sockets.listener(path)
        return path if listener and self.listens(found, listener) else recorded

    def listens(self, found: Found, pid: int) -> bool:
        """Whether this is the process or a worker of it: an asyncio worker listens once more by itself."""
        listener = proc.process(pid)
        return listener is not None and found.pid in (listener.pid, listener.parent)

    def starts(self, release: str) -> int:
        """How often in a row a release has died young here, by our launcher's count."""
        return max(0, launch.counted(self._file("starts"), os.path.join(self.home, release)))

    def restarts(self, release: str) -> int:
        """How often it had to be started again since this release was published here, or was restarted on purpose."""
        return max(0, launch.counted(self._file("restarts"), os.path.join(self.home, release)))

    def forget_restarts(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._file("restarts"))

    def _file(self, ending: str) -> str:
        return os.path.join(self.home, "run", f"{self.name}.{ending}")

    def was_started_in(self, release: str) -> bool:
        """Whether the last start here was one of this release, by our launcher's word."""
        return launch.counted(self._file("starts"), os.path.join(self.home, release)) >= 0


def instances_of(home: str, runtime: wire.Runtime) -> list[Instance]:
    """All that a release wants to have running, in the order in which they are replaced.

    Supervisor may run more of a process than the settings say now: those must not keep the old release either.
    """
    home, project = os.path.realpath(home), runtime["project"]
    running = running_numbers(home, project)
    return [
        Instance(home, project, process, number)
        for process in runtime["processes"]
        for number in sorted(set(range(process.get("instances") or 1)) | running.get(process["name"], set()))
    ]


def alone(runtime: wire.Runtime, *processes: wire.Process) -> wire.Runtime:
    """The same release, as if it had these processes only."""
    made = runtime.copy()
    made["processes"] = [*processes]
    return made


def what_ran(home: str, release: str | None) -> wire.Runtime | None:
    """What the release before runs with; None if that cannot be read, so that nothing is known of it."""
    try:
        return launch.runtime_of(os.path.join(home, release)) if release else None
    except (OSError, ValueError):
        return None


def running_numbers(home: str, project: str) -> dict[str, set[int]]:
    """Which instances say that they run, by the names of their processes."""
    numbers: dict[str, set[int]] = {}
    for found in proc.everything():
        known = proc.environment_of(found.pid, having="DJDEPLOY_HOME") if found.group == found.pid else {}
        name, number = known.get("DJDEPLOY_PROCESS", ""), known.get("DJDEPLOY_INSTANCE", "")
        if known.get("DJDEPLOY_HOME") == home and name.startswith(f"{project}-") and number.isdigit():
            numbers.setdefault(name[len(project) + 1 :], set()).add(int(number))
    return numbers
