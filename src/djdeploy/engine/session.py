"""One session of a task on its hosts: who runs it, how the hosts are opened, and which commit it is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any

from ..errors import DeployError
from ..project.settings import Settings
from ..script.deployment import Deployment, step_environment
from ..script.steps import Step
from ..server.layout import LAUNCHER
from ..ssh.remote import Remote
from ..terminal.progress import Report
from .fleet import Fleet, Snapshots
from .run import raise_failure


@dataclass(frozen=True)
class Who:
    """Who runs a task, and when it began.

    Args:
        name: the person or the CI job, and the machine they sit at.
        at: an aware moment.
    """

    name: str
    at: datetime

    @property
    def stamp(self) -> str:
        return self.at.isoformat(timespec="seconds").replace("+00:00", "Z")


def access(task: str, settings: Settings, who: Who, *, changes: bool = True) -> dict[str, Any]:
    """How a task opens its hosts: one that changes something takes the lock and creates the directories."""
    if not changes:
        return {}
    home = settings.layout.home
    directories = [str(path.relative_to(home)) for path in settings.layout.directories if path != home]
    lock = {"task": task, "by": who.name, "at": who.stamp, "run": token_hex(8)}
    return {"lock": lock, "create": directories}


@contextmanager
def working(fleet: Fleet, report: Report, title: str, **opening: Any) -> Iterator[Snapshots]:
    """Opens the hosts of a task and yields their snapshots, while the report shows progress."""
    hosts = [remote.host for remote in fleet.remotes]
    with report.task(title, hosts), fleet.opened(**opening) as snapshots:
        yield snapshots


def needed(settings: Settings) -> Mapping[str, Any]:
    """The facts that a deploy needs from a server."""
    return {"tools": ["uv", "git"], "shared": list(settings.shared_files), "launcher": f"bin/{LAUNCHER}"}


def find_commit(d: Deployment, ref: str, *, peek: bool) -> Step:
    """The step that resolves a ref to a commit. A peek only asks the repository and fetches nothing."""
    find = d.source.peek if peek else d.source.resolve
    commands = tuple(find(ref, d.server))
    title = f"Find {ref} in the repository"
    return Step("resolve", title, commands, d.settings.step_timeout, programs=("git", "ssh"))


def resolve(fleet: Fleet, snapshots: Snapshots, ref: str, report: Report, *, peek: bool) -> dict[str, str]:
    """Resolves a ref once, on the first host, so that all hosts get the same commit."""

    def find(remote: Remote) -> dict[str, str]:
        d = Deployment(settings=remote.settings, host=remote.host, snapshot=snapshots[remote], release="")
        runs = remote.run([find_commit(d, ref, peek=peek)], step_environment(remote.settings), report)
        raise_failure(remote.host, runs)
        return {name: str(value) for name, value in runs[-1].outputs.items()}

    try:
        return fleet.each(find, fleet.remotes[:1])[fleet.remotes[0]]
    except DeployError as error:
        error.site = "Nothing was changed."
        raise
