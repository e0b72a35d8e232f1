"""The Docker target: containers with OpenSSH, Supervisor and nginx, on ports of their own, removed whatever happens."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from djdeploy.rehearsal.waiting import wait_until

IMAGE = "djdeploy-test-target:latest"
LABEL = "djdeploy.owner"
BUILD = Path(__file__).parent.parent / "docker/test-target/build"
PACK = "supervisorctl stop all >/dev/null; tar -C /srv -cf /srv/www.tar www && rm -r /srv/www"
UNPACK = "[ -e /srv/unpacked ] || tar -C /srv -xf /srv/www.tar; touch /srv/unpacked; exec /usr/local/sbin/start"
KEEP = """\
cp -a /etc/supervisor/conf.d /root/conf.d
cp -a /home/demo/.ssh /root/ssh
[ ! -e /srv/www/demo ] || cp -al /srv/www/demo/.djdeploy/virtualenvs /srv/virtualenvs
"""
WIPE = """\
cp /root/conf.d/services.conf /etc/supervisor/conf.d/
rm -f /etc/supervisor/conf.d/site.conf
supervisorctl update >/dev/null
pkill -KILL -u demo
rm -rf /srv/www/* /srv/git /etc/ssh/ssh_known_hosts /home/demo/.ssh
cp -a /root/ssh /home/demo/.ssh
"""
RESTORE = """\
tar -C /srv --exclude=www/demo/.djdeploy/virtualenvs -xf /srv/www.tar
cp -al /srv/virtualenvs /srv/www/demo/.djdeploy/
cp /root/conf.d/site.conf /etc/supervisor/conf.d/
supervisorctl update >/dev/null
"""
CA_BUNDLE = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")


class DockerTarget:
    """One container, and how to reach it.

    Args:
        client: the Docker SDK's client.
        keys: a directory with the key pair of the whole test run.
        disk: size of a file system of its own for /srv/www, such as `60m`.
        image: another image than the empty server's.
    """

    def __init__(self, client: Any, keys: Path, disk: str = "", image: str = IMAGE) -> None:
        self.key_file = keys / "key"
        environment = {"AUTHORIZED_KEY": (keys / "key.pub").read_text().strip()}
        volumes = {}
        if Path(CA_BUNDLE).is_file():
            inside = "/etc/ssl/certs/ca-certificates.crt"
            volumes[CA_BUNDLE] = {"bind": inside, "mode": "ro"}
            environment |= {"SSL_CERT_FILE": inside, "PIP_CERT": inside}
        self.container = client.containers.run(
            image,
            detach=True,
            init=True,
            cap_add=["NET_ADMIN", "SYS_PTRACE"],  # the latter for `pidfd_getfd`, as where no container is
            environment=environment,
            volumes=volumes,
            labels={LABEL: owner()},
            ports={f"{port}/tcp": ("127.0.0.1", None) for port in (22, 80, 8000)},
            tmpfs={"/srv/www": f"exec,size={disk},mode=755,uid=1000,gid=1000"} if disk else {},
        )
        try:
            self._wait()
        except BaseException:
            self.remove()
            raise

    def _wait(self) -> None:
        def published() -> bool:
            self.container.reload()
            ports = self.container.attrs["NetworkSettings"]["Ports"]
            return self.container.status == "running" and all(ports.get(f"{p}/tcp") for p in (22, 80, 8000))

        wait_until("the container's ports", published)
        # Supervisor starts its programs a second late, unless somebody speaks to it.
        speak = ("curl", "-s", "-o", "/dev/null", "--unix-socket", "/run/supervisor.sock", "http://supervisor/")
        wait_until("Supervisor", lambda: self.root(*speak)[0] == 0, 120)
        wait_until("sshd", lambda: self.ssh("true").returncode == 0, 60)

    def restart(self) -> None:
        """Starts it again after its power was cut. It has other ports then."""
        for name in ("port", "http_port", "nginx_port", "known_hosts"):
            vars(self).pop(name, None)
        self.container.start()
        self._wait()

    def save(self, image: str) -> None:
        """Stops it, and makes an image of what is on its disk: a container of that image starts as if after a pause."""
        # What comes from an image cannot be renamed: it is a lower layer of the container's file system.
        code, output = self.root("sh", "-c", PACK)
        assert code == 0, output
        self.container.stop(timeout=30)
        name, _, tag = image.partition(":")
        changes = [f"LABEL {LABEL}={run_owner()}", f"CMD {json.dumps(['sh', '-c', UNPACK])}"]
        self.container.commit(name, tag, changes=changes)

    def keep(self) -> None:
        """Keeps what `wipe` and `restore` will need, before any test has changed it.

        Nobody writes to a finished virtualenv, whose thousands of files take longer than all else, so it is linked.
        """
        self._shell(KEEP)
        self.is_new = True

    def wipe(self) -> None:
        """Makes it the empty server again, but for the caches of the account: cheaper than another container."""
        self._shell(WIPE)
        self.is_new = False

    def restore(self) -> None:
        """Makes a container of a saved image as it began."""
        if not self.is_new:
            self._shell(f"{WIPE}{RESTORE}")
        self.is_new = False

    def _shell(self, script: str) -> None:
        code, output = self.root("sh", "-c", f"{script}\nexit 0")
        assert code == 0, output

    def _port(self, inside: int) -> int:
        return int(self.container.attrs["NetworkSettings"]["Ports"][f"{inside}/tcp"][0]["HostPort"])

    @functools.cached_property
    def port(self) -> int:
        return self._port(22)

    @functools.cached_property
    def http_port(self) -> int:
        """Where port 8000 of the container is reached."""
        return self._port(8000)

    @functools.cached_property
    def nginx_port(self) -> int:
        return self._port(80)

    @property
    def host(self) -> str:
        return f"demo@127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """The container's own, which is reached without Docker's proxy."""
        networks = self.container.attrs["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    @functools.cached_property
    def known_hosts(self) -> Path:
        """A file with the container's real host key."""
        key = self.look("cat", "/etc/ssh/ssh_host_ed25519_key.pub")
        path = self.key_file.parent / f"known_hosts-{self.port}"
        path.write_text(f"[127.0.0.1]:{self.port} {' '.join(key.split()[:2])}\n")
        return path

    @property
    def ssh_options(self) -> list[str]:
        options = ["BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={self.known_hosts}"]
        # `-F none`: what this machine's user has configured is of no concern.
        return [f"-i{self.key_file}", "-F", "none", *(word for option in options for word in ("-o", option))]

    def ssh(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command as the account, by the real ssh."""
        words = ["ssh", "-p", str(self.port), *self.ssh_options, "demo@127.0.0.1", shlex.join(command)]
        return subprocess.run(words, capture_output=True, text=True, input=text, check=False, timeout=120)

    def root(self, *command: str) -> tuple[int, str]:
        """Runs a command as root, not over SSH."""
        result = self.container.exec_run(list(command))
        return result.exit_code, result.output.decode("utf-8", "replace")

    def look(self, *command: str) -> str:
        """What a command prints that changes nothing, run as root. It is run until all of that has arrived.

        A busy engine loses now and then what a command prints that ends at once: moby/moby#27289.
        """
        end = "\nall has arrived\n"

        def printed() -> str | None:
            text = self.root("sh", "-c", '"$@"; echo; echo all has arrived', "sh", *command)[1]
            return text if text.endswith(end) else None

        return wait_until("all that Docker was told to print", printed).removesuffix(end)

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file as root."""
        member = tarfile.TarInfo(Path(path).name)
        member.size, member.mode = len(text.encode()), mode
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(member, io.BytesIO(text.encode()))
        assert self.container.put_archive(str(Path(path).parent), archive.getvalue())

    def supervisor(self, conf: str) -> str:
        """Installs programs, as root does once; returns what `supervisorctl update` said."""
        self.put("/etc/supervisor/conf.d/site.conf", conf)
        return self.root("supervisorctl", "update")[1]

    def push(self, repository: Path, name: str = "project") -> str:
        """Pushes a local repository; returns its address as the server sees it."""
        address = f"/srv/git/{name}.git"
        self.root("install", "-d", "-o", "demo", "/srv/git")
        self.ssh("git", "init", "-q", "--bare", "-b", "main", address)
        ssh = shlex.join(["ssh", *self.ssh_options])
        url = f"ssh://{self.host}{address}"
        command = ["git", "-C", str(repository), "push", "-q", "--force", "--mirror", url]
        subprocess.run(command, check=True, env=os.environ | {"GIT_SSH_COMMAND": ssh})
        return address

    def ssh_config(self, name: str = "target") -> str:
        """An ssh_config entry for this container."""
        return (
            f"Host {name}\n  HostName 127.0.0.1\n  Port {self.port}\n  User demo\n  IdentityFile {self.key_file}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
        )

    def connection(self) -> Any:
        """A Fabric connection that checks the host key."""
        from fabric import Config, Connection
        from paramiko import RejectPolicy

        config = Config(overrides={"load_ssh_configs": False})
        connection = Connection(self.host, config=config, connect_kwargs={"key_filename": str(self.key_file)})
        connection.client.load_host_keys(str(self.known_hosts))
        connection.client.set_missing_host_key_policy(RejectPolicy())
        return connection

    def log(self) -> str:
        return str(self.container.logs().decode("utf-8", "replace"))

    def remove(self) -> None:
        with contextlib.suppress(Exception):
            self.container.remove(force=True, v=True)


def owner() -> str:
    """This test process, so that a later one can tell whether it lives: pid, start time, and whose pids these are."""
    return f"{os.getpid()}:{started(os.getpid())}:{pid_namespace()}"


def run_owner() -> str:
    """The whole run: the process that has started this one, if this is one of several workers."""
    pid = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return f"{pid}:{started(pid)}:{pid_namespace()}"


def pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def started(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def is_ended(owner: str) -> bool:
    """Whether the process that a label names has ended."""
    pid, start, namespace = [*owner.split(":", 2), ""][:3]
    return namespace == pid_namespace() and started(int(pid)) != start


def remove_containers(client: Any, mine: bool) -> None:
    """Removes the containers of this run, or those of runs that were killed."""
    # The SDK's own lists look at each one, and fail when another run has removed it meanwhile.
    for each in client.api.containers(all=True, filters={"label": LABEL}):
        label = each["Labels"][LABEL]
        if is_ended(label) or (mine and label == owner()):
            with contextlib.suppress(Exception):
                client.api.remove_container(each["Id"], force=True, v=True)


def remove_images(client: Any, mine: bool) -> None:
    """Removes the images that this run has saved, or that runs which were killed have."""
    for each in client.api.images(filters={"label": LABEL}):
        label = each["Labels"][LABEL]
        if is_ended(label) or (mine and label == run_owner()):
            with contextlib.suppress(Exception):
                client.api.remove_image(each["Id"], force=True)


def engine() -> Any:
    """The Docker engine's client, or None."""
    import docker

    try:
        client = docker.from_env(timeout=120)  # type: ignore[attr-defined]  # mypy takes our folder docker/ for it
        client.ping()
    except Exception:
        return None
    return client


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Any]:
    """An engine with the image built; without one the test is skipped, with CI=true it fails."""
    client = engine()
    if client is None:
        message = "no Docker engine answers: make docker-engine"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    subprocess.run([str(BUILD)], check=True)
    remove_containers(client, mine=False)
    remove_images(client, mine=False)
    atexit.register(remove_containers, client, mine=True)
    yield client
    remove_containers(client, mine=True)


@pytest.fixture(scope="session")
def keys() -> Iterator[Path]:
    """A key pair for this run."""
    with tempfile.TemporaryDirectory(prefix="djdeploy-keys-") as directory:
        for name in ("key", "other"):
            command = [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "djdeploy-test",
                "-f",
                f"{directory}/{name}",
            ]
            subprocess.run(command, check=True)
        yield Path(directory)


@pytest.fixture
def docker_target(docker_engine: Any, keys: Path) -> Iterator[Callable[..., DockerTarget]]:
    """Starts as many containers as a test needs."""
    targets: list[DockerTarget] = []

    def start(**options: Any) -> DockerTarget:
        targets.append(DockerTarget(docker_engine, keys, **options))
        return targets[-1]

    yield start
    for target in targets:
        target.remove()
