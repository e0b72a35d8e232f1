"""What `ssh HOST` accepts or refuses, djdeploy accepts or refuses: each case is tried with both, side by side."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from fabric import Config

from djdeploy import DeployError, Settings
from djdeploy.engine.job import connection_to, name_of
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.ssh.address import address
from djdeploy.ssh.dialing import by_program
from djdeploy.ssh.forgiving import forgive
from djdeploy.ssh.opening import Access
from djdeploy.ssh.openssh import Options
from djdeploy.ssh.remote import Remote

pytestmark = pytest.mark.skipif(not shutil.which("ssh"), reason="there is no OpenSSH here")

SETTINGS = Settings(project="demo", repository="/r", home="/srv/demo")


def key(directory: Path, name: str) -> asyncssh.SSHKey:
    """A key pair in files."""
    made = asyncssh.generate_private_key("ssh-ed25519", comment=name)
    (directory / name).touch(mode=0o600)
    made.write_private_key(directory / name)
    made.write_public_key(directory / f"{name}.pub")
    return made


def text(made: asyncssh.SSHKey) -> str:
    return " ".join(made.export_public_key().decode().split()[:2])


class Account(asyncssh.SSHServer):
    """Lets in who has a key of `person`, or that other one, and forwards connections."""

    def __init__(self, person: asyncssh.SSHKey, other: asyncssh.SSHKey, offered: list[bytes]) -> None:
        self.person, self.offered = person, offered
        self.authorized = [each.public_data for each in (person, other)]

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self.offered.append(key.public_data)
        if username == "expired":
            raise asyncssh.DisconnectError(asyncssh.DISC_ILLEGAL_USER_NAME, "Your account has expired")
        return username == "deploy" and key.public_data in self.authorized

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "deploy" and key.public_data == self.person.public_data

    def connection_requested(self, *_: object) -> bool:
        return True


@dataclass(eq=False)
class Servers:
    """Two SSH servers, one of them with a host certificate, in a thread; and the keys of everybody.

    Attributes:
        words: what a table may name in braces.
        offered: the keys that clients have offered.
        answer: what a command prints, also to standard error, and its exit status.
    """

    directory: Path
    words: dict[str, object] = field(default_factory=dict)
    offered: list[bytes] = field(default_factory=list)
    answer: tuple[str, str, int] = ("", "", 0)

    def start(self) -> None:
        made = {name: key(self.directory, name) for name in ("person", "stranger", "host", "other", "ca", "otherca")}
        self.words |= {name: text(each) for name, each in made.items()} | {"dir": self.directory}
        made["person"].write_private_key(self.directory / "open")
        (self.directory / "open").chmod(0o644)
        made["person"].write_private_key(self.directory / "locked", passphrase="secret", rounds=50)
        self.ec = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
        self.ec.write_private_key(self.directory / "pkcs8", "pkcs8-pem")
        (self.directory / "pkcs8").chmod(0o600)
        self.ec.write_private_key(self.directory / "locked-pem", "pkcs8-pem", passphrase="secret")
        for name in ("locked", "locked-pem"):
            (self.directory / name).chmod(0o600)
        for name in ("badge", "badge2"):
            badge = key(self.directory, name)
            certificate = made["person"].generate_user_certificate(badge, name, principals=["deploy"])
            where = "badge-cert.pub" if name == "badge" else "given.pub"
            (self.directory / where).write_bytes(certificate.export_certificate())
        useless = made["stranger"].generate_user_certificate(made["person"], "useless", principals=["deploy"])
        (self.directory / "useless.pub").write_bytes(useless.export_certificate())
        certificates = {
            "certified": made["ca"].generate_host_certificate(made["host"], "host", principals=["127.0.0.1", "web1"]),
            "expired": made["ca"].generate_host_certificate(made["host"], "host", valid_before=1),
            "misnamed": made["ca"].generate_host_certificate(made["host"], "host", principals=["web9"]),
        }
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.words["port"] = self._listen(made, [made["host"]])
        for name, certificate in certificates.items():
            self.words[name] = self._listen(made, [(made["host"], certificate)])

    def _run(self, process: asyncssh.SSHServerProcess[str]) -> None:
        out, err, status = self.answer
        process.stdout.write(out)
        process.stderr.write(err)
        process.exit(status)

    def _listen(self, made: dict[str, asyncssh.SSHKey], host_keys: list[object]) -> int:
        async def listen() -> int:
            server = await asyncssh.listen(
                "127.0.0.1",
                0,
                server_factory=lambda: Account(made["person"], self.ec, self.offered),
                server_host_keys=host_keys,
                process_factory=self._run,
            )
            return server.get_port()

        return asyncio.run_coroutine_threadsafe(listen(), self.loop).result(10)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Servers:
    made = Servers(tmp_path_factory.mktemp("servers"))
    made.start()
    return made


@dataclass
class Client:
    """Where we connect from: an ssh_config and a known_hosts of its own."""

    servers: Servers
    directory: Path

    def filled(self, template: str) -> str:
        return template.format(**self.servers.words, here=self.directory)

    def writes(
        self, config: str, known: str = "[127.0.0.1]:{port} {host}", identity: str = "IdentityFile {dir}/person"
    ) -> None:
        (self.directory / "known").write_text(self.filled(known) + "\n")
        defaults = "Host web* jump\n HostName 127.0.0.1\nHost *\n User deploy\n Port {port}\n"
        defaults += " UserKnownHostsFile {here}/known\n"
        defaults += f" GlobalKnownHostsFile /dev/null\n {identity}\n"
        (self.directory / "config").write_text(self.filled(f"{config}\n{defaults}"))

    def ssh(self, host: str) -> subprocess.CompletedProcess[str]:
        command = ["ssh", "-F", str(self.directory / "config"), "-o", "BatchMode=yes", host, "true"]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)

    def remote(self, host: str, settings: Settings = SETTINGS) -> Remote:
        """As `fab` makes it."""
        config = Config(runtime_ssh_path=str(self.directory / "config"), lazy=True)
        forgive(config)
        config.load_ssh_config()
        return Remote(connection_to(host, config), settings, host)

    def djdeploy(self, host: str, passphrase: str | None = None) -> str:
        """What is the matter; empty if it connects."""
        try:
            remote = self.remote(host)
        except DeployError as error:
            return error.message
        if passphrase:
            remote.connection.connect_kwargs["passphrase"] = passphrase
        try:
            remote.connect()
        except DeployError as error:
            return error.message
        finally:
            remote.close()
        return ""

    def refused(self, settings: Settings = SETTINGS) -> DeployError:
        """The error with which a task ends that would only look."""
        remote = self.remote("web1", settings)
        try:
            remote.connect()
            remote.open(Access())
        except DeployError as error:
            return error
        finally:
            remote.close()
        raise AssertionError("nothing is the matter")

    def both(self, host: str = "web1") -> str:
        """What both do: empty if they connect, else what djdeploy says."""
        known = self.directory / "known"
        before = known.read_text()
        ssh = self.ssh(host)
        known.write_text(before)
        said = self.djdeploy(host)
        assert (ssh.returncode == 0) == (said == ""), f"ssh: {ssh.returncode} {ssh.stderr}\ndjdeploy: {said}"
        return said


@pytest.fixture
def client(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Path(os.devnull).open() as nothing:  # for what Fabric runs by itself of `Match exec`
        monkeypatch.setattr(sys, "stdin", nothing)
        yield Client(servers, tmp_path)


ACCEPTED = ""
FABFILE = """\
from djdeploy import Settings, collection
ns = collection(Settings(project="demo", repository="/r", home="/srv/demo"))
"""
UNKNOWN, CHANGED, REVOKED = "is not known", "host key has changed", "is revoked"


@pytest.mark.parametrize(
    ("known", "config", "said"),
    [
        ("[127.0.0.1]:{port} {host}", "", ACCEPTED),
        ("", "", UNKNOWN),
        ("[127.0.0.1]:{port} {other}", "", CHANGED),
        ("[127.0.0.1]:{port} {other}\n[127.0.0.1]:{port} {host}", "", ACCEPTED),
        ("other,[127.0.0.1]:{port},third {host} a comment", "", ACCEPTED),
        # the plain name, for another port
        ("127.0.0.1 {host}", "", ACCEPTED),
        ("127.0.0.1 {other}", "", UNKNOWN),
        ("[127.0.0.1]:22 {host}", "", UNKNOWN),
        ("[127.0.0.1]:{port} {other}\n127.0.0.1 {host}", "", CHANGED),
        # patterns
        ("[127.0.0.*]:* {host}", "", ACCEPTED),
        ("[127.0.0.?]:{port} {host}", "", ACCEPTED),
        ("* {host}", "", ACCEPTED),
        ("127.0.0.* {host}", "", ACCEPTED),
        ("*,![127.0.0.1]:{port},!127.0.0.1 {host}", "", UNKNOWN),
        ("*,![127.0.0.1]:{port} {host}", "", ACCEPTED),
        ("![127.0.0.2]:{port},* {host}", "", ACCEPTED),
        ("[127.0.0.[0-9]]:{port} {host}", "", UNKNOWN),
        # case
        ("WEB1 {host}", "HostKeyAlias web1", ACCEPTED),
        ("web1 {host}", "HostKeyAlias WEB1", ACCEPTED),
        ("[LocalHost]:{port} {host}", "HostName LOCALHOST", ACCEPTED),
        ("Web* {host}", "HostKeyAlias wEB1", ACCEPTED),
        # marks
        ("@revoked [127.0.0.1]:{port} {host}\n[127.0.0.1]:{port} {host}", "", REVOKED),
        ("@revoked * {host}\n[127.0.0.1]:{port} {host}", "", REVOKED),
        ("@revoked * {host}", "StrictHostKeyChecking no", ACCEPTED),
        ("@revoked * {host}", "StrictHostKeyChecking accept-new", REVOKED),
        ("@revoked * {other}\n[127.0.0.1]:{port} {host}", "", ACCEPTED),
        ("@revoked web2 {host}\n[127.0.0.1]:{port} {host}", "", ACCEPTED),
        ("@unheard-of * {host}", "", UNKNOWN),
        ("@cert-authority * {host}", "", UNKNOWN),
        # certificates
        ("@cert-authority * {ca}", "Port {certified}", ACCEPTED),
        ("@cert-authority [127.0.0.1]:{certified} {ca}", "Port {certified}", ACCEPTED),
        ("@cert-authority 127.0.0.1 {ca}", "Port {certified}", ACCEPTED),
        ("@cert-authority web1 {ca}", "Port {certified}\n HostKeyAlias web1", ACCEPTED),
        ("@cert-authority web2 {ca}", "Port {certified}\n HostKeyAlias web2", UNKNOWN),
        ("@cert-authority * {otherca}", "Port {certified}", UNKNOWN),
        ("@cert-authority elsewhere {ca}", "Port {certified}", UNKNOWN),
        ("@cert-authority * {ca}", "Port {expired}", UNKNOWN),
        ("@cert-authority * {ca}", "Port {misnamed}", UNKNOWN),
        ("@cert-authority * {ca}", "Port {misnamed}\n HostKeyAlias web9", ACCEPTED),
        ("@cert-authority * {ca}\n* {host}", "Port {expired}", ACCEPTED),
        ("@cert-authority * {ca}\n@revoked * {ca}", "Port {certified}", REVOKED),
        ("@cert-authority * {ca}\n@revoked * {host}", "Port {certified}", REVOKED),
        ("[127.0.0.1]:{certified} {host}", "Port {certified}", ACCEPTED),
        ("[127.0.0.1]:{certified} {other}", "Port {certified}", CHANGED),
        # what ssh_config says of it
        ("", "StrictHostKeyChecking no", ACCEPTED),
        ("", "StrictHostKeyChecking accept-new", ACCEPTED),
        ("[127.0.0.1]:{port} {other}", "StrictHostKeyChecking accept-new", CHANGED),
        ("[127.0.0.1]:{port} {other}", "StrictHostKeyChecking no", ACCEPTED),
        ("[127.0.0.1]:{port} {host}", "UserKnownHostsFile /nowhere", UNKNOWN),
        ("[127.0.0.1]:{port} {host}", "UserKnownHostsFile none", UNKNOWN),
        ("[127.0.0.1]:{port} {host}", "UserKnownHostsFile /nowhere {here}/known", ACCEPTED),
        ("[127.0.0.1]:{port} {host}", "UserKnownHostsFile /nowhere\n GlobalKnownHostsFile {here}/known", ACCEPTED),
        ("[127.0.0.1]:{port} {host}", "UserKnownHostsFile {here}/%n", UNKNOWN),
        ("", "NoHostAuthenticationForLocalhost yes", ACCEPTED),
        ("* {host}", "RevokedHostKeys {dir}/host.pub", REVOKED),
        ("* {host}", "RevokedHostKeys {dir}/other.pub", ACCEPTED),
        ("* {host}", "RevokedHostKeys /nowhere", REVOKED),
        # of a command
        ("", "KnownHostsCommand /bin/echo %H {host}", ACCEPTED),
        ("* {host}", "KnownHostsCommand /bin/echo @revoked %H %t %K", REVOKED),
        ("* {host}", "KnownHostsCommand /bin/false", "KnownHostsCommand /bin/false: exit 1"),
        ("* {host}", "KnownHostsCommand /nowhere", ACCEPTED),
        # what is kept where there is no file for it
        ("", "UserKnownHostsFile none\n StrictHostKeyChecking accept-new", UNKNOWN),
        ("", "UserKnownHostsFile /dev/null\n StrictHostKeyChecking accept-new", ACCEPTED),
        # the algorithm of an authority
        ("@cert-authority * {ca}", "Port {certified}\n CASignatureAlgorithms ssh-ed25519", ACCEPTED),
        ("@cert-authority * {ca}", "Port {certified}\n CASignatureAlgorithms rsa-sha2-512", UNKNOWN),
        # lines that nobody can read
        ("* ssh-ed25519 AAA\n@revoked\n* {host}", "", ACCEPTED),
        ("# * {host}", "", UNKNOWN),
    ],
)
def test_a_host_key(client: Client, known: str, config: str, said: str) -> None:
    client.writes(f"Host web1\n {config}", known)

    answer = client.both()

    assert said in answer
    assert bool(said) == bool(answer)


@pytest.mark.parametrize(
    "line", ["[127.0.0.1]:{port} {host}", "127.0.0.1 {host}", "@revoked [127.0.0.1]:{port} {host}"]
)
def test_a_hashed_line(client: Client, line: str) -> None:
    client.writes("", line)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", client.directory / "known"], check=True, capture_output=True)

    assert (client.both() == ACCEPTED) == ("@" not in line)


def test_a_name_with_spaces_in_it(client: Client) -> None:
    client.writes('Host web1\n UserKnownHostsFile "{here}/known hosts" {here}/none')
    (client.directory / "known").rename(client.directory / "known hosts")
    (client.directory / "known").touch()

    assert client.both() == ACCEPTED


NO_KEY, REJECTED = "none to offer", "rejected your SSH key"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("IdentityFile {dir}/person", ACCEPTED),
        ("IdentityFile {dir}/nowhere", NO_KEY),
        ("IdentityFile {dir}/nowhere\n IdentityFile {dir}/person", ACCEPTED),
        ("IdentityFile none", NO_KEY),
        ("IdentityFile {dir}/stranger", REJECTED),
        ("IdentityFile {dir}/stranger\n IdentityFile {dir}/person", ACCEPTED),
        ("IdentityFile {here}/config\n IdentityFile {dir}/person", ACCEPTED),
        ("IdentityFile {dir}/open\n", NO_KEY),
        ("IdentityFile {dir}/locked\n", "has a passphrase: ssh-add"),
        ("IdentityFile {dir}/locked\n IdentityFile {dir}/person", ACCEPTED),
        ("IdentityFile {dir}/person.pub", NO_KEY),
        ("IdentityFile {dir}/pkcs8", ACCEPTED),
        ("IdentityFile ${{KEYS}}/person", ACCEPTED),
        ("IdentityFile ${{NOT_SET}}/person", "NOT_SET"),
        ("IdentityFile %d/../../../../../../../../..{dir}/person", ACCEPTED),
        ("IdentityFile {dir}/%%\n IdentityFile {dir}/person", ACCEPTED),
        ("IdentityFile {dir}/person\n IdentitiesOnly yes", ACCEPTED),
        ("IdentityFile {dir}/badge", ACCEPTED),
        ("IdentityFile {dir}/badge2", REJECTED),
        ("IdentityFile {dir}/badge2\n CertificateFile {dir}/given.pub", ACCEPTED),
        ("IdentityFile {dir}/stranger\n CertificateFile {dir}/given.pub", REJECTED),
        ("IdentityFile {dir}/person\n CertificateFile {dir}/useless.pub", ACCEPTED),
        ("IdentityFile {dir}/badge\n PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com", ACCEPTED),
        ("IdentityFile {dir}/badge\n PubkeyAcceptedAlgorithms ssh-ed25519", REJECTED),
        ("IdentityFile {dir}/person\n PubkeyAcceptedAlgorithms rsa-sha2-512", "does not allow ssh-ed25519"),
        ("IdentityFile {dir}/person\n PubkeyAuthentication no", "allows no SSH key (PubkeyAuthentication no)"),
        ("IdentityFile {dir}/person\n PreferredAuthentications password,publickey", ACCEPTED),
        (
            "IdentityFile {dir}/person\n PreferredAuthentications gssapi-with-mic",
            "no SSH key (PreferredAuthentications g",
        ),
        ("PKCS11Provider /nowhere.so\n IdentityFile none", "ssh-add -s /nowhere.so"),
        ("PKCS11Provider /nowhere.so\n IdentityFile {dir}/person", ACCEPTED),
        ("IdentityFile {dir}/person\n User nobody", REJECTED),
        ("IdentityFile {dir}/person\n IdentityAgent none", ACCEPTED),
        ("IdentityFile {dir}/person\n IdentityAgent /nowhere", ACCEPTED),
        ("IdentityFile {dir}/person\n NoSuchOption yes", "ssh cannot read its configuration"),
        ("IdentityFile {dir}/person\n IgnoreUnknown NoSuch*\n NoSuchOption yes", ACCEPTED),
        ("Include {here}/included", ACCEPTED),
        ("Include {here}/nowhere\n IdentityFile {dir}/person", ACCEPTED),
        ("Match host web1,127.0.0.1 exec true\n IdentityFile {dir}/person", ACCEPTED),
        ("Match exec false\n IdentityFile {dir}/person", NO_KEY),
        ("Match localuser nobody-at-all\n IdentityFile none\nMatch all\n IdentityFile {dir}/person", ACCEPTED),
    ],
)
def test_keys_that_are_offered(client: Client, config: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", str(client.servers.directory))
    (client.directory / "included").write_text(client.filled("Host web1\n IdentityFile {dir}/person\n"))
    client.writes(f"Host web1\n {config}", identity="")

    answer = client.both()

    assert said in answer
    assert bool(said) == bool(answer)


@pytest.fixture
def agent(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent with the stranger's key and the person's, in this order; its address is in no variable."""
    path = client.directory / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    wait_until("the agent", path.exists)
    for name in ("stranger", "person"):
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        subprocess.run(["ssh-add", "-q", str(client.servers.directory / name)], check=True, env=environment)
    yield path
    process.terminate()
    process.wait()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("IdentityAgent {here}/agent", ACCEPTED),
        ("IdentityAgent $AGENT", ACCEPTED),
        ("IdentityAgent ${{AGENT}}", ACCEPTED),
        ("IdentityAgent SSH_AUTH_SOCK", NO_KEY),
        ("IdentityAgent none", NO_KEY),
        ("IdentityAgent {here}/agent\n IdentityFile none", ACCEPTED),
        ("IdentityAgent {here}/agent\n IdentityFile {dir}/person.pub\n IdentitiesOnly yes", ACCEPTED),
        ("IdentityAgent {here}/agent\n IdentityFile {dir}/stranger.pub\n IdentitiesOnly yes", REJECTED),
        ("IdentityAgent {here}/agent\n IdentityFile {dir}/nowhere\n IdentitiesOnly yes", NO_KEY),
        ("IdentityAgent none\n IdentityFile {dir}/person", ACCEPTED),
        ("IdentityAgent {here}/agent\n IdentityFile none\n CertificateFile {dir}/useless.pub", ACCEPTED),
        ("IdentityAgent {here}/agent\n PubkeyAcceptedAlgorithms rsa-sha2-512", "the agent: ssh_config does not allow"),
    ],
)
def test_keys_of_an_agent(client: Client, agent: Path, config: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT", str(agent))
    client.writes(f"Host web1\n {config}", identity="")

    answer = client.both()

    assert said in answer
    assert bool(said) == bool(answer)


def test_the_agents_key_that_a_file_names_is_offered_first(client: Client, agent: Path) -> None:
    """A server counts what it is offered."""
    client.writes("Host web1\n IdentityAgent {here}/agent\n IdentityFile {dir}/person.pub", identity="")
    client.servers.offered.clear()

    assert client.both() == ACCEPTED

    assert len(set(client.servers.offered)) == 1


BEHIND = "Host jump\n HostKeyAlias jump\nHost web1\n HostKeyAlias web1\n "


@pytest.mark.parametrize(
    ("config", "known", "said"),
    [
        ("ProxyJump jump", "jump,web1 {host}", ACCEPTED),
        ("ProxyJump none", "web1 {host}", ACCEPTED),
        ("ProxyJump none\nHost *\n ProxyJump nowhere.invalid", "web1 {host}", ACCEPTED),
        ("ProxyJump deploy@jump:{port}", "jump,web1 {host}", ACCEPTED),
        ("ProxyJump jump,web2\nHost web2\n HostKeyAlias web2", "jump,web1,web2 {host}", ACCEPTED),
        ("ProxyJump web2\nHost web2\n ProxyJump jump\n HostKeyAlias web2", "jump,web1,web2 {host}", ACCEPTED),
        ("ProxyJump jump", "web1 {host}", "the host key of the jump host 127.0.0.1 is not known"),
        ("ProxyJump jump", "web1 {host}\njump {other}", "at the jump host 127.0.0.1 the host key has changed"),
        ("ProxyJump jump", "jump {host}", "its host key is not known"),
        (
            "ProxyJump nobody@jump",
            "jump,web1 {host}",
            "the jump host 127.0.0.1:{port} rejected your SSH key for nobody",
        ),
        ("ProxyJump nowhere.invalid", "web1 {host}", "the name nowhere.invalid of a jump host cannot be resolved"),
        ("ProxyJump jump\n Port 1", "jump,web1 {host}", "the jump host 127.0.0.1:{port} cannot connect to 127.0.0.1:1"),
        ("ProxyJump jump:1", "jump,web1 {host}", "the connection to the jump host 127.0.0.1:1 failed"),
        ("ProxyCommand ssh -F {here}/config -W %h:%p jump", "jump,web1 {host}", ACCEPTED),
        ("ProxyCommand sh -c 'echo no way >&2; exit 1'", "web1 {host}", "ProxyCommand says: no way"),
        ("ProxyCommand none", "web1 {host}", ACCEPTED),
    ],
)
def test_the_way_there(client: Client, config: str, known: str, said: str) -> None:
    client.writes(f"{BEHIND}{config}", known)

    answer = client.both()

    assert client.filled(said) in answer
    assert bool(said) == bool(answer)


RELAY = "import os,socket,sys; s=socket.create_connection((sys.argv[1],int(sys.argv[2]))); "
PASSED = f"{RELAY} socket.send_fds(socket.socket(fileno=1),[b'x'],[s.fileno()])"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("Ciphers aes256-ctr\n MACs hmac-sha2-256\n KexAlgorithms curve25519-sha256\n Compression yes", ACCEPTED),
        ("Ciphers aes256-gcm@openssh.com\n MACs umac-64@openssh.com", ACCEPTED),
        ("Ciphers 3des-cbc", "have no cipher in common: it has chacha20"),
        ("KexAlgorithms diffie-hellman-group1-sha1", "which djdeploy cannot do"),
        ("MACs hmac-md5\n Ciphers aes128-ctr", "have no MAC in common"),
        ("HostKeyAlgorithms rsa-sha2-512", "have no kind of host key in common: it has ssh-ed25519"),
        ("AddressFamily inet\n BindAddress 127.0.0.2\n ConnectTimeout 0\n ConnectionAttempts 2", ACCEPTED),
        ("AddressFamily inet6", "Address family for hostname not supported"),
        ("BindAddress 192.0.2.1", "Cannot assign requested address"),
        ("BindInterface nosuch0", "No such device"),
        ("ConnectTimeout 5m", ACCEPTED),
        ("CanonicalizeHostname yes", ACCEPTED),
        ("CanonicalizeHostname yes\n CanonicalDomains invalid\n HostName web1\n CanonicalizeFallbackLocal no", "web1"),
        ("ControlMaster auto\n ControlPath {here}/control", ACCEPTED),
        ("SendEnv *\n SetEnv A=b\n CheckHostIP yes\n VerifyHostKeyDNS yes\n GSSAPIAuthentication yes", ACCEPTED),
        ('ProxyUseFdpass yes\n ProxyCommand {python} -c "{passed}" %h %p', ACCEPTED),
        ("ProxyUseFdpass yes\n ProxyCommand sh -c 'echo nothing to pass >&2'", "ProxyCommand says: nothing to pass"),
    ],
)
def test_other_options(client: Client, config: str, said: str) -> None:
    client.servers.words |= {"python": sys.executable, "passed": PASSED}
    client.writes(f"Host web1\n {config}", "* {host}")

    answer = client.both()

    assert said in answer
    assert bool(said) == bool(answer)


