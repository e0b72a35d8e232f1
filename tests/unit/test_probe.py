"""The probe: what it counts, when it begins to, and how it spares a site that drowns."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Process
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.emit import Others
from djdeploy.remote.processes import probe
from djdeploy.remote.processes.health import Address, Answer
from djdeploy.remote.processes.probe import Probe, Question, Tally
from tests.answering import Server
from tests.shell.homes import Home


def probing(port: int, rate: float = 50, timeout: float = 1) -> Probe:
    asked = {"path": "/", "headers": {"Host": "localhost"}, "timeout": timeout}
    return Probe([Question(Address("127.0.0.1", port), asked)], rate)


def well() -> int:
    return 200


def after(seconds: float) -> Callable[[], int]:
    def act() -> int:
        time.sleep(seconds)
        return 200

    return act


def broken() -> int:
    return 500


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What a program emits."""
    with (tmp_path / "told").open("w+") as file:
        monkeypatch.setenv("DJDEPLOY_OUTPUT_FD", str(file.fileno()))
        yield (tmp_path / "told").read_text


class Beside:
    """The other steps, which run until they are ended. Use it in a `with`."""

    def __enter__(self) -> Beside:
        self.read, self.write = os.pipe()
        os.environ["DJDEPLOY_OTHERS_FD"] = str(self.read)
        self.others = Others()
        return self

    def end(self) -> None:
        os.write(self.write, b"x")

    def end_after(self, seconds: float) -> None:
        threading.Timer(seconds, self.end).start()

    def __exit__(self, *_: object) -> None:
        os.close(self.write)
        os.close(self.read)


# --- from when it counts ----------------------------------------------------------------------------------------------


def heard(*answers: tuple[float, Answer]) -> Probe:
    """A probe that has heard answers to requests, each sent so many seconds after it began."""
    running = probing(free_port())
    (site,) = running.sites
    for at, answer in answers:
        site._hear(site.began + at, 0.1, answer)
    return running


REFUSED = Answer(False, kind="refused")
WRONG = Answer(False, 502, kind="HTTP 502")
GOOD = Answer(True, 200)
TIMEOUT = Answer(False, kind="timeout")


def test_nothing_counts_before_the_first_good_answer() -> None:
    assert heard((0.1, REFUSED), (0.2, WRONG)).failed() == 0, "it may be about to start"
    running = heard((0.1, REFUSED), (0.2, WRONG), (0.3, GOOD), (0.4, GOOD))
    assert (running.failed(finally_=True), running.result()["sent"]) == (0, 2)
    assert heard((0.3, GOOD), (0.4, WRONG), (0.5, REFUSED)).failed() == 2


def test_a_request_of_before_the_first_good_answer_does_not_count_when_it_fails_later() -> None:
    assert heard((0.3, GOOD), (0.1, WRONG)).failed(finally_=True) == 0


def test_a_site_that_never_answers_well_has_failed(told: Callable[[], str]) -> None:
    with Server(broken) as server, Beside() as beside:
        running = probing(server.port)
        beside.end_after(0.3)
        assert probe.run(running, beside.others, max_failures=0) == 1
        assert running.failed(finally_=True) == server.asked > 0
    assert '"too-many-failures"' in told()


def test_where_nothing_ever_serves_nothing_is_counted(told: Callable[[], str]) -> None:
    with Beside() as beside:
        beside.end_after(0.2)
        assert probe.run(probing(free_port()), beside.others, max_failures=0) == 0
    assert told() == "{}\n", "a sign that it is at work, and no more"


def test_more_failures_than_allowed_end_it_at_once(told: Callable[[], str], capsys: pytest.CaptureFixture[str]) -> None:
    statuses = iter([200] * 3)
    with Server(lambda: next(statuses, 500)) as server, Beside() as beside:  # the other steps do not end
        assert probe.run(probing(server.port), beside.others, max_failures=3) == 1
    assert "requests have failed; the settings allow 3" in capsys.readouterr().out
    assert '"HTTP 500"' in told()


def test_failures_that_no_number_limits_are_counted_and_no_more(told: Callable[[], str]) -> None:
    statuses = iter([200] * 3)

    def act() -> int:
        status = next(statuses, 500)
        if status == 500:
            beside.end()
        return status

    with Beside() as beside, Server(act) as server:
        assert probe.run(probing(server.port), beside.others, max_failures=None) == 0
    assert '"HTTP 500"' in told()


