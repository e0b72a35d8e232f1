"""Runs what a task needs on the current release of each host, and keeps what each host answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from ..errors import DeployError
from ..errors.several import together
from ..project.settings import Settings
from ..script.deployment import Deployment
from ..script.steps import Step
from ..server.snapshot import Snapshot
from ..ssh.opening import Access, Look
from ..ssh.remote import Remote
from ..ssh.step_run import StepRun
from ..terminal.progress import Report
from .failures import raise_failure
from .fleet import Fleet
from .preflight import check_servers
from .session import Who, access

T = TypeVar("T")


class Answers(dict[str, T]):
    """What each host answered, by its name; `errors` says why the others did not."""

    def __init__(self, answers: Mapping[Remote, T], errors: Mapping[Remote, DeployError]) -> None:
        super().__init__({remote.host: answer for remote, answer in answers.items()})
        self.errors = {remote.host: error for remote, error in errors.items()}

    def raise_errors(self) -> None:
        """Raises the errors, if there are any, once everything that could be shown was shown."""
        if self.errors:
            raise together(list(self.errors.values()))


class Answer(NamedTuple):
    """A host as it was, and how the last of its steps went."""

    snapshot: Snapshot
    run: StepRun


def snapshots(remotes: Sequence[Remote], settings: Settings, *, sizes: bool = False) -> Answers[Snapshot]:
    """What is on each host that can be reached. Changes nothing and needs no lock."""
    fleet = Fleet(remotes, settings.parallel)
    with fleet.opened(Access(look=Look(sizes=sizes)), partly=True) as found:
        return Answers(found, fleet.missing)


def run_on_hosts(
    remotes: Sequence[Remote],
    settings: Settings,
    steps: Callable[[Deployment], Sequence[Step]],
    *,
    report: Report,
    changes: tuple[str, Who] | None = None,
    partly: bool = False,
) -> Answers[Answer]:
    """Runs steps on each host, with the release that is live there as their target.

    Args:
        steps: makes the steps for a host; the last of them is what is asked for.
        changes: the task's name and who runs it, if it changes something and so needs the lock and the directories.
        partly: whether hosts that fail may be left out.
    """
    fleet = Fleet(remotes, settings.parallel, report.say)
    name, who = changes or ("", None)
    with fleet.opened(access(name, settings, who) if who else Access(), partly=partly) as found:
        if changes:
            check_servers(found)

        def work(remote: Remote) -> Answer:
            d = on_live_release(remote, found[remote], runs_once_steps=remote is fleet.remotes[0])
            runs = remote.run(steps(d), d.environment, report)
            raise_failure(remote.host, runs)
            return Answer(found[remote], runs[-1])

        answers, errors = fleet.attempt(work)
        if errors and not partly:
            raise together(list(errors.values()))
        return Answers(answers, {**fleet.missing, **errors})


def on_live_release(remote: Remote, snapshot: Snapshot, *, runs_once_steps: bool = True) -> Deployment:
    """A deployment whose target is the release that is live on a host; of no release where none is."""
    live = snapshot.live
    return Deployment(
        settings=remote.settings,
        host=remote.host,
        snapshot=snapshot,
        release=snapshot.current or "",
        commit=live.commit if live else "",
        runs_once_steps=runs_once_steps,
    )