@pytest.mark.parametrize(
    ("config", "option"),
    [
        ("Ciphers chacha20-poly1305@openssh.com", "Ciphers: aes128-ctr"),
        ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "KexAlgorithms: "),
        ("MACs umac-64@openssh.com", "MACs: hmac-sha2-256, hmac-sha2-512, "),
        ("PubkeyAcceptedAlgorithms ssh-rsa", "PubkeyAcceptedAlgorithms: ssh-ed25519"),
    ],
)
def test_what_only_openssh_can_do_is_refused_with_what_to_add(client: Client, config: str, option: str) -> None:
    client.writes(f"Host web1\n {config}")

    error = client.refused()

    assert (error.error_code, error.exit_code) == ("ssh-algorithms", 4)
    assert f"allows only {config.split()[1]}" in error.what
    assert f"Add one of these to {option}" in error.remedy
    assert not re.search("cbc|md5", error.remedy)


def test_a_new_key_is_kept_without_the_hosts_name_where_ssh_would_hide_it(client: Client) -> None:
    client.writes("Host web1\n HashKnownHosts yes\n StrictHostKeyChecking accept-new", "")

    assert client.djdeploy("web1") == ACCEPTED

    assert "127.0.0.1" not in (client.directory / "known").read_text()
    client.writes("", (client.directory / "known").read_text())
    assert client.both() == ACCEPTED


