"""What `/proc` says of a process, and what a pid file may claim."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from djdeploy import Process
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote import launch
from djdeploy.remote.processes import proc
from djdeploy.remote.processes.proc import Identity
from tests.shell.homes import Home, a_home

from .program import run


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        made.release("r1")
        yield made


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for process in made:
        process.kill()
        process.wait()


def sleeper(started: list[subprocess.Popen[bytes]], cwd: Path, **env: str) -> int:
    process = subprocess.Popen(["sleep", "600"], cwd=cwd, env={**os.environ, **env})
    started.append(process)
    wait_until("sleep to run", lambda: proc.command_of(process.pid)[:1] == ["sleep"])
    return process.pid


def who(home: Home, number: int = 0) -> Identity:
    return Identity(str(home.path), "demo", "web", number)


def launched_env(home: Home, project: str = "demo") -> dict[str, str]:
    return {"DJDEPLOY_HOME": str(home.path), "DJDEPLOY_PROCESS": f"{project}-web", "DJDEPLOY_INSTANCE": "0"}


def claimed(home: Home, text: str | int, number: int = 0) -> proc.Claim:
    path = home.path / "run/web.pid"
    path.write_text(f"{text}\n")
    return proc.claim(str(path), who(home, number))


def test_a_process_of_a_release_may_be_signalled(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    pid = sleeper(started, home.path / "r1/repository")
    claim = claimed(home, pid)
    assert claim.process
    assert claim.process.pid == pid
    assert proc.release_of(pid, str(home.path)) == "r1"


@pytest.mark.parametrize("text", ["", "no number", "-1", "0", "1\n2", "12345678901", "\u0661", " "])
def test_a_file_without_a_pid_claims_nothing(home: Home, text: str) -> None:
    claim = claimed(home, text)
    assert claim.process is None
    assert claim.why.endswith("holds no pid")


def test_a_missing_file_claims_nothing(home: Home) -> None:
    claim = proc.claim(str(home.path / "run/none.pid"), who(home))
    assert claim == (None, f"{home.path}/run/none.pid: No such file or directory")


def test_a_pid_that_is_gone_is_stale(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    pid = sleeper(started, home.path / "r1")
    started[0].kill()
    wait_until("a zombie, which has ended", lambda: proc.process(pid) is None)
    assert "is stale: pid" in claimed(home, pid).why
    started[0].wait()
    assert "is stale: pid" in claimed(home, pid).why


def test_a_process_of_nobody_is_not_touched(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    assert "is no process of demo (sleep); not touched" in claimed(home, sleeper(started, Path("/"))).why


def test_another_instance_and_another_project_are_not_touched(
    home: Home, started: list[subprocess.Popen[bytes]]
) -> None:
    ours = sleeper(started, home.path / "r1", **launched_env(home))
    theirs = sleeper(started, home.path / "r1", **launched_env(home, "other"))
    assert claimed(home, ours).process
    assert "is another process (demo-web 0); not touched" in claimed(home, ours, number=1).why
    assert "is another process (other-web 0); not touched" in claimed(home, theirs).why


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_a_process_of_another_user_is_not_touched(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    (home.root).chmod(0o755)
    process = subprocess.Popen(["sleep", "600"], cwd=home.path / "r1", user="nobody")
    started.append(process)
    wait_until("sleep to run", lambda: proc.command_of(process.pid)[:1] == ["sleep"])
    assert "belongs to another user; not touched" in claimed(home, process.pid).why


def test_what_runs_the_deploy_is_not_touched(home: Home) -> None:
    assert "is what runs this deploy; not touched" in claimed(home, os.getpid()).why


def test_a_number_that_was_used_again_is_not_touched(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    pid = sleeper(started, home.path / "r1/repository")
    path = home.path / "run/web.pid"
    path.write_text(f"{pid}\n")
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    assert "began after that file was written" in proc.claim(str(path), who(home)).why


def test_a_process_that_says_who_it_is_needs_no_clock(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    """The clock may have been set after the file was written."""
    pid = sleeper(started, home.path / "r1", **launched_env(home))
    path = home.path / "run/web.pid"
    path.write_text(f"{pid}\n")
    os.utime(path, (0, 0))
    assert proc.claim(str(path), who(home)).process


def test_a_name_with_spaces_and_parentheses_is_read_right(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    odd = home.root / "a) (b 1 2"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", odd)
    started.append(subprocess.Popen([odd, "600"]))
    pid = started[0].pid
    wait_until("the name", lambda: "a) (b" in Path(f"/proc/{pid}/stat").read_text())
    found = proc.process(pid)
    assert found
    assert found.parent == os.getpid()
    assert 0 <= proc.seconds_alive(found) < 60


# --- releases in use --------------------------------------------------------------------------------------------------


def test_releases_are_in_use_by_directory_environment_and_command(
    home: Home, started: list[subprocess.Popen[bytes]]
) -> None:
    for name in ("by-directory", "by-environment", "by-command", "unused"):
        (home.path / name).mkdir()
    sleeper(started, home.path / "by-directory")
    sleeper(started, Path("/"), DJDEPLOY_HOME=str(home.path), DJDEPLOY_RELEASE="by-environment")
    argument = str(home.path / "by-command/virtualenv/bin/python")
    started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", argument]))
    names = {"by-directory", "by-environment", "by-command"}
    wait_until("the three", lambda: proc.releases_in_use(str(home.path)) == names, seconds=5)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_another_account_keeps_no_release_from_being_removed(
    home: Home, started: list[subprocess.Popen[bytes]]
) -> None:
    argument = str(home.path / "r1/repository")
    started.append(subprocess.Popen(["sh", "-c", "sleep 600", argument], user="nobody"))
    started.append(subprocess.Popen(["sleep", "600"], user="nobody", env={"DJDEPLOY_HOME": str(home.path)}))
    wait_until("the command", lambda: argument in proc.command_of(started[0].pid))

    assert proc.releases_in_use(str(home.path)) == set()


def test_a_release_is_in_use_although_its_directory_was_removed_and_made_anew(
    home: Home, started: list[subprocess.Popen[bytes]]
) -> None:
    pid = sleeper(started, home.path / "r1/repository")
    shutil.rmtree(home.path / "r1")
    assert str(Path(f"/proc/{pid}/cwd").readlink()).endswith(" (deleted)")
    assert proc.releases_in_use(str(home.path)) == set()
    (home.path / "r1").mkdir()
    assert proc.releases_in_use(str(home.path)) == {"r1"}


def test_what_works_in_shared_or_in_a_home_of_a_similar_name_uses_no_release(
    home: Home, started: list[subprocess.Popen[bytes]]
) -> None:
    similar = Path(f"{home.path}-2/r1")
    similar.mkdir(parents=True)
    sleeper(started, home.path / "shared")
    sleeper(started, home.path)
    sleeper(started, similar)
    assert proc.releases_in_use(str(home.path)) == set()


def test_a_home_that_is_a_link_finds_its_processes(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    link = home.root / "link"
    link.symlink_to(home.path)
    sleeper(started, home.path / "r1")
    assert proc.releases_in_use(str(link)) == {"r1"}


# --- after publishing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["lives", "has ended", "was replaced", "is somebody else's by now"])
def test_what_was_ready_is_looked_at_once_more(
    home: Home, started: list[subprocess.Popen[bytes]], capfd: pytest.CaptureFixture[str], what: str
) -> None:
    home.release("r2", Process("web", "sleep 600", bind="127.0.0.1:1"))
    home.switch("r2")
    (home.path / "log/web-0.log").write_text("the queue is gone\n")
    project = "other" if what == "is somebody else's by now" else "demo"
    pid = sleeper(started, home.path / "r2/repository", **launched_env(home, project))
    if what in ("has ended", "was replaced"):
        started[0].kill()
        started[0].wait()
    if what == "was replaced":
        later = sleeper(started, home.path / "r2/repository", **launched_env(home))
        (home.path / "run/web-0.pid").write_text(f"{later}\n")
    ran = run("look_again", str(home.path), f"web:0:{pid}")
    said = capfd.readouterr().out
    assert ran.code == (0 if what == "lives" else 1)
    assert (f"web 0: pid {pid} was ready, and has ended since" in said) == (what != "lives")
    assert ("the queue is gone" in said) == (what != "lives")
    if what == "was replaced":
        assert f"pid {later} has taken its place" in said


@pytest.mark.parametrize("dies", [True, False])
def test_what_answers_nothing_is_looked_at_until_it_does_not_die_young_any_more(
    home: Home, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    home.release("r2", Process("web", "sleep 600"))
    home.switch("r2")
    pid = sleeper(started, home.path / "r2/repository", **launched_env(home))
    known = proc.process(pid)
    ages = iter([7.0, 9.9, 10.0])

    def seconds_alive(_: proc.Process) -> float:
        age = next(ages)
        if dies and age > 9:
            started[0].kill()
            started[0].wait()
        return age

    monkeypatch.setattr(proc, "seconds_alive", seconds_alive)
    assert run("look_again", str(home.path), f"web:0:{pid}").code == (1 if dies else 0)
    assert list(ages) == ([10.0] if dies else [])
    assert proc.same(proc.process(pid), known) is not dies


# --- ending -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_pidfd", [True, False])
def test_a_handle_signals_and_waits(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, with_pidfd: bool
) -> None:
    if not with_pidfd:  # Python 3.8, or a kernel before 5.3
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    known = proc.process(sleeper(started, Path("/")))
    assert known
    with proc.Handle(known) as handle:
        assert (handle.fd is not None) == with_pidfd
        assert not handle.gone(0.05)
        handle.signal(signal.SIGTERM)
        assert handle.gone(5)
        handle.signal(signal.SIGTERM)  # nobody is there: nothing happens
    assert started[0].wait() == -signal.SIGTERM


def test_a_handle_of_what_is_gone_signals_nobody(started: list[subprocess.Popen[bytes]]) -> None:
    pid = sleeper(started, Path("/"))
    known = proc.process(pid)
    assert known
    with proc.Handle(known._replace(started=known.started - 1)) as handle:  # an earlier process of this number
        handle.signal(signal.SIGKILL)
        assert handle.gone(0)
    assert started[0].poll() is None


PLANTED: dict[str, Callable[[Path], object]] = {
    "a pipe": lambda path: os.mkfifo(path),
    "a directory": lambda path: path.mkdir(),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a large file": lambda path: path.write_bytes(b"7" * 10_000_000),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_no_pid_file_claims_nothing_and_keeps_nobody_waiting(tmp_path: Path, planted: str) -> None:
    path = tmp_path / "web-0.pid"
    PLANTED[planted](path)

    claim = proc.claim(str(path), Identity(str(tmp_path), "demo", "web", 0))

    assert claim.process is None
    assert claim.why.startswith(str(path))
    assert launch.counted(str(path), "r1") == -1
