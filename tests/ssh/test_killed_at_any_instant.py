"""Killed at any instant, nothing is lost: a fault strikes a deploy or a rollback, and the next deploy needs no help.

Every boundary between two steps is struck by every fault, and so are as many random instants as `--faults=N` says. The
number of a random instant is its seed: `pytest --faults=0 -k 'seed_17'` repeats one... as far as time can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from djdeploy import Step
from djdeploy.rehearsal.target import Rehearsal
from tests.docker_target import wait_until

from .faults import BOUNDARIES, FAULTS, Client, FaultySite, Watch, answering, random_instant


@pytest.fixture(scope="module")
def shared_site() -> Iterator[FaultySite]:
    """One site for all tests of a worker: each must find it as good as new, whatever was done to it before."""
    with Rehearsal() as server:
        site = FaultySite(server)
        site.install()
        yield site
        site.switch.close()


@pytest.fixture
def site(shared_site: FaultySite) -> Iterator[FaultySite]:
    yield shared_site
    shared_site.switch.cut.clear()


def begin(site: FaultySite, task: str, fault: str) -> Client:
    return site.popen(*(["-c", "impatient"] if fault in ("network", "long") else []), task)


def assert_nothing_is_lost(site: FaultySite, fault: str, client: Client, before: str) -> None:
    """After a fault: the site stands as the stage promised, and the next deploy needs no help and leaves no trace."""
    site.wait_for_the_lock()
    stands = site.current
    if fault in ("agent", "session"):
        # Nobody is left who could go back: whole, smoke-tested and synced is what a release is before the links move.
        assert site.state(stands) in ("ready", "live")
    else:
        assert site.state(stands) == "live"
        wait_until(f"{stands} to answer", lambda: {answering(site.port) for _ in range(8)} == {stands})
    site.fab("deploy")
    after = site.current
    assert after not in (before, stands)
    assert {answering(site.port) for _ in range(8)} == {after}
    assert set(site.states().values()) <= {"live", "bad", "failed"}
    assert site.litter() == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("task", "step"), [pytest.param(t, s, id=f"{t}-after-{s.name}") for t, s in BOUNDARIES])
def test_a_fault_between_two_steps_loses_nothing(site: FaultySite, task: str, step: Step, fault: str) -> None:
    before = site.current
    with Watch(site.home, site.port) as watch:
        client = begin(site, task, fault)
        client.wait_for(f"ok     {step.title},")
        FAULTS[fault](site, client)
        code = client.wait()
        assert_nothing_is_lost(site, fault, client, before)
    assert watch.wrong == [], client.output
    if fault == "host":
        assert code == 0, client.output


def test_a_fault_at_a_random_instant_loses_nothing(site: FaultySite, seed: int) -> None:
    task, fault, part = random_instant(seed)
    before = site.current
    with Watch(site.home, site.port) as watch:
        client = begin(site, task, fault)
        time.sleep(part * site.durations[task])  # the instant itself
        FAULTS[fault](site, client)
        client.wait()
        assert_nothing_is_lost(site, fault, client, before)
    assert watch.wrong == [], client.output
