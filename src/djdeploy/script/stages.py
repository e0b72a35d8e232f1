"""The stages of a task: what each promises, and in which batches its hosts go through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Batching(Protocol):
    """Which hosts may go through a stage at once: each batch is done before the next begins."""

    def __call__(self, hosts: Sequence[T], runs_once_steps: Callable[[T], bool], size: int) -> Sequence[Sequence[T]]:
        """Args: hosts: in the order in which they are published. size: the settings' `batch`."""


def all_at_once(hosts: Sequence[T], runs_once_steps: Callable[[T], bool], size: int) -> Sequence[Sequence[T]]:
    return [hosts]


def once_steps_first(hosts: Sequence[T], runs_once_steps: Callable[[T], bool], size: int) -> Sequence[Sequence[T]]:
    """The host that does what is done once comes before all others, which may need it: a migrated database."""
    first = [host for host in hosts if runs_once_steps(host)]
    return [first, [host for host in hosts if host not in first]]


def once_steps_last(hosts: Sequence[T], runs_once_steps: Callable[[T], bool], size: int) -> Sequence[Sequence[T]]:
    """What is done once waits for what is true on all hosts: that no old code runs."""
    once = [host for host in hosts if runs_once_steps(host)]
    return [[host for host in hosts if host not in once], once]


def one_then_batches(hosts: Sequence[T], runs_once_steps: Callable[[T], bool], size: int) -> Sequence[Sequence[T]]:
    """The first host alone: a release that does not serve meets one host."""
    return [hosts[:1], *(hosts[i : i + size] for i in range(1, len(hosts), size))]


@dataclass(frozen=True)
class Stage:
    """A part of a task, and a barrier: all hosts have finished it before any begins the next.

    Args:
        name: as a recipe's field has it.
        promise: what a failure in it means, as it is shown.
        batches: which hosts may go through it at once.
    """

    name: str
    promise: str
    batches: Batching = all_at_once


BUILD = Stage("build", "a failure here harms nothing")
MIGRATE = Stage("migrate", "the old code still serves, on the new schema", once_steps_first)
PUBLISH = Stage("publish", "a failure here brings the old release up again", one_then_batches)
CONTRACT = Stage("contract", "the old code is gone; a failure here leaves the new release live", once_steps_last)
FINISH = Stage("finish", "a failure here is a warning")

STAGES = (BUILD, MIGRATE, PUBLISH, CONTRACT, FINISH)
"""In the order in which a task goes through them."""

ON_FAILURE = Stage(
    "on_failure", "it runs once a stage has failed and its promise was kept; a failure here is a warning"
)
"""No part of a task that succeeds."""
