"""The hosts of a task, worked on in parallel: connected, locked all or none, and interrupted together."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from ..errors.kinds import DeployError, Interrupted, Locked, StepFailed
from ..errors.redaction import hidden_by_its_looks
from ..errors.several import together
from ..remote.durations import USUAL
from ..server.snapshot import Snapshot
from ..ssh.opening import Access
from ..ssh.remote import Remote

TICK = 0.1
"""Seconds after which a wait checks for Ctrl-C."""

T = TypeVar("T")
Snapshots = Mapping[Remote, Snapshot]


def ignore(_: str) -> None:
    """Where nobody needs to be told."""


class Fleet:
    """The hosts of a task.

    While the fleet is open, Ctrl-C and SIGTERM are counted and raise nothing, so nowhere can they break off what must
    be done as a whole. The first stops the running steps on all hosts, except those of a rollback; the second leaves
    everything to the servers.

    Args:
        remotes: the hosts, in the order in which they are published.
        parallel: how many are worked on at once.
        say: takes a sentence that tells the user what the task is waiting for.

    Attributes:
        if_abandoned: what the servers do should this client leave now.
    """

    if_abandoned = "What was running on the servers is ended."

    def __init__(self, remotes: Sequence[Remote], parallel: int, say: Callable[[str], None] = ignore) -> None:
        self.remotes, self.parallel, self.say = list(remotes), parallel, say
        self.durations = self.remotes[0].durations if self.remotes else USUAL
        self.missing: dict[Remote, DeployError] = {}
        self._signals = 0

    # --- working

    def each(
        self,
        work: Callable[[Remote], T],
        remotes: Sequence[Remote] | None = None,
        *,
        restores: bool = False,
        all_or_none: bool = False,
    ) -> dict[Remote, T]:
        """Does the work on all hosts in parallel and waits for all of them.

        Args:
            restores: whether the work is a rollback, which goes on after the first Ctrl-C.
            all_or_none: whether hosts that have not begun are left out once another has failed.

        Raises:
            DeployError: the errors of all hosts, together.
            Interrupted: Ctrl-C or SIGTERM.
        """
        done, errors = self.attempt(work, remotes, restores=restores, all_or_none=all_or_none)
        if errors:
            raise together(list(errors.values()))
        return done

    def attempt(
        self,
        work: Callable[[Remote], T],
        remotes: Sequence[Remote] | None = None,
        *,
        restores: bool = False,
        all_or_none: bool = False,
    ) -> tuple[dict[Remote, T], dict[Remote, DeployError]]:
        """Like `each`, but returns the results of the hosts that succeeded and the errors of the others.

        Raises:
            Interrupted: Ctrl-C or SIGTERM.
        """
        chosen = self.remotes if remotes is None else remotes
        failed = threading.Event()

        def begin(remote: Remote) -> T:
            if failed.is_set() or (self._signals and not restores):
                raise CancelledError
            try:
                return work(remote)
            except BaseException:
                if all_or_none:
                    failed.set()
                raise

        pool = ThreadPoolExecutor(max_workers=max(1, min(self.parallel, len(chosen))))
        try:
            futures = {remote: pool.submit(begin, remote) for remote in chosen}
            self._wait(list(futures.values()), restores)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        ended = {r: future for r, future in futures.items() if not isinstance(future.exception(), CancelledError)}
        errors = {remote: as_deploy_error(error) for remote, future in ended.items() if (error := future.exception())}
        if self._signals and not restores:
            interrupted = (error for error in errors.values() if isinstance(error, Interrupted))
            raise next(interrupted, None) or Interrupted("interrupted")
        return {remote: future.result() for remote, future in ended.items() if remote not in errors}, errors

    def _wait(self, futures: Sequence[Future[T]], restores: bool) -> None:
        before = interrupted = self._signals
        while wait(futures, TICK).not_done:
            if self._signals > 1 and self._signals > before:
                self._give_up()
            if self._signals > interrupted:
                interrupted = self._signals
                if restores:
                    self.say("Rolling back. Press Ctrl-C again to leave the rollback to the servers.")
                else:
                    for remote in self.remotes:  # in threads, so that no host waits for one that does not answer
                        threading.Thread(target=remote.interrupt, daemon=True).start()

    def _give_up(self) -> NoReturn:
        for remote in self.remotes:
            remote.abandon()
        raise Interrupted(
            "interrupted twice: gave up at once",
            site=self.if_abandoned,
            remedy="See how the site stands: fab status; fab releases. The next `fab deploy` repairs the rest.",
        )

    # --- opening

    @contextmanager
    def opened(
        self,
        access: Access,
        *,
        wait: float = 0,
        partly: bool = False,
    ) -> Iterator[Snapshots]:
        """Connects to all hosts, takes all locks or none, and takes a snapshot of each.

        Nothing begins on any host before all are connected.

        Args:
            access: what the task looks at, takes and makes on each host.
            wait: seconds to wait for another deploy that holds a lock.
            partly: whether hosts that fail may be left out; `missing` then says why. It is an error if all fail.
        """
        with self._counting_signals(), heart(self.remotes, self.durations.heartbeat):
            try:
                yield self._open(access, wait, partly)
            except Interrupted as error:
                error.site = error.site or "The running steps were stopped."
                raise
            except DeployError:
                raise
            except Exception as error:  # a bug of ours, or of a fabfile
                for remote in self.remotes:
                    remote.abandon()
                fault = as_deploy_error(error)
                fault.site = self.if_abandoned
                raise fault from error
            finally:
                self.attempt(Remote.close, [*self.remotes, *self.missing], restores=True)

    def _open(self, access: Access, wait: float, partly: bool) -> Snapshots:
        def open_one(remote: Remote) -> Snapshot:
            answer = remote.open(access)
            return Snapshot.parse(answer["look"], answer["programs"])

        try:
            if partly:
                self._leave_out(self.attempt(Remote.connect)[1])
                snapshots, errors = self.attempt(open_one)
                self._leave_out(errors)
                return snapshots
            self._connect_all()
            return self._open_all(open_one, time.monotonic() + wait)
        except DeployError as error:
            error.site = error.site or "Nothing was changed."
            raise

    def _connect_all(self) -> None:
        errors = self.attempt(Remote.connect)[1]
        if not errors:
            return
        error = together(list(errors.values()))
        if len(errors) < len(self.remotes):
            hosts = ",".join(remote.host for remote in errors)
            error.site = f"Nothing was changed. To leave it out, type the same with --except={hosts}"
        raise error

    def _open_all(self, open_one: Callable[[Remote], Snapshot], until: float) -> Snapshots:
        """All or none: a client that waits for one lock must not hold another."""
        told = False
        while True:
            try:
                return self.each(open_one)
            except Locked as error:
                if time.monotonic() >= until:
                    raise
                if not told:
                    self.say(f"waiting: {error.message.splitlines()[0]}")
                told = True
                self.each(Remote.leave)
                self.pause(min(self.durations.lock_retry * random.uniform(0.5, 1.5), until - time.monotonic()))  # noqa: S311

    def pause(self, seconds: float) -> None:
        """Waits, at most until Ctrl-C."""
        until = time.monotonic() + seconds
        while not self._signals and time.monotonic() < until:
            time.sleep(min(TICK, max(0.0, until - time.monotonic())))
        if self._signals:
            raise Interrupted("interrupted")

    def _leave_out(self, errors: Mapping[Remote, DeployError]) -> None:
        self.missing.update(errors)
        self.remotes = [remote for remote in self.remotes if remote not in errors]
        if not self.remotes:
            raise together(list(self.missing.values()))

    @contextmanager
    def _counting_signals(self) -> Iterator[None]:
        """Ctrl-C, and SIGTERM, as a cancelled CI job sends it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def count(*_: object) -> None:
            self._signals += 1

        before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def heart(remotes: Sequence[Remote], seconds: float) -> Iterator[None]:
    """Sends a heartbeat to every agent, so that none gives the client up while a step is silent. One thread for all."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(seconds):
            for remote in remotes:
                remote.ping()

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def as_deploy_error(error: BaseException) -> DeployError:
    """Any exception as an error that the engine can roll back from. `fab --debug` shows the traceback."""
    if isinstance(error, DeployError):
        return error
    logging.getLogger("djdeploy").debug("unexpected", exc_info=error)
    *_, place = traceback.extract_tb(error.__traceback__) or [None]
    where = f" ({place.filename}:{place.lineno})" if place else ""
    said = hidden_by_its_looks(f"{type(error).__name__}: {error}")
    what = f"an unexpected error in djdeploy, or in a step of your fabfile: {said}{where}"
    return StepFailed(what, code="fault")
