"""Who is measured: djdeploy in several settings, the original script on Fabric 3, and the floor."""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.ssh.site import FAB

from benchmarks import floor
from benchmarks.hosts import Hosts
from djdeploy import Health, Process, Settings

PORTED = Path(__file__).parent / "ported"
MANAGE = ("check", "collectstatic --noinput", "compilemessages", "migrate --noinput")

# Supervisor runs this for those who have no launcher: until something is deployed it waits.
SERVE = """\
#!/bin/sh
while [ ! -e {home}/current/virtualenv ]; do sleep 0.1; done
release=$(readlink -f {home}/current)
export DJDEPLOY_RELEASE="$(basename "$release")" {exports}
cd "$release/repository/src"
PATH=$release/virtualenv/bin:$PATH
exec {command} --bind 0.0.0.0:{port} --pid {pid_file}
"""

PROGRAM = """\
[program:{name}]
command=/usr/local/bin/serve-{name}
user=demo
autorestart=true
startsecs=0
"""

# Twenty releases as old as can be, like the current one. Of a virtualenv only the directory entries are made anew.
AGE = """\
cd {home}
current=$(readlink current)
for number in $(seq 10 29); do
    name=20200101-0000$number
    mkdir "$name"
    cp -al "$current/virtualenv" "$name/"
    cp -a "$current/repository" "$name/"
    [ ! -e "$current/release.json" ] ||
        sed -e "s/\"$current\"/\"$name\"/" -e 's/"number": *[0-9]*/"number": -'"$number/" \\
            "$current/release.json" >"$name/release.json"
done
"""

FORGET = """\
cd {virtualenvs} 2>/dev/null || exit 0
current=$(readlink -f {home}/current/virtualenv)
for name in *; do [ "$PWD/$name" = "$current" ] || rm -rf "$name"; done
"""


@dataclass(frozen=True)
class Work:
    """What is deployed.

    Args:
        branch: of the repository.
        requirements: its lock files.
        manage: management commands.
        steps: shell commands in their place.
        command: the server's; it takes `--bind` and `--pid` as Gunicorn does. `{port}` is its port.
    """

    branch: str = "main"
    requirements: Sequence[str] = ("requirements.txt",)
    manage: Sequence[str] = MANAGE
    steps: Sequence[str] = ()
    command: str = "gunicorn demo.wsgi"


class Contender(ABC):
    """One way to deploy, with a home, a port and a Supervisor program of its own on each host.

    Args:
        name: in the tables.
        key: of its home and its program.
    """

    def __init__(self, name: str, key: str, port: int, hosts: Hosts, repository: str, work: Work) -> None:
        self.name, self.key, self.port, self.hosts = name, key, port, hosts
        self.repository, self.work = repository, work
        self.home = f"/srv/www/{key}"
        self.env = {"SECRET_KEY": "top secret", "ALLOWED_HOSTS": "*", "DATABASE": f"{self.home}/shared/data/db"}

    @property
    def urls(self) -> list[str]:
        return [f"http://{host.target.address}:{self.port}/health/" for host in self.hosts]

    @property
    def virtualenvs(self) -> str:
        return f"{self.home}/virtualenvs"

    @abstractmethod
    def deploy(self) -> None: ...

    @abstractmethod
    def rollback(self) -> None: ...

    @abstractmethod
    def cleanup(self) -> None: ...

    # --- not measured

    @abstractmethod
    def install(self) -> None:
        """What root does once."""

    def reset(self) -> None:
        """The hosts as they were before the first deploy. Caches of packages stay."""
        for host in self.hosts:
            host.target.root("supervisorctl", "stop", *self.programs)
            host.target.root("sh", "-c", f"rm -rf {self.home}; install -d -o demo -g demo {self.home}")
        self.install()
        for host in self.hosts:
            host.target.root("supervisorctl", "start", *self.programs)

    @property
    def programs(self) -> Sequence[str]:
        return (self.key,)

    def age(self) -> None:
        """Makes 20 old releases."""
        for host in self.hosts:
            host.run(AGE.format(home=self.home))

    def forget_other_environments(self) -> None:
        """So that going back to an earlier lock file is a change."""
        for host in self.hosts:
            host.run(FORGET.format(home=self.home, virtualenvs=self.virtualenvs))

    def stop(self) -> None:
        for host in self.hosts:
            host.target.root("supervisorctl", "stop", *self.programs)

    def _install_program(self, command: str, pid_file: str) -> None:
        exports = " ".join(f"{name}='{value}'" for name, value in self.env.items())
        script = SERVE.format(
            home=self.home, exports=exports, command=command.format(port=self.port), port=self.port, pid_file=pid_file
        )
        for host in self.hosts:
            host.target.put(f"/usr/local/bin/serve-{self.key}", script, 0o755)
            host.target.put(f"/etc/supervisor/conf.d/{self.key}.conf", PROGRAM.format(name=self.key))
            host.target.root("supervisorctl", "update")


