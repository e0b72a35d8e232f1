"""The script of the post that djdeploy comes from, line for line on Fabric 3: each command is a session of its own."""

import os
from datetime import datetime, timezone

from fabric import Connection, task

HOME = "/srv/www/post"
REPOSITORY = "/srv/git/project.git"
ENVIRONMENT = {name: os.environ[name] for name in ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE") if name in os.environ}


@task  # type: ignore[untyped-decorator]
def deploy(c: Connection) -> None:
    release = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    path = f"{HOME}/{release}"
    python = f"{path}/virtualenv/bin/python"
    manage = f"cd {path}/repository/src && {python} manage.py"
    c.run(f"mkdir {path}", hide=True)
    c.run(f"git clone --branch main {REPOSITORY} {path}/repository", hide=True)
    c.run(f"python3 -m venv {path}/virtualenv", hide=True)
    c.run(f"{path}/virtualenv/bin/pip install -r {path}/repository/requirements.txt", hide=True)
    c.run(f"{manage} collectstatic --noinput", hide=True, env=ENVIRONMENT)
    c.run(f"{manage} compilemessages", hide=True, env=ENVIRONMENT)
    c.run(f"{manage} migrate --noinput", hide=True, env=ENVIRONMENT)
    if c.run(f"test -L {HOME}/current", warn=True, hide=True).ok:
        old = c.run(f"readlink {HOME}/current", hide=True).stdout.strip()
        c.run(f"rm -f {HOME}/previous", hide=True)
        c.run(f"ln -s {old} {HOME}/previous", hide=True)
        c.run(f"rm {HOME}/current", hide=True)
        c.run(f"ln -s {release} {HOME}/current", hide=True)
        restart(c, old)
    else:
        c.run(f"ln -s {release} {HOME}/current", hide=True)


@task  # type: ignore[untyped-decorator]
def rollback(c: Connection) -> None:
    bad = c.run(f"readlink {HOME}/current", hide=True).stdout.strip()
    good = c.run(f"readlink {HOME}/previous", hide=True).stdout.strip()
    c.run(f"rm {HOME}/current", hide=True)
    c.run(f"ln -s {good} {HOME}/current", hide=True)
    restart(c, bad)


@task  # type: ignore[untyped-decorator]
def cleanup(c: Connection) -> None:
    kept = c.run(f"readlink {HOME}/current {HOME}/previous", hide=True).stdout.split()
    for name in c.run(f"ls {HOME}", hide=True).stdout.split():
        if name.startswith("2") and name not in kept:
            c.run(f"rm -rf {HOME}/{name}", hide=True)


def restart(c: Connection, old: str) -> None:
    pid = c.run(f"cat {HOME}/{old}/demo.pid", hide=True).stdout.strip()
    c.run(f"kill {pid}", hide=True)
