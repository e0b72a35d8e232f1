"""How the code arrives: the printed shell, run by `/bin/sh` as the agent does, with a real git."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pytest

from djdeploy.rehearsal.target import Rehearsal
from djdeploy.server import protocols
from djdeploy.server.git import Git, ssh_words
from djdeploy.server.layout import Layout
from djdeploy.server.shell import Shell
from tests.local_host import commit, git

ANEW = "made anew"


class Server:
    """A private directory on a server, and the project's repository."""

    def __init__(self, root: Path) -> None:
        self.root, self.repository, self.private = root, root / "project", root / "home/.djdeploy"
        self.mirror, self.submodules = self.private / "repository", self.private / "submodules"
        self.private.mkdir(parents=True)
        self.head = commit(self.repository, {"page.html": "one"})
        self.url = str(self.repository)
        self.temporary = root / "tmp"
        self.temporary.mkdir()
        self.env = {**os.environ, "TMPDIR": str(self.temporary)}

    @property
    def told(self) -> protocols.Server:
        return protocols.Server(Layout(PurePosixPath(self.private.parent)), Shell("echo told"))

    @property
    def source(self) -> Git:
        return Git(self.url, PurePosixPath(self.mirror), PurePosixPath(self.submodules))

    def run(self, commands: Sequence[Shell], code: int = 0, hold: Sequence[int] = ()) -> str:
        """Runs a step's commands; returns all that they put out."""
        script = "{{\nset -eu\n{}\n}} </dev/null\n".format("\n".join(commands))
        done = subprocess.run(
            ["/bin/sh"],
            input=script,
            text=True,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=hold,
            timeout=60,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def resolve(self, ref: str = "main", code: int = 0, hold: Sequence[int] = ()) -> str:
        return self.run(self.source.resolve(ref, self.told), code, hold)

    def peek(self, ref: str = "main", code: int = 0) -> str:
        return self.run(self.source.peek(ref, self.told), code)

    def export(self, name: str = "new", code: int = 0, hold: Sequence[int] = ()) -> str:
        newest = git(self.repository, "rev-parse", "HEAD")
        return self.run(self.source.export(newest, PurePosixPath(self.root / name), self.told), code, hold)

    def configure(self, **values: str) -> None:
        """Git's configuration on the server."""
        for name, value in values.items():
            number = int(self.env.get("GIT_CONFIG_COUNT", 0))
            key = name.replace("__", ".")
            self.env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
            self.env["GIT_CONFIG_COUNT"] = str(number + 1)

    def with_submodule(self) -> None:
        commit(self.root / "library", {"code.py": "code = 1"})
        git(self.repository, "submodule", "add", "-q", "../library", "vendor")
        self.head = commit(self.repository, {})

    def git_that(self, does: str) -> None:
        """Puts a program before the real git, also where git itself calls it."""
        real = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip())
        programs = self.root / "git-core"
        programs.mkdir()
        for program in real.iterdir():
            (programs / program.name).symlink_to(program)
        (programs / "git").unlink()
        (programs / "git").write_text(f'#!/bin/sh\n{does}\nexec {real}/git "$@"\n')
        (programs / "git").chmod(0o755)
        self.env |= {"PATH": f"{programs}:{self.env['PATH']}", "GIT_EXEC_PATH": str(programs)}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    made = Server(tmp_path)
    made.configure(protocol__file__allow="always")
    return made


