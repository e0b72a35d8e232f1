"""A server in wrong hands: what it says is not believed, does not reach the other servers, and names the server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from djdeploy.engine.changes import deploy, rollback
from djdeploy.errors import ConnectionFailed, DeployError
from djdeploy.remote.durations import USUAL
from djdeploy.script.steps import Step
from djdeploy.server.shell import sh
from djdeploy.ssh.opening import Access
from djdeploy.ssh.remote import Remote
from djdeploy.ssh.step_run import Watcher
from tests.local_fleet import LocalFleet
from tests.local_host import LocalConnection, PipeChannel, commit, quiet_report, who

FACTS: dict[str, Any] = {
    "python": "3.11.2",
    "place": "elsewhere",
    "current": {"kind": "missing", "target": None},
    "previous": {"kind": "missing", "target": None},
    "tools": {"git": "/usr/bin/git", "uv": None},
    "shared": {},
    "time": time.time(),
    "free": {"bytes": 10**12, "inodes": 10**6},
    "venv": True,
    "noexec": None,
    "releases": [],
}

HOSTILE = r"""
import json, sys
first, scene = json.loads(sys.argv[1]), sys.argv[2]
def say(message):
    sys.stdout.write(message if isinstance(message, str) else json.dumps(message) + "\n")
    sys.stdout.flush()
say(first)
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "quit":
        break
    if order["do"] == "ping":
        say({"pong": order.get("id")})
    if order["do"] == "settle":
        say({"done": True})
    if order["do"] == "commit":
        say({"committed": True})
    if order["do"] == "run":
        exec(scene)
"""
"""Plays an agent; what it says to a stage is a scene."""


class HostileChannel(PipeChannel):
    def __init__(self, first: object, scene: str) -> None:
        self.words = [sys.executable, "-c", HOSTILE, json.dumps(first), scene]

    def exec_command(self, command: str) -> None:
        super().exec_command(str(sh("exec {words}", words=self.words)))


class HostileConnection(LocalConnection):
    def __init__(self, first: object = None, scene: str = "") -> None:
        super().__init__("evil")
        self.first = {"djdeploy": 1, "programs": "/tmp/programs", "look": FACTS} if first is None else first
        self.scene = scene

    def create_session(self) -> PipeChannel:
        self.channels.append(HostileChannel(self.first, self.scene))
        return self.channels[-1]


Evil = Callable[..., Remote]


@pytest.fixture
def evil(tmp_path: Path) -> Evil:
    """A hostile host, by its first answer and its scene."""

    def make(first: object = None, scene: str = "") -> Remote:
        fleet = LocalFleet(tmp_path, hosts=1)
        return Remote(HostileConnection(first, scene), fleet.settings, "evil")

    return make


def welcome(**facts: object) -> dict[str, object]:
    return {"djdeploy": 1, "programs": "/tmp/programs", "look": FACTS | facts}


def assert_names_the_host(error: DeployError) -> None:
    assert isinstance(error, ConnectionFailed)
    assert error.exit_code == 4
    assert error.host == "evil"
    assert error.what.startswith("the server does not answer as the djdeploy agent does: ")


# --- the first answer -------------------------------------------------------------------------------------------------

WRONG_WELCOMES = {
    "answer.programs is missing": {"djdeploy": 1, "look": FACTS},
    "answer.look must be an object": {"djdeploy": 1, "programs": "/tmp", "look": [FACTS]},
    "answer.look.venv must be true or false": welcome(venv="yes"),
    "answer.look.time must be a number": welcome(time=True),
    "answer.look.free.bytes is missing": welcome(free={"inodes": 1}),
    "answer.look.current.kind must be one of 'missing', 'link', 'directory', 'file'": welcome(
        current={"kind": "door", "target": None}
    ),
    "answer.look.tools.git must be a string": welcome(tools={"git": ["/usr/bin/git"]}),
    "answer.refused must be one of 'locked', 'home'": {"djdeploy": 1, "refused": ["locked"]},
    "answer.holder.orphans[0].pid must be a whole number": {
        "djdeploy": 1,
        "refused": "locked",
        "holder": {"orphans": [{"pid": "1; reboot", "command": "x"}]},
    },
}


@pytest.mark.parametrize(("why", "first"), WRONG_WELCOMES.items())
def test_a_first_answer_that_does_not_fit_is_named_by_its_place(evil: Evil, why: str, first: object) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        evil(first).open(Access())
    assert_names_the_host(caught.value)
    assert caught.value.what.endswith(f": {why}")


@pytest.mark.parametrize(
    "manifest",
    [
        {"name": "../../x"},
        {"name": "--upload-pack=x"},
        {"name": "r1", "commit": "--upload-pack=touch x"},
        {"name": "r1", "number": "1"},
        "r1",
    ],
    ids=str,
)
def test_a_manifest_that_does_not_fit_is_no_release_and_stops_no_task(evil: Evil, manifest: object) -> None:
    good = {"name": "20200101-000000", "number": 1}
    opened = evil(welcome(releases=[good, manifest])).open(Access())
    assert opened["look"]["releases"] == [good]


def test_an_agent_that_dies_in_the_middle_of_a_stage_is_quoted(evil: Evil) -> None:
    """Of a limit of its account, for instance."""
    remote = evil(scene="sys.stderr.write('OSError: Too many open files\\n'); sys.stderr.flush(); sys.exit(1)")
    remote.open(Access())
    with pytest.raises(ConnectionFailed) as caught:
        remote.run([Step("a_step", "", (sh("true"),))], {}, Watcher())
    assert caught.value.host == "evil"
    assert list(caught.value.output) == ["OSError: Too many open files"]
    assert remote.lost


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ('{"djdeploy" no JSON\n', "a line that is no JSON"),
        ('{"djdeploy": ' + "[" * 100_000 + "\n", "a line that is no JSON"),
        ("hello\n" * 2_000_000, "it only prints something else"),
    ],
    ids=["no JSON", "deep JSON", "a greeting without end"],
)
def test_a_first_line_that_is_no_answer_ends_the_task(tmp_path: Path, evil: Evil, first: str, why: str) -> None:
    remote = evil("", f"say({first[:50]!r})")
    script = tmp_path / "first"
    script.write_text(first)
    remote.connection.create_session = lambda: FileChannel(script)
    with pytest.raises(ConnectionFailed) as caught:
        remote.open(Access())
    assert_names_the_host(caught.value)
    assert why in caught.value.what


class FileChannel(PipeChannel):
    """A host that prints a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exec_command(self, command: str) -> None:
        super().exec_command(str(sh("cat {path}", path=self.path)))


