"""The restart of the original script: one program, the link swapped, the old process killed."""

from __future__ import annotations

import shlex
import time

from benchmarks.site import HOME, BenchSite, answering, wait_until
from benchmarks.windows import Window

POST = "/srv/www/post"
PORT = 8001

PROGRAM = f"""\
[program:post]
command={POST}/current/virtualenv/bin/gunicorn demo.wsgi --workers 2 --pid {POST}/current/demo.pid --bind 0.0.0.0:{PORT}
    --chdir {POST}/current/repository/src
directory={POST}
user=demo
autorestart=true
environment=SECRET_KEY="s",ALLOWED_HOSTS="*",DATABASE="{HOME}/shared/data/db"
"""

COPY = f"""\
set -eu
mkdir -p {POST}/$1
cp -a {HOME}/current/repository {POST}/$1/
ln -sfn "$(readlink -f {HOME}/current/virtualenv)" {POST}/$1/virtualenv
sed -i "1i import os; os.environ['DJDEPLOY_RELEASE'] = '$1'" {POST}/$1/repository/src/demo/wsgi.py
"""

RESTART = f"""\
set -eu
cd {POST}
pid=$(cat current/demo.pid)
ln -s "$1" new
mv -T new current
kill "$pid"
"""


class Post:
    """Two releases of the original script, on another port of the same container, made of djdeploy releases."""

    RELEASES = ("post-1", "post-2")

    def __init__(self, site: BenchSite) -> None:
        self.site = site
        self.url = site.at(PORT)
        self.live = self.RELEASES[0]
        for name in self.RELEASES:
            self._run(COPY, name)
        self._run(f'ln -s "$1" {POST}/current', self.live)
        site.target.put("/etc/supervisor/conf.d/post.conf", PROGRAM)
        site.target.root("supervisorctl", "update")
        wait_until("the original script's server", lambda: answering(self.url) == self.live)

    def restart(self) -> Window:
        """From the swap to the first answer of the other release."""
        began = time.monotonic()
        self.live = next(name for name in self.RELEASES if name != self.live)
        self._run(RESTART, self.live)
        wait_until("the original script's server", lambda: answering(self.url) == self.live)
        return Window(began, time.monotonic())

    def _run(self, script: str, *words: str) -> None:
        done = self.site.target.ssh("sh", "-c", script, "sh", *words)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)}: {done.stderr}")
