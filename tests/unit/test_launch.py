"""The launcher as the last resort: which release it goes back to when nobody is left who would."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from djdeploy.rehearsal.ports import free_port
from djdeploy.remote import launch, wire
from djdeploy.remote.launch import Instance, Launch
from djdeploy.server.wire import check
from tests.answering import Server


def release(home: Path, name: str, state: str | None = "published", number: int = 1) -> Path:
    """A release; with what is no JSON where its state would be, or without a manifest."""
    root = home / name
    root.mkdir()
    if state is not None:
        text = json.dumps({"name": name, "state": state, "number": number}) if state.isalpha() else state
        (root / "release.json").write_text(text)
    (root / "runtime.json").write_text(json.dumps({"project": "demo", "processes": [{"name": "web", "command": "x"}]}))
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two published releases; of a third the links have just been switched, and then the power was cut."""
    for number, name in enumerate(("r0", "r1"), 1):
        release(tmp_path, name, number=number)
    (tmp_path / "previous").symlink_to("r1")
    (tmp_path / "current").symlink_to("r2")
    for name in ("run", ".djdeploy"):
        (tmp_path / name).mkdir()
    (tmp_path / ".djdeploy/lock").touch()
    return tmp_path


def web(home: Path) -> Instance:
    return Instance(str(home), "web", "0")


def gone_back(home: Path) -> str:
    """Where `current` leads once an instance has given up its release."""
    launch.go_back(web(home), launch.current_of(str(home)), "dies")
    return str((home / "current").readlink())


@pytest.mark.parametrize("state", ["ready", "building", "failed", "bad", "{", "[]", '{"state": null}', ""])
def test_a_release_that_nobody_proved_gives_way(home: Path, state: str) -> None:
    release(home, "r2", state, 3)
    assert gone_back(home) == "r1"


@pytest.mark.parametrize("state", ["published", None])
def test_what_has_served_stays_and_so_does_what_another_tool_has_made(home: Path, state: str | None) -> None:
    release(home, "r2", state, 3)
    assert gone_back(home) == "r2"


def test_a_release_that_is_gone_gives_way(home: Path) -> None:
    assert gone_back(home) == "r1"


def remove(path: Path) -> None:
    path.unlink()


def mark(state: str) -> Callable[[Path], object]:
    return lambda path: (path / "release.json").write_text(json.dumps({"state": state, "number": 2}))


def lead_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def damage(path: Path) -> None:
    (path / "release.json").write_bytes(b"\0" * 100)


@pytest.mark.parametrize(
    ("change", "leads_to"),
    [
        (remove, "r1"),
        (lead_nowhere, "r1"),
        (mark("bad"), "r0"),
        (mark("failed"), "r0"),
        (damage, "r1"),
        (lambda path: (path / "release.json").unlink(), "r1"),
    ],
    ids=["no link", "a dead link", "bad", "failed", "unreadable", "foreign"],
)
def test_it_gives_way_to_what_previous_names_or_else_to_the_newest_published(
    home: Path, change: Callable[[Path], Any], leads_to: str
) -> None:
    release(home, "r2", "ready", 3)
    change(home / "previous")
    assert gone_back(home) == leads_to


def test_where_there_is_nothing_to_go_back_to_it_stays(home: Path) -> None:
    release(home, "r2", "ready", 3)
    remove(home / "previous")
    for name in ("r0", "r1"):
        mark("bad")(home / name)
    assert gone_back(home) == "r2"


def test_there_is_no_way_on_from_a_published_release_though_it_dies_too(home: Path) -> None:
    release(home, "r2", "ready", 3)
    assert [gone_back(home), gone_back(home)] == ["r1", "r1"]


def test_it_is_left_to_a_deploy_that_is_at_work(home: Path) -> None:
    release(home, "r2", "ready", 3)
    with (home / ".djdeploy/lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert gone_back(home) == "r2"
    assert gone_back(home) == "r1"


@pytest.mark.parametrize("previous", ["r1", "nowhere"])
def test_a_full_disk_does_not_keep_it_from_going_back(
    home: Path, monkeypatch: pytest.MonkeyPatch, previous: str
) -> None:
    release(home, "r2", "ready", 3)
    if previous == "nowhere":
        lead_nowhere(home / "previous")
        (home / "r1/.link").symlink_to("r1")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "symlink", full)
    monkeypatch.setattr(launch, "write_beside", full)
    assert gone_back(home) == "r1"
    assert not [path.name for path in home.iterdir() if path.name.startswith(".current")]


