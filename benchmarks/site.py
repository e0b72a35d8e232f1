"""The sample project on a container, deployed by the real `fab`, with the moments at which each stage began."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.docker_target import DockerTarget
from tests.ssh.site import HOME, Site

from benchmarks.containers import containers
from benchmarks.windows import Window
from djdeploy import Health, Process
from djdeploy.rehearsal.load import Load
from djdeploy.rehearsal.waiting import wait_until

__all__ = ["HOME", "BenchSite", "Deploy", "beginning_of", "bench_site", "wait_until"]

PORT = 8000
SYNC = "gunicorn demo.wsgi"

NGINX = f"""\
upstream site {{ server 127.0.0.1:{PORT} max_fails=0; }}
server {{
    listen 80 default_server;
    keepalive_timeout 600;
    keepalive_requests 1000000;
    location / {{ proxy_pass http://site; proxy_set_header Host localhost; }}
}}
"""


@dataclass(frozen=True)
class Deploy:
    """One run of `fab deploy`. Moments are those of the monotonic clock.

    Args:
        code: its exit code.
        whole: from its start to its end.
        publish: the stage that moves the links and renews the processes; None if it was not reached.
    """

    code: int
    whole: Window
    publish: Window | None
    output: str


class BenchSite(Site):
    """The site of the tests, reached at the container's own address: Docker's proxy would hide a refused connection."""

    def __init__(self, target: DockerTarget, directory: Path) -> None:
        super().__init__(target, directory)
        env = {**self.settings.env, "ALLOWED_HOSTS": f"127.0.0.1,localhost,{target.address}"}
        self.settings = replace(self.settings, env=env)
        self.run_with(SYNC)
        target.put("/etc/nginx/conf.d/site.conf", NGINX)
        target.root("supervisorctl", "restart", "nginx")

    def run_with(self, command: str) -> None:
        """Changes the server's command, from the next deploy on."""
        health = Health("/health/", {"Host": "localhost"})
        web = Process("web", command, bind=f"0.0.0.0:{PORT}", instances=2, health=health, timeout=30)
        self.settings = replace(self.settings, processes=[web])

    def at(self, port: int) -> str:
        return f"http://{self.target.address}:{port}/health/"

    @property
    def url(self) -> str:
        return self.at(PORT)

    def timed_deploy(self, branch: str = "main") -> Deploy:
        """Deploys a branch, and notes when publishing began and ended."""
        text = (
            f"from djdeploy import Health, Process, Probe, Settings, collection\nns = collection({self.settings!r})\n"
        )
        (self.directory / "fabfile.py").write_text(text)
        began = time.monotonic()
        process = self.popen("deploy", f"--branch={branch}")
        lines = list(stamped(process))
        code = process.wait()
        whole = Window(began, time.monotonic())
        return Deploy(code, whole, publishing(lines, whole), "".join(text for _, text in lines))


def stamped(process: subprocess.Popen[str]) -> Iterator[tuple[float, str]]:
    """What it prints, each line with its moment."""
    assert process.stdout
    for line in process.stdout:
        yield time.monotonic(), line


def publishing(lines: Sequence[tuple[float, str]], whole: Window) -> Window | None:
    """From the line that says that publishing begins to the next stage, or to the end if that failed."""
    moments = {text.split(":")[1].strip(): moment for moment, text in lines if text.startswith("demo: ")}
    if "publish" not in moments:
        return None
    return Window(moments["publish"], moments.get("finish", whole.end))


def beginning_of(load: Load) -> float:
    """The moment at which a load began, to a few milliseconds: its answers count from there.

    An answer can be read only after its end, so each one that is read tells a moment not before that.
    """
    moments = []
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        moments.append(-max(answer.ended for answer in load.answers()) + time.monotonic())
        time.sleep(0.003)
    return min(moments)


def answering(url: str) -> str:
    """The release that answers, or nothing."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.headers["X-Release"])
    except OSError:
        return ""


@contextlib.contextmanager
def bench_site() -> Iterator[BenchSite]:
    """A container with a site whose first release serves; all of it is removed afterwards."""
    with containers() as (directory, start):
        yield serving(BenchSite(start(), directory))


def serving(site: BenchSite) -> BenchSite:
    """With two branches, one commit apart, of which the first is deployed."""
    site.repository.branch("other")
    site.repository.change_page("The other release")
    site.repository.branch("main")
    site.push()
    site.install()
    site.deploy()
    wait_until("the first release", lambda: answering(site.url) == site.link("current"))
    return site