class Djdeploy(Contender):
    """The real `fab` in a directory of its own.

    Args:
        instances: of its process.
        changes: settings that differ from those of a project that sets nothing else.
    """

    def __init__(self, *given: Any, instances: int = 1, **changes: Any) -> None:
        super().__init__(*given)
        self.directory = self.hosts.directory / f"{self.key}-{len(self.hosts.names)}"
        self.directory.mkdir(exist_ok=True)
        (self.directory / "fabric.yaml").write_text(f"ssh_config_path: {self.hosts.ssh_config}\n")
        web = Process(
            "web",
            self.work.command.format(port=self.port),
            bind=f"0.0.0.0:{self.port}",
            instances=instances,
            health=Health("/health/", {"Host": "localhost"}),
            timeout=30,
        )
        settings = Settings(
            project=self.key,
            repository=self.repository,
            branch=self.work.branch,
            home=self.home,
            hosts=self.hosts.names,
            source_dir="src",
            shared_dirs=["data"],
            requirements=self.work.requirements,
            build_steps=self.work.steps,
            manage_steps=self.work.manage,
            env=self.env,
            processes=[web],
        )
        self.settings = replace(settings, **changes)

    @property
    def virtualenvs(self) -> str:
        return f"{self.home}/.djdeploy/virtualenvs"

    @property
    def programs(self) -> Sequence[str]:
        return (f"{self.key}-web:*",)

    def deploy(self) -> None:
        self.fab("deploy")

    def rollback(self) -> None:
        self.fab("rollback")

    def cleanup(self) -> None:
        self.fab("cleanup", "--keep=2")

    def install(self) -> None:
        self.fab("setup")
        conf = self.fab("supervisor-conf")
        for host in self.hosts:
            host.target.put(f"/etc/supervisor/conf.d/{self.key}.conf", conf)
            host.target.root("supervisorctl", "update")

    def fab(self, *words: str) -> str:
        text = (
            f"from djdeploy import Health, Process, Probe, Settings, collection\nns = collection({self.settings!r})\n"
        )
        (self.directory / "fabfile.py").write_text(text)
        return ran([FAB, *words], self.directory)


class Ported(Contender):
    """The original script. Its host names come one after the other."""

    def deploy(self) -> None:
        self._fab("deploy")

    def rollback(self) -> None:
        self._fab("rollback")

    def cleanup(self) -> None:
        self._fab("cleanup")

    def install(self) -> None:
        for host in self.hosts:  # where its sample project keeps the database
            host.run(f"mkdir -p {self.home}/shared/data")
        self._install_program(self.work.command, '"$release/demo.pid"')

    def _fab(self, task: str) -> None:
        hosts = ",".join(self.hosts.names)
        words = [FAB, "-r", str(PORTED), "-S", str(self.hosts.ssh_config), "-H", hosts, task]
        ran(words, self.hosts.directory, self.env)


class Floor(Contender):
    """The shell script, on all hosts at once."""

    def deploy(self) -> None:
        steps = [*self.work.steps, *(f"python manage.py {command}" for command in self.work.manage)]
        self._ssh(floor.deploy(self.repository, self.work.branch, self.work.requirements, steps))

    def rollback(self) -> None:
        self._ssh(floor.ROLLBACK)

    def cleanup(self) -> None:
        self._ssh(floor.CLEANUP)

    def install(self) -> None:
        self._install_program(self.work.command, f"{self.home}/run/pid")

    def _ssh(self, script: str) -> None:
        text = floor.prelude(self.home, f"http://127.0.0.1:{self.port}/health/", self.env) + script
        words = ["ssh", "-F", str(self.hosts.ssh_config), "-o", "BatchMode=yes"]
        running = [
            subprocess.Popen(
                [*words, name, "sh"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            for name in self.hosts.names
        ]
        for process in running:
            assert process.stdin
            process.stdin.write(f"{{\n{text}\n}}\n")  # braces: the whole is read before it runs
            process.stdin.close()
        for process in running:
            assert process.stdout
            output = process.stdout.read()
            if process.wait():
                raise RuntimeError(output)


def ran(words: Sequence[str], directory: Path, env: Mapping[str, str] | None = None) -> str:
    """What a command printed.

    Raises:
        RuntimeError: it failed.
    """
    surroundings = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | dict(env or {})
    done = subprocess.run(
        words,
        cwd=directory,
        env=surroundings,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{done.stdout}")
    return done.stdout
