"""The same faults on a real Debian server, and those that only one can suffer: real cuts, real pauses, a full disk."""

from __future__ import annotations

import json
import random
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from djdeploy.rehearsal.load import Load
from djdeploy.rehearsal.waiting import wait_until

from .faults import Client
from .site import HOME, Site, Targets

LOCK = f"{HOME}/.djdeploy/lock"
STEP = re.compile(r"ok     (.+), [\d.]+ s$", re.MULTILINE)


def is_free(site: Site) -> bool:
    return site.target.root("flock", "-n", LOCK, "true")[0] == 0


KILL = f'flock -n {LOCK} true || python3 -c \'import json, os; os.kill(json.load(open("{LOCK}"))["pid"], 9)\''
"""Ends the agent that holds the lock, by its own word."""


def state(site: Site, release: str) -> str:
    return str(json.loads(site.target.look("cat", f"{HOME}/{release}/release.json"))["state"])


def litter(site: Site) -> str:
    """What a deploy makes on its way, and nobody needs afterwards."""
    places = f"{HOME}/.[!.d]* {HOME}/.djdeploy/new-* {HOME}/.djdeploy/trash/* {HOME}/*/*.tar {HOME}/*/release.json.*"
    return site.target.look("sh", "-c", f"ls -d {places} 2>/dev/null")


def assert_the_next_deploy_needs_no_help(site: Site) -> None:
    before = site.link("current")
    site.fab("deploy")
    after = site.link("current")
    assert after != before
    assert site.answering() == after
    assert {*site.states().values()} <= {"live", "previous", "good", "failed", "bad"}
    assert litter(site) == ""


@pytest.mark.parametrize("seed", range(4), ids=lambda seed: f"seed_{seed}")
@pytest.mark.slow  # test_killed_at_any_instant.py strikes at some instants of the embedded target each time
def test_a_kill_at_a_random_instant_loses_no_request(live: Site, seed: int) -> None:
    chance = random.Random(seed)
    began = time.monotonic()
    live.fab("deploy")
    duration = time.monotonic() - began
    for victim in ("client", "agent"):
        with Load(live.url, rate=20) as load:
            client = Client(live.popen("deploy"))
            time.sleep(chance.uniform(0.2, 1) * duration)  # the instant itself
            if victim == "client":
                client.end()
            else:
                live.target.root("sh", "-c", KILL)
            client.wait()
            wait_until("the end of the session", lambda: live.target.root("pgrep", "-u", "demo", "-x", "sshd")[0] != 0)
            wait_until("the lock", lambda: is_free(live), 60)
            stands = live.link("current")
            assert state(live, stands) in (("published",) if victim == "client" else ("published", "ready"))
            assert_the_next_deploy_needs_no_help(live)
        assert load.summary().failed == 0, load.summary()


@pytest.mark.slow
def test_a_network_that_is_cut_without_a_word_frees_the_lock_within_a_minute(live: Site) -> None:
    first = live.link("current")
    live.write_fabfile(build_steps=["sleep 1000"])
    client = Client(live.popen("deploy"))
    wait_until("the step", lambda: live.target.root("pgrep", "-x", "sleep")[0] == 0)
    for chain, port in (("INPUT", "--dport"), ("OUTPUT", "--sport")):
        assert live.target.root("iptables", "-I", chain, "-p", "tcp", port, "22", "-j", "DROP")[0] == 0
    assert not is_free(live)
    wait_until("the lock", lambda: is_free(live), 60)
    client.end()
    assert live.target.root("pgrep", "-x", "sleep")[0] != 0
    assert live.target.root("iptables", "-F")[0] == 0
    assert (live.link("current"), live.answering()) == (first, first)
    assert_the_next_deploy_needs_no_help(live)


def test_a_server_that_stands_still_for_a_while_goes_on_as_if_nothing_had_been(live: Site) -> None:
    before = live.link("current")
    client = Client(live.popen("deploy"))
    client.wait_for("Switch the links")
    live.target.container.pause()
    time.sleep(12)  # the fault itself: longer than a heartbeat
    live.target.container.unpause()
    assert client.wait() == 0, client.output
    after = live.link("current")
    assert after != before
    assert (state(live, after), live.answering()) == ("published", after)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_a_disk_that_is_full_from_one_step_to_the_next_leaves_a_site_that_answers(
    docker_target: Targets, tmp_path: Path, part: int
) -> None:
    site = Site(docker_target(disk="120m"), tmp_path)
    # The project's own database is on another disk: what SQLite does on a full one is not the question here.
    env = {**site.settings.env, "DATABASE": "/home/demo/db"}
    processes = [replace(process, timeout=10) for process in site.settings.processes]
    site.settings = replace(site.settings, env=env, processes=processes, smoke_test=False)
    site.install()
    site.fab("deploy")
    titles = [("deploy", title) for title in STEP.findall(site.fab("deploy"))]
    titles += [("rollback", title) for title in STEP.findall(site.fab("rollback"))]
    site.fab("deploy")
    wrong = []
    for task, title in titles[part::4]:
        client = Client(site.popen(task))
        client.wait_for(f"ok     {title},")
        site.target.root("sh", "-c", f"head -c 1000000000 /dev/zero > {HOME}/shared/filler")
        client.wait()
        wait_until("the lock", lambda: is_free(site), 60)
        stands = site.link("current")
        if state(site, stands) != "published" or site.answering() != stands or "NOT restored" in client.output:
            wrong.append(f"{task} after {title!r}: {stands} is {state(site, stands)}, {site.answering()} answers")
            print(wrong[-1], client.output, sep="\n")
        site.target.root("rm", f"{HOME}/shared/filler")
        assert_the_next_deploy_needs_no_help(site)
    assert wrong == []