def test_only_the_first_of_several_instances_goes_back(home: Path) -> None:
    release(home, "r2", "ready", 3)
    given_up = launch.current_of(str(home))
    assert launch.go_back(web(home), given_up, "dies")
    assert not launch.go_back(web(home), given_up, "dies")
    assert str((home / "current").readlink()) == "r1"


@pytest.mark.parametrize(
    ("state", "seconds", "leads_to"),
    [("ready", 5, "r1"), ("ready", 40, "r1"), ("ready", 70, "r2"), ("published", 5, "r2")],
)
def test_it_gives_up_what_dies_again_and_again_before_it_could_serve(
    home: Path, monkeypatch: pytest.MonkeyPatch, state: str, seconds: float, leads_to: str
) -> None:
    monkeypatch.setattr(launch, "PAUSES", [0])
    root = release(home, "r2", state, 3)
    runtime: Any = {"processes": []}
    for _ in range(launch.GIVEN_UP + 1):
        launch.back_off(web(home), Launch(str(root), runtime, {"name": "web", "command": "gunicorn", "timeout": 60}))
        lately = time.time() - seconds
        os.utime(home / "run/web-0.starts", (lately, lately))
    assert str((home / "current").readlink()) == leads_to


@pytest.mark.parametrize("text", ["", "{", "[]", '{"processes": 1}', '{"processes": [{}]}'])
def test_it_gives_up_what_cannot_be_read(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(launch, "UNREADABLE", 0)
    (release(home, "r2", "ready", 3) / "runtime.json").write_text(text)
    assert launch.wait_for_release(web(home)).release == str(home / "r1")


def test_whoever_asks_later_learns_that_the_site_went_back_and_why(home: Path) -> None:
    release(home, "r2", "ready", 3)
    (home / "log").mkdir()
    (home / "log/deploys.jsonl").write_text('{"task": "deploy"}\n')
    (home / "r1/release.json").write_text(
        json.dumps({"name": "r1", "state": "published", "commit": "c" * 40, "ref": "x"})
    )
    assert gone_back(home) == "r1"
    line = json.loads((home / "log/deploys.jsonl").read_text().splitlines()[1])
    check(line, wire.HistoryLine, "line")
    assert (line["task"], line["release"], line["commit"], line["from"]) == ("fallback", "r1", "c" * 40, "r2")
    assert (line["why"], line["by"]) == ("dies", "its launcher (web-0)")
    left, now = (json.loads((home / name / "release.json").read_text()) for name in ("r2", "r1"))
    assert (left["state"], left["why"]) == ("failed", "it dies")
    check(now, wire.Manifest, "manifest")
    assert now["fell_back"] == {"at": now["published"], "from": "r2", "why": "dies"}
    assert now["state"] == "published"


# --- what lives and does not serve ------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives and answers nothing; who watches it has no patience."""
    monkeypatch.setattr(launch, "LOOK", 0.01)
    monkeypatch.setattr(launch, "patience", lambda _: 0)
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def bound(home: Path, port: int, **more: Any) -> Path:
    root = release(home, "r2", "ready", 3)
    process = {"name": "web", "command": "uvicorn x", "bind": f"127.0.0.1:{port}", **more}
    (root / "runtime.json").write_text(json.dumps({"project": "demo", "processes": [process]}))
    return root


def watched(home: Path, root: Path, process: subprocess.Popen[bytes]) -> threading.Thread:
    thread = threading.Thread(target=launch.watch, args=[web(home), str(root), process.pid], daemon=True)
    thread.start()
    return thread


def test_a_server_that_lives_and_never_answers_is_left_for_the_release_before(
    home: Path, server: subprocess.Popen[bytes]
) -> None:
    watched(home, bound(home, free_port()), server).join()
    assert str((home / "current").readlink()) == "r1"
    assert server.wait() == -signal.SIGTERM


def test_the_other_instances_of_a_release_that_was_left_are_ended_as_well(
    home: Path, server: subprocess.Popen[bytes]
) -> None:
    root = bound(home, free_port())
    launch.make_current(str(home), str(home / "r1"))
    watched(home, root, server).join()
    assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_server_that_answers_anything_serves(home: Path, server: subprocess.Popen[bytes], status: int) -> None:
    with Server(lambda: status) as site:
        watched(home, bound(home, site.port), server).join()
        assert site.asked == 1
    assert server.poll() is None
    assert str((home / "current").readlink()) == "r2"


def publish(home: Path, server: subprocess.Popen[bytes]) -> None:
    mark("published")(home / "r2")


def end(home: Path, server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.wait()


def gone_release(home: Path, server: subprocess.Popen[bytes]) -> None:
    (home / "r2/runtime.json").write_text("[]")
    end(home, server)


@pytest.mark.parametrize("event", [publish, end, gone_release])
def test_nobody_watches_any_longer_than_there_is_something_to_see(
    home: Path, server: subprocess.Popen[bytes], event: Callable[[Path, subprocess.Popen[bytes]], None]
) -> None:
    with (home / ".djdeploy/lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a deploy is at work: the release is left to it
        watcher = watched(home, bound(home, free_port()), server)
        event(home, server)
        watcher.join()
    assert str((home / "current").readlink()) == "r2"


def test_a_server_is_left_to_a_deploy_that_is_at_work(home: Path, server: subprocess.Popen[bytes]) -> None:
    with (home / ".djdeploy/lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        watcher = watched(home, bound(home, free_port()), server)
        watcher.join(0.2)
        assert watcher.is_alive()
        assert server.poll() is None
    watcher.join()
    assert str((home / "current").readlink()) == "r1"


@pytest.mark.parametrize(
    ("state", "bind", "is_watched"),
    [
        ("ready", "127.0.0.1:1", True),
        ("published", "127.0.0.1:1", False),
        (None, "127.0.0.1:1", False),
        ("ready", None, False),
    ],
)
def test_only_a_release_that_was_never_published_is_watched(
    home: Path, monkeypatch: pytest.MonkeyPatch, state: str | None, bind: str | None, is_watched: bool
) -> None:
    forks: list[int] = []

    def fork() -> int:
        forks.append(1)
        return 1

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(os, "waitpid", lambda *_: None)
    process: Any = {"name": "web", "bind": bind}
    launch.watch_over(web(home), Launch(str(release(home, "r2", state, 3)), {}, process))
    assert bool(forks) == is_watched


# --- a disk that is full ----------------------------------------------------------------------------------------------


@pytest.fixture
def full(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No file can be made in `home`; what is there can be written, and there is an inode for each that is removed."""
    freed: list[str] = []
    really_open, really_unlink, really_bind = open, os.unlink, socket.socket.bind

    def opened(path: Any, mode: str = "r", **more: Any) -> Any:
        if mode == "w":
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_open(path, mode, **more)

    def unlink(path: str) -> None:
        really_unlink(path)
        freed.append(path)

    def bind(made: socket.socket, address: Any) -> None:
        if not freed:
            raise OSError(errno.ENOSPC, "No space left on device")
        really_bind(made, address)

    monkeypatch.setattr(launch, "open", opened, raising=False)
    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr(socket.socket, "bind", bind)
    monkeypatch.chdir(home)
    return home


def test_starts_are_counted_on_a_full_disk_too(full: Path) -> None:
    path = full / "run/web-0.starts"
    path.write_text(f"0 {full}/a-longer-name-of-the-release-before\n")
    launch.count_start(str(path), 3, f"{full}/r1")
    assert path.read_text() == f"3 {full}/r1\n"
    launch.count_start(
        str(full / "run/web-1.starts"), 3, f"{full}/r1"
    )  # a new one cannot be written: no reason to fail


def test_a_pid_is_written_on_a_full_disk_where_there_was_one(full: Path) -> None:
    started = Launch(str(full / "r1"), {}, {"name": "web", "command": "gunicorn"})
    for number in ("0", "1"):
        path = full / f"run/web-{number}.pid"
        if number == "0":
            path.write_text("4194304\n")
        launch.say_pid(Instance(str(full), "web", number), started)
        assert not path.exists() or path.read_text() == f"{os.getpid()}\n"


def test_a_socket_takes_the_inode_of_the_one_before_it_and_without_that_it_is_optional(full: Path) -> None:
    assert launch.health_socket(web(full)) is None
    path = full / "run/web-0.health"
    path.touch()
    fd = launch.health_socket(web(full))
    assert fd is not None
    os.close(fd)
    assert path.is_socket()


def test_a_link_that_others_have_made_beside_a_pid_file_is_not_followed(tmp_path: Path) -> None:
    """In a directory such as /tmp: its name can be guessed."""
    precious = tmp_path / "precious"
    precious.write_text("x")
    (tmp_path / f"web.pid.{os.getpid()}").symlink_to(precious)

    launch.write_beside(str(tmp_path / "web.pid"), "17\n")

    assert (precious.read_text(), (tmp_path / "web.pid").read_text()) == ("x", "17\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["precious", "web.pid"]