@pytest.mark.parametrize(
    "config",
    [
        "Host web1\n ProxyJump web2\nHost web2\n ProxyJump web1",
        "Host web1\n ProxyJump web1",
        "Host web1\n ProxyJump a,b\nHost b\n ProxyJump x@c:2\nHost c\n ProxyJump web1",
        "Host *\n ProxyJump jump",
    ],
)
def test_jump_hosts_in_a_circle_are_an_error_of_ssh_config(client: Client, config: str) -> None:
    """ssh itself starts one process after the other, without end."""
    client.writes(config)

    assert "circle" in client.djdeploy("web1")


def test_fabric_does_not_follow_jump_hosts_in_a_circle(client: Client) -> None:
    """It makes a connection of each host that `-H` names, before any task begins."""
    client.writes("Host web1\n ProxyJump web2\nHost web2\n ProxyJump web1")
    client.directory.joinpath("fabfile.py").write_text(FABFILE)

    fab = [sys.executable, "-m", "fabric", "-S", "config", "-H", "web1", "releases"]
    ended = subprocess.run(fab, cwd=client.directory, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, "Traceback" in ended.stderr) == (4, False), ended.stderr
    assert "circle: web1, web2, web1" in ended.stderr


def test_ctrl_c_does_not_reach_the_program_that_connects(client: Client) -> None:
    """It goes to the whole foreground; we count it, and still need the connection to go back."""
    program = by_program(Options({"proxycommand": ["cat"]}, "web1"), None)
    program.settimeout(10)
    program.sendall(b"1")
    assert program.recv(1) == b"1", "it runs"

    program.process.send_signal(signal.SIGINT)
    program.sendall(b"2")

    assert program.recv(1) == b"2"
    program.close()
    program.process.wait(10)


