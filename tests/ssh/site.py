"""The sample project on a real Debian server, deployed by the real `fab`."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Process, Settings
from djdeploy.rehearsal.repository import SampleRepository
from djdeploy.rehearsal.waiting import wait_until
from tests.docker_target import DockerTarget, run_owner
from tests.hurry import HURRIED, with_durations

Targets = Callable[..., DockerTarget]
HOME = "/srv/www/demo"
FAB = str(Path(sys.executable).with_name("fab"))


class Site:
    """The sample project on one container or several, deployed by the real `fab` in a directory of its own.

    The first container is `target` in the fabfile, others are `target2` and so on. Its `durations` may be changed.
    """

    durations = HURRIED

    def __init__(self, target: DockerTarget, directory: Path, *others: DockerTarget) -> None:
        self.target, self.directory = target, directory
        self.targets = {"target": target, **{f"target{i}": other for i, other in enumerate(others, 2)}}
        self.repository = SampleRepository(directory / "repository")
        self.settings = Settings(
            project="demo",
            repository=target.push(self.repository.path),
            home=HOME,
            hosts=list(self.targets),
            source_dir="src",
            shared_dirs=["data"],
            env={
                "SECRET_KEY": "top secret",
                "ALLOWED_HOSTS": "127.0.0.1,localhost",
                "DATABASE": f"{HOME}/shared/data/db",
            },
            processes=[
                Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", instances=2, health="/health/", timeout=30)
            ],
        )
        self.write_ssh_config()
        self.write_fabfile()
        (directory / "fabric.yaml").write_text(f"ssh_config_path: {directory}/ssh_config\n")
        self.push()
        for each in self.targets.values():  # the site is reached from here through nginx
            if each.look("cat", CONFIGURATION) != NGINX:
                each.put(CONFIGURATION, NGINX)
                each.root("supervisorctl", "restart", "nginx")

    def write_fabfile(self, **settings: Any) -> None:
        text = f"from djdeploy import *\nns = collection({replace(self.settings, **settings)!r})\n"
        (self.directory / "fabfile.py").write_text(with_durations(text, self.durations))

    def write_ssh_config(self) -> None:
        """A container has other ports after a restart."""
        entries = [target.ssh_config(name) for name, target in self.targets.items()]
        (self.directory / "ssh_config").write_text("".join(entries))

    @property
    def url(self) -> str:
        return self.url_of("target")

    def url_of(self, host: str) -> str:
        return f"http://127.0.0.1:{self.targets[host].nginx_port}/health/"

    def fab(self, *words: str, code: int = 0, **settings: Any) -> str:
        """Runs `fab`; returns all that it printed."""
        self.write_fabfile(**settings)
        done = self.popen(*words)
        output, _ = done.communicate(timeout=300)
        assert done.returncode == code, output
        assert not any(line.startswith("Traceback") for line in output.splitlines()), output
        return str(output)

    def popen(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [FAB, *words],
            cwd=self.directory,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        )

    def push(self) -> None:
        for target in self.targets.values():
            target.push(self.repository.path)

    def install(self, **settings: Any) -> None:
        """What root does once."""
        self.fab("setup", **settings)
        text = self.fab("supervisor-conf", **settings)
        for target in self.targets.values():
            target.supervisor(text)

    def answering(self, host: str = "target") -> str | None:
        """The release that answers a user."""
        try:
            with urllib.request.urlopen(self.url_of(host), timeout=5) as response:
                return str(response.headers["X-Release"])
        except OSError:
            return None

    def deploy(self, **settings: Any) -> str:
        """A deploy that succeeds; returns the release."""
        self.fab("deploy", **settings)
        return self.link("current")

    def link(self, name: str, host: str = "target") -> str:
        """Where a link points; empty if there is none."""
        return self.targets[host].look("readlink", f"{HOME}/{name}").strip()

    def serving(self) -> dict[str, str | None]:
        """The release that answers on each host."""
        return {host: self.answering(host) for host in self.targets}

    def releases(self) -> list[dict[str, Any]]:
        return list(json.loads(self.fab("releases", "--json")))

    def states(self) -> dict[str, str]:
        return {release["name"]: release["state"] for release in self.releases()}


CONFIGURATION = "/etc/nginx/conf.d/site.conf"
NGINX = """\
upstream site { server 127.0.0.1:8001 max_fails=0; }
server {
    listen 80 default_server;
    location / { proxy_pass http://site; proxy_set_header Host localhost; }
}
"""


Servers = Callable[[int], Sequence[DockerTarget]]


@pytest.fixture(scope="session")
def servers(docker_engine: Any, keys: Path, live_image: str) -> Iterator[Servers]:
    """As many servers as are needed, the same ones for all tests of a worker: each test wipes or restores them first.

    What a test changes outside of `/srv`, `~/.ssh` and Supervisor's programs, it puts back, or uses servers of its own.
    """
    made: list[DockerTarget] = []

    def take(count: int) -> Sequence[DockerTarget]:
        while len(made) < count:
            made.append(DockerTarget(docker_engine, keys, image=live_image))
            made[-1].keep()
        return made[:count]

    yield take
    for target in made:
        target.remove()


@pytest.fixture
def site(servers: Servers, tmp_path: Path) -> Site:
    """An empty server, and a project to deploy to it."""
    (target,) = servers(1)
    target.wipe()
    return Site(target, tmp_path)


@pytest.fixture(scope="session")
def live_image(docker_engine: Any, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of a server whose first release serves: set up and deployed to once for all workers of a run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made = shared / "live-image"
    with (shared / "live-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            image = f"djdeploy-test-live:{run_owner().split(':')[0]}-{int(time.time())}"
            make_live_image(docker_engine, keys, tmp_path_factory.mktemp("live"), image)
            made.write_text(image)
    return made.read_text()


def make_live_image(client: Any, keys: Path, directory: Path, image: str) -> None:
    target = DockerTarget(client, keys)
    try:
        site = Site(target, directory)
        site.install()
        site.deploy()
        wait_until_it_serves(site)
        target.save(image)
    finally:
        target.remove()


def wait_until_it_serves(site: Site) -> None:
    wait_until("the first release", lambda: set(site.serving().values()) == {site.link("current")})


def live_site(directory: Path, *targets: DockerTarget) -> Site:
    """A site whose first release serves, on servers of the image of a live one."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(DockerTarget.restore, targets))
    site = Site(targets[0], directory, *targets[1:])
    wait_until_it_serves(site)
    return site


@pytest.fixture
def live(servers: Servers, tmp_path: Path) -> Site:
    """A site whose first release serves."""
    return live_site(tmp_path, *servers(1))


@pytest.fixture
def own_live(docker_target: Targets, live_image: str, tmp_path: Path) -> Site:
    """The same on a server that no other test will use."""
    site = Site(docker_target(image=live_image), tmp_path)
    wait_until_it_serves(site)
    return site


@pytest.fixture
def live_hosts(servers: Servers, tmp_path: Path) -> Site:
    """Three hosts whose first release serves."""
    return live_site(tmp_path, *servers(3))


@pytest.fixture
def own_live_hosts(docker_target: Targets, live_image: str, tmp_path: Path) -> Site:
    """The same on servers that no other test will use."""
    first, *others = [docker_target(image=live_image) for _ in range(3)]
    site = Site(first, tmp_path, *others)
    wait_until_it_serves(site)
    return site
