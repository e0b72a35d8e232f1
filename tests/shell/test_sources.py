"""How the code arrives: the printed shell, run by `/bin/sh` as the agent does, with a real git."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pytest

from djdeploy import Settings
from djdeploy.rehearsal.target import Rehearsal
from djdeploy.script.deployment import step_environment
from djdeploy.server import protocols
from djdeploy.server.git import Git
from djdeploy.server.git_hosts import ssh_words
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
        self.key: str | None = None
        self.needed: Sequence[str] = ()

    @property
    def told(self) -> protocols.Server:
        return protocols.Server(Layout(PurePosixPath(self.private.parent)), Shell("echo told"))

    @property
    def source(self) -> Git:
        mirror, submodules = PurePosixPath(self.mirror), PurePosixPath(self.submodules)
        return Git(self.url, mirror, submodules, key=self.key, needed=self.needed)

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

    assert "two" in server.run(server.source.read(later, server.told, PurePosixPath("page.html"), Shell("tar -xO")))
    assert not list(server.temporary.iterdir())


def test_a_look_at_a_repository_that_does_not_answer_says_so(server: Server) -> None:
    server.url = str(server.root / "nowhere")

    for shown in (server.peek(code=1), server.resolve(code=1)):
        assert "does not appear to be a git repository" in shown
        assert "is no branch" not in shown


# --- one name, two meanings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("find", ["peek", "resolve"])
def test_a_full_name_chooses_between_a_branch_and_a_tag(server: Server, find: str) -> None:
    git(server.repository, "tag", "v1")
    git(server.repository, "tag", "-a", "-m", "Signed", "signed")
    later = commit(server.repository, {"page.html": "two"})
    git(server.repository, "branch", "v1")
    look = getattr(server, find)

    for ref in ("v1", "refs/heads/v1", "heads/v1", "main"):
        assert f"commit={later}" in look(ref)
    for ref in ("refs/tags/v1", "tags/v1", "refs/tags/signed", "signed"):
        assert f"commit={server.head}" in look(ref)
    said = look("v1")
    assert "is a branch and also a tag" in said
    assert "--branch=refs/tags/v1" in said
    assert "--branch=refs/heads/v1" in said
    assert "also a tag" not in look("refs/heads/v1")
    assert "also a tag" not in look("main")


@pytest.mark.parametrize("find", ["peek", "resolve"])
def test_a_look_and_a_deploy_know_the_same_names(server: Server, find: str) -> None:
    git(server.repository, "update-ref", "refs/pull/1/head", "HEAD")
    for ref in ("HEAD", "refs/pull/1/head", "pull/1/head", "refs/tags/main", "refs/heads/nope"):
        assert "is no branch, tag or commit" in getattr(server, find)(ref, code=1)


def test_a_branch_and_a_tag_of_one_commit_are_nothing_to_choose_from(server: Server) -> None:
    git(server.repository, "tag", "main")
    assert "also a tag" not in server.peek() + server.resolve()


# --- files as the repository has them ---------------------------------------------------------------------------------


CONFIGURATION = """\
[core]
    autocrlf = true
    eol = crlf
    attributesFile = {root}/attributes
    hooksPath = {root}/hooks
[filter "upper"]
    smudge = tr a-z A-Z
    required = true
[tar]
    umask = 0077
[init]
    templateDir = {root}/template