# --- the mirror -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["the mirror", "a submodule"])
def test_what_git_tidies_up_ends_with_the_step_so_the_lock_is_free_after_it(server: Server, where: str) -> None:
    server.configure(gc__autoPackLimit="1", fetch__unpackLimit="1")
    server.with_submodule()
    changed = server.repository if where == "the mirror" else server.root / "library"
    for i in range(3):
        commit(changed, {"more.txt": f"{i}"})
        git(server.repository / "vendor", "pull", "-q")
        commit(server.repository, {})
        server.resolve()
        server.export(f"release-{i}")
    server.git_that('case "$*" in *repack*) sleep 1; touch "$0.tidied";; esac')
    commit(changed, {"more.txt": "last"})
    git(server.repository / "vendor", "pull", "-q")
    commit(server.repository, {})

    with (server.root / "lock").open("w") as ours, (server.root / "lock").open() as next_task:
        fcntl.flock(ours, fcntl.LOCK_EX)
        server.resolve(hold=[ours.fileno()])
        server.export(hold=[ours.fileno()])
        ours.close()
        fcntl.flock(next_task, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert (server.root / "git-core/git.tidied").exists()


def test_a_broken_mirror_below_another_repository_leaves_that_alone(server: Server) -> None:
    outer = server.root / "home"
    before = commit(outer, {".profile": "mine"})
    server.mirror.mkdir()
    server.submodules.mkdir()
    (server.mirror / "HEAD").touch()
    server.with_submodule()
    git(outer, "remote", "add", "origin", "git@example.com:dotfiles.git")

    server.resolve()
    server.export()

    assert git(outer, "rev-parse", "main") == before
    assert git(outer, "remote", "get-url", "origin") == "git@example.com:dotfiles.git"
    assert (server.root / "new/page.html").exists()
    assert (server.root / "new/vendor/code.py").exists()


def test_one_failure_on_the_network_does_not_cost_the_mirror(server: Server) -> None:
    server.resolve()
    (server.mirror / "ours").touch()
    server.git_that('case "$*" in *fetch*) [ -e "$0.failed" ] || { touch "$0.failed"; exit 128; };; esac')

    assert ANEW not in server.resolve()
    assert (server.root / "git-core/git.failed").exists()
    assert (server.mirror / "ours").exists()


@pytest.mark.parametrize("lost", ["tree", "file", "lock left behind"])
def test_a_mirror_in_which_something_is_missing_is_made_anew_once(server: Server, lost: str) -> None:
    server.resolve()
    if lost == "lock left behind":
        server.head = commit(server.repository, {})
        (server.mirror / "refs/heads/main.lock").touch()
    else:
        name = git(server.repository, "rev-parse", "HEAD^{tree}" if lost == "tree" else "HEAD:page.html")
        (server.mirror / "objects" / name[:2] / name[2:]).unlink()

    output = server.resolve() + server.export()

    assert output.count(ANEW) == 1
    assert (server.root / "new/page.html").read_text() == "one"
    assert not (server.root / "new.tar").exists()


def test_a_full_disk_does_not_cost_the_mirror(server: Server) -> None:
    server.resolve()
    (server.root / "new.tar").symlink_to("/dev/full")

    output = server.export(code=1)

    assert "No space left on device" in output
    assert ANEW not in output
    assert (server.mirror / "HEAD").exists()


@pytest.mark.parametrize("left", ["lock", "lock of a submodule", "half of a clone"])
def test_what_a_killed_deploy_left_of_the_submodules_is_no_trouble(server: Server, left: str) -> None:
    server.with_submodule()
    server.resolve()
    server.export("first")
    commit(server.root / "library", {"code.py": "code = 2"})
    git(server.repository / "vendor", "pull", "-q")
    server.head = commit(server.repository, {})
    if left == "half of a clone":
        subprocess.run(["rm", "-rf", str(server.submodules)], check=True)
        git(server.root, "init", "-q", str(server.submodules))
    elif left == "lock":
        (server.submodules / ".git/index.lock").touch()
    else:
        (server.submodules / ".git/modules/vendor/index.lock").touch()

    server.resolve()
    server.export()

    assert (server.root / "new/vendor/code.py").read_text() == "code = 2"


def test_a_submodule_that_cannot_be_fetched_is_an_error(server: Server) -> None:
    server.with_submodule()
    (server.root / "library").rename(server.root / "elsewhere")
    server.resolve()

    assert "library' does not exist" in server.export(code=1)


# --- a look at the repository -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_look_finds_what_a_deploy_would_find_and_only_that(server: Server, mirrored: bool) -> None:
    git(server.repository, "tag", "-a", "-m", "One", "v1")
    if mirrored:
        server.resolve()
    later = commit(server.repository, {"page.html": "two"})
    git(server.repository, "branch", "other/refs/heads/v1")
    git(server.repository, "branch", "v2")
    kept = sorted(server.private.rglob("*"))

    for ref, of in {"v1": server.head, "v2": later, server.head: server.head, later[:9]: later}.items():
        assert f"told commit={of} author=Ann" in server.peek(ref)
    for ref in ("nope", "0" * 40, "abcdef0"):
        assert f"{ref} is no branch, tag or commit of" in server.peek(ref, code=1)
    assert sorted(server.private.rglob("*")) == kept
    assert not list(server.temporary.iterdir())


def test_a_look_needs_no_mirror_that_is_whole(server: Server) -> None:
    server.resolve()
    for pack in server.mirror.rglob("objects/*/*"):
        pack.chmod(0o644)
        pack.write_bytes(b"")

    assert f"told commit={server.head}" in server.peek()
    assert f"told commit={server.head}" in server.peek(server.head)


def test_a_look_reads_the_files_of_the_commit(server: Server) -> None:
    server.resolve()
    later = commit(server.repository, {"page.html": "two"})

    assert "two" in server.run(server.source.read(later, server.told, Shell("tar -xO page.html")))
    assert not list(server.temporary.iterdir())


def test_a_look_at_a_repository_that_does_not_answer_says_so(server: Server) -> None:
    server.url = str(server.root / "nowhere")

    for shown in (server.peek(code=1), server.resolve(code=1)):
        assert "does not appear to be a git repository" in shown
        assert "is no branch" not in shown


# --- the key of the repository's host ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("git@example.com:path/to/project.git", ["git@example.com"]),
        ("example.com:project.git", ["example.com"]),
        ("ssh://git@example.com/project.git", ["git@example.com"]),
        ("ssh://git@example.com:2222/project.git", ["-p", "2222", "git@example.com"]),
        ("ssh://git@[::1]:2222/project.git", ["-p", "2222", "git@::1"]),
        ("https://example.com/project.git", []),
        ("/srv/git/project.git", []),
        ("./a:b", []),
        ("ssh://-oProxyCommand=x/project.git", []),
        ("ssh://a$(reboot)/project.git", []),
    ],
)
def test_the_host_is_found_in_an_address(url: str, words: list[str]) -> None:
    assert ssh_words(url) == words


