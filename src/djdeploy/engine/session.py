"""One session of a task on its hosts: who runs it, how the hosts are opened, and which commit it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex

from ..errors import DeployError
from ..project.settings import Settings
from ..remote.wire import Outputs
from ..script.deployment import Deployment, step_environment
from ..script.steps import Step
from ..server.protocols import programs_of
from ..server.wire import COMMIT, FULL_COMMIT
from ..ssh.opening import Access, Claim, Look
from ..ssh.remote import Remote
from ..terminal.progress import Report
from .failures import raise_failure
from .fleet import Fleet, Snapshots

JUST_LOOK = Look()


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


def access(task: str, settings: Settings, who: Who, look: Look = JUST_LOOK, *, changes: bool = True) -> Access:
    """How a task opens its hosts: one that changes something takes the lock and creates the directories."""
    if not changes:
        return Access(look=look)
    home = settings.layout.home
    directories = [str(path.relative_to(home)) for path in settings.layout.directories if path != home]
    claim = Claim(task=task, by=who.name, at=who.stamp, run=token_hex(8))
    return Access(claim=claim, create=directories, look=look)


@contextmanager
def working(
    fleet: Fleet, report: Report, title: str, access: Access, *, wait: float = 0, partly: bool = False
) -> Iterator[Snapshots]:
    """Opens the hosts of a task and yields their snapshots, while the report shows progress."""
    hosts = [remote.host for remote in fleet.remotes]
    with report.task(title, hosts), fleet.opened(access, wait=wait, partly=partly) as snapshots:
        yield snapshots


def needed(settings: Settings) -> Look:
    """The facts that a deploy needs from a server."""
    return Look(tools=["uv", "git"], shared=settings.shared_files)


def find_commit(d: Deployment, ref: str, *, peek: bool) -> Step:
    """The step that resolves a ref to a commit. A peek only asks the repository and fetches nothing."""
    find = d.source.peek if peek else d.source.resolve
    commands = tuple(find(ref, d.server))
    title = f"Find {ref} in the repository"
    return Step("resolve", title, commands, d.settings.step_timeout, programs=programs_of(d.source))


@dataclass(frozen=True)
class Resolved:
    """What a ref is."""

    commit: str
    subject: str = ""
    author: str = ""


def resolve(fleet: Fleet, snapshots: Snapshots, ref: str, report: Report, *, peek: bool) -> Resolved:
    """Resolves a ref once, on the first host, so that all hosts get the same commit.

    Raises:
        ConnectionFailed: the host says something that may not be told to another.
    """

    def find(remote: Remote) -> Resolved:
        d = Deployment(settings=remote.settings, host=remote.host, snapshot=snapshots[remote], release="")
        runs = remote.run([find_commit(d, ref, peek=peek)], step_environment(remote.settings), report)
        raise_failure(remote.host, runs)
        found: Outputs = runs[-1].outputs
        commit = found.get("commit", "")
        if not re.fullmatch(FULL_COMMIT if remote.settings.pulls else COMMIT, commit):
            raise remote.channel.unlike_an_agent(f"{ref} is no commit there")
        return Resolved(commit, found.get("subject", "").strip(), found.get("author", "").strip())

    try:
        return fleet.each(find, fleet.remotes[:1])[fleet.remotes[0]]
    except DeployError as error:
        error.site = "Nothing was changed."
        raise
