"""The embedded target behaves as a server does, and ends without a trace."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
import pytest

from djdeploy import Health, Process, Settings
from djdeploy.rehearsal import guard
from djdeploy.rehearsal.fabfile import fabfile
from djdeploy.rehearsal.target import Rehearsal
from djdeploy.rehearsal.waiting import wait_until

MEGABYTE = 1 << 20


def ssh(
    server: Rehearsal, *words: str, input: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """OpenSSH's own client."""
    command = ["ssh", "-F", str(server.ssh_config), "rehearsal", *words]
    return subprocess.run(command, capture_output=True, timeout=60, input=input, env=env)


def opened(server: Rehearsal, command: str) -> tuple[Any, paramiko.Channel]:
    """A connection, and a command that runs on it."""
    connection = server.connection()
    channel = connection.create_session()
    channel.exec_command(command)
    return connection, channel


def read_all(receive: Callable[[int], bytes]) -> bytes:
    return b"".join(iter(lambda: receive(MEGABYTE), b""))


def peak_memory(pid: int) -> int:
    """The most bytes that a process has ever used."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_commands_output_errors_and_exit_status_arrive(shared_rehearsal: Rehearsal) -> None:
    done = ssh(shared_rehearsal, "echo out; echo err >&2; exit 7")

    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)


def test_a_command_that_a_signal_ends_is_told_as_such(shared_rehearsal: Rehearsal) -> None:
    _, channel = opened(shared_rehearsal, "kill -KILL $$")

    assert channel.recv_exit_status() == -1
    assert ssh(shared_rehearsal, "kill -KILL $$").returncode == 255


def test_a_login_is_clean(shared_rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = dict(
        line.split("=", 1) for line in ssh(shared_rehearsal, "env").stdout.decode().splitlines() if "=" in line
    )

    assert environment["HOME"] == str(shared_rehearsal.account)
    assert not {"VIRTUAL_ENV", "PYTHONPATH", "SSH_AUTH_SOCK", "PYENV_ROOT"} & set(environment)
    assert ssh(shared_rehearsal, "pwd").stdout.decode().strip() == environment["HOME"]


def test_python3_on_the_server_is_no_virtualenv(shared_rehearsal: Rehearsal) -> None:
    program = "'import sys; print(sys.prefix == sys.base_prefix, *sys.version_info[:2])'"

    printed = ssh(shared_rehearsal, f"python3 -c {program}").stdout.decode().split()

    assert printed == ["True", *map(str, sys.version_info[:2])]


def test_uv_can_be_hidden() -> None:
    with Rehearsal(with_uv=False) as server:
        assert ssh(server, "command -v uv").returncode != 0


def test_uv_is_there(shared_rehearsal: Rehearsal) -> None:
    assert ssh(shared_rehearsal, "uv --version").stdout.startswith(b"uv ")


def test_a_terminal_is_given_to_who_asks_for_one(shared_rehearsal: Rehearsal) -> None:
    with shared_rehearsal.connection() as c:
        done = c.run("test -t 0 && stty size; exit 3", pty=True, warn=True, hide=True, in_stream=False)

    assert re.fullmatch(r"\d+ \d+\s*", done.stdout)
    assert done.exited == 3


# --- streams ----------------------------------------------------------------------------------------------------------


def test_20_megabytes_of_binary_input_arrive_unchanged_and_are_not_kept(rehearsal: Rehearsal) -> None:
    data = os.urandom(20 * MEGABYTE)
    ssh(rehearsal, "sha256sum", input=data[: 4 * MEGABYTE])  # more than what may be on its way
    before = peak_memory(rehearsal.sshd.pid)

    done = ssh(rehearsal, "sleep 0.3; sha256sum", input=data)

    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert peak_memory(rehearsal.sshd.pid) - before < 8 * MEGABYTE


def test_20_megabytes_of_output_to_a_slow_reader_are_not_kept(rehearsal: Rehearsal) -> None:
    ssh(rehearsal, "head -c 4194304 /dev/zero")
    before = peak_memory(rehearsal.sshd.pid)

    connection, channel = opened(rehearsal, "head -c 20971520 /dev/zero; echo done >&2")
    wait_until("the window to be full", lambda: channel.recv_ready())
    time.sleep(0.5)  # the reader is slow: nothing to wait for

    assert peak_memory(rehearsal.sshd.pid) - before < 8 * MEGABYTE
    assert len(read_all(channel.recv)) == 20 * MEGABYTE
    connection.close()


def test_a_command_ends_while_the_client_keeps_its_input_open(shared_rehearsal: Rehearsal) -> None:
    connection, channel = opened(shared_rehearsal, "head -c 3; echo over")
    channel.sendall(b"abc")

    assert read_all(channel.recv) == b"abcover\n"
    assert channel.recv_exit_status() == 0
    connection.close()


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_a_client_that_leaves_ends_the_input_and_kills_nothing(shared_rehearsal: Rehearsal, what: str) -> None:
    left = shared_rehearsal.account / f"left-{what}"
    command = f"echo ready; cat >/dev/null; sleep 0.3; echo end of input > {left}"
    connection, channel = opened(shared_rehearsal, command)
    assert channel.recv(100) == b"ready\n"

    (channel if what == "channel" else connection).close()

    wait_until("the command to go on", lambda: left.exists() and left.read_text() == "end of input\n")


def test_a_command_that_writes_to_a_client_that_left_gets_a_broken_pipe(shared_rehearsal: Rehearsal) -> None:
    status = shared_rehearsal.account / "status"
    loop = "(while echo line && sleep 0.05; do :; done) 2>/dev/null; echo $? > status"
    connection, channel = opened(shared_rehearsal, f"trap '' PIPE; {loop}")
    assert channel.recv(5)

    connection.close()

    wait_until("the loop to end", lambda: status.exists() and status.read_text())


def test_a_client_that_is_killed_ends_the_input_and_kills_nothing(shared_rehearsal: Rehearsal) -> None:
    left = shared_rehearsal.account / "left-killed"
    command = ["ssh", "-F", str(shared_rehearsal.ssh_config), "rehearsal", f"echo ready; cat; sleep 0.3; touch {left}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout
        assert client.stdout.readline() == b"ready\n"
        client.kill()

    wait_until("the command to go on", left.exists)


# --- who may come in, and what is counted -----------------------------------------------------------------------------


def test_a_wrong_key_is_refused(shared_rehearsal: Rehearsal) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(shared_rehearsal.known_hosts))
        with pytest.raises(paramiko.AuthenticationException):
            client.connect(
                "127.0.0.1",
                port=shared_rehearsal.port,
                username=shared_rehearsal.user,
                pkey=paramiko.RSAKey.generate(2048),
                allow_agent=False,
                look_for_keys=False,
            )
    wait_until("its record", lambda: [event for event in shared_rehearsal.events if event["event"] == "refused"])


def test_another_account_is_refused(shared_rehearsal: Rehearsal) -> None:
    assert ssh(shared_rehearsal, "-l", "somebody-else", "true").returncode == 255


def test_the_host_key_is_checked(rehearsal: Rehearsal) -> None:
    rehearsal.known_hosts.write_text("")

    with pytest.raises(paramiko.SSHException), rehearsal.connection() as c:
        c.open()


def test_connections_and_channels_are_counted(shared_rehearsal: Rehearsal) -> None:
    connections, channels = shared_rehearsal.connections, shared_rehearsal.channels
    with shared_rehearsal.connection() as c:
        c.run("true", in_stream=False)
        c.run("true", in_stream=False)
        c.put(io.BytesIO(b"x"), "x")

    assert (shared_rehearsal.connections - connections, shared_rehearsal.channels - channels) == (1, 3)


def test_files_are_put_and_got_by_sftp_from_the_accounts_home(shared_rehearsal: Rehearsal) -> None:
    data = os.urandom(3 * MEGABYTE)
    with shared_rehearsal.connection() as c:
        c.put(io.BytesIO(data), "some file")
        got = io.BytesIO()
        c.get("some file", got)

    assert (shared_rehearsal.account / "some file").read_bytes() == got.getvalue() == data


def test_an_agent_is_forwarded(shared_rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    socket_path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL) as agent:
        wait_until("the agent", socket_path.exists)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket_path)}
        subprocess.run(["ssh-add", "-q", str(shared_rehearsal.key_file)], env=environment, check=True)

        done = ssh(shared_rehearsal, "-A", "ssh-add -l", env=environment)
        without = ssh(shared_rehearsal, "ssh-add -l", env=environment)
        agent.terminate()

    assert b"rehearsal (ED25519)" in done.stdout
    assert without.returncode == 2


def test_the_server_clones_by_path_and_the_developer_by_ssh(shared_rehearsal: Rehearsal, tmp_path: Path) -> None:
    rehearsal = shared_rehearsal
    assert (
        ssh(rehearsal, f"git clone -q {rehearsal.repository.url} cloned && test -e cloned/src/manage.py").returncode
        == 0
    )

    url = rehearsal.repository.ssh_url(rehearsal.host)
    environment = {**os.environ, "GIT_SSH_COMMAND": f"ssh -F {rehearsal.ssh_config}"}
    subprocess.run(["git", "clone", "-q", url, str(tmp_path / "cloned")], env=environment, check=True)
    assert (tmp_path / "cloned/src/manage.py").exists()


# --- the site ---------------------------------------------------------------------------------------------------------


def answer(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, {**dict(response.headers), **json.loads(response.read())}
    except OSError:
        return 0, {}


def test_the_sample_project_runs_under_supervisor_and_names_its_release(rehearsal: Rehearsal) -> None:
    install = """