# --- a stage ----------------------------------------------------------------------------------------------------------

SCENES = {
    "answer.step must be a whole number": 'say({"begin": 0}); say({"out": "x", "step": "0"})',
    "answer.out must be a string": 'say({"begin": 0}); say({"out": 1, "step": 0})',
    "answer.why must be one of '', 'timeout', 'interrupted', 'cancelled', 'lost'": (
        'say({"begin": 0}); say({"end": 0, "status": 0, "why": "well", "ms": 1})'
    ),
    "answer.data must be an object": 'say({"begin": 0}); say({"data": [], "step": 0})',
    "answer.data.commit must be the hexadecimal name of a commit": (
        'say({"begin": 0}); say({"data": {"commit": "--upload-pack=touch x"}, "step": 0})'
    ),
    "answer.data.removed[0] must be the name of a release": (
        'say({"begin": 0}); say({"data": {"removed": ["../../x"]}, "step": 0})'
    ),
    "answer.data.migrations.applied.default.app[0] must be a string": (
        'say({"begin": 0}); say({"data": {"migrations": {"applied": {"default": {"app": [1]}}}}, "step": 0})'
    ),
    "answer.data.probe.sent is missing": 'say({"begin": 0}); say({"data": {"probe": {}}, "step": 0})',
    "the answer must be an object": "say([1])",
    "the answer is none of those that an agent gives": 'say({"hello": 1})',
    "it begins a step that was not ordered": 'say({"begin": 1})',
    "it speaks of a step that does not run": 'say({"out": "x", "step": 0})',
    "it says that a step has ended well which has not emitted needed": (
        'say({"begin": 0}); say({"end": 0, "status": 0, "why": "", "ms": 1})'
    ),
    "it says that a stage is done, some of whose steps are not": 'say({"done": True})',
    "a line that is no JSON: 'what?'": 'say("what?\\n")',
    "a line of more than 8 MiB": 'say({"begin": 0}); say({"out": "x" * 10_000_000, "step": 0})',
}


@pytest.mark.parametrize(("why", "scene"), SCENES.items())
def test_an_answer_that_does_not_fit_ends_with_an_error_that_names_the_host(evil: Evil, why: str, scene: str) -> None:
    remote = evil(scene=scene)
    remote.open(Access())
    with pytest.raises(ConnectionFailed) as caught:
        remote.run([Step("a_step", "A step", (sh("true"),), must_emit=("needed",))], {}, Watcher())
    remote.close()
    assert_names_the_host(caught.value)
    assert caught.value.what.endswith(f": {why}")
    assert remote.lost, "nothing more is ordered there"


