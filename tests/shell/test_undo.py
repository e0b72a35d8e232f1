"""A project's own steps, undone where they had begun, by the client or by the server alone; and steps for a failure."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from djdeploy import DEPLOY, Deployment, Recipe, Shell, Step, once, sh, undone_by
from djdeploy.engine import changes
from djdeploy.errors import DeployError, PublishFailed, StepFailed
from djdeploy.recipe import mark_ready, migrate_database, record, switch_links
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.script.steps import StepDefinition
from djdeploy.ssh.opening import Access, Claim
from djdeploy.ssh.step_run import Watcher
from djdeploy.terminal.progress import Report
from tests.local_fleet import Client, LocalFleet
from tests.local_host import commit, quiet_report, who

KILL_FIRST = "case $VIRTUAL_ENV in */host1/*) kill -9 $PPID ;; esac"
"""Kills the agent of the first host."""

HOLD = "while :; do sleep 0.05; done"


@pytest.fixture
def fleet(tmp_path: Path) -> LocalFleet:
    """Two hosts whose first release is live."""
    commit(tmp_path / "project", {"page.html": "first"})
    made = LocalFleet(tmp_path, 2)
    made.deploy(report=quiet_report())
    return made


def said(fleet: LocalFleet) -> list[str]:
    """The lines that steps have written, in order."""
    file = fleet.root / "said"
    return file.read_text().splitlines() if file.exists() else []


def step(fleet: LocalFleet, name: str, command: str = ":") -> Callable[[Deployment], Sequence[Shell]]:
    """A step that says its name and its host, and then does something."""

    def function(d: Deployment) -> Sequence[Shell]:
        return [sh("echo {line} >> {file}", line=f"{name} {d.host}", file=fleet.root / "said"), Shell(command)]

    function.__name__ = name.replace(" ", "_")
    return function


def undoable(fleet: LocalFleet, name: str, command: str = ":") -> StepDefinition:
    return undone_by(step(fleet, f"undo {name}"))(step(fleet, name, command))


def deploy(fleet: LocalFleet, recipe: Recipe, *hosts: str, report: Report | None = None) -> str:
    report = report or quiet_report()
    return changes.deploy(fleet.remotes(*hosts), fleet.settings, report=report, who=who(5), recipe=recipe)


# --- undone by the client ---------------------------------------------------------------------------------------------


def test_what_had_begun_is_undone_in_reverse_order_also_what_earlier_stages_did(fleet: LocalFleet) -> None:
    recipe = (
        DEPLOY.before(mark_ready, undoable(fleet, "one"), undoable(fleet, "two"))
        .after(migrate_database, undoable(fleet, "three"))
        .after(switch_links, undoable(fleet, "four", "false"), undoable(fleet, "five"))
    )
    before = fleet.links()
    with pytest.raises(PublishFailed):
        deploy(fleet, recipe, "host1")
    assert fleet.links() == before
    words = ["one", "two", "three", "four", "undo four", "undo three", "undo two", "undo one"]
    assert said(fleet) == [f"{word} host1" for word in words], "five had not begun; four had, although it failed"


def test_a_failed_build_undoes_its_own_steps_while_the_release_is_still_there(fleet: LocalFleet) -> None:
    def look(d: Deployment) -> Sequence[Shell]:
        return [sh("ls -d {root} >> {file}", root=d.target.root, file=fleet.root / "said")]

    recipe = DEPLOY.before(mark_ready, undone_by(look)(step(fleet, "one")), step(fleet, "two", "false"))
    with pytest.raises(StepFailed):
        deploy(fleet, recipe, "host1")
    assert said(fleet)[2] == f"{fleet.root}/host1/20261123-090005"
    assert not (fleet.root / "host1/20261123-090005").exists()


def test_what_succeeds_is_not_undone_and_a_failure_after_publishing_undoes_nothing(fleet: LocalFleet) -> None:
    recipe = DEPLOY.before(mark_ready, undoable(fleet, "one")).after(record, undoable(fleet, "two", "false"))
    release = deploy(fleet, recipe)
    assert set(fleet.links()) == {release}
    assert not [line for line in said(fleet) if line.startswith("undo")]


def test_a_step_that_is_done_once_is_undone_where_it_was_done(fleet: LocalFleet) -> None:
    both = undone_by(step(fleet, "undo"))(once(step(fleet, "do")))
    recipe = DEPLOY.before(mark_ready, both).after(switch_links, step(fleet, "fail", "false"))
    with pytest.raises(PublishFailed):
        deploy(fleet, recipe)
    assert [line for line in said(fleet) if "do" in line] == ["do host1", "undo host1"]


def test_an_undo_that_fails_is_said_and_the_others_go_on(fleet: LocalFleet) -> None:
    bad = undone_by(step(fleet, "undo two", "false"))(step(fleet, "two"))
    recipe = DEPLOY.before(mark_ready, undoable(fleet, "one"), bad).after(switch_links, step(fleet, "fail", "false"))
    before = fleet.links()
    with pytest.raises(PublishFailed) as caught:
        deploy(fleet, recipe, "host1")
    assert "host1: NOT restored" in caught.value.site
    assert said(fleet)[-2:] == ["undo two host1", "undo one host1"]
    assert fleet.links() == before, "the links are put back before"


# --- undone by the server alone ---------------------------------------------------------------------------------------


def hooked(fleet: LocalFleet, *places: str) -> None:
    for host in fleet.names:
        for place in places:
            fleet.hook(host, place, f"echo {place} {host} >>{fleet.root}/said")


def test_a_server_whose_client_is_gone_undoes_what_had_begun_there(fleet: LocalFleet) -> None:
    before = fleet.links()
    hooked(fleet, "build", "undo_build", "migrate", "undo_migrate", "undo_publish")
    fleet.hook("host1", "publish", f"echo publish host1 >>{fleet.root}/said\n{HOLD}")
    with Client(fleet) as client:
        wait_until("publishing", lambda: "publish host1" in said(fleet))
        client.process.kill()
        wait_until("the locks", lambda: all(fleet.is_free(name) for name in fleet.names))
    assert fleet.links() == before
    on_first = [line.split()[0] for line in said(fleet) if line.endswith("host1")]
    assert on_first == ["build", "migrate", "publish", "undo_publish", "undo_migrate", "undo_build"]
    on_second = [line.split()[0] for line in said(fleet) if line.endswith("host2")]
    assert on_second == ["build", "migrate", "undo_migrate", "undo_build"], "it had not begun to publish"


def test_a_server_whose_client_is_gone_does_not_undo_what_had_not_begun(fleet: LocalFleet) -> None:
    file = fleet.root / "said"

    def says(name: str, then: str = ":", undoes: tuple[int, ...] | None = None) -> Step:
        return Step(name, name, (sh("echo {name} >> {file}", name=name, file=file), Shell(then)), undoes=undoes)

    steps = [says("first"), says("second", HOLD), says("third")]
    undos = [says(f"undo-{name}", undoes=(i,)) for i, name in enumerate(["first", "second", "third"])]
    (remote,) = fleet.remotes("host1")
    remote.connect()
    remote.open(Access(claim=Claim(by="ann", task="deploy", at="", run=""), create=[]))

    def run() -> None:
        with contextlib.suppress(DeployError):
            remote.run(steps, {}, Watcher(), if_lost=[*undos, says("always")])

    running = threading.Thread(target=run)
    running.start()
    wait_until("the second step", lambda: "second" in said(fleet))
    remote.connection.channels[-1].process.stdin.close()
    running.join(30)
    wait_until("the lock", lambda: fleet.is_free("host1"))
    remote.abandon()
    assert said(fleet) == ["first", "second", "undo-first", "undo-second", "always"]


def test_an_interrupt_undoes_what_had_begun(fleet: LocalFleet) -> None:
    before = fleet.links()
    hooked(fleet, "undo_build", "undo_migrate", "undo_publish")
    fleet.hook("host1", "migrate", f"touch {fleet.root}/migrating\n{HOLD}")
    with Client(fleet) as client:
        client.when(fleet.root / "migrating", signal.SIGINT)
        output = client.output
        assert client.process.returncode == 130, output
    assert fleet.links() == before
    assert [line for line in said(fleet) if line.endswith("host1")] == ["undo_migrate host1", "undo_build host1"]


# --- steps for a failure ----------------------------------------------------------------------------------------------


def tell(fleet: LocalFleet) -> Callable[[Deployment], Sequence[Shell]]:
    def tell_chat(d: Deployment) -> Sequence[Shell]:
        assert d.failure
        line = f"{d.host}|{d.failure.stage}|{d.failure.code}|{d.failure.what}|{d.failure.site}"
        return [sh("echo {line} >> {file}", line=line, file=fleet.root / "said")]

    return tell_chat


@pytest.mark.parametrize("stage", ["build", "migrate", "publish"])
def test_the_steps_for_a_failure_run_whatever_failed_and_know_it(fleet: LocalFleet, stage: str) -> None:
    anchor: Any = {"build": mark_ready, "migrate": migrate_database, "publish": switch_links}[stage]
    recipe = DEPLOY.after(anchor, step(fleet, "fail", "false")).if_failed(once(tell(fleet)))
    with pytest.raises(DeployError) as caught:
        deploy(fleet, recipe)
    (line,) = [line for line in said(fleet) if "|" in line]
    host, name, code, what, site = line.split("|")
    assert (host, name, code) == ("host1", stage, "")
    assert '"fail" failed (exit 1)' in what
    assert site == caught.value.site.splitlines()[0]


def test_a_failure_is_told_with_its_code_after_everything_was_restored(fleet: LocalFleet) -> None:
    before = fleet.links()
    recipe = DEPLOY.after(switch_links, step(fleet, "fail", "kill -9 $$")).if_failed(
        tell(fleet), step(fleet, "links", f"readlink {fleet.root}/host1/current >> {fleet.root}/said")
    )
    with pytest.raises(PublishFailed):
        deploy(fleet, recipe, "host1")
    assert [line.split("|")[2] for line in said(fleet) if "|" in line] == ["step-killed"]
    assert said(fleet)[-1] == before[0]


def test_what_is_done_once_for_a_failure_is_done_on_the_first_host_that_is_still_there(fleet: LocalFleet) -> None:
    recipe = DEPLOY.after(migrate_database, undoable(fleet, "die", KILL_FIRST)).if_failed(once(tell(fleet)))
    with pytest.raises(DeployError):
        deploy(fleet, recipe)
    assert [line.split("|")[0] for line in said(fleet) if "|" in line] == ["host2"]


def test_a_step_for_a_failure_that_fails_is_a_warning(fleet: LocalFleet) -> None:
    recipe = DEPLOY.after(mark_ready, step(fleet, "fail", "false")).if_failed(
        step(fleet, "no chat", "exit 7"), step(fleet, "next")
    )
    report = quiet_report()
    with pytest.raises(StepFailed, match="fail"):
        deploy(fleet, recipe, "host1", report=report)
    assert "warning: a step of on_failure" in report.out.getvalue()
    assert said(fleet)[-1] == "next host1"


def test_a_fault_in_a_step_for_a_failure_does_not_hide_the_error(fleet: LocalFleet) -> None:
    def faulty(d: Deployment) -> Sequence[Shell]:
        raise KeyError("no such thing")

    recipe = DEPLOY.after(mark_ready, step(fleet, "fail", "false")).if_failed(faulty)
    report = quiet_report()
    with pytest.raises(StepFailed, match='"fail" failed'):
        deploy(fleet, recipe, "host1", report=report)
    assert "no such thing" in report.out.getvalue()


def test_no_step_for_a_failure_runs_where_all_went_well(fleet: LocalFleet) -> None:
    deploy(fleet, DEPLOY.if_failed(tell(fleet)))
    assert said(fleet) == []