def test_an_ipv6_address_with_a_port() -> None:
    connection = connection_to("user@[fd00::1]:2222", None)
    assert (connection.user, connection.host, connection.port) == ("user", "fd00::1", 2222)
    assert name_of(connection) == "user@[fd00::1]:2222"
    assert address("user@[fd00::1]:2222") == ("user", "fd00::1", 2222)
    assert str(address("user@[fd00::1]:2222")) == "user@[fd00::1]:2222"
    assert address("[fd00::1]") == (None, "fd00::1", None)
    assert address("fd00::1") == (None, "fd00::1", None)
    assert address("deploy@web1:22") == ("deploy", "web1", 22)


@pytest.mark.parametrize(
    ("answer", "code", "exit_code", "words"),
    [
        (("This account is currently not available.\n", "", 1), "login-refused", 4, "This account is currently not"),
        (
            ("", "Your account has expired; please contact your system administrator.\n", 1),
            "login-refused",
            4,
            "expired",
        ),
        (("", "Password change required but no TTY available.\n", 1), "login-refused", 4, "Password change required"),
        (("This service allows sftp connections only.\n", "", 1), "login-refused", 4, "sftp connections only"),
        (("hi, you cannot have a shell here", "", 0), "login-refused", 4, "you cannot have a shell"),
        (("", "sh: 1: fortune: not found\n", 127), "login-refused", 4, "fortune: not found"),
        (("Welcome!\n", ".bashrc: line 1: exiting\n", 3), "login-refused", 4, "Welcome!"),
        (("Welcome!\n", "sh: 1: exec: python3: not found\n", 127), "no-python", 1, "python3: not found"),
        (("", "Traceback (most recent call last):\n...\nImportError: x\n", 1), "agent-failed", 4, "ImportError"),
        (("", "", 1), "agent-failed", 4, "ended at once (exit 1)"),
        (("", "", 0), "login-refused", 4, "ended without a word: perhaps a start-up file"),
    ],
)
def test_an_account_that_cannot_log_in_tells_why_in_its_own_words(
    client: Client, answer: tuple[str, str, int], code: str, exit_code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.servers, "answer", answer)
    client.writes("")

    error = client.refused()

    assert (error.error_code, error.exit_code) == (code, exit_code)
    assert words in error.message
    assert ("apt-get" in error.message) == (code == "no-python")


