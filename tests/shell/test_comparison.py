"""`comparison`: what the process manager really has, and what a release needs, before anything is published."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Process
from djdeploy.project.supervisor_conf import supervisor_conf
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.waiting import wait_until
from tests.hurry import HURRIED

from .homes import Home, Ran, a_home, answers, web

INSTALL = "fab supervisor-conf | ssh root@web1 'cat > {} && supervisorctl update'"


BESIDE = ("renamed", "renamed, same address", "workers only")


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        made.durations = HURRIED._replace(unexpected_start=0.5)
        yield made


def serving(home: Home, *processes: Process, text: str = "", control: bool = False) -> None:
    """A site that serves r1, with a Supervisor of which only root knows the files."""
    home.release("r1", *processes)
    home.switch("r1")
    home.supervise(text or supervisor_conf(home.settings(*processes)), control)
    ports = [int(str(process.bind).rpartition(":")[2]) for process in processes if process.bind]
    wait_until("r1 to serve", lambda: all(answers(port) == "r1" for port in ports))
    home.durations = HURRIED
    wait_until("all of r1", lambda: compare(home, "r1").status == 0)
    home.durations = HURRIED._replace(unexpected_start=0.5)


def compare(home: Home, release: str, *words: str, **env: Any) -> Ran:
    return home.run("comparison", release, "--old", "r1", "--as-root", "ssh root@web1", *words, **env)


def hide_files(home: Home) -> None:
    """Supervisor keeps what it has read."""
    (home.root / "supervisord.conf").write_bytes(b"\xff")


def needs(home: Home, *processes: Process, name: str = "r2") -> Ran:
    """What comes of a release that needs these."""
    home.release(name, *processes)
    return compare(home, name)


def changed(process: Process, **changes: Any) -> Process:
    known: dict[str, Any] = {"bind": process.bind, "instances": process.instances, "health": process.health}
    return Process(changes.pop("name", process.name), process.command, **(known | changes))


@pytest.mark.parametrize("hidden", [False, True], ids=["files can be read", "files cannot be read"])
def test_what_the_settings_need_and_the_manager_does_not_have_is_said_with_what_to_type(
    home: Home, hidden: bool
) -> None:
    process = web(free_port())
    bind, other = process.bind, f"127.0.0.1:{free_port()}"
    serving(home, process)
    if hidden:
        hide_files(home)
    worker = Process("worker", "sleep 600")
    cases = {
        "more instances": ([changed(process, instances=3)], "web: `instances` is 3, and nothing runs instance 2: "),
        "bind": ([changed(process, bind=other)], f"web: Supervisor holds {bind} for it, and its `bind` is {other}"),
        "unix": (
            [changed(process, bind=f"unix:{home.root}/s")],
            f"web: Supervisor holds {bind} for it, and its `bind` is unix:{home.root}/s",
        ),
        "added": ([process, worker], "worker: nothing runs it: "),
        "renamed": ([changed(process, name="app", bind=other)], "app: nothing runs it: "),
        "renamed, same address": (
            [changed(process, name="app")],
            f"app: its `bind` is {bind}, where web of r1 serves",
        ),
        "none": ([], f"web: it serves {bind} in r1, and the settings have no process with a `bind` in its place"),
        "workers only": ([worker], "web: it serves "),
    }
    for number, (title, (processes, said)) in enumerate(cases.items()):
        found = needs(home, *processes, name=f"case{number}")
        assert found.status == 1, title
        assert f"djdeploy: {said}" in found.output, title
        assert found.outputs["error"] == {"code": "manager-differs"}, title
        file = "/etc/supervisor/conf.d/demo.conf" if hidden else str(home.root / "supervisord.conf")
        if title in BESIDE:  # `supervisorctl update` would end what serves
            file = file.replace(".conf", "-next.conf")
        assert (f"  {INSTALL.format(file)}" in found.output.splitlines()) == (title != "none"), title
    assert needs(home, process, name="the-same").status == 0
    assert needs(home, changed(process, instances=1), name="fewer").status == 0, "one more than wanted harms nobody"
    assert needs(home, changed(process, bind=None), name="no-address").status == 1


def test_a_rollback_is_refused_only_where_nobody_would_be_served(home: Home) -> None:
    process = web(free_port())
    serving(home, process)
    home.release("r2", changed(process, instances=3), Process("worker", "sleep 600"))
    less = compare(home, "r2", "--only-if-served")
    assert less.status == 0
    assert "nothing runs instance 2" in less.output
    home.release("r3", changed(process, name="app", bind=f"127.0.0.1:{free_port()}"))
    assert compare(home, "r3", "--only-if-served").status == 1


def test_what_is_said_of_a_new_name_at_the_same_address_works_as_typed_and_interrupts_nobody(home: Home) -> None:
    process, conf = web(free_port()), home.root / "conf.d/demo.conf"
    conf.parent.mkdir()
    conf.write_text(supervisor_conf(home.settings(process)))
    serving(home, process, text=f"[include]\nfiles={conf.parent}/*.conf\n", control=True)
    refused = needs(home, changed(process, name="app"))
    assert refused.status == 1
    (new,) = re.findall(r'1\. In the fabfile: Process\("app", \.\.\., bind="(.*)"\)', refused.output)
    assert f"  2. In nginx, beside `server {process.bind};`: `server {new};` and reload it." in refused.output

    app = changed(process, name="app", bind=new)
    again = needs(home, app, name="r3")
    typed = re.findall(r"supervisor-conf \| ssh root@web1 '(.*)'", again.output)
    after = re.findall(r"After the deploy: ssh root@web1 '(.*)'", again.output)
    with Upstream(*(int(str(each.bind).rpartition(":")[2]) for each in (process, app))) as users:
        as_root(home, typed[0], supervisor_conf(home.settings(app)))
        wait_until("its launchers", lambda: compare(home, "r3").status == 0)
        deployed = home.deploy("r3")
        assert deployed.status == 0, deployed.output
        as_root(home, after[0], "")
        assert answers(users.ports[1]) == "r3"
    assert users.failed == 0
    assert users.served > 20


class Upstream(threading.Thread):
    """Users of nginx, which asks the next of its servers where one refuses. Use it in a `with`."""

    def __init__(self, *ports: int) -> None:
        super().__init__(daemon=True)
        self.ports, self.failed, self.served, self.ended = ports, 0, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.01):
            is_served = any(answers(port) for port in self.ports)
            self.served, self.failed = self.served + is_served, self.failed + (not is_served)

    def __enter__(self) -> Upstream:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()


def as_root(home: Home, command: str, text: str) -> None:
    """Types a command of the remedies on the server, where root's `supervisorctl` is this Supervisor's."""
    ctl = f"{sys.prefix}/bin/supervisorctl -c {home.root}/supervisord.conf"
    done = subprocess.run(["sh", "-ec", command.replace("supervisorctl", ctl)], input=text, text=True, check=True)
    assert done.returncode == 0


@pytest.mark.parametrize("may_ask", [False, True], ids=["only root may ask Supervisor", "we may ask it"])
def test_what_was_stopped_is_said_with_its_name_or_started(home: Home, may_ask: bool) -> None:
    process = web(free_port())
    serving(home, process, control=True)
    ctl = [str(Path(sys.prefix) / "bin/supervisorctl"), "-c", str(home.root / "supervisord.conf")]
    subprocess.run([*ctl, "stop", "demo-web:demo-web_1"], check=True, stdout=subprocess.DEVNULL)
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}" if may_ask else "/usr/bin:/bin"
    found = compare(home, "r1", PATH=path)
    if may_ask:
        assert found.status == 0, "the rolling restart starts it"
    else:
        assert found.status == 1
        assert "web: nothing runs instance 1: it was stopped, or Supervisor has given it up" in found.output
        assert "As root on the server: supervisorctl start 'demo-web:demo-web_1'" in found.output


def test_one_instance_binds_its_new_address_itself(home: Home) -> None:
    process = web(free_port(), instances=1)
    serving(home, process)
    free, taken = free_port(), free_port()
    assert needs(home, changed(process, bind=f"127.0.0.1:{free}")).status == 0
    with socket.create_server(("127.0.0.1", taken)):
        found = needs(home, changed(process, bind=f"127.0.0.1:{taken}"), name="r3")
    assert found.status == 1
    assert f"web: its `bind` is 127.0.0.1:{taken}, where another program listens already" in found.output
    more = needs(home, changed(process, instances=2), name="r4")
    assert more.status == 1
    assert "[fcgi-program]" in more.output


def test_a_program_that_would_not_be_started_again_is_not_ended(home: Home) -> None:
    process = web(free_port())
    text = supervisor_conf(home.settings(process)).replace("autorestart=true", "autorestart=unexpected")
    home.release("r1", process)
    home.switch("r1")
    home.supervise(text)
    wait_until("r1 to serve", lambda: answers(int(str(process.bind).rpartition(":")[2])) == "r1")
    found = compare(home, "r1")
    assert found.status == 1
    assert "web: [fcgi-program:demo-web] has no autorestart=true" in found.output


def test_programs_of_others_in_the_same_file_are_not_overwritten(home: Home) -> None:
    process = web(free_port())
    foreign = f"[program:other]\ncommand={sys.executable} -c 'import time; time.sleep(600)'\n"
    serving(home, process, text=f"{supervisor_conf(home.settings(process))}\n{foreign}")
    found = needs(home, changed(process, instances=3))
    assert "cat >" not in found.output
    assert re.search(r"put what `fab supervisor-conf` prints in the place of what .* has of", found.output)


def test_a_launcher_that_waits_says_what_supervisor_has(home: Home) -> None:
    app = web(free_port())
    home.release("r1", Process("worker", "sleep 600"))
    home.switch("r1")
    home.supervise_printed(app, Process("worker", "sleep 600"))
    wait_until("the launchers to wait", lambda: "has no process 'web'" in home.log("web-1"))
    assert needs(home, app).status == 0
    other = f"127.0.0.1:{free_port()}"
    found = needs(home, changed(app, bind=other), name="r3")
    assert f"web: Supervisor holds {app.bind} for it, and its `bind` is {other}" in found.output


def test_a_first_deploy_of_a_program_that_runs_inside_the_release_is_not_refused(home: Home) -> None:
    """Supervisor could not start it, for want of a release."""
    home.release("r1", web(free_port(), instances=1, pid_file="current/repository/demo.pid"))
    assert home.run("comparison", "r1").status == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_program_that_listens_already_is_named(home: Home, address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as other:
        other.bind((address, 0))
        other.listen()
        home.release("r1", web(other.getsockname()[1]))
        home.release("r2", Process("worker", "celery"))
        said = home.run("comparison", "r1").output
        assert f"(pid {os.getpid()}) listens on 127.0.0.1:{other.getsockname()[1]} already" in said
        assert "listens on" not in home.run("comparison", "r2").output


def test_what_serves_this_home_is_no_other_program(home: Home) -> None:
    process = web(free_port())
    serving(home, process)
    assert "already" not in needs(home, process, Process("worker", "celery")).output
