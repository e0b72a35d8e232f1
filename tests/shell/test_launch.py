"""The launcher that Supervisor runs, here run by hand."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Process
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.processes import proc
from tests.locales import LOCALES, in_locale

from .homes import Home, a_home, answers, web

PRINT = """
import json, os, socket, stat, sys
fds = {fd: stat.S_ISSOCK(os.fstat(fd).st_mode) for fd in (0, 3, 4) if os.path.exists(f"/proc/self/fd/{fd}")}
umask = os.umask(0)
print(json.dumps({"env": dict(os.environ), "cwd": os.getcwd(), "fds": fds, "pid": os.getpid(), "umask": umask,
                  "argv": sys.argv, "null": os.path.realpath("/proc/self/fd/0")}))
"""


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


@contextlib.contextmanager
def launched(
    home: Home, *words: str, stdin: Any = subprocess.DEVNULL, umask: int = -1, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-I", str(home.path / "bin/djdeploy-launch-1"), *words],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
        umask=umask,
        cwd="/",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def printed(home: Home, process: Process, *words: str, **more: Any) -> dict[str, Any]:
    """What a program that stands for the server sees."""
    import json

    release = home.release("r1", process, env={"COLOUR": "red % 'x'"}, source_dir="site")
    (release / "repository/site").mkdir()
    (release / "repository/site/printer.py").write_text(PRINT)
    home.switch("r1")
    with launched(home, *words, **more) as started:
        output, error = started.communicate(timeout=30)
        assert started.returncode == 0, error
        seen: dict[str, Any] = json.loads(output)
        assert seen["pid"] == started.pid
        return seen


def failed(home: Home, *words: str, **more: Any) -> tuple[int, list[str]]:
    with launched(home, *words, **more) as started:
        _, error = started.communicate(timeout=30)
        return started.returncode, error.decode().splitlines()


def worker(command: str = "python printer.py 'a b'", **more: Any) -> Process:
    return Process("worker", command, **more)


def test_a_worker_gets_the_environment_of_its_release(home: Home) -> None:
    seen = printed(home, worker(), "worker", "3", COLOUR="blue", INHERITED="yes", DJDEPLOY_RELEASE="old")
    env, release = seen["env"], home.path / "r1"
    assert seen["cwd"] == env["PWD"] == str(release / "repository/site")
    assert (env["COLOUR"], env["INHERITED"]) == ("red % 'x'", "yes")
    assert (env["DJDEPLOY_RELEASE"], env["DJDEPLOY_COMMIT"]) == ("r1", "c0ffee")
    assert (env["DJDEPLOY_PROCESS"], env["DJDEPLOY_INSTANCE"]) == ("demo-worker", "3")
    assert env["VIRTUAL_ENV"] == str(release / "virtualenv")
    assert env["PATH"].split(":")[0] == str(release / "virtualenv/bin")
    assert "LISTEN_FDS" not in env
    assert seen["argv"] == ["printer.py", "a b"]
    assert seen["null"] == "/dev/null"


@pytest.mark.parametrize("locale", LOCALES)
def test_a_process_is_given_utf_8_whatever_supervisors_locale(home: Home, locale: str, tmp_path: Path) -> None:
    release = home.release("r1", worker("python printer.py grün"), env={"X": "größe → 5"}, source_dir="site")
    (release / "repository/site").mkdir()
    (release / "repository/site/printer.py").write_text("import os, sys; print([os.environb[b'X'], sys.argv[1:]])")
    home.switch("r1")
    spoken: dict[str, Any] = {**in_locale(locale, tmp_path), "PYTHONUTF8": "1"}
    with launched(home, "worker", "0", **spoken) as started:
        output, error = started.communicate(timeout=30)
    assert output.decode() == f"[{'größe → 5'.encode()!r}, ['grün']]\n", error


def test_the_pid_file_is_written_before_the_server_is_there(home: Home) -> None:
    seen = printed(home, worker(), "worker", "0")
    assert home.pid("worker-0") == seen["pid"]
    assert [
        path.name for path in (home.path / "run").iterdir() if path.suffix not in (".pid", ".starts", ".restarts")
    ] == []


def test_a_pid_file_below_current_is_written_inside_the_release(home: Home) -> None:
    seen = printed(home, worker(pid_file="current/repository/demo.pid"), "worker", "0")
    assert (home.path / "r1/repository/demo.pid").read_text() == f"{seen['pid']}\n"


@pytest.mark.parametrize(("given", "used"), [(0o000, 0o022), (0o022, 0o022), (0o077, 0o077)])
def test_what_the_site_writes_is_not_for_everybody(home: Home, given: int, used: int) -> None:
    assert printed(home, worker(), "worker", "0", umask=given)["umask"] == used


def test_the_socket_of_supervisor_moves_out_of_the_way_of_standard_input(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = Process("web", "python printer.py", bind="127.0.0.1:1", instances=2)
        seen = printed(home, process, "--socket", "web", "0", stdin=listener, LISTEN_PID="1", LISTEN_FDS="7")
    assert seen["null"] == "/dev/null"
    assert seen["fds"] == {"0": False, "3": True}
    assert (seen["env"]["LISTEN_FDS"], seen["env"]["LISTEN_PID"]) == ("1", str(seen["pid"]))


def test_gunicorn_gets_a_private_health_socket_besides(home: Home) -> None:
    port = free_port()
    home.release("r1", web(port))
    home.switch("r1")
    with socket.create_server(("127.0.0.1", port)) as listener, launched(home, "--socket", "web", "1", stdin=listener):
        wait_until("the server", lambda: answers(port) == "r1")
        path = home.path / "run/web-1.health"
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            assert struct.unpack("3i", peer)[0] == home.pid("web-1")


WRAPPED = {
    "env X=1 gunicorn site_of:application": {},
    "nice -n 1 python -m gunicorn site_of:application": {},
    "sh -c 'cd . && exec gunicorn site_of:application'": {},
    "./serve.sh": {"server": "gunicorn"},
    f"{Path(sys.executable).parent}/gunicorn site_of:application": {},
}


@pytest.mark.parametrize("command", WRAPPED)
def test_gunicorn_has_its_health_socket_behind_whatever_becomes_it(home: Home, command: str) -> None:
    port = free_port()
    release = home.release("r1", web(port, command=command, stop_timeout=7, **WRAPPED[command]))
    script = release / "repository/serve.sh"
    script.write_text("#!/bin/sh\nexport X=1\nexec env Y=2 gunicorn site_of:application\n")
    script.chmod(0o755)
    home.switch("r1")
    with socket.create_server(("127.0.0.1", port)) as listener, launched(home, "--socket", "web", "0", stdin=listener):
        wait_until("the server", lambda: answers(port) == "r1")
        recorded = proc.environment_of(home.pid("web-0"))["DJDEPLOY_HEALTH_SOCKET"]
        assert recorded == str(home.path / "run/web-0.health")
        assert home.run("status").outputs["processes"][0]["healthy"] is True
        command_line, arguments = (proc.read(f"/proc/{home.pid('web-0')}/{name}") for name in ("cmdline", "environ"))
        assert "--graceful-timeout=7" in command_line + arguments


@pytest.mark.parametrize("stdin", ["pipe", "connected socket", "nothing"])
def test_without_a_listening_socket_of_supervisor_it_says_so_and_exits(home: Home, stdin: str) -> None:
    home.release("r1", web(free_port()))
    home.switch("r1")
    first, second = socket.socketpair()
    with first, second:
        given = {"pipe": subprocess.PIPE, "connected socket": first, "nothing": subprocess.DEVNULL}[stdin]
        code, lines = failed(home, "--socket", "web", "0", stdin=given)
    assert code == 68
    assert lines[-1].startswith("djdeploy: web 0: Supervisor gave no listening socket as standard input")
    assert len(lines) == 2  # the other one says what is started


@pytest.mark.parametrize("bind", ["127.0.0.1:{port}", "[::1]:{port}", "localhost:{port}", "unix:{home}/run/web.sock"])
def test_one_instance_binds_its_address_itself(home: Home, bind: str) -> None:
    port = free_port()
    address = bind.format(port=port, home=home.path)
    home.release("r1", web(port, instances=1).__class__("web", "gunicorn site_of:application", bind=address))
    home.switch("r1")
    if address.startswith("unix:"):
        Path(address[5:]).touch()  # of the server before, or of somebody's mistake
    with launched(home, "web", "0"):
        wait_until("the server to listen", lambda: connects(address))
        if address.startswith("unix:"):
            assert stat.S_IMODE(Path(address[5:]).stat().st_mode) == 0o666


def connects(address: str) -> bool:
    with contextlib.suppress(OSError):
        if address.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address[5:])
                return True
        host, _, port = address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port))):
            return True
    return False


def test_an_address_that_is_still_in_use_is_waited_for(home: Home) -> None:
    port = free_port()
    home.release("r1", web(port, instances=1))
    home.switch("r1")
    with socket.create_server(("127.0.0.1", port)) as other, launched(home, "web", "0") as started:
        time.sleep(1)  # there is nothing to wait for: it must go on trying
        assert started.poll() is None
        other.close()
        wait_until("the server", lambda: answers(port) == "r1")


def test_a_long_home_does_not_matter_to_the_health_socket(home: Home) -> None:
    port = free_port()
    home.name = "/".join(["long" * 20] * 3)
    for name in ("run", "bin"):
        (home.path / name).mkdir(parents=True)
    home.install_launcher()
    home.release("r1", web(port))
    home.switch("r1")
    with socket.create_server(("127.0.0.1", port)) as listener, launched(home, "--socket", "web", "0", stdin=listener):
        wait_until("the server", lambda: answers(port) == "r1")
        assert home.run("status").outputs["processes"][0]["healthy"] is True


def test_it_waits_for_the_first_release(home: Home) -> None:
    with launched(home, "worker", "0") as started:
        assert started.stderr
        line = b"djdeploy: worker 0: waiting for a release: nothing has been deployed yet\n"
        assert started.stderr.readline() == line
        printer = home.release("r1", worker())
        (printer / "repository/printer.py").write_text(PRINT)
        home.switch("r1")
        output, _ = started.communicate(timeout=30)
        assert b'"DJDEPLOY_RELEASE": "r1"' in output


def replaced_by(home: Home, text: str) -> None:
    path = home.path / "bin/djdeploy-launch-1"
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def test_a_waiting_launcher_gives_way_to_a_newer_one_and_to_no_half_one(home: Home) -> None:
    text = (home.path / "bin/djdeploy-launch-1").read_text()
    newer = text.replace("waiting for a release", "waiting anew for a release")
    with launched(home, "worker", "0") as started:
        assert started.stderr
        assert b"waiting for a release" in started.stderr.readline()
        replaced_by(home, newer[:-30])
        time.sleep(0.5)  # there is nothing to wait for: it must go on as it is
        replaced_by(home, newer)
        assert b"waiting anew for a release" in started.stderr.readline()
        assert proc.command_of(started.pid)[-2:] == ["worker", "0"]


def test_it_waits_when_the_release_has_no_such_process_or_a_broken_runtime(home: Home) -> None:
    release = home.release("r1", web(free_port()))
    home.switch("r1")
    with launched(home, "worker", "0") as started:
        assert started.stderr
        assert b"r1 has no process 'worker'" in started.stderr.readline()
        (release / "runtime.json").write_text("{")
        assert b"cannot read runtime.json" in started.stderr.readline()
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=30) == -signal.SIGTERM


def test_a_release_of_another_tool_runs_with_what_the_previous_one_says(home: Home) -> None:
    foreign = home.release("foreign", worker())
    (foreign / "repository/printer.py").write_text(PRINT)
    home.release("r1", worker())
    home.switch("r1")
    (foreign / "runtime.json").unlink()
    home.switch("foreign")
    with launched(home, "worker", "0") as started:
        output, error = started.communicate(timeout=30)
    assert b'"DJDEPLOY_RELEASE": "foreign"' in output, error


def test_a_missing_program_is_named(home: Home) -> None:
    home.release("r1", worker("gunicron"))
    home.switch("r1")
    code, lines = failed(home, "worker", "0")
    assert code == 127
    where = home.path / "r1/virtualenv/bin"
    assert f"there is no program 'gunicron' in {where} nor on PATH: is its package in the requirements?" in lines[-1]


def test_a_release_that_dies_young_is_started_more_and_more_slowly(home: Home) -> None:
    home.release("r1", worker("false"))
    home.switch("r1")
    pauses = []
    for _ in range(4):
        _, lines = failed(home, "worker", "0")
        pauses.append([line for line in lines if "next start in" in line])
    assert pauses[:2] == [[], []]
    assert "r1 has died young 2 times in a row: next start in 1 s" in pauses[2][0]
    assert "next start in 2 s" in pauses[3][0]
    good = home.release("r2", worker("true"))
    (home.path / "run/worker-0.starts").write_text(f"9 {home.path}/r1\n")
    with launched(home, "worker", "0") as started:
        assert started.stderr
        assert b"next start in 10 s" in started.stderr.readline()
        home.switch(good.name)  # which has not died
        assert started.wait(timeout=9) == 0


def test_a_gunicorn_that_lives_while_its_workers_die_is_left_for_the_release_before(home: Home) -> None:
    """Its own code for a worker that cannot start would end it; any other does not."""
    process = web(free_port(), instances=1, timeout=1)
    home.release("r1", process)
    home.release("r2", process, more="os._exit(1)", state="ready")
    for name in ("r1", "r2"):
        home.switch(name)
    with launched(home, "web", "0") as started:
        wait_until("the way back", lambda: (home.path / "current").readlink() == Path("r1"))
        assert started.wait() == 0, "Gunicorn ends well at TERM, and Supervisor starts r1"
    with launched(home, "web", "0"):
        wait_until("r1", lambda: answers(int(str(process.bind).rpartition(":")[2])) == "r1")
    assert '"from": "r2"' in (home.path / "log/deploys.jsonl").read_text()


@pytest.mark.parametrize("words", [[], ["web"], ["web", "x"], ["../web", "0"], ["web", "0", "0"], ["--help", "0"]])
def test_wrong_words_are_refused(home: Home, words: list[str]) -> None:
    assert failed(home, *words) == (64, ["usage: djdeploy-launch-1 [--socket] PROCESS INSTANCE"])


def test_a_directory_that_cannot_be_written_is_named(home: Home) -> None:
    home.release("r1", worker("true", pid_file="/proc/nowhere/{name}.pid"))
    home.switch("r1")
    code, lines = failed(home, "worker", "0")
    assert code == 73
    assert "cannot write /proc/nowhere/worker.pid" in lines[-1]


def test_home_may_be_a_link(home: Home) -> None:
    port = free_port()
    home.release("r1", web(port))
    home.switch("r1")
    (home.root / "link").symlink_to(home.path)
    shutil.copy(home.path / "bin/djdeploy-launch-1", home.root / "x")
    home.name = "link"
    with socket.create_server(("127.0.0.1", port)) as listener, launched(home, "--socket", "web", "0", stdin=listener):
        wait_until("the server", lambda: answers(port) == "r1")
        row = home.run("status").outputs["processes"][0]
        assert (row["release"], row["healthy"]) == ("r1", True)
