"""Containers behind a network of any round trip, with the SSH channels that are opened on them counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.docker_target import DockerTarget

from benchmarks.containers import containers
from benchmarks.delay import Delay
from djdeploy.rehearsal.waiting import wait_until

OPENED = "server_input_channel_open: ctype session"
COUNT = f"cat /var/log/supervisor/sshd-std* | grep -c '{OPENED}' || true"
USED = """\
cd /sys/fs/cgroup
if [ -e cpu.stat ]; then awk '$1 == "usage_usec" { print $2 "000" }' cpu.stat; else cat cpuacct/cpuacct.usage; fi
"""


class BenchHost:
    """A container and the way to it.

    Args:
        name: as users name it: it is in our ssh_config.
    """

    def __init__(self, name: str, target: DockerTarget, way: Delay) -> None:
        self.name, self.target, self.way = name, target, way

    def run(self, script: str) -> None:
        """Runs a script as the account, not measured and not over SSH."""
        code, output = self.target.root("su", "demo", "-c", f"set -e\n{script}")
        if code:
            raise RuntimeError(f"{script}\n{output}")

    @property
    def ssh_config(self) -> str:
        own = self.target.ssh_config(self.name)
        return own.replace(f"Port {self.target.port}\n", f"Port {self.way.port}\n")

    def let_in(self) -> None:
        """Makes the key of its server known where we reach it, and the server tell what is opened."""
        known = self.target.known_hosts
        key = known.read_text().split(maxsplit=1)[1]
        known.write_text(f"{known.read_text()}[127.0.0.1]:{self.way.port} {key}")
        self.target.put("/etc/ssh/sshd_config.d/count.conf", "LogLevel DEBUG\n")
        self.target.root("supervisorctl", "restart", "sshd")
        wait_until("sshd", lambda: self.target.ssh("true").returncode == 0)

    @property
    def channels(self) -> int:
        """SSH sessions that were opened so far, by whomever."""
        return int(self.target.root("sh", "-c", COUNT)[1])

    @property
    def processor(self) -> float:
        """Seconds of a processor that all its processes have used."""
        _, output = self.target.root("sh", "-c", USED)
        return int(output) / 1e9


class Hosts:
    """Some hosts, in an order."""

    def __init__(self, hosts: Sequence[BenchHost], directory: Path) -> None:
        self.hosts, self.directory = hosts, directory
        self.ssh_config = directory / "ssh_config"

    def __iter__(self) -> Iterator[BenchHost]:
        return iter(self.hosts)

    def first(self, count: int) -> Hosts:
        return Hosts(self.hosts[:count], self.directory)

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.hosts]

    def set_round_trip(self, seconds: float) -> None:
        for host in self.hosts:
            host.way.round_trip = seconds

    @property
    def channels(self) -> int:
        return sum(host.channels for host in self.hosts)

    @property
    def processor(self) -> float:
        return sum(host.processor for host in self.hosts)

    def push(self, repository: Path) -> str:
        """Pushes a local repository to each; returns its address, the same on all."""
        return {host.target.push(repository) for host in self.hosts}.pop()


@contextlib.contextmanager
def hosts_up() -> Iterator[Callable[[int], Hosts]]:
    """Gives a function that starts hosts until there are so many; all of them are removed afterwards."""
    with contextlib.ExitStack() as stack:
        directory, container = stack.enter_context(containers())
        started: list[BenchHost] = []

        def start(count: int) -> Hosts:
            while len(started) < count:
                target = container()
                way = stack.enter_context(Delay(target.address, 22))
                started.append(BenchHost(f"host{len(started) + 1}", target, way))
                started[-1].let_in()
            hosts = Hosts(started[:count], directory)
            hosts.ssh_config.write_text("".join(host.ssh_config for host in started))
            return hosts

        yield start