"""


@pytest.mark.parametrize("where", ["the repository", "a submodule"])
def test_the_configuration_of_the_server_changes_no_file(server: Server, where: str) -> None:
    files = {"text.txt": "some\ntext\n", ".gitattributes": "*.txt text filter=upper\n"}
    if where == "a submodule":
        commit(server.root / "library", files)
        git(server.repository, "submodule", "add", "-q", "../library", "vendor")
    commit(server.repository, {} if where == "a submodule" else files)
    (server.root / "attributes").write_text("* export-ignore\n")
    (server.root / "template/info").mkdir(parents=True)
    (server.root / "template/info/attributes").write_text("* export-ignore\n")
    (server.root / "hooks").mkdir()
    for hook in ("post-checkout", "reference-transaction"):
        (server.root / "hooks" / hook).write_text("#!/bin/sh\nexit 1\n")
        (server.root / "hooks" / hook).chmod(0o755)
    (server.root / ".gitconfig").write_text(CONFIGURATION.format(root=server.root))
    server.env |= {"HOME": str(server.root), "XDG_CONFIG_HOME": str(server.root)}

    server.resolve()
    server.export()

    text = server.root / ("new/vendor/text.txt" if where == "a submodule" else "new/text.txt")
    assert text.read_bytes() == b"some\ntext\n"
    assert text.stat().st_mode & 0o777 == 0o644


def test_what_the_attributes_of_the_repository_say_is_done(server: Server) -> None:
    attributes = "secret.txt export-ignore\nversion.txt export-subst\ncrlf.txt text eol=crlf\n"
    files = {"secret.txt": "x", "version.txt": "$Format:%H$", "crlf.txt": "a\nb\n", ".gitattributes": attributes}
    server.head = commit(server.repository, files)
    server.resolve()
    server.export()
    assert not (server.root / "new/secret.txt").exists()
    assert (server.root / "new/version.txt").read_text() == server.head
    assert (server.root / "new/crlf.txt").read_bytes() == b"a\r\nb\r\n"


def test_a_file_of_the_settings_that_is_left_out_of_archives_is_named(server: Server) -> None:
    server.needed = ["requirements.txt", "src/manage.py"]
    commit(server.repository, {"src/manage.py": "", ".gitattributes": "/src export-ignore\n"})
    server.resolve()
    shown = server.export(code=1)
    assert "src/manage.py is in the commit, and its .gitattributes takes it out of archives" in shown
    assert "error=export-ignored" in shown


def test_what_is_left_out_of_archives_is_listed_for_whoever_misses_it(server: Server) -> None:
    files = {"locks/base.txt": "", "größe/a file.txt": "", "code.py": ""}
    commit(server.repository, {**files, ".gitattributes": "locks export-ignore\n/größe/** export-ignore\n"})
    server.resolve()
    server.export()
    assert (server.root / "left-out").read_text().splitlines() == ["größe/a file.txt", "locks/base.txt"]
    assert (server.root / "new/code.py").exists()


def test_a_submodule_that_is_registered_nowhere_is_named_and_the_others_arrive(server: Server) -> None:
    commit(server.root / "stray", {"code.py": ""})
    git(server.repository, "clone", "-q", str(server.root / "stray"), "my stray")
    commit(server.repository, {})
    server.resolve()
    assert "the submodule my stray is registered in no .gitmodules" in server.export("one")

    server.with_submodule()
    server.resolve()
    shown = server.export("two")
    assert "the submodule my stray is registered in no .gitmodules" in shown
    assert ANEW not in shown
    assert "fetched anew" not in shown
    assert (server.root / "two/vendor/code.py").read_text() == "code = 1"
    assert list((server.root / "two/my stray").iterdir()) == []


# --- Git LFS ----------------------------------------------------------------------------------------------------------


def track_by_lfs(repository: Path, attributes: str = "*.png filter=lfs diff=lfs merge=lfs -text\n") -> str:
    """Commits a file by Git LFS."""
    commit(repository, {".gitattributes": attributes})
    git(repository, "lfs", "install", "--local")
    return commit(repository, {"big picture.png": "the picture"})


@pytest.mark.parametrize("where", ["the repository", "a submodule", "a path as an address of its own", "a macro"])
def test_what_git_lfs_keeps_arrives_where_git_lfs_is_there(server: Server, where: str) -> None:
    if where == "a submodule":
        track_by_lfs(server.root / "library")
        git(server.repository, "submodule", "add", "-q", "../library", "vendor")
        commit(server.repository, {})
    elif where == "a macro":
        track_by_lfs(server.repository, "[attr]big filter=lfs diff=lfs merge=lfs -text\n*.png big\n")
    else:
        track_by_lfs(server.repository)
    if where == "a path as an address of its own":
        commit(server.repository, {".lfsconfig": f"[lfs]\n\turl = file://{server.repository}\n"})
        server.url = f"file://{server.repository}"
    (server.root / ".gitconfig").write_text("")  # as an account that has never run `git lfs install`
    server.env |= {"HOME": str(server.root), "GIT_CONFIG_NOSYSTEM": "1"}
    server.resolve()
    server.export()
    directory = server.root / "new" / ("vendor" if where == "a submodule" else "")
    assert (directory / "big picture.png").read_text() == "the picture"


def test_a_repository_of_git_lfs_is_refused_where_git_lfs_is_not_there(server: Server) -> None:
    track_by_lfs(server.repository)
    server.resolve()
    server.git_that('[ "$1" = lfs ] && exit 1; case "$*" in *" lfs version") exit 1;; esac')
    shown = server.export(code=1)
    assert "big picture.png is kept by Git LFS, and the server has no git-lfs" in shown
    assert "error=lfs-missing" in shown


def test_a_file_that_only_looks_like_a_pointer_is_a_file(server: Server) -> None:
    commit(server.repository, {"pointer.txt": "version https://git-lfs.github.com/spec/v1\n"})
    commit(server.repository, {".gitattributes": "*.png filter=lfs diff=lfs merge=lfs -text\n"})
    server.resolve()
    server.git_that('case "$*" in *" lfs version") exit 1;; esac')
    server.export()
    assert (server.root / "new/pointer.txt").exists()


def test_contents_that_the_lfs_server_has_lost_are_an_error(server: Server) -> None:
    track_by_lfs(server.repository)
    shutil.rmtree(server.repository / ".git/lfs")
    server.resolve()
    assert ANEW not in server.export(code=1)


# --- the key that reads the repository --------------------------------------------------------------------------------


def test_the_key_is_for_the_repository_alone(server: Server) -> None:
    server.key = "/keys/the key"
    server.env["GIT_SSH_COMMAND"] = f"{server.root}/ssh -o BatchMode=yes"
    (server.root / "ssh").write_text(f"#!/bin/sh\nprintf '%s|' \"$@\" >> {server.root}/asked\nexit 1\n")
    (server.root / "ssh").chmod(0o755)
    server.url = "git@example.com:project.git"
    server.peek(code=1)
    assert "-i|/keys/the key|-o|IdentitiesOnly=yes|" in (server.root / "asked").read_text()
    settings = Settings(project="demo", repository=server.url, home="/srv/demo", deploy_key=server.key)
    assert "/keys" not in step_environment(settings)["GIT_SSH_COMMAND"], "what a requirement comes over"


def test_a_submodule_that_refuses_the_key_of_the_repository_is_asked_with_the_keys_of_the_account(
    server: Server,
) -> None:
    server.with_submodule()
    git(server.repository, "config", "-f", ".gitmodules", "submodule.vendor.url", "ssh://git@example.com/library")
    commit(server.repository, {})
    (server.root / "ssh").write_text(
        f'#!/bin/sh\ncase "$*" in *IdentitiesOnly*) exit 1;; esac\nexec git-upload-pack {server.root}/library\n'
    )
    (server.root / "ssh").chmod(0o755)
    server.env |= {"GIT_SSH_COMMAND": f"{server.root}/ssh", "GIT_SSH_VARIANT": "ssh"}
    server.key = "/keys/one"
    server.resolve()
    assert "fetched anew" not in server.export()
    assert (server.root / "new/vendor/code.py").read_text() == "code = 1"


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


@pytest.mark.parametrize(
    "subject", ["x" * 300_000, "ü" * 100_000, "short", "%s %n $(touch /x) 'a\"", "\N{PARTY POPPER}" * 300]
)
def test_a_commit_subject_may_have_any_length(server: Server, subject: str) -> None:
    message = server.root / "message"
    message.write_text(subject)
    git(server.repository, "commit", "-q", "--allow-empty", "-F", str(message))

    said = server.resolve()

    shown = said.partition("subject=")[2].strip()
    assert subject.startswith(shown.removesuffix(".."))
    assert len(shown) <= 200
    assert len(shown) == len(subject) or len(shown) > 90


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