def test_a_line_without_end_does_not_keep_the_processor_busy(evil: Evil) -> None:
    remote = evil(scene="while True: say('x' * 10_000)")
    remote.open(Access())
    began, worked = time.monotonic(), time.process_time()
    with pytest.raises(ConnectionFailed) as caught:
        remote.run([Step("a_step", "A step", (sh("true"),))], {}, Watcher())
    assert_names_the_host(caught.value)
    assert time.process_time() - worked < 2
    assert time.monotonic() - began < 60


def test_a_server_that_talks_on_when_it_is_asked_whether_it_is_there_is_given_up(evil: Evil) -> None:
    scene = 'while True: say({"pong": "another"})'
    remote = evil(scene=scene)
    remote.durations = USUAL._replace(sign_of_life=0.5)
    remote.open(Access())
    remote.channel.send_message({"do": "run", "first": 0, "steps": [], "if_lost": [], "keep_going": False})
    with pytest.raises(ConnectionFailed, match="no answer from the host in time"):
        remote.is_there()
    remote.channel.close()


# --- one server, and the others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    ["--upload-pack=touch {file}", "--output={file}", "-x", "HEAD", "$(touch {file})", "dead", "c0ffee" * 5, "A" * 40],
)
def test_a_commit_that_the_first_host_makes_up_reaches_no_other(tmp_path: Path, told: str) -> None:
    fleet = LocalFleet(tmp_path, hosts=2)
    commit(tmp_path / "project", {"page.html": "1"})
    outputs = {"commit": told.format(file=tmp_path / "owned"), "subject": "s", "author": "a"}
    said = [{"begin": 0}, {"data": outputs, "step": 0}, {"end": 0, "status": 0, "why": "", "ms": 1}, {"done": True}]
    scene = f"for each in {said!r}: say(each)"
    _, honest = fleet.remotes()
    evil = Remote(HostileConnection(scene=scene), fleet.settings, "evil")
    with pytest.raises(ConnectionFailed) as caught:
        deploy([evil, honest], fleet.settings, report=quiet_report(), who=who())
    assert_names_the_host(caught.value)
    assert "Nothing was changed." in caught.value.message
    assert not (tmp_path / "owned").exists()
    assert not [*(tmp_path / "host2").glob("2*")], "no release was begun"


def test_what_one_server_says_of_a_release_is_not_told_to_another(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path, hosts=2)
    commit(tmp_path / "project", {"page.html": "1"})
    first = fleet.deploy("host2")
    commit(tmp_path / "project", {"page.html": "2"})
    second = fleet.deploy("host2", seconds=1)
    manifests = [json.loads((tmp_path / "host2" / name / "release.json").read_text()) for name in (first, second)]
    releases = [dict(manifest, ref="owned", by="mallory") for manifest in manifests]
    links = {name: {"kind": "link", "target": target} for name, target in (("current", second), ("previous", first))}
    scene = (
        'for number, step in enumerate(order["steps"], order["first"]):\n'
        '    say({"begin": number}); say({"end": number, "status": 0, "why": "", "ms": 1})\n'
        'say({"done": True})'
    )
    evil = Remote(HostileConnection(welcome(releases=releases, **links), scene), fleet.settings, "evil")
    (honest,) = fleet.remotes("host2")
    rollback([evil, honest], fleet.settings, report=quiet_report(), who=who(2))
    line = json.loads((tmp_path / "host2/log/deploys.jsonl").read_text().splitlines()[-1])
    assert (line["task"], line["release"], line["ref"]) == ("rollback", first, "main")
    assert "mallory" not in json.dumps(line)


def test_a_release_of_the_same_name_and_another_commit_is_another_release(tmp_path: Path) -> None:
    fleet = LocalFleet(tmp_path, hosts=2)
    commit(tmp_path / "project", {"page.html": "1"})
    name = fleet.deploy("host2")
    manifest = json.loads((tmp_path / "host2" / name / "release.json").read_text())
    link = {"kind": "link", "target": name}
    evil = Remote(
        HostileConnection(welcome(releases=[dict(manifest, commit="f" * 40)], current=link), ""), fleet.settings, "evil"
    )
    with pytest.raises(DeployError, match=f"evil: {name} .commit ffffffffffff.; host2: {name} .commit"):
        rollback([evil, *fleet.remotes("host2")], fleet.settings, report=quiet_report(), who=who(2))
