"""The README's first deploy: what `startproject` makes, the README's fabfile and nginx, on a server of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest

from djdeploy.rehearsal.waiting import wait_until
from tests.docker_target import DockerTarget
from tests.ssh.site import FAB, Targets
from tests.text.test_documents import README, ROOT, block

HOST = "demo.example.com"


def typed(directory: Path, *words: str, text: str | None = None, code: int = 0) -> str:
    done = subprocess.run(words, cwd=directory, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def project(directory: Path, target: DockerTarget) -> None:
    """The README's project, pinned to what is installed here, and pushed to where the server can fetch it."""
    typed(directory, sys.executable, "-m", "django", "startproject", "demo", ".")
    with (directory / "demo/settings.py").open("a") as settings:
        settings.write(block(README, "python", "# the end of demo/settings.py"))
    pins = [f"{name}=={version(name)}" for name in ("asgiref", "django", "django-environ", "gunicorn", "sqlparse")]
    (directory / "requirements.txt").write_text("\n".join([*pins, f"packaging=={version('packaging')}", ""]))
    (directory / "production.env").write_text(f"SECRET_KEY=0123456789abcdef\nALLOWED_HOSTS={HOST}\n")
    (directory / ".gitignore").write_text("*.env\n")
    typed(directory, "git", "init", "-q", "-b", "main")
    typed(directory, "git", "add", ".")
    typed(directory, "git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "First")
    fabfile = block(README, "python", "# fabfile.py")
    fabfile = re.sub(r'repository=".*"', f'repository="{target.push(directory)}"', fabfile)
    (directory / "fabfile.py").write_text(fabfile)
    (directory / "ssh_config").write_text(target.ssh_config("web1.example.com"))
    (directory / "fabric.yaml").write_text(f"ssh_config_path: {directory}/ssh_config\n")


def status(target: DockerTarget, path: str) -> int:
    """What a user of the site gets, through nginx."""
    request = urllib.request.Request(f"http://127.0.0.1:{target.nginx_port}{path}", headers={"Host": HOST})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_first_deploy_of_the_readme_serves_a_new_project(docker_target: Targets, tmp_path: Path) -> None:
    target = docker_target()
    project(tmp_path, target)
    assert "supervisorctl update" in typed(tmp_path, FAB, "check", code=1)
    typed(tmp_path, FAB, "setup")
    target.supervisor(typed(tmp_path, FAB, "supervisor-conf"))
    assert "a deploy would work" in typed(tmp_path, FAB, "check")
    target.put("/etc/nginx/conf.d/demo.conf", (ROOT / "examples/nginx.conf").read_text())
    assert target.root("nginx", "-t")[0] == 0
    target.root("nginx", "-s", "reload")
    assert "is live on" in typed(tmp_path, FAB, "deploy").splitlines()[-1]
    wait_until("nginx's new configuration", lambda: status(target, "/static/admin/css/base.css") == 200)
    assert status(target, "/admin/login/") == 200
    assert "note" not in typed(tmp_path, FAB, "check"), "everything is installed"
    assert re.search(r"; 0 of \d+ requests failed$", typed(tmp_path, FAB, "deploy").strip())
