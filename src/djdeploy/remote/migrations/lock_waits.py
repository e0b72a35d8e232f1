"""How long a migration waits for its locks: briefly at a time, since the site queues behind it, and many times."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.db import DatabaseError

from .databases import Failed
from .holders import Holder, Watcher
from .statements import Locked, shortened

LOCK_TIMEOUT, LOCK_PATIENCE, HOLD_TIMEOUT = 0.15, 300.0, 5.0  # as in the settings, for who runs this by hand
LOOK_AGAIN = 0.1  # seconds between two looks at who holds a table, at least; nobody waits for these
TRY_AGAIN = 0.3  # seconds between two tries for which the site may have waited, at least
SAY_AGAIN = 30.0
POSTGRES_LOCKED = ("55P03", "40P01")  # lock_not_available, deadlock_detected: the statement has changed nothing
POSTGRES_CUT_OFF = ("57014",)  # query_canceled, by statement_timeout
MYSQL_LOCKED = (1205, 1213)  # lock wait timeout, deadlock
MYSQL_INTERRUPTED = 1317


class Limits(NamedTuple):
    """What the settings say, in seconds.

    Args:
        lock: the longest wait in the queue for a lock, and between the first and the last lock of a transaction.
        patience: for which all is tried again.
        hold: for a statement that keeps a table for itself.
    """

    lock: float
    patience: float
    hold: float


def limits() -> Limits:
    def given(name: str, usual: float) -> float:
        return float(os.environ.get(name) or usual)

    return Limits(
        given("DJDEPLOY_LOCK_TIMEOUT", LOCK_TIMEOUT),
        given("DJDEPLOY_LOCK_PATIENCE", LOCK_PATIENCE),
        given("DJDEPLOY_HOLD_TIMEOUT", HOLD_TIMEOUT),
    )


def state_of(error: BaseException | None) -> str:
    """PostgreSQL's code of an error, or of what has caused it."""
    while error is not None:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state:
            return str(state)
        error = error.__cause__
    return ""


def number_of(error: BaseException) -> int:
    """MySQL's number of an error."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else 0


def is_locked(error: BaseException) -> bool:
    """Whether a lock was not free: nothing has changed, and it may be tried again."""
    locked_file = "database is locked" in str(error) or "database table is locked" in str(error)
    return state_of(error) in POSTGRES_LOCKED or number_of(error) in MYSQL_LOCKED or locked_file


def raise_held_too_long(error: DatabaseError, sql: str, held: Sequence[str], limits: Limits) -> None:
    """In the place of PostgreSQL's word that a statement was ended which kept these tables from the site."""
    if held and state_of(error) in POSTGRES_CUT_OFF:
        raise held_too_long(sql, held, limits) from error


def held_too_long(sql: str, held: Sequence[str], limits: Limits) -> Failed:
    return Failed(
        f"{', '.join(held)} was kept from the site for longer than {limits.hold:g} s (settings: hold_timeout), so "
        f"this was ended and rolled back: {shortened(sql)}",
        code="hold-timeout",
    )


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Patience:
    """Tries again until a deadline, and says for whom it waits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.migration = ""
        self.is_told = False  # that the database has no transactions of DDL
        self.stays = ""  # what has become of it, should it be given up
        self.since: float | None = None  # its first try that was in vain
        self.holders: list[Holder] = []
        self.learned: list[Locked] = []  # tables that a transaction needs later than its first ones
        self.watcher: Watcher | None = None
        self.said: tuple[str, float] = ("", 0.0)

    def until_done(self, watcher: Watcher | None, wanted: Sequence[Locked], attempt: Callable[[], Any]) -> Any:
        """Makes an attempt when nobody keeps what it wants for long, and again when it did not get its locks."""
        while True:
            found = watcher.long_holders([*wanted, *self.learned], self.limits.lock) if watcher else []
            if watcher and found and watcher.pushed_aside(found):
                continue
            last = ""
            if watcher:
                self.holders = found
            if not found:
                try:
                    done = self.observed(watcher, attempt)
                except DatabaseError as error:
                    if not is_locked(error):
                        raise
                    last = first_line(error)
                else:
                    self.since, self.holders, self.learned = None, [], []
                    return done
            self.pause(last, looked=bool(found))

    def observed(self, watcher: Watcher | None, attempt: Callable[[], Any]) -> Any:
        """An attempt; if one before it was in vain, and nobody knows for what it has waited, another session looks."""
        if watcher is None or self.since is None or self.holders:
            return attempt()
        with watcher.looking_on() as seen:
            try:
                return attempt()
            finally:
                self.learned = list(dict.fromkeys([*self.learned, *seen]))

    def give_way(self, last: str) -> None:
        """Waits until nobody keeps for long what a transaction did not get, which was rolled back."""
        has_waited = False
        while True:
            self.holders = self.watcher.long_holders(self.learned, self.limits.lock) if self.watcher else []
            if has_waited and not self.holders:
                return
            self.pause(last, looked=bool(self.holders))
            has_waited = True

    def pause(self, last: str, looked: bool) -> None:
        """Waits for a moment, without a place in any queue. Raises Failed after the deadline."""
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        if now - self.since >= self.limits.patience:
            raise Failed(self.given_up(last), code="lock-timeout")
        self.say(f"{self.holders[0]}" if self.holders else last)
        pause = LOOK_AGAIN if looked else TRY_AGAIN + min(1.0, (now - self.since) / 20)
        time.sleep(min(pause * (1 + os.getpid() * now % 1), self.limits.patience))

    def say(self, why: str) -> None:
        now, key = time.monotonic(), str(self.holders[0].key) if self.holders else why
        if self.said[0] == key and now - self.said[1] < SAY_AGAIN:
            return
        self.said = (key, now)
        print()  # Django's line has no end yet, and only a line that begins with `djdeploy: ` is a note
        print(f"djdeploy: {why}; {self.migration or 'the migration'} lets the site go first, and is tried again")
        sys.stdout.flush()

    def given_up(self, last: str) -> str:
        who = "; ".join(str(one) for one in self.holders[:3]) or last
        return (
            f"{self.migration or 'A migration'} did not get its locks within {self.limits.patience:g} s: {who}. "
            f"{self.stays or 'It was rolled back'}; what was migrated before it stays."
        )
