"""The agent keeps its promises when the client does not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.durations import USUAL, Durations
from djdeploy.remote.wire import Hello
from djdeploy.ssh.opening import Claim, Look
from djdeploy.ssh.programs import agent_command, digest, packed
from tests.locales import LOCALES, in_locale


class Client:
    """Speaks to an agent by hand."""

    def __init__(
        self,
        home: Path,
        lock: Claim | None = None,
        look: Look | None = None,
        durations: Durations = USUAL,
        env: Mapping[str, str] | None = None,
    ) -> None:
        create = [".djdeploy"] if lock else None
        hello: Hello = {
            "home": str(home),
            "programs": digest(),
            "lock": lock.on("here") if lock else None,
            "create": create,
            "look": (look or Look()).as_message(),
            "durations": durations.changed(),
        }
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", agent_command(sys.executable, hello)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        self.hello = self.receive()
        self.asked = self.hello == {"djdeploy": "programs"}
        if self.asked:
            assert self.process.stdin
            self.process.stdin.write(packed())
            self.process.stdin.flush()
            self.hello = self.receive()

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout
        return dict(json.loads(self.process.stdout.readline()))

    def run(self, *scripts: str | dict[str, Any], if_lost: str = "", timeout: float = 60) -> None:
        def step(script: str | dict[str, Any]) -> dict[str, Any]:
            given = {"script": script} if isinstance(script, str) else script
            return {"name": "a_step", "env": {}, "timeout": timeout, **given}

        self.send({"do": "run", "steps": [*map(step, scripts)], "if_lost": [step(if_lost)] if if_lost else []})

    def answers(self) -> Iterator[dict[str, Any]]:
        yield from iter(self.receive, {"done": True})

    def output(self) -> str:
        return "".join(answer.get("out", "") for answer in self.answers())

    def leave(self) -> None:
        """What the server sees when the client dies: the end of its input."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError, AttributeError):
                pipe.close()  # type: ignore[union-attr]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(**options: Any) -> Client:
        made.append(Client(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.kill()


ANN = Claim(by="ann", task="deploy", at="2026-11-23T09:00:00Z", run="1")
BOB = Claim(by="bob", task="rollback", at="2026-11-23T09:00:01Z", run="2")


@pytest.mark.parametrize("locale", LOCALES)
def test_a_step_is_given_utf_8_whatever_the_accounts_locale(
    client: Callable[..., Client], locale: str, tmp_path: Path
) -> None:
    agent = client(env=in_locale(locale, tmp_path))
    tell = "import os; print([os.environb[b'X'], os.environb[b'LC_ALL']])"
    agent.run({"script": f'echo "Größe →"; {sys.executable} -c "{tell}"', "env": {"X": "größe → 5"}})
    output = agent.output()
    assert output.startswith("Größe →\n")
    assert str("größe → 5".encode())[2:-1] in output


def test_output_data_and_exit_status_arrive(client: Callable[..., Client]) -> None:
    agent = client()
    tell = 'import os; os.write(int(os.environ["DJDEPLOY_OUTPUT_FD"]), b"{\\"a\\": 1}\\n")'
    agent.run(f"echo out; echo err >&2; python3 -c '{tell}'; exit 3")
    answers = list(agent.answers())
    assert answers[0] == {"begin": 0}
    assert "".join(answer.get("out", "") for answer in answers) == "out\nerr\n"
    assert {"data": {"a": 1}, "step": 0} in answers
    assert answers[-1]["status"] == 3


def test_a_step_that_fails_ends_the_stage(client: Callable[..., Client]) -> None:
    agent = client()
    agent.run("true", "false\necho not reached", "echo not reached")
    assert "not reached" not in agent.output()


def test_a_command_in_a_step_sees_an_empty_standard_input(client: Callable[..., Client]) -> None:
    agent = client()
    agent.run("cat; echo end")
    assert agent.output() == "end\n"


def test_a_long_script_is_run_whole_and_is_not_in_the_process_list(client: Callable[..., Client]) -> None:
    agent = client()
    agent.run(f": {'x' * 300_000}\nps -eo args | grep -c '[x]xxxxxxxx' || true; echo end")
    assert agent.output() == "0\nend\n"


def test_the_lock_is_free_at_once_when_its_holder_dies(client: Callable[..., Client]) -> None:
    ann = client(lock=ANN)
    assert "refused" not in ann.hello
    refused = client(lock=BOB).hello
    assert refused["refused"] == "locked"
    assert refused["holder"]["by"] == "ann"
    ann.process.send_signal(signal.SIGKILL)
    ann.process.wait()
    assert "refused" not in client(lock=BOB).hello


def test_a_step_that_outlives_its_agent_keeps_the_next_deploy_out_until_it_ends(
    client: Callable[..., Client], tmp_path: Path
) -> None:
    ann = client(lock=ANN)
    ann.run(f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    pid = int(wait_until("the step", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    ann.process.send_signal(signal.SIGKILL)
    ann.process.wait()
    refused = client(lock=BOB).hello
    assert refused["holder"]["step"] == "a_step"
    os.kill(pid, signal.SIGKILL)
    wait_until("the lock", lambda: "refused" not in client(lock=BOB).hello)


DAEMON = "setsid sh -c 'echo $$ > {pid}; exec sleep 1000' >/dev/null 2>&1 &\nuntil [ -s {pid} ]; do sleep 0.05; done"
"""It has left the group of the step when it says its pid, so what ends the step does not end it, too."""


@pytest.mark.parametrize("end", ["quit", "failure", "timeout", "interrupt", "the client leaves when nothing runs"])
def test_what_ended_steps_have_left_running_does_not_keep_the_lock(
    client: Callable[..., Client], tmp_path: Path, end: str
) -> None:
    pid = tmp_path / "pid"
    ann = client(lock=ANN, durations=Durations(kill_after=0.5))
    more = {"failure": "; exit 1", "timeout": "; sleep 1000", "interrupt": "; sleep 1000"}.get(end, "")
    ann.run(DAEMON.format(pid=pid) + more, timeout=3 if end == "timeout" else 60)
    wait_until("the daemon", lambda: pid.exists() and pid.read_text().strip())
    try:
        if end == "interrupt":
            ann.send({"do": "interrupt"})
        list(ann.answers())
        if "leaves" in end:
            ann.leave()
        else:
            ann.send({"do": "quit"})
        ann.process.wait(30)
        assert "refused" not in client(lock=BOB).hello
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_what_left_a_running_steps_group_keeps_the_lock_when_the_client_vanishes(
    client: Callable[..., Client], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    ann = client(lock=ANN)
    ann.run(DAEMON.format(pid=pid) + "; sleep 1000")
    wait_until("the daemon", lambda: pid.exists() and pid.read_text().strip())
    ann.leave()
    ann.process.wait(30)
    assert client(lock=BOB).hello["refused"] == "locked"
    os.kill(int(pid.read_text()), signal.SIGKILL)
    wait_until("the lock", lambda: "refused" not in client(lock=BOB).hello)


def test_a_vanished_client_ends_the_step_and_what_it_had_begun_is_undone(
    client: Callable[..., Client], tmp_path: Path
) -> None:
    ann = client(lock=ANN)
    ann.run(
        f"echo $$ > {tmp_path}/pid; sleep 1000; echo x > {tmp_path}/done", if_lost=f"echo restored > {tmp_path}/undone"
    )
    pid = wait_until("the step", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    ann.leave()
    wait_until("the undo", lambda: (tmp_path / "undone").exists())
    ann.process.wait(30)
    assert not Path("/proc", pid).exists()
    assert not (tmp_path / "done").exists()
    assert "refused" not in client(lock=BOB).hello


def test_what_was_begun_is_undone_to_the_end_also_when_nobody_reads_our_output(
    client: Callable[..., Client], tmp_path: Path
) -> None:
    ann = client(lock=ANN)
    ann.run("while :; do echo x; done", if_lost=f"sleep 1; echo restored > {tmp_path}/undone")
    assert ann.receive() == {"begin": 0}
    assert ann.process.stdout
    ann.process.stdout.close()
    ann.leave()
    ann.process.wait(30)
    assert (tmp_path / "undone").exists()


SLOWER = [pytest.param(how, marks=pytest.mark.slow) for how in ("interrupted", "timeout")]


@pytest.mark.parametrize("how", ["lost", *SLOWER])
def test_nothing_of_a_step_that_was_ended_still_runs_when_it_is_undone(
    client: Callable[..., Client], tmp_path: Path, how: str
) -> None:
    agent = client(lock=ANN, durations=USUAL._replace(kill_after=0.5))
    stubborn = "trap '' TERM; while :; do sleep 0.1; done"
    undo = f"if kill -0 $(cat {tmp_path}/pid); then echo alive; else echo gone; fi > {tmp_path}/undone"
    agent.run(f"({stubborn}) & echo $! > {tmp_path}/pid; wait", if_lost=undo, timeout=3 if how == "timeout" else 60)
    wait_until("the step", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    if how == "lost":
        agent.leave()
    else:
        if how == "interrupted":
            agent.send({"do": "interrupt"})
        assert list(agent.answers())[-1]["why"] == how
        agent.run(undo)
    assert (
        wait_until("the undo", lambda: (tmp_path / "undone").exists() and (tmp_path / "undone").read_text()) == "gone\n"
    )


@pytest.mark.parametrize(
    ("said", "undone"),
    [
        ([], True),  # other hosts may still be at it
        ([{"do": "commit"}], False),
        ([{"do": "quit"}], False),
        ([{"do": "run", "steps": [], "if_lost": []}], False),
    ],
    ids=["nothing", "commit", "quit", "next"],
)
def test_a_stage_that_was_done_is_undone_until_the_client_commits_or_goes_on(
    client: Callable[..., Client], tmp_path: Path, said: list[dict[str, Any]], undone: bool
) -> None:
    ann = client(lock=ANN)
    ann.run("true", if_lost=f"echo > {tmp_path}/undone")
    ann.output()
    for message in said:
        ann.send(message)
        if message["do"] == "run":
            ann.output()
    ann.leave()
    ann.process.wait(30)
    assert (tmp_path / "undone").exists() is undone


def test_a_client_that_says_nothing_for_too_long_is_given_up(client: Callable[..., Client], tmp_path: Path) -> None:
    ann = client(lock=ANN, durations=USUAL._replace(client_silence=3))
    ann.run("sleep 1000", if_lost=f"echo > {tmp_path}/undone")
    ann.process.wait(30)
    assert (tmp_path / "undone").exists()


def test_a_client_that_speaks_now_and_then_is_not_given_up(client: Callable[..., Client]) -> None:
    ann = client(lock=ANN, durations=USUAL._replace(client_silence=5))
    began = time.monotonic()
    while time.monotonic() - began < 6:
        ann.send({"do": "ping", "id": "1"})
        assert ann.receive() == {"pong": "1"}
        time.sleep(0.3)  # as a heart beats
    ann.run("echo here")
    assert ann.output() == "here\n"


def test_the_programs_of_a_step_wait_as_long_as_the_client_says(client: Callable[..., Client], tmp_path: Path) -> None:
    agent = client(durations=USUAL._replace(poll=0.5))
    agent.run('printf %s "$DJDEPLOY_DURATIONS"')
    assert agent.output() == '{"poll": 0.5}'


def test_a_client_that_quits_in_the_middle_of_a_stage_has_it_undone(
    client: Callable[..., Client], tmp_path: Path
) -> None:
    ann = client(lock=ANN)
    ann.run(f"echo > {tmp_path}/began; sleep 1000", if_lost=f"echo > {tmp_path}/undone")
    wait_until("the step", (tmp_path / "began").exists)
    ann.send({"do": "quit"})
    ann.process.wait(30)
    assert (tmp_path / "undone").exists()


def test_a_client_that_breaks_off_within_a_line_is_gone(client: Callable[..., Client], tmp_path: Path) -> None:
    ann = client(lock=ANN)
    ann.run("true", if_lost=f"echo > {tmp_path}/undone")
    ann.output()
    assert ann.process.stdin
    ann.process.stdin.write(b'{"do": "ru')
    ann.leave()
    ann.process.wait(30)
    assert (tmp_path / "undone").exists()


def test_a_step_that_cannot_be_started_is_a_failure_that_is_undone(
    client: Callable[..., Client], tmp_path: Path
) -> None:
    import resource

    ann = client(lock=ANN)
    soft, hard = resource.prlimit(ann.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(ann.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    ann.run("true", if_lost=f"echo > {tmp_path}/undone")
    answers = list(ann.answers())
    assert answers[-1]["status"] == 126
    resource.prlimit(ann.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    ann.leave()
    ann.process.wait(30)
    assert (tmp_path / "undone").exists()


def test_what_restores_goes_on_behind_a_step_that_fails(client: Callable[..., Client]) -> None:
    ann = client(lock=ANN)
    steps: list[Any] = [{"name": "a_step", "env": {}, "script": script} for script in ("false", "echo reached")]
    ann.send({"do": "run", "steps": steps, "if_lost": [], "keep_going": True})
    assert ann.output() == "reached\n"


def test_an_interrupt_ends_the_running_step_and_the_stage(client: Callable[..., Client], tmp_path: Path) -> None:
    agent = client()
    agent.run(f"echo > {tmp_path}/began; sleep 1000", "echo not reached")
    wait_until("the step", (tmp_path / "began").exists)
    agent.send({"do": "interrupt"})
    answers = list(agent.answers())
    assert answers[-1]["why"] == "interrupted"
    assert answers[-1]["end"] == 0


def test_a_step_beside_others_does_not_keep_them_waiting(client: Callable[..., Client], tmp_path: Path) -> None:
    agent = client()
    waits = f"until [ -e {tmp_path}/made ]; do sleep 0.01; done; echo beside"
    agent.run({"script": waits, "background": True}, "true", {"script": "echo last", "join": True})
    ends = []
    for answer in agent.answers():
        if "end" in answer:
            ends.append((answer["end"], answer["status"]))
            (tmp_path / "made").touch()
    assert ends == [(1, 0), (0, 0), (2, 0)]


def test_what_is_said_beside_another_step_is_told_apart(client: Callable[..., Client]) -> None:
    agent = client()
    agent.run(*({"script": f"echo of {number}", "background": True} for number in range(5)))
    answers = list(agent.answers())
    assert [answer["begin"] for answer in answers if "begin" in answer] == [*range(5)], "they begin in their order"
    said = {answer["step"]: answer["out"] for answer in answers if "out" in answer}
    assert said == {number: f"of {number}\n" for number in range(5)}


def test_a_stage_is_done_only_when_what_runs_beside_it_is(client: Callable[..., Client], tmp_path: Path) -> None:
    agent = client()
    agent.run({"script": "sleep 0.5; exit 3", "background": True}, if_lost=f"echo > {tmp_path}/undone")
    last = list(agent.answers())[-1]
    assert (last["end"], last["status"]) == (0, 3)
    agent.leave()
    agent.process.wait(30)
    assert (tmp_path / "undone").exists()


@pytest.mark.parametrize(
    "steps",
    [
        ("until [ -e {began} ]; do sleep 0.01; done; exit 1", "touch {began}; sleep 1000"),
        ("sleep 1000", "false"),
    ],
    ids=["background", "before"],
)
def test_a_step_that_fails_ends_those_beside_it(
    client: Callable[..., Client], tmp_path: Path, steps: tuple[str, str]
) -> None:
    agent = client()
    beside, next_one = (step.format(began=tmp_path / "began") for step in steps)
    agent.run({"script": beside, "background": True}, next_one, "echo not reached", timeout=600)
    ends = {answer["end"]: answer["why"] for answer in agent.answers() if "end" in answer}
    assert sorted(ends.values()) == ["", "cancelled"]
    assert sorted(ends) == [0, 1]


def test_a_step_beside_others_is_told_when_it_is_alone(client: Callable[..., Client], tmp_path: Path) -> None:
    agent = client()
    alone = "python3 -c 'import os; os.read(int(os.environ[\"DJDEPLOY_OTHERS_FD\"]), 1)'"
    agent.run(
        {"script": f"{alone}; echo > {tmp_path}/alone", "background": True},
        f"sleep 0.3; [ ! -e {tmp_path}/alone ]",
        {"script": f"[ -e {tmp_path}/alone ]", "join": True},
    )
    assert [answer["status"] for answer in agent.answers() if "end" in answer] == [0, 0, 0]


ALONE = "python3 -c 'import os; os.read(int(os.environ[\"DJDEPLOY_OTHERS_FD\"]), 1)'"
READY = 'python3 -c \'import os; os.write(int(os.environ["DJDEPLOY_OUTPUT_FD"]), b"{}\\n")\''


def lasting(script: str) -> dict[str, Any]:
    return {"script": script, "background": True, "lasting": True}


def test_what_lasts_goes_on_through_stages_until_the_client_settles(
    client: Callable[..., Client], tmp_path: Path
) -> None:
    agent = client()
    agent.run(lasting(f"sleep 0.2; touch {tmp_path}/at-work; {READY}; {ALONE}; echo end"), f"[ -e {tmp_path}/at-work ]")
    ends = [(answer["end"], answer["status"]) for answer in agent.answers() if "end" in answer]
    assert ends == [(1, 0)], "the next step began when it was at work"
    agent.send({"do": "run", "first": 2, "steps": [{"name": "x", "env": {}, "script": "true"}], "if_lost": []})
    assert [answer["end"] for answer in agent.answers() if "end" in answer] == [2]
    agent.send({"do": "settle"})
    answers = list(agent.answers())
    assert {"out": "end\n", "step": 0} in answers
    assert answers[-1]["end"] == 0


@pytest.mark.parametrize("keep_going", [False, True])
def test_what_lasts_and_fails_ends_the_next_stage_but_not_what_restores(
    client: Callable[..., Client], keep_going: bool
) -> None:
    agent = client()
    agent.run(lasting(f"{READY}; exit 1"))
    said: list[dict[str, Any]] = []
    while not {"done", "end"} <= {name for answer in said for name in answer}:
        said.append(agent.receive())
    steps: list[Any] = [{"name": "x", "env": {}, "script": "echo reached"}]
    agent.send({"do": "run", "first": 1, "steps": steps, "if_lost": [], "keep_going": keep_going})
    assert agent.output() == ("reached\n" if keep_going else "")


def test_what_lasts_and_fails_in_the_middle_of_a_stage_ends_it(client: Callable[..., Client], tmp_path: Path) -> None:
    agent = client()
    agent.run(lasting(f"{READY}; until [ -e {tmp_path}/go ]; do sleep 0.01; done; exit 1"), timeout=600)
    list(agent.answers())
    steps: list[Any] = [{"name": "x", "env": {}, "script": f"touch {tmp_path}/go; sleep 1000"}]
    agent.send({"do": "run", "first": 1, "steps": steps, "if_lost": []})
    ends = {answer["end"]: (answer["status"], answer["why"]) for answer in agent.answers() if "end" in answer}
    assert ends[0] == (1, "")
    assert ends[1][1] == "cancelled"


def test_an_undo_is_seen_by_what_lasts_to_its_end(client: Callable[..., Client]) -> None:
    agent = client()
    agent.run(lasting(f"{READY}; {ALONE}; echo end"), "false")
    assert "end\n" not in agent.output()
    steps: list[Any] = [{"name": "x", "env": {}, "script": "echo restored"}]
    agent.send({"do": "run", "first": 2, "steps": steps, "if_lost": [], "keep_going": True})
    assert agent.output() == "restored\nend\n"


@pytest.mark.parametrize("end", ["interrupt", "leave"])
def test_all_that_runs_is_ended_together(client: Callable[..., Client], tmp_path: Path, end: str) -> None:
    agent = client()
    scripts = [f"echo $$ > {tmp_path}/pid{number}; exec sleep 1000" for number in (0, 1)]
    agent.run({"script": scripts[0], "background": True}, scripts[1], timeout=600)
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    wait_until("both steps", lambda: all(file.exists() and file.read_text().strip() for file in files))
    if end == "leave":
        agent.leave()
    else:
        agent.send({"do": "interrupt"})
        assert [answer["why"] for answer in agent.answers() if "end" in answer] == ["interrupted", "interrupted"]
    wait_until("their end", lambda: not any(Path("/proc", file.read_text().strip()).exists() for file in files))


def test_programs_that_are_on_the_server_are_not_sent_again(client: Callable[..., Client]) -> None:
    first = client(lock=ANN)
    first.leave()
    first.process.wait(30)
    again = client(lock=ANN)
    assert (first.asked, again.asked) == (True, False)
    assert again.hello["programs"] == first.hello["programs"]


def test_nothing_in_the_accounts_home_is_imported(
    client: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name in ("json", "os", "site", "sitecustomize", "usercustomize", "zlib", "base64", "djdeploy_remote"):
        (account / f"{name}.py").write_text(f"raise SystemExit('{account}/{name}.py was imported')\n")
    monkeypatch.chdir(account)
    monkeypatch.setenv("HOME", str(account))
    monkeypatch.setenv("PYTHONPATH", str(account))

    agent = client(lock=ANN)

    assert agent.hello["djdeploy"] == 1
    agent.run(f"{sys.executable} -ES {agent.hello['programs']}/run.py versions")
    assert list(agent.answers())[-1]["status"] == 0


def test_a_home_of_ours_shows_others_nothing(client: Callable[..., Client], tmp_path: Path) -> None:
    client(lock=ANN)

    assert (tmp_path / ".djdeploy").stat().st_mode & 0o777 == 0o711
    assert (tmp_path / ".djdeploy/lock").stat().st_mode & 0o777 == 0o600


def test_programs_that_were_damaged_are_sent_again(client: Callable[..., Client]) -> None:
    first = client(lock=ANN)
    first.leave()
    first.process.wait(30)
    damaged = Path(first.hello["programs"], "djdeploy_remote/processes/rolling_restart.py")
    whole = damaged.read_text()
    damaged.write_text("")  # as after a power loss
    again = client(lock=ANN)
    assert again.asked
    assert damaged.read_text() == whole


def test_a_step_that_ignores_term_is_killed(client: Callable[..., Client], tmp_path: Path) -> None:
    agent = client(durations=USUAL._replace(kill_after=0.5))
    agent.run(f"trap '' TERM; echo > {tmp_path}/began; while :; do sleep 1; done", timeout=600)
    wait_until("the step", (tmp_path / "began").exists)
    began = time.monotonic()
    agent.send({"do": "interrupt"})
    assert list(agent.answers())[-1]["status"] == -signal.SIGKILL
    assert time.monotonic() - began < USUAL.kill_after


def test_a_daemon_that_a_step_leaves_behind_does_not_hold_the_step(
    client: Callable[..., Client], tmp_path: Path
) -> None:
    agent = client()
    agent.run(f"sleep 1000 & echo $! > {tmp_path}/pid; echo end")
    assert agent.output() == "end\n"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_who_holds_the_lock_can_be_asked_without_taking_it(client: Callable[..., Client]) -> None:
    def ask() -> dict[str, Any]:
        return dict(client(look=Look(lock=True)).hello["look"]["lock"])

    ann = client(lock=ANN)
    asked = ask()
    assert (asked["held"], asked["holder"]["by"]) == (True, "ann")
    ann.kill()
    assert not ask()["held"]


def test_looking_leaves_nothing_behind(client: Callable[..., Client], tmp_path: Path) -> None:
    agent = client()
    folder = Path(agent.hello["programs"])
    assert (folder / "run.py").exists()
    assert not folder.is_relative_to(tmp_path)
    agent.leave()
    agent.process.wait(30)
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_the_agents_memory_does_not_grow_with_the_output(client: Callable[..., Client]) -> None:
    agent = client()
    agent.run("head -c 100000000 /dev/zero | tr '\\0' x")
    size = sum(len(answer.get("out", "")) for answer in agent.answers())
    assert size == 100_000_000
    status = Path("/proc", str(agent.process.pid), "status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 60_000, "kB"
