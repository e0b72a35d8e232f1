"""Several hosts are one deploy: all or none."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from djdeploy import Host, Process
from djdeploy.rehearsal.load import Load
from djdeploy.rehearsal.repository import WSGI
from djdeploy.rehearsal.waiting import wait_until

from .site import HOME, Servers, Site, Targets

FAULT = 'if {"SUPERVISOR_ENABLED", "FAULTY"} <= {*os.environ}:\n    raise RuntimeError("not on this host")\n'
"""What no smoke test can see, and only hosts with that variable have."""


@pytest.fixture
def hosts(servers: Servers, tmp_path: Path) -> Site:
    targets = servers(3)
    for target in targets:
        target.wipe()
    return Site(targets[0], tmp_path, *targets[1:])


@pytest.fixture
def live(live_hosts: Site) -> Site:
    return live_hosts


def links(site: Site) -> set[str]:
    return {site.link("current", host) for host in site.targets}


def loads(site: Site) -> tuple[ExitStack, list[Load]]:
    stack = ExitStack()
    return stack, [stack.enter_context(Load(site.url_of(host), rate=20)) for host in site.targets]


def test_a_deploy_a_rollback_and_a_cleanup_are_one_on_all_hosts_and_lose_no_request(live: Site) -> None:
    first = live.link("current")
    stack, load = loads(live)
    with stack:
        live.repository.change_page("Second")
        live.push()
        shown = live.fab("-H", "target,target2,target3", "deploy")
        second = live.link("current")
        assert set(live.serving().values()) == {second}
        # Once for all of them: one release of one commit, though Fabric calls a task for each host of -H.
        assert shown.count("is live on target, target2, target3") == 1
        assert f"{first} is live again on target, target2, target3" in live.fab("rollback")
        assert links(live) == {first}
        assert set(live.serving().values()) == {first}
    assert [each.summary().failures for each in load] == [{}, {}, {}]
    assert "target2: removed nothing" in live.fab("cleanup")
    rows = json.loads(live.fab("status", "--json"))
    assert [(row["host"], row["current"], len(row["processes"])) for row in rows] == [
        (host, first, 2) for host in live.targets
    ]
    assert {row["state"] for row in live.releases() if row["name"] == second} == {"bad"}


def test_the_database_is_migrated_on_one_host_only(live: Site) -> None:
    live.repository.add_column()
    live.push()
    shown = live.fab("deploy")
    assert [line.partition(" ")[0] for line in shown.splitlines() if "manage.py migrate" in line] == ["target"]


def test_a_build_that_fails_on_one_host_publishes_nothing_anywhere(live: Site) -> None:
    first = live.link("current")
    live.targets["target2"].root("sh", "-c", "mv /usr/bin/git /usr/bin/git.away; ln -s /bin/false /usr/bin/git")
    try:
        shown = live.fab("deploy", code=1)
    finally:
        live.targets["target2"].root("mv", "/usr/bin/git.away", "/usr/bin/git")
    assert "target2: " in shown
    assert f"The site still runs {first}. The unfinished release was removed." in shown
    assert links(live) == {first}
    assert {row["name"] for row in live.releases()} == {first}


def test_publishing_that_fails_on_one_host_brings_all_back(live: Site) -> None:
    first = live.link("current")
    live.repository.break_under_supervisor()
    live.push()
    stack, load = loads(live)
    with stack:
        shown = live.fab("deploy", code=5)
    assert links(live) == {first}
    assert set(live.serving().values()) == {first}
    assert [each.summary().failures for each in load] == [{}, {}, {}]
    for said in (
        f"target: The links were put back. The site still runs {first}.",
        f"target2: It was not touched. The site still runs {first}.",
        f"target3: It was not touched. The site still runs {first}.",
    ):
        assert said in shown


@pytest.mark.slow  # tests/shell/test_one_transaction.py has it on this machine
def test_a_fault_on_a_later_host_brings_the_first_back_too(live: Site) -> None:
    first = live.link("current")
    live.repository.commit({WSGI: live.repository.read(WSGI) + FAULT})
    live.push()
    hosts = ["target", Host("target2", env={"FAULTY": "1"}), "target3"]
    stack, load = loads(live)
    with stack:
        shown = live.fab("deploy", code=5, hosts=hosts)
    assert links(live) == {first}
    assert set(live.serving().values()) == {first}
    assert [each.summary().failures for each in load] == [{}, {}, {}]
    assert f"The links were put back. The site still runs {first}." in shown


def test_a_host_that_loses_power_while_publishing_goes_back_alone_and_is_healed_by_the_next_deploy(
    own_live_hosts: Site,
) -> None:
    live = own_live_hosts
    first = live.link("current")
    live.repository.commit({WSGI: live.repository.read(WSGI) + FAULT})
    live.push()
    live.write_fabfile(hosts=["target", Host("target2", env={"FAULTY": "1"}), "target3"])
    deploy = live.popen("deploy")
    assert deploy.stdout
    began = []
    for line in deploy.stdout:
        began.append(line)
        if line.startswith("target2 |") and "Switch the links" in line:
            live.targets["target2"].container.kill()
            break
    output, _ = deploy.communicate(timeout=300)
    assert deploy.returncode == 5, "".join(began) + output
    assert "target2: NOT restored" in output
    assert f"target: The links were put back. The site still runs {first}." in output
    assert {live.answering("target"), live.answering("target3")} == {first}
    live.targets["target2"].restart()
    live.write_ssh_config()
    wait_until("the launcher", lambda: live.answering("target2") == live.link("current", "target2") == first, 120)
    live.fab("deploy")
    wait_until("all hosts", lambda: set(live.serving().values()) == links(live), 60)
    assert len(links(live)) == 1


def test_one_unreachable_host_stops_all_before_anything_has_begun(hosts: Site) -> None:
    with (hosts.directory / "ssh_config").open("r+") as file:
        config = file.read().replace(f"Port {hosts.targets['target3'].port}\n", "Port 9\n")
        file.seek(0)
        file.write(config)
        file.truncate()
    shown = hosts.fab("deploy", code=4)
    assert "target3: " in shown
    for host in ("target", "target2"):
        assert hosts.targets[host].root("ls", HOME)[0] != 0


def test_all_unreachable_hosts_are_named_at_once(site: Site) -> None:
    shown = site.fab("deploy", code=4, hosts=["target", "demo@nowhere.invalid", "demo@127.0.0.1:9"])
    assert "demo@nowhere.invalid: the name nowhere.invalid cannot be resolved" in shown
    assert "demo@127.0.0.1:9: the connection failed" in shown


def test_what_is_wrong_with_several_hosts_is_said_at_once(
    servers: Servers, docker_target: Targets, tmp_path: Path
) -> None:
    first, third = servers(2)
    for target in (first, third):
        target.wipe()
    site = Site(first, tmp_path, docker_target(disk="60m"), third)
    site.fab("setup")
    site.targets["target2"].root("sh", "-c", "head -c 1000000000 /dev/zero > /srv/www/filler")
    third.root("sh", "-c", "mv /usr/lib/python3*/ensurepip /root/")
    try:
        shown = site.fab("deploy", code=1, installer="pip")
    finally:
        third.root("sh", "-c", "mv /root/ensurepip /usr/lib/python3.*/")
    assert f"target2: the disk of {HOME} is full" in shown
    assert "target3: python3 of the server has no venv" in shown
    assert "Nothing was changed." in shown
    assert all(target.root("sh", "-c", f"ls -d {HOME}/2*")[0] for target in site.targets.values())


YESTERDAY = """\
#!/usr/bin/python3 -ES
import os, sys, time
now = time.time
time.time = lambda: now() - 86400
if "-c" not in sys.argv:
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv[1:]])
code, *sys.argv[1:] = sys.argv[sys.argv.index("-c") + 1:]
exec(code)
"""
"""A Python on whose clock it is yesterday, for our agent."""


def test_a_clock_that_is_a_day_behind_is_said(site: Site) -> None:
    site.target.put("/usr/local/bin/yesterday", YESTERDAY, 0o755)
    shown = site.fab("deploy", processes=[], python="/usr/local/bin/yesterday")
    assert "warning: target: the server's clock is 86400 s behind this machine's" in shown
    assert "timedatectl set-ntp true" in shown


def test_two_names_of_one_server_are_an_error_that_says_so(site: Site) -> None:
    with (site.directory / "ssh_config").open("a") as file:
        file.write(site.target.ssh_config("another"))
    shown = site.fab("deploy", code=2, hosts=["target", "another"])
    assert "are the same server and home; list it once" in shown


def test_hosts_differ_in_what_they_run_and_skip(hosts: Site) -> None:
    worker = Process("worker", "python -c 'import time; time.sleep(1000)'")
    skip = ["collectstatic", "migrate"]
    hosts.repository.change_page("x")
    hosts.push()
    entries = [
        Host("target", labels=["web"]),
        Host("target2", processes=[worker], skip=skip, env={"ROLE": "worker"}, labels=["queue"]),
    ]
    shown = hosts.fab("supervisor-conf", hosts=entries)
    assert shown.index("; On target:") < shown.index("[fcgi-program:demo-web]")
    assert shown.index("; On target2:") < shown.index("[program:demo-worker]")
    hosts.fab("setup", hosts=entries)
    for host in ("target", "target2"):
        hosts.targets[host].supervisor(hosts.fab("supervisor-conf", f"--only={host}", hosts=entries))
    shown = hosts.fab("deploy", hosts=entries)
    assert [line for line in shown.splitlines() if "target2 |" in line and "collectstatic" in line] == []
    rows = json.loads(hosts.fab("status", "--json", hosts=entries))
    assert [[p["process"] for p in row["processes"]] for row in rows] == [["web", "web"], ["worker"]]
    read = f"cat /proc/$(cat {HOME}/run/worker-0.pid)/environ"
    environment = hosts.targets["target2"].ssh("sh", "-c", read).stdout
    assert "ROLE=worker" in environment.split("\0")
    assert "target2" not in hosts.fab("status", "--only=web", hosts=entries)
    assert "did you mean `queue`" in hosts.fab("status", "--only=quue", code=2, hosts=entries)