set -e
git clone -q {url} site
uv venv -q --python python3 venv
uv pip install -q --python venv/bin/python --require-hashes -r site/requirements.txt
cd site/src
export SECRET_KEY=x
../../venv/bin/python manage.py check
../../venv/bin/python manage.py collectstatic --noinput
../../venv/bin/python manage.py migrate --noinput
"""
    done = ssh(rehearsal, install.format(url=rehearsal.repository.url))
    assert done.returncode == 0, done.stderr.decode()

    account = rehearsal.account
    rehearsal.install_supervisor(f"""
[fcgi-program:demo]
socket=tcp://127.0.0.1:{rehearsal.http_port}
command={account}/venv/bin/gunicorn --bind fd://0 --no-control-socket demo.wsgi
directory={account}/site/src
environment=SECRET_KEY="x",DJDEPLOY_RELEASE="20260101-000000",DJDEPLOY_COMMIT="{rehearsal.repository.head}"
""")

    wait_until("the site", lambda: answer(f"{rehearsal.url}health/")[0] == 200)
    _, said = answer(f"{rehearsal.url}health/")
    assert said["release"] == said["X-Release"] == "20260101-000000"
    assert said["commit"] == rehearsal.repository.head
    assert int(said["X-Pid"]) in guard.processes_of(rehearsal.root)
    with urllib.request.urlopen(rehearsal.url) as page:
        assert b"20260101-000000" in page.read()
    wait_until("Supervisor's word", lambda: "RUNNING" in rehearsal.supervisorctl("status"))

    rehearsal.install_supervisor("[program:other]\ncommand=sleep 1000\n")
    wait_until(
        "the other program alone", lambda: re.fullmatch(r"other +RUNNING.*\n", rehearsal.supervisorctl("status"))
    )


# --- the end ----------------------------------------------------------------------------------------------------------

BUSY = "[program:busy]\ncommand=sleep 1000\nautorestart=true\n"
STUBBORN = "[program:stubborn]\ncommand=sh -c \"trap '' TERM; while :; do sleep 1; done\"\nautorestart=true\n"


def make_busy(server: Rehearsal, programs: str = BUSY) -> None:
    """Programs under Supervisor, and a command that its client has left behind."""
    server.install_supervisor(programs)
    ssh(server, "nohup setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    wait_until("all to run", lambda: len(guard.processes_of(server.root)) >= 4)


@pytest.mark.parametrize("programs", [BUSY, STUBBORN])
def test_nothing_is_left_running_after_the_context_ends(programs: str) -> None:
    with Rehearsal() as server:
        make_busy(server, programs)

    assert guard.processes_of(server.root) == []
    assert not server.root.exists()


def test_nothing_is_left_running_after_an_exception() -> None:
    def fail(server: Rehearsal) -> None:
        with server:
            make_busy(server)
            raise KeyboardInterrupt

    server = Rehearsal()
    with pytest.raises(KeyboardInterrupt):
        fail(server)

    assert guard.processes_of(server.root) == []
    assert not server.root.exists()


PROGRAM = """
import sys, time
from djdeploy.rehearsal.target import Rehearsal
with Rehearsal() as server:
    server.install_supervisor(sys.argv[1])
    print(server.root, flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_running_after_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        root = Path(process.stdout.readline().strip())
        assert guard.processes_of(root)
        process.send_signal(number)

    wait_until("the end of all", lambda: not root.exists() and not guard.processes_of(root))


def test_a_failure_while_it_is_made_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Rehearsal) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(Rehearsal, "_write_login", fail)
    server = Rehearsal()
    with pytest.raises(RuntimeError, match="no"):
        server.__enter__()

    assert guard.processes_of(server.root) == []
    assert not server.root.exists()


