"""Sixty-four hosts, small ones, in one command."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Settings
from djdeploy.rehearsal.waiting import wait_until
from tests.docker_target import IMAGE, LABEL, owner
from tests.local_host import commit

from .site import FAB, HOME

COUNT = 64
PARALLEL = 16
START = """\
set -eu
install -d -m 700 -o demo /home/demo/.ssh
install -m 600 -o demo /keys/key.pub /home/demo/.ssh/authorized_keys
install -m 600 /keys/host /etc/ssh/ssh_host_ed25519_key
git config --system safe.directory '*'
exec /usr/sbin/sshd -D
"""


class ManyHosts:
    """Containers with nothing but an SSH server; the repository is a directory that all of them see."""

    def __init__(self, client: Any, keys: Path, directory: Path) -> None:
        self.client, self.directory = client, directory
        for name in ("key", "key.pub"):
            (directory / name).write_bytes((keys / name).read_bytes())
            (directory / name).chmod(0o600)
        new_key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "host")]
        subprocess.run(new_key, check=True)
        self.repository = directory / "project"
        commit(self.repository, {"page.html": "one"})
        self.containers: list[Any] = []

    def start(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            self.containers = list(pool.map(lambda _: self._start(), range(COUNT)))
        public = " ".join((self.directory / "host.pub").read_text().split()[:2])
        addresses = [self._address(container) for container in self.containers]
        (self.directory / "known_hosts").write_text("".join(f"{address} {public}\n" for address in addresses))
        config = "".join(f"Host host{n}\n  HostName {address}\n" for n, address in enumerate(addresses, 1))
        common = f"Host *\n  User demo\n  IdentityFile {self.directory}/key\n  IdentitiesOnly yes\n"
        config += f"{common}  UserKnownHostsFile {self.directory}/known_hosts\n"
        (self.directory / "ssh_config").write_text(config)
        (self.directory / "fabric.yaml").write_text(f"ssh_config_path: {self.directory}/ssh_config\n")
        settings = Settings(
            project="demo",
            repository="/srv/git/project",
            home=HOME,
            hosts=[f"host{n}" for n in range(1, COUNT + 1)],
            parallel=PARALLEL,
            requirements=[],
            manage_steps=[],
        )
        text = f"from djdeploy import *\nns = collection({settings!r})\n"
        (self.directory / "fabfile.py").write_text(text)

    def _start(self) -> Any:
        return self.client.containers.run(
            IMAGE,
            ["sh", "-c", START],
            detach=True,
            labels={LABEL: owner()},
            volumes={
                str(self.directory): {"bind": "/keys", "mode": "ro"},
                str(self.repository): {"bind": "/srv/git/project", "mode": "ro"},
            },
        )

    def _address(self, container: Any) -> str:
        def address() -> str:
            container.reload()
            return str(next(iter(container.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"])

        return str(wait_until("its address", address))

    def remove(self) -> None:
        def remove(container: Any) -> None:
            with contextlib.suppress(Exception):
                container.remove(force=True, v=True)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(remove, self.containers))

    def fab(self, *words: str, code: int = 0) -> Client:
        """Runs `fab` and watches what it needs."""
        client = Client(self.directory, *words)
        assert client.code == code, client.output
        return client

    def links(self) -> set[str]:
        """Where `current` points on all hosts."""

        def link(container: Any) -> str:
            code, output = container.exec_run(["readlink", f"{HOME}/current"])
            assert code == 0, output
            return str(output.decode().strip())

        with ThreadPoolExecutor(8) as pool:
            # A busy engine loses a command's output now and then: moby/moby#27289.
            return set(pool.map(lambda one: wait_until("the link", lambda: link(one)), self.containers))


class Client:
    """A run of `fab`, with the most threads and the most memory that it had."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.threads = self.kilobytes = 0
        with (directory / "output").open("w+") as output:
            process = subprocess.Popen(
                [FAB, *words], cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            wait_until("fab", lambda: self._look(process), 300)
            self.code = process.wait()
            output.seek(0)
            self.output = output.read()

    def _look(self, process: subprocess.Popen[bytes]) -> bool:
        with contextlib.suppress(OSError):
            lines = (line.split() for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
            status = {words[0]: words[1] for words in lines if len(words) > 1}
            self.threads = max(self.threads, int(status["Threads:"]))
            self.kilobytes = max(self.kilobytes, int(status.get("VmHWM:", 0)))
        return process.poll() is not None


@pytest.fixture
def many(docker_engine: Any, keys: Path, tmp_path: Path) -> Iterator[ManyHosts]:
    made = ManyHosts(docker_engine, keys, tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.mark.slow
def test_sixty_four_hosts_are_one_deploy_and_cost_the_client_little(many: ManyHosts) -> None:
    one = many.fab("check", "--only=host1")
    first = many.fab("deploy")
    assert len(links := many.links()) == 1
    assert f"is live on {COUNT} hosts" in first.output
    # A connection needs a thread of its own; nothing else grows with the number of hosts.
    assert first.threads <= COUNT + PARALLEL + 8
    assert (first.kilobytes - one.kilobytes) / COUNT < 2000

    commit(many.repository, {"page.html": "two"})
    many.containers[36].exec_run(["chown", "root", HOME])
    refused = many.fab("deploy", code=1)
    assert f"host37: cannot write {HOME}" in refused.output
    assert many.links() == links

    many.containers[36].exec_run(["chown", "demo", HOME])
    many.fab("deploy")
    assert many.links().isdisjoint(links)
    many.fab("rollback")
    assert many.links() == links