@pytest.mark.parametrize(
    ("key", "passphrase", "said"),
    [
        ("locked", None, "has a passphrase: ssh-add {dir}/locked, or fab --prompt-for-passphrase"),
        ("locked", "secret", ACCEPTED),
        ("locked", "wrong", "{dir}/locked has another passphrase than the one that was given"),
        ("locked-pem", None, "has a passphrase"),
        ("locked-pem", "secret", ACCEPTED),
        ("locked-pem", "wrong", "another passphrase"),
        ("person", "needless", ACCEPTED),
    ],
)
def test_a_key_with_a_passphrase(client: Client, key: str, passphrase: str | None, said: str) -> None:
    """Which `fab --prompt-for-passphrase` asks for. Without a terminal, as in a pipe, nobody asks."""
    client.writes("", identity=f"IdentityFile {{dir}}/{key}")

    answer = client.djdeploy("web1", passphrase)

    assert client.filled(said) in answer
    assert bool(said) == bool(answer)


def test_a_locked_key_that_the_agent_has_needs_no_passphrase(client: Client, agent: Path) -> None:
    client.writes(
        "Host web1\n IdentityAgent {here}/agent\n IdentityFile {dir}/locked\n IdentitiesOnly yes", identity=""
    )

    assert client.both() == ACCEPTED


