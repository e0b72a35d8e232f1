"""Killed at any instant, nothing is lost: a fault strikes a deploy or a rollback, and the next deploy needs no help.

With `--all` every boundary between two steps is struck by every fault, and so are a hundred random instants; else each
boundary by one fault, and a handful of instants, which the seed that pytest's header shows has chosen. The number of an
instant is a seed as well: `pytest tests/ssh/test_killed_at_any_instant.py --all -k seed_17` repeats one.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Iterator

import pytest

from djdeploy import Step
from djdeploy.rehearsal.target import Rehearsal
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.durations import USUAL
from tests.hurry import PATIENT

from .faults import BOUNDARIES, FAULTS, LONG, Client, FaultySite, Watch, answering, command_of, random_instant, send


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
    """A task, which waits for seconds instead of a minute if the fault is one that only waiting can find."""
    return site.popen(*(["-c", "impatient"] if fault in ("network", *LONG) else []), task)


def assert_nothing_is_lost(site: FaultySite, fault: str, client: Client, before: str) -> None:
    """After a fault: the site stands as the stage promised, and the next deploy needs no help and leaves no trace."""
    if fault == "network":
        site.wait_for_the_lock()
        client.end()  # it would wait some seconds more for an answer; another test lets it
    client.wait()
    wait_until("the agent to be gone", lambda: not site.agents(), 60)  # it may have been about to take the lock
    site.wait_for_the_lock()
    stands = site.current
    if fault in ("agent", "session"):
        # Nobody is left who could go back: whole, smoke-tested and synced is what a release is before the links move.
        assert site.state(stands) in ("ready", "published")
    else:
        assert site.state(stands) == "published"
        assert releases_answering(site) == {stands}
    site.fab("deploy")
    after = site.current
    assert after not in (before, stands)
    assert releases_answering(site) == {after}
    assert set(site.states().values()) <= {"published", "bad", "failed"}
    assert site.litter() == []


def releases_answering(site: FaultySite) -> set[str]:
    """Both instances answer in turn, so several questions meet both."""
    return {answering(site.port) for _ in range(20)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "boundary" in metafunc.fixturenames:
        option = metafunc.config.option
        chance = random.Random(option.fault_seed)
        struck = [(b, fault) for b in BOUNDARIES for fault in (FAULTS if option.all else [chance.choice([*FAULTS])])]
        ids = [f"{task}-after-{step.name}-{fault}" for (task, step), fault in struck]
        metafunc.parametrize(("boundary", "fault"), struck, ids=ids)


def test_a_fault_between_two_steps_loses_nothing(site: FaultySite, boundary: tuple[str, Step], fault: str) -> None:
    task, step = boundary
    before = site.current
    with Watch(site.home, site.port) as watch:
        client = begin(site, task, fault)
        client.wait_for(f"ok     {step.title},")
        FAULTS[fault](site, client)
        assert_nothing_is_lost(site, fault, client, before)
    assert watch.wrong == [], client.output
    if fault == "host":
        assert client.wait() == 0, client.output


def test_a_fault_at_a_random_instant_loses_nothing(site: FaultySite, instant: int) -> None:
    task, fault, part = random_instant(instant)
    before = site.current
    with Watch(site.home, site.port) as watch:
        client = begin(site, task, fault)
        time.sleep(part * site.durations[task])  # the instant itself
        {**FAULTS, **LONG}[fault](site, client)
        assert_nothing_is_lost(site, fault, client, before)
    assert watch.wrong == [], f"{task} {fault}\n{client.output}"


def test_a_client_whose_network_is_cut_gives_up_and_says_how_the_host_stands(site: FaultySite) -> None:
    before = site.current
    with site.holding("check"):
        client = site.popen("-c", "impatient", "deploy")
        site.wait_for_hold()
        site.switch.cut.set()
        assert client.wait() == 4, client.output
    assert "no answer from the host in time" in client.output
    assert f"Nothing was published there; {before} is live." in client.output
    assert site.is_free(), "the agent gave up before the client did"
    assert site.current == before
    wait_until("the end of the step", lambda: sleeping(site) == [])


def test_what_deploys_killed_at_the_worst_instant_have_left_is_removed_by_the_next(site: FaultySite) -> None:
    """The instants between two commands of a step are short: what is there in each of them is made by hand."""
    private = site.home / ".djdeploy"
    for name in ("new-0123456789abcdef", "programs-abcdefgh", "trash/20200101-000000.17"):
        (private / name).mkdir(parents=True)
        (private / name / "release.json").write_text('{"name": "20200101-000000"}')
    for name in (".current-0123456789abcdef", ".previous-0123456789abcdef"):
        (site.home / name).symlink_to("20200101-000000")
    (site.home / "bin/djdeploy-launch-1.0123456789abcdef").write_text("half")
    (site.home / "run/.web-smoke-17").write_text("")
    site.fab("deploy")
    assert site.litter() == []


# --- the lock ---------------------------------------------------------------------------------------------------------


def sleeping(site: FaultySite) -> list[int]:
    """What a step that is held has started."""
    return [pid for pid in site.machine() if command_of(pid).startswith(b"sleep\0")]


def test_a_second_deploy_is_told_who_deploys_since_when_and_at_which_step(site: FaultySite) -> None:
    held = r"\S+@\S+ has held the lock since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ for `deploy`, at step check_project"
    with site.holding("check"):
        client = site.popen("deploy")
        site.wait_for_hold()
        second = site.server.fab("deploy", check=False)
        assert second.returncode == 3
        assert re.search(held, second.stdout + second.stderr)
        assert "Nothing was changed." in second.stdout + second.stderr
        assert re.search(held, site.fab("lock"))
        client.end()
        site.wait_for_the_lock(USUAL.client_silence / 2)
    wait_until("the end of the step", lambda: sleeping(site) == [])
    assert "nobody holds the lock" in site.fab("lock")


def test_a_step_that_outlives_its_client_keeps_the_next_deploy_out_until_it_ends(site: FaultySite) -> None:
    site.with_settings("orphaning", build_steps=["setsid sh -c 'touch began; exec sleep 1000' & wait"])
    before = site.current
    client = site.popen("-c", "orphaning", "deploy")
    site.wait_for_hold()
    client.end()
    wait_until("the agent to be gone", lambda: not site.agents())
    (orphan,) = wait_until("the orphan", lambda: sleeping(site))
    refused = site.server.fab("deploy", check=False)
    explained = site.fab("lock")
    send(signal.SIGKILL, [orphan])
    site.wait_for_the_lock()
    site.fab("deploy")
    assert site.current != before
    assert site.litter() == []
    assert refused.returncode == 3
    for text in (refused.stdout + refused.stderr, explained):
        assert "step build_1" in text, "the step that it belongs to"
        assert f"pid {orphan}" in text, "and what of it still runs"
        assert "sleep 1000" in text


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


HELD = {
    "check": "The site still runs {}. The unfinished release was removed.",
    "migrate": "The site still runs {}. Nothing was published; look at what the migration has changed",
    "serve": "The links were put back. The site still runs {}.",
}


@pytest.mark.parametrize(
    ("held", "number"),
    [
        ("check", signal.SIGINT),
        ("migrate", signal.SIGTERM),
        ("serve", signal.SIGINT),
        pytest.param("check", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("migrate", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("serve", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_ends_the_remote_work_too_and_says_how_the_site_stands(
    site: FaultySite, held: str, number: signal.Signals
) -> None:
    before = site.current
    with site.holding(held), Watch(site.home, site.port) as watch:
        client = site.popen("deploy")
        site.wait_for_hold()
        client.process.send_signal(number)
        assert client.wait() == 130, client.output
    assert HELD[held].format(before) in client.output
    assert watch.wrong == []
    site.wait_for_the_lock(USUAL.client_silence / 2)
    assert site.current == before
    assert releases_answering(site) == {before}
    wait_until("the end of all", lambda: [*site.session(), *sleeping(site)] == [])
    site.fab("deploy")
    assert set(site.states().values()) <= {"published", "bad", "failed"}


def test_a_second_interrupt_gives_up_at_once_and_the_server_restores_by_itself(site: FaultySite) -> None:
    before = site.current
    with site.holding("check", "stubborn"):
        client = site.popen("-c", "patient", "deploy")
        site.wait_for_hold()
        client.process.send_signal(signal.SIGINT)
        site.wait_for_hold("told")
        client.process.send_signal(signal.SIGINT)
        assert client.wait(PATIENT.kill_after - 1) == 130, client.output
    assert "interrupted twice: gave up at once" in client.output
    assert not site.is_free(), "the step ignores TERM, and is killed later"
    site.wait_for_the_lock()
    wait_until("the end of all", lambda: [*site.session(), *sleeping(site)] == [])
    assert site.current == before
    site.fab("deploy")


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(site: FaultySite) -> None:
    site.with_settings("hasty", build_steps=["sleep 1000 & (sleep 1000 & wait) & wait"], step_timeout=3)
    done = site.server.fab("-c", "hasty", "deploy", check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "did not end within 3 s (settings: step_timeout)" in done.stderr
    wait_until("the end of all", lambda: [*site.session(), *sleeping(site)] == [])
