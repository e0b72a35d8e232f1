"""The probe asks in all stages of a task, and its verdict is the task's: one report, and an exit code of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from djdeploy import DEPLOY, ROLLBACK, Deployment, Probe, Process, Recipe, Shell, sh
from djdeploy.engine import changes
from djdeploy.errors.kinds import PublishFailed, RequestsFailed, StepFailed
from djdeploy.recipe import RESTART, check_manager, migrate_database, restart_processes, switch_links
from djdeploy.rehearsal.waiting import wait_until
from tests.answering import Server
from tests.local_fleet import LocalFleet
from tests.local_host import commit, local_remote, quiet_report, who

from .test_deploys_here import Site


class Users:
    """What users meet: the site is well, but while a step of this name runs, which ends when enough were hurt."""

    def __init__(self, root: Path) -> None:
        self.hurt, self.left, self.lock = root / "hurt", 0, threading.Lock()

    def act(self) -> int:
        with self.lock:
            if not self.hurt.exists():
                return 200
            self.left -= 1
            if self.left == 0:
                self.hurt.unlink()
            return 500

    def hurting(self, requests: int) -> Callable[[Deployment], Sequence[Shell]]:
        def hurt(d: Deployment) -> Sequence[Shell]:
            """Hurt users for a while"""
            self.left = requests
            return [sh("touch {file}; while [ -e {file} ]; do sleep 0.02; done", file=self.hurt)]

        return hurt


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return Users(tmp_path)


@pytest.fixture
def site(tmp_path: Path, users: Users) -> Iterator[Site]:
    """A site that nobody restarts: its server is ours."""
    with Server(users.act) as server:
        made = Site(tmp_path)
        process = Process("web", "gunicorn x", bind=f"127.0.0.1:{server.port}", health="/")
        made.change(processes=[process], probe=Probe(rate=40, max_share=0.01), smoke_test=False, manage_steps=[])
        yield made


QUIET = DEPLOY.without(check_manager, restart_processes)


def test_a_task_that_hurts_nobody_says_how_many_were_asked(site: Site) -> None:
    site.deploy(recipe=QUIET)
    (line,) = site.history()
    assert line["probe"]["failed"] == 0
    assert site.shown.splitlines()[-1].endswith(f"; 0 of {line['probe']['sent']} requests failed")


@pytest.mark.parametrize("stage", ["migrate", "publish"])
def test_users_who_were_hurt_in_any_stage_turn_the_last_line_red(site: Site, users: Users, stage: str) -> None:
    place = migrate_database if stage == "migrate" else switch_links
    with pytest.raises(RequestsFailed) as caught:
        site.deploy(recipe=QUIET.after(place, users.hurting(20)))
    (line,) = site.history()
    assert caught.value.exit_code == 6
    assert line["outcome"] == "done"
    assert line["probe"]["kinds"].keys() == {"HTTP 500"}
    assert site.link("current") == line["release"], "nothing was undone"
    asked = f"{line['probe']['failed']} of {line['probe']['sent']}"
    last = caught.value.message.splitlines()[-1]
    assert last.startswith(f"FAILED: {line['release']} is live on here, after ")
    web = f"web at {site.settings.processes[0].bind}"
    assert last.endswith(f"; {asked} requests failed, too many of {web} on here")
    assert f"here: {web}: {asked} (" in caught.value.what
    assert "where 1% are allowed" in caught.value.what


def test_users_of_an_address_that_the_new_release_does_not_have_are_asked_as_well(site: Site, users: Users) -> None:
    site.deploy(recipe=QUIET)
    old = site.settings.processes[0]
    with Server(lambda: 200) as server:
        site.change(processes=[replace(old, bind=f"127.0.0.1:{server.port}")])
        with pytest.raises(RequestsFailed) as caught:
            site.deploy(recipe=QUIET.after(switch_links, users.hurting(20)))
    last = caught.value.message.splitlines()[-1]
    assert last.endswith(f"too many of web at {old.bind} on here")
    assert str(server.port) not in last


def test_a_rollback_is_probed_while_it_migrates_back(site: Site, users: Users) -> None:
    for _ in range(2):
        site.deploy(recipe=QUIET)
    with pytest.raises(RequestsFailed):
        site.rollback(
            recipe=ROLLBACK.without(check_manager, restart_processes).after("migrate_back", users.hurting(20))
        )
    assert site.states()[site.history()[-1]["release"]] == "live"
    assert site.history()[-1]["probe"]["failed"] > 2


def test_a_restart_is_probed(site: Site, users: Users) -> None:
    site.deploy(recipe=QUIET)
    with pytest.raises(StepFailed) as caught:
        site._call(changes.restart)
    assert caught.value.error_code == "manager-differs", "nobody would start again what a restart ends"
    assert caught.value.exit_code == 1
    recipe = RESTART.without(check_manager).replace(restart_processes, users.hurting(20))
    with pytest.raises(RequestsFailed):
        site._call(changes.restart, recipe=recipe)


def fail(d: Deployment) -> Sequence[Shell]:
    """Fail"""
    return [sh("exit 1")]


@pytest.mark.parametrize("task", ["deploy", "restart"])
def test_the_history_says_what_users_have_met_of_a_task_that_failed(site: Site, users: Users, task: str) -> None:
    site.deploy(recipe=QUIET)
    recipes = {
        "deploy": QUIET.after(switch_links, users.hurting(20), fail),
        "restart": RESTART.without(check_manager).replace(restart_processes, users.hurting(20), fail),
    }
    with pytest.raises(PublishFailed) as caught:
        site._call(getattr(changes, task), recipe=recipes[task])
    line = site.history()[-1]
    assert line["outcome"] == "failed in publish"
    assert line["probe"]["failed"] > 2
    asked = f"{line['probe']['failed']} of {line['probe']['sent']}"
    assert caught.value.site.splitlines()[-1] == f"Until then, {asked} requests failed."


def test_as_many_failures_as_the_settings_allow_are_no_failure(site: Site, users: Users) -> None:
    site.change(probe=Probe(rate=40, max_share=1))
    site.deploy(recipe=QUIET.after(switch_links, users.hurting(20)))
    assert site.history()[0]["probe"]["failed"] > 2


@pytest.mark.parametrize(
    ("stage", "error"), [("migrate", StepFailed), ("publish", PublishFailed)], ids=["migrate", "publish"]
)
def test_more_failures_than_allowed_end_the_stage_and_undo_it(
    site: Site, users: Users, stage: str, error: type[Exception]
) -> None:
    site.deploy(recipe=QUIET)
    first = site.link("current")
    site.change(probe=Probe(rate=40, max_failures=3))
    place = migrate_database if stage == "migrate" else switch_links
    with pytest.raises(error) as caught:
        site.deploy(recipe=QUIET.after(place, users.hurting(100_000)))  # its end is not awaited
    assert caught.value.error_code == "too-many-failures"  # type: ignore[attr-defined]
    assert site.history()[-1]["probe"]["failed"] > 3
    assert site.link("current") == first
    assert sorted(site.states().values()) == ["failed", "live"]


def test_more_failures_than_allowed_at_the_very_end_undo_all_hosts(tmp_path: Path, users: Users) -> None:
    """They are met when the last host has published: nothing is committed yet."""
    commit(tmp_path / "project", {"page.html": "first"})
    with Server(users.act) as server:
        process = Process("web", "gunicorn x", bind=f"127.0.0.1:{server.port}", health="/")
        fleet = LocalFleet(tmp_path, 2, processes=[process], smoke_test=False, probe=Probe(rate=40, max_failures=0))
        run(fleet, QUIET, 0)
        before = fleet.links()
        fleet.change()
        with pytest.raises(PublishFailed):
            run(fleet, QUIET.after("mark_published", last_host_hurts(users)), 1)
        assert fleet.links() == before


def last_host_hurts(users: Users) -> Callable[[Deployment], Sequence[Shell]]:
    def hurt(d: Deployment) -> Sequence[Shell]:
        """Hurt users on the last host"""
        return [*users.hurting(5)(d)] if d.host == "host2" else []

    return hurt


def run(fleet: LocalFleet, recipe: Recipe, seconds: int) -> str:
    return changes.deploy(fleet.remotes(), fleet.settings, report=quiet_report(), who=who(seconds), recipe=recipe)


def test_a_probe_does_not_outlive_the_agent(site: Site) -> None:
    def leave(d: Deployment) -> Sequence[Shell]:
        """Lose the agent"""
        return [sh("kill -9 $PPID")]

    with pytest.raises(PublishFailed):
        changes.deploy(
            [local_remote(site.settings)],
            site.settings,
            report=quiet_report(),
            who=who(5),
            recipe=QUIET.after(switch_links, leave),
        )
    wait_until("the end of the probe", lambda: not probes(site.home))


def probes(home: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"probe" in command and str(home).encode() in command:
            found.append(entry.name)
    return found