def test_a_request_that_is_just_being_sent_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    begins = threading.Event()

    class Slow(threading.Thread):
        def start(self) -> None:
            begins.set()
            time.sleep(0.1)
            super().start()

    with Server(well) as server:
        (site,) = probing(server.port).sites
        sender = threading.Thread(target=site.ask)
        monkeypatch.setattr(threading, "Thread", Slow)
        sender.start()
        assert begins.wait(30)
        site.wait_for_answers(time.monotonic() + 30)
        assert site.is_known
        sender.join()


def test_each_address_of_a_release_is_asked_its_health_page_or_the_path_of_the_probe(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.release(
        "r1",
        Process("web", "gunicorn x", bind="127.0.0.1:8001", health="/up/"),
        Process("api", "gunicorn y", bind="unix:/run/api"),
        Process("worker", "celery"),
    )
    asked = probe.questions(str(home.path), ["r1"], None)
    assert [(str(each.where), each.asked["path"]) for each in asked] == [
        ("127.0.0.1:8001", "/up/"),
        ("unix:/run/api", "/"),
    ]
    assert {each.asked["path"] for each in probe.questions(str(home.path), ["r1"], "/shop/")} == {"/shop/"}


# --- addresses that only one of the releases has ----------------------------------------------------------------------


def test_the_addresses_of_both_releases_are_asked(tmp_path: Path) -> None:
    home = Home(tmp_path)
    stays = Process("web", "gunicorn x", bind="127.0.0.1:8001", health="/new/")
    home.release("r1", replace(stays, health="/old/"), Process("api", "gunicorn y", bind="127.0.0.1:8002"))
    home.release("r2", stays, Process("shop", "gunicorn z", bind="127.0.0.1:8003"))
    asked = probe.questions(str(home.path), ["r2", "r1"], None)
    assert [(str(each), each.asked["path"], each.releases) for each in asked] == [
        ("web at 127.0.0.1:8001", "/new/", ("r2", "r1")),
        ("shop at 127.0.0.1:8003", "/", ("r2",)),
        ("api at 127.0.0.1:8002", "/", ("r1",)),
    ]
    (home.path / "r1/runtime.json").write_text("{")
    assert len(probe.questions(str(home.path), ["r2", "r1"], None)) == 2


def moving(*events: tuple[str, Answer] | str, removed: bool = False) -> Probe:
    """A probe of a site whose `web` has one address in r1 and another in r2, or none there.

    Args:
        events: answers of an address, and which release becomes current.
    """
    current = ["r1"]
    old, new = Address("", 0, "/old"), Address("", 0, "/new")
    asked = [Question(old, {"timeout": 1}, "web", ("r1",))]
    asked += [] if removed else [Question(new, {"timeout": 1}, "web", ("r2",))]
    running = Probe(asked, 10, lambda: current[0])
    sites = dict(zip(("old", "new"), running.sites, strict=False))
    for number, event in enumerate([("old", GOOD), *events]):
        if isinstance(event, str):
            current[0] = event
        else:
            sites[event[0]]._hear(sites[event[0]].began + number / 10, 0.1, event[1])
    return running


@pytest.mark.parametrize(
    ("events", "failed"),
    [
        ([("old", REFUSED), ("old", WRONG)], 2),
        (["r2", ("old", REFUSED), ("new", REFUSED), ("new", GOOD)], 1),
        (["r2", ("new", GOOD), ("old", REFUSED), ("old", REFUSED)], 0),
        (["r2", ("new", GOOD), ("old", WRONG), ("old", TIMEOUT)], 2),
        (["r2", ("new", GOOD), ("new", REFUSED)], 1),
        (["r2", ("new", GOOD), ("old", REFUSED), "r1", ("old", REFUSED), ("new", REFUSED)], 1),
    ],
    ids=["before", "a gap", "moved", "wrong answers", "the new one", "the way back"],
)
def test_an_address_is_counted_as_long_as_it_is_expected_to_serve(
    events: list[tuple[str, Answer] | str], failed: int
) -> None:
    assert moving(*events).failed(finally_=True) == failed


@pytest.mark.parametrize(
    ("events", "failed"),
    [([("old", REFUSED)], 1), (["r2", ("old", WRONG), ("old", REFUSED)], 1), (["r2", "r1", ("old", REFUSED)], 1)],
)
def test_the_users_of_a_process_that_is_removed_are_asked_until_it_ends(
    events: list[tuple[str, Answer] | str], failed: int
) -> None:
    assert moving(*events, removed=True).failed(finally_=True) == failed


# --- a site that drowns -----------------------------------------------------------------------------------------------


def test_a_site_that_hangs_is_asked_ever_less_often() -> None:
    with Server(after(2)) as server, probing(server.port, rate=100) as running:
        time.sleep(1.5)  # what is counted are requests in this time
        assert server.asked < 40
    assert running.result()["skipped"] > server.asked


@pytest.mark.parametrize("status", [429, 503])
def test_a_site_that_says_that_it_is_overloaded_is_asked_less_often(status: int) -> None:
    answers = iter([200])
    with Server(lambda: next(answers, status)) as server, probing(server.port, rate=100, timeout=4):
        time.sleep(1)
        assert server.asked < 10


def test_a_site_that_recovers_is_asked_as_often_as_before() -> None:
    slow = threading.Event()
    slow.set()
    with (
        Server(lambda: after(0.4 if slow.is_set() else 0)()) as server,
        probing(server.port) as running,
    ):
        wait_until("slow answers", lambda: running.sites[0].tally.sent > 2)
        slow.clear()
        wait_until("the beat", lambda: running.sites[0].pause < 1 / 50)


# --- how much has failed ----------------------------------------------------------------------------------------------


def tally(*parts: tuple[float, bool], every: float = 0.1) -> Tally:
    """What was counted in parts of so many seconds, in which the site was well or not."""
    made, at = Tally(), 0.0
    for seconds, ok in parts:
        for _ in range(round(seconds / every)):
            made.count(round(at, 3), every, Answer(ok, 200 if ok else 500, kind="" if ok else "HTTP 500"))
            at += every
    return made


@pytest.mark.parametrize(
    ("parts", "share"),
    [
        ([(30.0, True)], 0.0),
        ([(3.0, False)], 1.0),
        ([(1.0, True), (1.0, False)], 0.5),
        ([(60.0, True), (20.0, False), (1800.0, True)], 1.0),
        ([(60.0, True), (1.0, False), (60.0, True)], 0.1),
        ([(0.2, True), (0.1, False), (5.0, True)], 0.1 / 5.3),
        ([(100.0, True), (0.1, False)], 0.01),
        ([(9.0, True), (0.5, False), (9.0, True), (0.5, False), (9.0, True)], 0.1),
    ],
)
def test_the_worst_ten_seconds_count(parts: list[tuple[float, bool]], share: float) -> None:
    assert tally(*parts).worst_share == pytest.approx(share, abs=0.011)


def test_a_request_stands_for_the_time_since_the_one_before() -> None:
    """A site that hangs half of the time is asked less often then, and is no better for it."""
    made = tally((5.0, True))
    made.count(6.0, 1.0, Answer(False, kind="timeout"))
    made.count(10.0, 4.0, Answer(False, kind="timeout"))
    assert made.worst_share > 0.45


def test_several_addresses_are_one_report() -> None:
    running = Probe([Question(Address("", 0, path), {"timeout": 1}, path[1:]) for path in ("/one", "/two")], 10)
    for site, ok in zip(running.sites, (True, False), strict=True):
        site._hear(site.began + 1, 0.1, Answer(True, 200, release="r1"))
        site._hear(site.began + 2, 0.1, Answer(ok, 500, kind="HTTP 500", release="r1"))
    result: dict[str, Any] = running.result()
    assert (result["sent"], result["failed"], result["kinds"]) == (4, 1, {"HTTP 500": 1})
    assert result["worst_share"] == 0.5
    assert [(site["process"], site["address"], site["failed"]) for site in result["sites"]] == [
        ("one", "unix:/one", 0),
        ("two", "unix:/two", 1),
    ]
    assert result["releases"]["r1"]["count"] == 4


def test_a_site_is_asked_on_the_beat() -> None:
    with Server(well) as server, probing(server.port, rate=20) as running:
        (site,) = running.sites
        wait_until("ten answers", lambda: site.tally.sent >= 10)
        assert time.monotonic() - running.began > 0.4
