"""How long a rollback waits for its judgement: for an answer, and not for a server that is busy."""

from __future__ import annotations

import io
import threading
import time

import pytest

from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.durations import USUAL
from djdeploy.remote.migrations import patience


def given_up(
    monkeypatch: pytest.MonkeyPatch, share_of_work: float, judging: float = 0.3, at_most: float = 3600
) -> list[str]:
    """Why it was given up: a judgement that ends by itself when it has worked for a while.

    Args:
        share_of_work: how much of the time it runs, or wants to.
    """
    began = time.monotonic()
    monkeypatch.setattr(patience, "worked", lambda: (time.monotonic() - began) * share_of_work)
    reasons: list[str] = []
    done = threading.Event()

    def give_up(why: str) -> None:
        reasons.append(why)
        done.set()

    with patience.patience(USUAL._replace(judging=judging, judging_at_most=at_most), give_up):
        done.wait(1.5)
    return reasons


def test_it_is_given_up_when_it_only_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_up(monkeypatch, 0) == ["it has waited 0.3 s for an answer"]


def test_it_is_not_given_up_since_the_server_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_up(monkeypatch, 1) == []


def test_it_does_not_work_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_up(monkeypatch, 1, at_most=0.3) == ["it was not done after 0.3 s"]


@pytest.mark.parametrize("text", [None, "", "0", "x y z"])
def test_a_kernel_that_does_not_say_it_leaves_the_time_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    def opened(*_: object, **__: object) -> object:
        if text is None:
            raise FileNotFoundError
        return io.StringIO(text)

    monkeypatch.setattr(patience, "open", opened, raising=False)
    before = patience.worked()
    wait_until("some work", lambda: patience.worked() > before)
