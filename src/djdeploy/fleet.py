"""The hosts of a task, worked on at once: connected, locked all or none, and interrupted together."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from .errors import DeployError, Interrupted, Locked, together
from .runner import Remote, heart
from .snapshot import Snapshot

RETRY = 2.0
"""Seconds between two tries to take the locks."""

T = TypeVar("T")
Snapshots = Mapping[Remote, Snapshot]


class Fleet:
    """The hosts of a task.

    Args:
        remotes: the hosts, in the order in which they are published.
        parallel: how many are worked on at once.
    """

    def __init__(self, remotes: Sequence[Remote], parallel: int) -> None:
        self.remotes, self.parallel = list(remotes), parallel

    def each(self, work: Callable[[Remote], T], remotes: Sequence[Remote] | None = None) -> dict[Remote, T]:
        """Does the work on all hosts at once and waits for all of them.

        Ctrl-C ends the running steps on all hosts and waits for that; a second one gives up at once.

        Raises:
            DeployError: the errors of all hosts, together.
            Interrupted: Ctrl-C or SIGTERM.
        """
        chosen = self.remotes if remotes is None else remotes
        pool = ThreadPoolExecutor(max_workers=max(1, min(self.parallel, len(chosen))))
        futures = {remote: pool.submit(work, remote) for remote in chosen}
        try:
            interrupted = self._wait(list(futures.values()))
        except KeyboardInterrupt:
            self._give_up()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        errors = [error for future in futures.values() if (error := future.exception())]
        for error in errors:
            if not isinstance(error, DeployError):
                raise error
        failed = [error for error in errors if isinstance(error, DeployError)]
        if interrupted:
            failed = [error for error in failed if isinstance(error, Interrupted)] or [Interrupted("interrupted")]
        if failed:
            raise together(failed)
        return {remote: future.result() for remote, future in futures.items()}

    def _wait(self, futures: Sequence[Future[T]]) -> bool:
        """Whether Ctrl-C came meanwhile."""
        try:
            wait(futures)
        except KeyboardInterrupt:
            for remote in self.remotes:
                remote.interrupt()
            wait(futures)
            return True
        return False

    def _give_up(self) -> NoReturn:
        for remote in self.remotes:
            remote.abandon()
        raise Interrupted(
            "interrupted twice: gave up at once",
            site="What was begun, each server now undoes by itself.",
            remedy="See how it stands: fab status; fab releases. The next `fab deploy` heals the rest.",
        )

    @contextmanager
    def opened(
        self,
        *,
        lock: Mapping[str, str] | None,
        create: Sequence[str] | None,
        look: Mapping[str, Any],
        wait: float = 0,
        waiting: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Snapshots]:
        """Connects to all hosts, takes all locks or none, and looks at each.

        Nothing begins on any host before all are connected.

        Args:
            lock, create, look: as for `Remote.open`.
            wait: seconds to wait for others who hold a lock; `waiting` is told, once, who they are.
        """
        try:
            with sigterm_interrupts(), heart(self.remotes):
                self.each(Remote.connect)
                until = time.monotonic() + wait
                while True:
                    try:
                        answers = self.each(lambda remote: remote.open(lock=lock, create=create, look=look))
                        break
                    except Locked as error:
                        if time.monotonic() >= until:
                            raise
                        waiting(f"waiting: {error.message}")
                        waiting = lambda _: None  # noqa: E731
                        self.each(Remote.leave)  # all or none: whoever waits must not keep others out
                        time.sleep(min(RETRY, max(0.0, until - time.monotonic())))
                yield {r: Snapshot.parse(answer["look"], answer["programs"]) for r, answer in answers.items()}
        except Locked as error:
            error.site = "Nothing was changed."
            error.remedy = error.remedy or "Wait until it ends; nothing has to be cleared when its holder is gone."
            raise
        except KeyboardInterrupt:
            raise Interrupted("interrupted", site="Nothing was running, and nothing was changed.") from None
        finally:
            for remote in self.remotes:
                remote.close()


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, as a cancelled CI job sends it, is Ctrl-C for us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