@pytest.fixture(scope="module")
def host() -> Iterator[Rehearsal]:
    """An SSH server, not on port 22, that has a repository."""
    with Rehearsal() as made:
        yield made


def reach(server: Server, host: Rehearsal, known: Path, more: str = "") -> None:
    server.url = host.repository.ssh_url(host.host)
    config = host.ssh_config.read_text().replace(str(host.known_hosts), str(known)) + more
    (server.root / "config").write_text(config)
    server.env["GIT_SSH_COMMAND"] = f"ssh -F {server.root}/config -o BatchMode=yes"


@pytest.mark.parametrize("more", ["", "    HostKeyAlias the-forge\n"])
def test_an_unknown_key_is_shown_with_what_accepts_it(server: Server, host: Rehearsal, more: str) -> None:
    known = server.root / "known_hosts"
    reach(server, host, known, more)
    key = subprocess.run(["ssh-keygen", "-lf", f"{host.key_file.parent}/known_hosts"], capture_output=True, text=True)

    for shown in (server.peek(code=1), server.resolve(code=1)):
        *_, fingerprint, advice = shown.splitlines()
        assert "Host key verification failed" in shown
        assert "Please make sure" not in shown
        assert key.stdout.split()[1] in fingerprint

    subprocess.run(["/bin/sh", "-c", advice.partition(": ")[2]], check=True)
    assert f"told commit={host.repository.head} " in server.peek()


def test_what_accepts_the_key_works_where_ssh_keyscan_writes_comments(server: Server, host: Rehearsal) -> None:
    """OpenSSH 10 says which server answered, on standard output."""
    reach(server, host, server.root / "known_hosts")
    real = shutil.which("ssh-keyscan")
    (server.root / "ssh-keyscan").write_text(f"#!/bin/sh\necho '# 127.0.0.1:{host.port} SSH-2.0-x'\n{real} \"$@\"\n")
    (server.root / "ssh-keyscan").chmod(0o755)
    server.env["PATH"] = f"{server.root}:{server.env['PATH']}"

    advice = server.peek(code=1).splitlines()[-1]

    subprocess.run(["/bin/sh", "-c", advice.partition(": ")[2]], check=True)
    assert f"told commit={host.repository.head} " in server.peek()


def test_a_changed_key_is_never_offered(server: Server, host: Rehearsal) -> None:
    known = server.root / "known_hosts"
    other = host.key_file.with_name("id.pub").read_text()
    known.write_text(f"[127.0.0.1]:{host.port} {other}")
    reach(server, host, known)

    shown = server.resolve(code=1)

    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in shown
    assert ">>" not in shown


def test_a_host_that_cannot_be_asked_for_its_key_is_to_be_tried_by_hand(server: Server, host: Rehearsal) -> None:
    reach(server, host, server.root / "known_hosts")
    (server.root / "ssh-keyscan").write_text("#!/bin/sh\nexit 1\n")
    (server.root / "ssh-keyscan").chmod(0o755)
    server.env["PATH"] = f"{server.root}:{server.env['PATH']}"

    assert server.peek(code=1).splitlines()[-1].endswith(f": ssh -p {host.port} {host.user}@127.0.0.1")