def test_a_server_that_hangs_up_is_quoted(client: Client) -> None:
    client.writes("Host web1\n User expired")

    error = client.refused()

    assert error.error_code == "login-refused"
    assert "the server does not let expired in, who offered" in error.what
    assert "; Your account has expired" in error.what
    assert "transport" not in error.what


def test_an_agent_that_is_to_be_forwarded_is_missed_before_anything_begins(client: Client) -> None:
    client.writes("")
    client.servers.offered.clear()

    error = client.refused(replace(SETTINGS, forward_agent=True))

    assert (error.error_code, error.exit_code) == ("no-agent", 2)
    assert not client.servers.offered
    client.writes("Host web1\n ForwardAgent yes")
    assert client.both() == ACCEPTED, "ssh does without it"


@pytest.mark.parametrize(("known", "forwards"), [("* {host}", True), ("", True), ("* {other}", False)])
def test_no_agent_is_forwarded_to_a_host_whose_key_has_changed(
    client: Client, agent: Path, known: str, forwards: bool
) -> None:
    """ssh does not either, where it may connect all the same."""
    config = "Host web1\n IdentityAgent {here}/agent\n ForwardAgent yes\n StrictHostKeyChecking no"
    client.writes(config, known)
    remote = client.remote("web1")
    try:
        remote.connect()
        assert remote.connection.forward_agent is forwards
    finally:
        remote.close()

    client.writes(config, known)
    wanted = client.refused(replace(SETTINGS, forward_agent=True))
    assert (wanted.error_code == "host-key-changed") is not forwards


def test_an_account_without_a_name_connects_as_the_settings_say(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, for which ssh itself does nothing at all."""
    real = subprocess.run

    def nobody(*_: object) -> None:
        raise KeyError

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "-G" in command:
            return subprocess.CompletedProcess(command, 255, "", "No user exists for uid 1234")
        return real(command, **options)

    client.writes("")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("LOGNAME", "ann")  # without which paramiko reads no ssh_config at all

    assert client.djdeploy("web1") == ACCEPTED
