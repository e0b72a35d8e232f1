"""The sample project on a real Debian server, deployed by the real `fab`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Process, Settings
from djdeploy.rehearsal.repository import SampleRepository
from tests.docker_target import DockerTarget, wait_until

Targets = Callable[..., DockerTarget]
HOME = "/srv/www/demo"
FAB = str(Path(sys.executable).with_name("fab"))


class Site:
    """The sample project on a container, deployed by the real `fab` in a directory of its own."""

    def __init__(self, target: DockerTarget, directory: Path) -> None:
        self.target, self.directory = target, directory
        self.repository = SampleRepository(directory / "repository")
        self.settings = Settings(
            project="demo",
            repository=target.push(self.repository.path),
            home=HOME,
            hosts=["target"],
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
        (directory / "ssh_config").write_text(target.ssh_config())
        (directory / "fabric.yaml").write_text(f"ssh_config_path: {directory}/ssh_config\n")
        # The site is reached from here through nginx.
        target.put("/etc/nginx/conf.d/site.conf", NGINX)
        target.root("supervisorctl", "restart", "nginx")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.target.nginx_port}/health/"

    def fab(self, *words: str, code: int = 0, **settings: Any) -> str:
        """Runs `fab`; returns all that it printed."""
        made = replace(self.settings, **settings)
        (self.directory / "fabfile.py").write_text(
            f"from djdeploy import Health, Process, Proof, Settings, collection\nns = collection({made!r})\n"
        )
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
        self.target.push(self.repository.path)

    def install(self, **settings: Any) -> None:
        """What root does once."""
        self.fab("setup", **settings)
        self.target.supervisor(self.fab("supervisor-conf", **settings))

    def answering(self) -> str | None:
        """The release that answers a user."""
        try:
            with urllib.request.urlopen(self.url, timeout=5) as response:
                return str(response.headers["X-Release"])
        except OSError:
            return None

    def deploy(self, **settings: Any) -> str:
        """A deploy that succeeds; returns the release."""
        self.fab("deploy", **settings)
        return self.link("current")

    def link(self, name: str) -> str:
        return self.target.root("readlink", f"{HOME}/{name}")[1].strip()

    def releases(self) -> list[dict[str, Any]]:
        return list(json.loads(self.fab("releases", "--json")))

    def states(self) -> dict[str, str]:
        return {release["name"]: release["state"] for release in self.releases()}


NGINX = """\
upstream site { server 127.0.0.1:8001 max_fails=0; }
server {
    listen 80 default_server;
    location / { proxy_pass http://site; proxy_set_header Host localhost; }
}
"""


@pytest.fixture
def site(docker_target: Targets, tmp_path: Path) -> Iterator[Site]:
    site = Site(docker_target(), tmp_path)
    yield site
    if sys.exc_info()[0]:
        print(site.target.log())


@pytest.fixture
def live(site: Site) -> Site:
    """A site whose first release serves."""
    site.install()
    site.deploy()
    wait_until("the first release", lambda: site.answering() == site.link("current"))
    return site
