"""Several hosts are one transaction, whoever dies and whenever one is interrupted."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from djdeploy import DEPLOY, Deployment, Recipe, Shell, sh
from djdeploy.engine import changes, checkup, on_hosts
from djdeploy.errors.kinds import ConnectionFailed, DeployError, Locked, PublishFailed, SettingsError, StepFailed
from djdeploy.recipe import switch_links
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.script.stages import PUBLISH, Stage
from djdeploy.ssh.opening import Access, Claim
from djdeploy.ssh.remote import Remote
from djdeploy.terminal.progress import Report
from tests.local_fleet import Client, LocalFleet, with_hooks
from tests.local_host import LocalConnection, PipeChannel, commit, quiet_report, who

HOLD = "touch {file}\nwhile :; do sleep 0.05; done"


@pytest.fixture
def fleet(tmp_path: Path) -> LocalFleet:
    commit(tmp_path / "project", {"page.html": "first"})
    return LocalFleet(tmp_path)


@pytest.fixture
def live(fleet: LocalFleet) -> LocalFleet:
    """Three hosts whose first release is live."""
    fleet.deploy()
    fleet.change()
    return fleet


def rollback(fleet: LocalFleet, to: str | None = None) -> str:
    return changes.rollback(fleet.remotes(), fleet.settings, report=quiet_report(), who=who(9), to=to)


# --- a host joins -----------------------------------------------------------------------------------------------------


def test_a_host_that_joins_later_gets_what_is_live_by_its_name_and_a_rollback_says_that_it_lacks_the_one_before(
    fleet: LocalFleet,
) -> None:
    old, new = fleet.remotes("host1", "host2"), fleet.remotes("host3")
    first = fleet.deploy("host1", "host2")
    fleet.change()
    second = fleet.deploy("host1", "host2", seconds=1)
    report = quiet_report()
    joined = changes.deploy(new, fleet.settings, report=report, who=who(2), left_out=old)
    assert joined == second
    assert fleet.links() == [second, second, second]
    assert "host1, host2 were left out" in report.out.getvalue()

    with pytest.raises(DeployError, match="host3 does not have the release to go back to") as caught:
        rollback(fleet)
    assert f"fab rollback --to={first} --except=host3" in caught.value.advice
    report = quiet_report()
    changes.rollback(old, fleet.settings, report=report, who=who(3), to=first, left_out=fleet.remotes("host3"))
    assert fleet.links() == [first, first, second]
    assert f"fab rollback --only=host3 --to={first}" in report.out.getvalue()


def test_a_neighbour_that_does_not_answer_is_not_needed(fleet: LocalFleet) -> None:
    away = fleet.remotes("host2")
    away[0].connection.create_session = lambda: (_ for _ in ()).throw(OSError("no route to host"))
    assert changes.deploy(fleet.remotes("host1"), fleet.settings, report=Report(), who=who(), left_out=away)


def test_a_host_that_cannot_be_reached_is_named_with_how_to_leave_it_out(live: LocalFleet) -> None:
    remotes = live.remotes()
    remotes[1].connection.is_connected = False  # and cannot be
    with pytest.raises(DeployError) as caught:
        changes.rollback(remotes, live.settings, report=quiet_report(), who=who(9))
    assert caught.value.site == "Nothing was changed. To leave it out, type the same with --except=host2"


def test_two_rollbacks_in_a_row_go_back_twice_whatever_daemons_steps_have_left_behind(tmp_path: Path) -> None:
    commit(tmp_path / "project", {"page.html": "first"})
    fleet = LocalFleet(tmp_path, 1)
    fleet.hook("host1", "build", f"setsid sleep 1000 >/dev/null 2>&1 & echo $! >>{tmp_path}/daemons")
    try:
        first, second, _ = (fleet.deploy(seconds=second) for second in range(3))
        assert (rollback(fleet), rollback(fleet)) == (second, first)
        assert fleet.links() == [first]
        assert [fleet.state("host1", name) for name in (first, second)] == ["published", "bad"]
    finally:
        for pid in (tmp_path / "daemons").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


# --- no inode is left -------------------------------------------------------------------------------------------------

LN = """\
#!/bin/sh
if [ -e {full} ]; then echo 'ln: failed to create symbolic link: No space left on device' >&2; exit 1; fi
exec /bin/ln "$@"
"""


@pytest.fixture
def full(live: LocalFleet, tmp_path: Path) -> Path:
    """The second release is live on three hosts, on which no link can be made any more once this file is there."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ln").write_text(LN.format(full=tmp_path / "full"))
    (tmp_path / "bin/ln").chmod(0o755)
    live.settings = replace(live.settings, env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    live.deploy(seconds=1)
    return tmp_path / "full"


def test_links_are_put_back_where_no_inode_is_left_since_they_were_switched(live: LocalFleet, full: Path) -> None:
    before = live.links()
    live.hook("host2", "publish", f"touch {full}; exit 1")
    live.change()
    with pytest.raises(PublishFailed) as caught:
        live.deploy(seconds=2)
    assert caught.value.site.startswith("The links were put back. The site still runs "), caught.value.message
    assert live.links() == before


@pytest.mark.parametrize("made", ["now", "by an older djdeploy"])
def test_a_rollback_needs_no_inode(live: LocalFleet, full: Path, made: str) -> None:
    first = str((live.root / "host1/previous").readlink())
    if made == "now":
        full.touch()
    else:  # it has no link ready, and there is an inode as soon as another is removed
        inode = 'case "$*" in *host1/*) cd host1 ;; *host2/*) cd host2 ;; *) cd host3 ;; esac; [ ! -e previous ]'
        (live.root / "bin/ln").write_text(f'#!/bin/sh\n(cd {live.root}; {inode}) && exec /bin/ln "$@"\n')
        for name in live.names:
            (live.root / name / first / ".link").unlink()
    assert rollback(live) == first
    assert live.links() == [first] * 3


# --- somebody dies ----------------------------------------------------------------------------------------------------


def test_a_client_that_dies_while_others_publish_leaves_no_host_with_the_new_release(
    live: LocalFleet, tmp_path: Path
) -> None:
    before = live.links()
    live.hook("host2", "publish", HOLD.format(file=tmp_path / "publishing"))
    with Client(live) as client:
        wait_until("the second host", (tmp_path / "publishing").exists)
        assert live.links()[0] != before[0], "the first host has published"
        client.process.kill()
        wait_until("their way back", lambda: live.links() == before)
    wait_until("their locks", lambda: all(live.is_free(name) for name in live.names))
    assert live.state("host1", "20261123-090001") == "failed"
    (tmp_path / "hooks/host2-publish").unlink()
    assert set(live.links()) != {live.deploy(seconds=2)}
    assert len(set(live.links())) == 1


class Killer(Report):
    """Kills the agent of a host at the end of a stage."""

    def __init__(self, remotes: list[Remote], host: str, stage: str) -> None:
        super().__init__(io.StringIO())
        self.remotes, self.victim = remotes, (host, stage)

    def stage_ended(self, host: str, stage: Stage, runs: object, milliseconds: float) -> None:
        if (host, stage.name) == self.victim:
            remote = next(remote for remote in self.remotes if remote.host == host)
            remote.connection.channels[-1].process.kill()
            remote.connection.channels[-1].process.wait()


@pytest.mark.parametrize("answers", [True, False])
def test_of_a_host_that_dies_once_it_has_published_only_what_happens_is_promised(
    live: LocalFleet, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live.links()
    remotes = list(live.remotes())
    if not answers:
        monkeypatch.setattr(Remote, "current_now", lambda _: (_ for _ in ()).throw(ConnectionFailed("no answer")))
    live.hook("host3", "publish", "exit 1")
    with pytest.raises(PublishFailed) as caught:
        changes.deploy(
            remotes,
            live.settings,
            report=Killer(remotes, "host2", "publish"),
            who=who(1),
            recipe=with_hooks(live.root),
        )
    new, site = "20261123-090001", caught.value.site
    assert f"host1: The links were put back. The site still runs {before[0]}." in site
    if answers:
        assert f"host2: NOT restored: it runs {new}. Before this, {before[1]} was live." in site
    else:
        assert f"If it still runs, it goes back by itself; if it went down, it comes up with {new}." in site
    assert live.links() == [before[0], new, before[2]]


def test_a_host_that_dies_between_build_and_publish_stops_all_before_anything_is_published(live: LocalFleet) -> None:
    before = live.links()
    remotes = list(live.remotes())
    with pytest.raises(ConnectionFailed) as caught:
        changes.deploy(remotes, live.settings, report=Killer(remotes, "host3", "build"), who=who(1))
    assert live.links() == before
    assert caught.value.exit_code == 4
    assert f"host3: the connection was lost. Nothing was published there; {before[2]} is live." in caught.value.site
    assert f"host1: It was not touched. The site still runs {before[0]}." in caught.value.site
    live.deploy(seconds=2)
    assert len(set(live.links())) == 1


def test_a_host_that_dies_while_building_stops_all(live: LocalFleet) -> None:
    before = live.links()
    live.hook("host2", "build", "kill -9 $PPID")
    with pytest.raises(ConnectionFailed, match="host2"):
        live.deploy(report=quiet_report(), seconds=1)
    assert live.links() == before


# --- the commit -------------------------------------------------------------------------------------------------------


class Striking(LocalConnection):
    """A connection that breaks when a commit is sent: before the agent has it, or after that.

    Args:
        delivers: whether the agent gets it.
        comes_back: whether the host can be reached again.
    """

    def __init__(self, name: str, *, delivers: bool, comes_back: bool = True) -> None:
        super().__init__(name)
        self.delivers, self.comes_back = delivers, comes_back

    def create_session(self) -> PipeChannel:
        if self.channels and not self.comes_back:
            raise TimeoutError
        channel = super().create_session()
        if len(self.channels) == 1:
            channel.sendall = partial(self.strike, channel)  # type: ignore[method-assign]
        return channel

    def strike(self, channel: PipeChannel, data: bytes) -> None:
        if b'"commit"' not in data:
            return PipeChannel.sendall(channel, data)
        if self.delivers:
            PipeChannel.sendall(channel, data)
            while b"committed" not in channel.recv(65536):
                pass
        channel.close()
        raise ConnectionResetError("reset by peer")


def struck(fleet: LocalFleet, host: str, **strike: bool) -> list[Remote]:
    remotes = list(fleet.remotes())
    place = fleet.names.index(host)
    remotes[place] = Remote(Striking(host, **strike), remotes[place].settings, host)
    return remotes


def run(task: str, remotes: Sequence[Remote], fleet: LocalFleet, report: Report | None = None) -> str:
    own = {"restart": {"recipe": Recipe(publish=(seem_to_restart,))}}.get(task, {})
    act = getattr(changes, task)
    return str(act(remotes, fleet.settings, report=report or quiet_report(), who=who(9), **own))


def seem_to_restart(d: Deployment) -> list[Shell]:
    """Restart nothing, since this project has no processes"""
    return [sh(":")]


@pytest.fixture
def twice(live: LocalFleet) -> LocalFleet:
    """Three hosts on which two releases have been live."""
    live.deploy(seconds=1)
    return live


@pytest.mark.parametrize("task", ["deploy", "rollback"])
@pytest.mark.parametrize("host", ["host1", "host3"])
def test_a_host_that_has_gone_back_when_the_commit_arrives_brings_all_back(
    twice: LocalFleet, task: str, host: str
) -> None:
    before = twice.links()
    with pytest.raises(PublishFailed) as caught:
        run(task, struck(twice, host, delivers=False), twice)
    assert twice.links() == before
    assert caught.value.exit_code == 5
    assert f"{host} lost this client and went back without it" in caught.value.what
    assert f"{host}: It has gone back by itself. The site still runs {before[0]}." in caught.value.site
    assert f"host2: The links were put back. The site still runs {before[0]}." in caught.value.site
    assert "NOT" not in caught.value.site


@pytest.mark.parametrize("task", ["deploy", "rollback", "restart"])
def test_a_commit_that_was_done_though_its_answer_was_lost_is_a_success(twice: LocalFleet, task: str) -> None:
    report = quiet_report()
    name = run(task, struck(twice, "host2", delivers=True), twice, report)
    assert set(twice.links()) == {name}
    assert f"host2: the connection broke at the end; asked anew, it runs {name}" in str(report.out.getvalue())


@pytest.mark.parametrize("task", ["deploy", "rollback"])
@pytest.mark.parametrize("delivers", [True, False])
def test_a_host_of_which_nobody_knows_whether_it_has_committed_is_named(
    twice: LocalFleet, task: str, delivers: bool
) -> None:
    before = twice.links()
    with pytest.raises(ConnectionFailed) as caught:
        run(task, struck(twice, "host2", delivers=delivers, comes_back=False), twice)
    assert caught.value.exit_code == 4
    new = twice.links()[0]
    assert twice.links()[2] == new != before[0]
    assert "host2 did not acknowledge" in caught.value.what
    assert f"host2: unknown. It runs {new}, or goes back to {before[1]} by itself." in caught.value.site
    assert f"host1: {new} is live." in caught.value.site
    assert all(twice.is_free(name) for name in ("host1", "host3"))


@pytest.mark.parametrize(("hosts", "ends"), [(1, True), (3, True), (1, False)])
def test_a_client_that_slept_while_the_servers_went_back_says_so(tmp_path: Path, hosts: int, ends: bool) -> None:
    """Whether the step that ran then had ended by itself, or was ended."""
    commit(tmp_path / "project", {"page.html": "first"})
    fleet = LocalFleet(tmp_path, hosts)
    first = fleet.deploy()
    last = fleet.names[-1]
    fleet.hook(last, "publish", f"touch {tmp_path}/publishing\nuntil [ -e {tmp_path}/asleep ]; do sleep 0.05; done")
    with Client(fleet, "client_silence=3") as client:
        client.when(tmp_path / "publishing", signal.SIGSTOP)
        if ends:
            (tmp_path / "asleep").touch()
        wait_until("their way back", lambda: all(fleet.is_free(name) for name in fleet.names))
        assert set(fleet.links()) == {first}
        client.process.send_signal(signal.SIGCONT)
        output = client.output
        assert client.process.returncode == 5, output
    assert f"It has gone back by itself. The site still runs {first}." in output
    assert "killed" not in output
    assert "FAILED" not in output


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_one_host_publishes_brings_all_back(
    live: LocalFleet, tmp_path: Path, number: signal.Signals
) -> None:
    before = live.links()
    live.hook("host2", "publish", HOLD.format(file=tmp_path / "publishing"))
    with Client(live) as client:
        client.when(tmp_path / "publishing", number)
        output = client.output
        assert client.process.returncode == 130, output
    assert live.links() == before
    assert f"The links were put back. The site still runs {before[0]}." in output


def test_an_interrupt_begins_nothing_on_hosts_that_had_not_begun(fleet: LocalFleet, tmp_path: Path) -> None:
    for name in fleet.names:
        fleet.hook(name, "build", HOLD.format(file=tmp_path / f"{name}-began"))
    with Client(fleet, "parallel=1") as client:
        client.when(tmp_path / "host1-began", signal.SIGINT)
        output = client.output
        assert client.process.returncode == 130, output
    assert [name for name in fleet.names if (tmp_path / f"{name}-began").exists()] == ["host1"]


def test_one_host_that_fails_begins_nothing_on_hosts_that_had_not_begun(fleet: LocalFleet, tmp_path: Path) -> None:
    for name in fleet.names:
        fleet.hook(name, "build", f"touch {tmp_path}/{name}-began\nfalse")
    with Client(fleet, "parallel=1") as client:
        output = client.output
        assert client.process.returncode == 1, output
    assert [name for name in fleet.names if (tmp_path / f"{name}-began").exists()] == ["host1"]


def test_an_interrupt_does_not_end_what_restores(live: LocalFleet, tmp_path: Path) -> None:
    before = live.links()
    live.hook("host1", "publish", "false")
    live.hook("host1", "undo", f"touch {tmp_path}/restoring\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    with Client(live) as client:
        client.when(tmp_path / "restoring", signal.SIGINT)
        assert client.process.stdout
        for line in client.process.stdout:
            if "Press Ctrl-C again to leave the rollback to the servers" in line:
                break
        (tmp_path / "go").touch()
        output = client.output
        assert client.process.returncode == 5, output
    assert live.links() == before
    assert f"The links were put back. The site still runs {before[0]}." in output


def test_a_second_interrupt_leaves_restoring_to_the_servers(live: LocalFleet, tmp_path: Path) -> None:
    before = live.links()
    live.hook("host1", "publish", HOLD.format(file=tmp_path / "publishing"))
    live.hook("host1", "undo", f"touch {tmp_path}/restoring\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    with Client(live) as client:
        client.when(tmp_path / "publishing", signal.SIGINT)
        client.when(tmp_path / "restoring", signal.SIGTERM)
        output = client.output
        assert client.process.returncode == 130, output
    assert "gave up at once" in output
    assert "Each server that still runs now undoes by itself what this task had begun there." in output
    (tmp_path / "go").touch()
    wait_until("the way back", lambda: live.links() == before and live.is_free("host1"))


def test_an_interrupt_while_the_commit_is_looked_for_ends_that_and_frees_the_lock(
    live: LocalFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(f"#!/bin/sh\n{HOLD.format(file=tmp_path / 'fetching')}\n")
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with Client(live) as client:
        client.when(tmp_path / "fetching", signal.SIGINT)
        output = client.output
        assert client.process.returncode == 130, output
    assert "Nothing was changed." in output
    assert all(live.is_free(name) for name in live.names)


def test_what_restores_goes_on_behind_a_step_that_fails(live: LocalFleet) -> None:
    before = live.links()
    live.hook("host1", "publish", "false")
    live.hook("host1", "undo", "exit 3")
    with pytest.raises(PublishFailed) as caught:
        live.deploy(report=quiet_report(), seconds=1)
    assert live.links() == before
    assert "host1: NOT restored" in caught.value.site
    assert "by itself" not in caught.value.site, "no host was lost"


def test_a_fault_in_a_step_of_the_fabfile_is_met_before_any_host_begins_its_stage(live: LocalFleet) -> None:
    before = live.links()

    def faulty(d: Deployment) -> list[Shell]:
        """Fail here, not on the server"""
        if d.host == "host2":
            raise KeyError("no such thing")
        return []

    with pytest.raises(StepFailed, match=r"KeyError: 'no such thing' \(.*test_one_transaction.py:\d+\)") as caught:
        changes.deploy(
            live.remotes(), live.settings, report=quiet_report(), who=who(1), recipe=DEPLOY.after(switch_links, faulty)
        )
    assert live.links() == before
    assert f"It was not touched. The site still runs {before[0]}." in caught.value.site


def test_a_fault_of_ours_while_a_stage_runs_restores_what_was_begun(live: LocalFleet) -> None:
    before = live.links()

    class Faulty(Report):
        def stage_ended(self, host: str, stage: Stage, runs: object, milliseconds: float) -> None:
            if (host, stage) == ("host2", PUBLISH):
                raise KeyError("no such thing")

    with pytest.raises(PublishFailed, match=r"KeyError: 'no such thing' \(.*test_one_transaction.py:\d+\)") as caught:
        live.deploy(report=Faulty(io.StringIO()), seconds=1)
    assert live.links() == before
    assert caught.value.site == f"The links were put back. The site still runs {before[0]}."


# --- the order of hosts -----------------------------------------------------------------------------------------------


def test_hosts_are_published_in_batches_and_a_failure_leaves_the_next_batch_untouched(tmp_path: Path) -> None:
    commit(tmp_path / "project", {"page.html": "first"})
    fleet = LocalFleet(tmp_path, 5, batch=2)
    first = fleet.deploy()
    for name in fleet.names:
        fleet.hook(name, "publish", f"echo {name} >>{tmp_path}/order")
    fleet.hook("host3", "publish", f"echo host3 >>{tmp_path}/order\nfalse")
    with pytest.raises(PublishFailed) as caught:
        fleet.deploy(report=quiet_report(), seconds=1)
    order = (tmp_path / "order").read_text().split()
    assert order[0] == "host1"
    assert sorted(order[1:]) == ["host2", "host3"]
    assert set(fleet.links()) == {first}
    assert f"host5: It was not touched. The site still runs {first}." in caught.value.site


def test_a_lock_that_one_host_refuses_leaves_the_others_free_and_untouched(live: LocalFleet) -> None:
    listing = {name: sorted(path.name for path in (live.root / name).iterdir()) for name in live.names}
    (ann,) = live.remotes("host2")
    ann.connect()
    ann.open(Access(claim=Claim(by="ann", task="deploy", at="", run=""), create=[]))
    with pytest.raises(Locked, match="host2: ann holds the lock"):
        live.deploy(report=quiet_report(), seconds=1)
    assert (live.is_free("host1"), live.is_free("host3")) == (True, True)
    ann.close()
    assert listing == {name: sorted(path.name for path in (live.root / name).iterdir()) for name in live.names}


# --- hosts that differ ------------------------------------------------------------------------------------------------


def test_a_rollback_of_hosts_that_run_different_releases_wants_to_be_told_where_to(live: LocalFleet) -> None:
    first = str(live.links()[0])
    second = live.deploy("host1", seconds=1)
    with pytest.raises(DeployError, match=f"host1: {second} .commit .*; host2: {first} .commit "):
        rollback(live)
    assert live.links() == [second, first, first]
    assert rollback(live, to=first) == first
    assert live.links() == [first, first, first]
    assert (live.state("host1", second), live.state("host2", first)) == ("bad", "published")
    with pytest.raises(SettingsError, match="is live already"):
        rollback(live, to=first)


def test_a_restart_and_a_cleanup_concern_on_each_host_the_release_that_is_live_there(
    live: LocalFleet, tmp_path: Path
) -> None:
    first = str(live.links()[0])
    second = live.deploy("host1", seconds=1)

    def say(d: Deployment) -> list[Shell]:
        """Say which release this is"""
        return [sh("echo {host} {release} >>{file}", host=d.host, release=d.release, file=tmp_path / "said")]

    changes.restart(live.remotes(), live.settings, report=quiet_report(), who=who(2), recipe=Recipe(publish=(say,)))
    assert sorted((tmp_path / "said").read_text().splitlines()) == [
        f"host1 {second}",
        f"host2 {first}",
        f"host3 {first}",
    ]


def test_what_other_hosts_say_is_shown_though_one_is_dead(live: LocalFleet) -> None:
    class Dead(LocalConnection):
        @property
        def is_connected(self) -> bool:  # type: ignore[override]
            raise TimeoutError

    remotes = [*live.remotes("host1", "host2"), Remote(Dead(), live.settings, "host3")]
    answers = on_hosts.snapshots(remotes, live.settings)
    assert {host: seen.current for host, seen in answers.items()} == dict(
        zip(live.names[:2], live.links(), strict=False)
    )
    with pytest.raises(ConnectionFailed, match="host3: no answer"):
        answers.raise_errors()


def test_two_names_of_one_server_are_told_without_its_lock_too(live: LocalFleet) -> None:
    (one,) = live.remotes("host1")
    other = Remote(one.connection, one.settings, "another")
    with pytest.raises(SettingsError, match="another and host1 are the same server"):
        checkup.checkups([one, other], live.settings, report=quiet_report(), who=who())