def test_what_is_kept_is_there_until_it_is_ended() -> None:
    with Rehearsal() as server:
        make_busy(server)
        server.keep()

    assert ssh(server, "true").returncode == 0
    subprocess.run([sys.executable, "-m", "djdeploy.rehearsal.guard", "--now", str(server.root)], check=True)
    assert guard.processes_of(server.root) == []
    assert not server.root.exists()


def test_only_the_directory_of_a_rehearsal_is_ever_removed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="not the directory of a rehearsal"):
        guard.remove(tmp_path)

    assert tmp_path.exists()


# --- from where it is deployed ----------------------------------------------------------------------------------------


def test_the_real_fab_runs_in_the_developers_directory(shared_rehearsal: Rehearsal) -> None:
    assert "deploy" in shared_rehearsal.fab("--list").stdout
    assert shared_rehearsal.fab("no-such-task", check=False).returncode != 0


def test_a_generated_fabfile_says_the_same_settings(shared_rehearsal: Rehearsal) -> None:
    settings = shared_rehearsal.settings(
        keep_releases=3,
        shared_files=['a "file"', "größe", "$HOME\\n"],
        processes=[
            Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:1", instances=2, health=Health("/h/", status=204)),
            Process("worker", "python manage.py work", timeout=5),
        ],
    )
    text = fabfile(settings)

    assert "installer" not in text
    assert said_by(text) == settings


def said_by(text: str) -> Settings:
    names: dict[str, Any] = {}
    exec(text, names)
    settings = names["settings"]
    assert isinstance(settings, Settings)
    return settings
