"""A server in a temporary directory, a project to deploy to it, and a developer's directory to deploy from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import djdeploy
from djdeploy import Process, Settings

from . import guard, session
from .fabfile import fabfile
from .ports import free_port
from .repository import SampleRepository
from .sshd import Config
from .supervisord import Supervisor
from .waiting import wait_until

if TYPE_CHECKING:
    from fabric import Connection

SSH_CONFIG = """\
Host rehearsal 127.0.0.1
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    StrictHostKeyChecking yes
"""


class Rehearsal:
    """An SSH server, a Supervisor and a repository, which end with the `with` block, or with this program.

    Args:
        with_uv: whether the server has uv.
        with_supervisorctl: whether the account may ask Supervisor, which most accounts may not.

    Attributes:
        root: the directory that holds everything.
        home: where the project is deployed to, on the "server".
        account: the home directory of the account on the "server".
        directory: the developer's directory, with a fabfile in it.
        repository: the sample project.
        user, port, host: where the SSH server listens; `host` is what Fabric takes.
        key_file, known_hosts, ssh_config: how to log in.
        http_port, url: where the site will answer.
        environment: what a login on the server sees.
    """

    def __init__(self, *, with_uv: bool = True, with_supervisorctl: bool = False) -> None:
        self.with_uv, self.with_supervisorctl = with_uv, with_supervisorctl
        self.user = session.user()
        self._children: list[subprocess.Popen[bytes]] = []
        self._kept = False

    def __enter__(self) -> Rehearsal:
        self.root = short_directory()
        (self.root / guard.LABEL).touch()
        # It sees the end of its input when we end, in whatever way: no signal and no crash leaves a process behind.
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "djdeploy.rehearsal.guard", str(self.root)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            env=our_environment(),
        )
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything that this has started, and removes the directory."""
        assert self._guard.stdin
        self._guard.stdin.close()
        self._guard.wait()
        if not self._kept:
            for child in self._children:
                child.wait()

    def keep(self) -> None:
        """Leaves all as it is when this program ends; `python -m djdeploy.rehearsal.guard --now ROOT` ends it."""
        self._kept = True
        assert self._guard.stdin
        self._guard.stdin.write(guard.KEEP)
        self._guard.stdin.flush()

    # --- what a test or a demonstration does --------------------------------------------------------------------------

    def settings(self, **overrides: Any) -> Settings:
        """The sample project's settings for this server, with changes."""
        web = Process("web", "gunicorn demo.wsgi", bind=f"127.0.0.1:{self.http_port}", instances=2, health="/health/")
        given: dict[str, Any] = {
            "project": "demo",
            "repository": self.repository.url,
            "home": str(self.home),
            "hosts": [self.host],
            "source_dir": "src",
            "shared_dirs": ["data"],
            "processes": [web],
            "env": {"SECRET_KEY": "only-for-rehearsals", "ALLOWED_HOSTS": "127.0.0.1,localhost"},
        }
        return Settings(**given | overrides)

    def connection(self) -> Connection:
        """A Fabric connection to the server, which checks its key."""
        from fabric import Config as FabricConfig
        from fabric import Connection
        from paramiko import RejectPolicy

        made = Connection(self.host, config=FabricConfig(runtime_ssh_path=str(self.ssh_config)))
        made.client.load_host_keys(str(self.known_hosts))
        made.client.set_missing_host_key_policy(RejectPolicy())
        return made

    def write_fabfile(self, settings: Settings) -> None:
        """Puts these settings into the developer's fabfile."""
        (self.directory / "fabfile.py").write_text(fabfile(settings), encoding="utf-8")

    def fab(
        self, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs the real `fab` in the developer's directory.

        Args:
            words: what follows `fab`.
            cwd: another directory.
            env: more environment variables.
            check: whether an exit code other than 0 is an error.

        Raises:
            RuntimeError: has all that it printed.
        """
        done = subprocess.run(
            self.fab_command(*words),
            cwd=cwd or self.directory,
            env={**self.developer, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if check and done.returncode:
            raise RuntimeError(f"fab {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def fab_command(self, *words: str) -> Sequence[str]:
        beside = Path(sys.executable).with_name("fab")
        return [*([str(beside)] if beside.exists() else [sys.executable, "-m", "fabric"]), *words]

    @property
    def developer(self) -> Mapping[str, str]:
        """The environment of who deploys: ours, without what belongs to us alone."""
        ours = {name: value for name, value in our_environment().items() if not is_personal(name)}
        return {**ours, "HOME": str(self.directory)}

    def install_supervisor(self, text: str) -> None:
        """Does what root does with the output of `fab supervisor-conf`."""
        self.supervisor.install(text)
        if self.supervisor.process and self.supervisor.process not in self._children:
            self._children.append(self.supervisor.process)

    def supervisorctl(self, *words: str) -> str:
        """What `supervisorctl` prints when root runs it."""
        return self.supervisor.ctl(*words)

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """What has happened to the SSH server: `connection`, `refused`, `exec`, `shell`, `sftp`, `end`..."""
        text = self._log.read_text(encoding="utf-8") if self._log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._count("connection")

    @property
    def channels(self) -> int:
        """How many sessions were opened so far, on all connections."""
        return self._count("exec", "shell", "sftp")

    def _count(self, *names: str) -> int:
        counted = Counter(event["event"] for event in self.events)
        return sum(counted[name] for name in names)

    # --- making it ----------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        self.account, self.home = self.root / "account", self.root / "www" / "demo"
        self.directory = self.root / "developer"
        for path in (self.account, self.home.parent, self.directory / ".ssh"):
            path.mkdir(parents=True, mode=0o700)
        tools = self.root / "bin"
        session.install_tools(tools, with_uv=self.with_uv, with_supervisorctl=self.with_supervisorctl)
        login = session.environment(self.account, tools, with_uv=self.with_uv)
        self.environment = {**login, guard.MARK: str(self.root)}
        self.repository = SampleRepository(self.root / "repository")
        self.supervisor = Supervisor(self.root / "supervisor", self.environment)
        self.http_port = free_port()
        self.url = f"http://127.0.0.1:{self.http_port}/"
        self._start_sshd()
        self._write_login()
        self.write_fabfile(self.settings())

    def _start_sshd(self) -> None:
        directory = self.root / "sshd"
        directory.mkdir()
        self.key_file, host_key, authorized = self.directory / ".ssh/id", directory / "host_key", directory / "keys"
        self._host_key = write_key(host_key)
        authorized.write_text(write_key(self.key_file))
        self._log = directory / "events.jsonl"
        config = Config(
            user=self.user,
            home=str(self.account),
            host_key=str(host_key),
            authorized_keys=str(authorized),
            log=str(self._log),
            environment=self.environment,
        )
        config.write(directory / "config.json")
        with (directory / "output.log").open("wb") as log:
            self.sshd = subprocess.Popen(
                [sys.executable, "-m", "djdeploy.rehearsal.sshd", str(directory / "config.json")],
                env={**our_environment(), guard.MARK: str(self.root)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children.append(self.sshd)
        listening = wait_until("the SSH server to listen", self._listening)
        self.port = int(listening["port"])
        self.host = f"{self.user}@127.0.0.1:{self.port}"

    def _listening(self) -> Mapping[str, Any] | None:
        if self.sshd.poll() is not None:
            raise RuntimeError(f"the SSH server ended:\n{(self.root / 'sshd/output.log').read_text()}")
        return next((event for event in self.events if event["event"] == "listening"), None)

    def _write_login(self) -> None:
        self.known_hosts, self.ssh_config = self.directory / ".ssh/known_hosts", self.directory / ".ssh/config"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {self._host_key}")
        text = SSH_CONFIG.format(port=self.port, user=self.user, key=self.key_file, known_hosts=self.known_hosts)
        self.ssh_config.write_text(text)
        (self.directory / "fabric.yaml").write_text(f"ssh_config_path: {self.ssh_config}\n")


def short_directory() -> Path:
    """A directory of our own with a short path: the address of a unix socket has 107 bytes."""
    usual = tempfile.gettempdir()
    short = usual if len(usual) < 32 else "/tmp"  # noqa: S108 - mkdtemp makes a directory of its own in it
    return Path(tempfile.mkdtemp(prefix="djd-", dir=short)).resolve()


def write_key(path: Path) -> str:
    """Makes a key pair; returns the public key."""
    from asyncssh import generate_private_key

    key = generate_private_key("ssh-ed25519", comment="rehearsal")
    path.touch(mode=0o600)
    key.write_private_key(path)
    public = key.export_public_key().decode()
    path.with_name(f"{path.name}.pub").write_text(public)
    return public


def our_environment() -> Mapping[str, str]:
    """Ours, in which a program finds this package as we did."""
    place = str(Path(djdeploy.__file__).resolve().parent.parent)
    path = [place, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def is_personal(name: str) -> bool:
    return name.startswith(("INVOKE_", "FABRIC_")) or name in ("SSH_AUTH_SOCK", guard.MARK)
