"""Secret files: private from their first byte, and shown nowhere."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djdeploy import Secret, Settings, sh
from djdeploy.errors.kinds import DeployError, SettingsError, StepFailed
from djdeploy.errors.redaction import values_to_hide
from djdeploy.project.secret_files import read_secrets, secrets_at_hand
from djdeploy.script.steps import Step
from djdeploy.ssh.opening import Access
from djdeploy.ssh.step_run import Watcher
from tests.local_host import local_remote

from .homes import starter
from .test_deploys_here import Site, site

__all__ = ["site"]

CONTENT = "SECRET_KEY=hunter2-hunter2\nPASSWORD='correct horse'\n"
WORDS = ("hunter2-hunter2", "correct horse", "aHVudGVyMi1")


def secret(tmp_path: Path, text: str = CONTENT) -> dict[str, Any]:
    (tmp_path / "local.env").write_text(text)
    return {"secret_files": {"conf/.env": Secret(file=str(tmp_path / "local.env"))}}


def test_what_only_an_older_releases_environment_has_is_hidden(tmp_path: Path) -> None:
    """`fab manage` and `fab logs` show what runs with it."""
    release = tmp_path / "r1"
    release.mkdir()
    (release / "release.json").write_text('{"name": "r1"}')
    runtime = {"processes": [], "env": {"API_TOKEN": "hunter2-old", "COLOUR": "mauve"}}
    (release / "runtime.json").write_text(json.dumps(runtime))
    settings = Settings(project="demo", repository="/r", home=str(tmp_path), env={"API_TOKEN": "hunter2-new"})
    remote = local_remote(settings)
    try:
        remote.open(Access())
        (run,) = remote.run([Step("manage", "", (sh("echo hunter2-new hunter2-old mauve"),))], {}, Watcher())
    finally:
        remote.close()

    assert list(run.tail) == ["*** *** mauve"]
    assert "hunter2" not in DeployError("hunter2-old").message


def files_with(words: tuple[str, ...], root: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink() and any(w.encode() in path.read_bytes() for w in words):
                yield path


def test_a_deploy_installs_what_is_missing_and_links_it_into_the_release(site: Site, tmp_path: Path) -> None:
    site.change(**secret(tmp_path))
    release = site.deploy()
    installed = site.home / "shared/conf/.env"
    assert installed.read_text() == CONTENT
    assert stat.S_IMODE(installed.stat().st_mode) == 0o600
    assert (site.home / release / "repository/conf/.env").read_text() == CONTENT
    assert "conf/.env was installed" in site.shown


def test_it_is_written_only_when_it_differs(site: Site, tmp_path: Path) -> None:
    site.change(**secret(tmp_path))
    site.deploy()
    installed = site.home / "shared/conf/.env"
    number = installed.stat().st_ino
    site.deploy()
    assert installed.stat().st_ino == number
    installed.chmod(0o644)
    site.deploy()
    assert stat.S_IMODE(installed.stat().st_mode) == 0o600


@pytest.mark.parametrize("stage", ["check", "migrate"])
def test_a_failed_deploy_brings_back_what_it_replaced_and_removes_what_is_new(
    site: Site, tmp_path: Path, stage: str
) -> None:
    site.change(**secret(tmp_path, "OLD=value\n"))
    site.deploy()
    changed = secret(tmp_path)["secret_files"]
    site.change(secret_files={**changed, "token": Secret(command="echo new")}, env={"FAIL": stage})
    with pytest.raises(StepFailed):
        site.deploy()
    assert (site.home / "shared/conf/.env").read_text() == "OLD=value\n"
    assert not (site.home / "shared/token").exists()
    assert not list((site.home / ".djdeploy").glob("replaced-*"))


def test_it_stands_in_no_file_but_its_own_and_is_shown_nowhere(site: Site, tmp_path: Path) -> None:
    spill = "tr '\\0' '\\n' < /proc/$$/environ; ps -e -o args; cat conf/.env; exit 1"
    site.change(**secret(tmp_path), build_steps=[spill])
    with pytest.raises(StepFailed) as failed:
        site.deploy()
    for word in WORDS:
        assert word not in site.shown
        assert word not in failed.value.message
        assert word not in repr(failed.value)
    assert "PASSWORD='***'" in failed.value.message
    site.change(build_steps=[])
    site.deploy()
    assert list(files_with(WORDS, site.home)) == [site.home / "shared/conf/.env"]
    site.deploy(dry_run=True)
    assert not any(word in site.shown for word in WORDS)


def test_values_of_suspicious_variables_are_hidden_too(site: Site) -> None:
    site.change(env={"API_TOKEN": "abc-def-ghi", "COLOUR": "mauve"}, build_steps=["echo $API_TOKEN $COLOUR; exit 1"])
    with pytest.raises(StepFailed) as failed:
        site.deploy()
    assert "*** mauve" in failed.value.message


def test_all_secrets_that_cannot_be_read_are_named_before_anything_begins(site: Site, tmp_path: Path) -> None:
    (tmp_path / "printed").write_text(CONTENT)
    site.change(
        secret_files={
            "a": Secret(file="/nowhere/a"),
            "b": Secret(env="NOT_SET_ANYWHERE"),
            "c": Secret(command=f"cat {tmp_path}/printed; echo no entry c >&2; exit 4 # --token=hunter2"),
        }
    )
    with pytest.raises(SettingsError) as refused:
        site.deploy()
    for said in ("/nowhere/a: No such file", "NOT_SET_ANYWHERE is not set", "failed (exit 4): no entry c"):
        assert said in refused.value.message
    assert "hunter2" not in refused.value.message
    assert not site.home.exists()


def test_a_secret_comes_from_a_file_a_variable_or_a_command(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "tökén")
    site.change(secret_files={"a": Secret(env="THE_TOKEN"), "b": Secret(command="printf 'x\\000y'")})
    assert read_secrets(site.settings) == {"a": "tökén".encode(), "b": b"x\0y"}


def test_for_a_log_no_command_asks_for_a_passphrase_yet_what_is_at_hand_is_hidden(site: Site, tmp_path: Path) -> None:
    (tmp_path / "local.env").write_text(CONTENT)
    ran = tmp_path / "ran"
    site.change(
        secret_files={
            "a": Secret(file=str(tmp_path / "local.env")),
            "b": Secret(command=f"touch {ran}"),
            "c": Secret(file="/nowhere/c"),
            "d": Secret(env="NOT_SET_ANYWHERE"),
        }
    )
    assert secrets_at_hand(site.settings) == {"a": CONTENT.encode()}
    assert local_remote(site.settings).hide.hidden("hunter2-hunter2") == "***"
    assert not ran.exists()


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\"'\\#;")))
def test_no_secret_survives_hiding(text: str) -> None:
    value = f"hunter2 {text}|"
    shown = values_to_hide({}, {".env": f'A=1\nTOKEN="{value}"\n'.encode()}).hidden(f"before {value} after")
    assert shown.startswith("before ***")
    assert shown.endswith(" after")


# --- the program on the server ----------------------------------------------------------------------------------------

WATCHED = """
import base64, collections.abc, contextlib, json, os, shutil, stat, sys, typing
opened = os.open
def watched(path, *how, **where):
    fd = opened(path, *how, **where)
    if how[0] & os.O_CREAT:
        print("created", oct(stat.S_IMODE(os.fstat(fd).st_mode)))
    return fd
os.open = watched
os.umask(0)
user, program, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, os.path.dirname(program))
import djdeploy_remote.programs, djdeploy_remote.release.secret_files
if int(user) != os.geteuid():
    os.setgroups([]), os.setgid(int(user)), os.setuid(int(user))
djdeploy_remote.programs.main(sys.argv[1:])
"""


def run(shared: Path, *words: str, wanted: dict[str, bytes] | None = None, user: int | None = None) -> str:
    """What `secret.py` prints; it is told what to install as the agent tells it."""
    with tempfile.TemporaryFile() as told:
        told.write(json.dumps({n: base64.b64encode(c).decode() for n, c in (wanted or {}).items()}).encode())
        told.seek(0)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                WATCHED,
                str(user or os.geteuid()),
                str(starter()),
                "secret_files",
                str(shared),
                *words,
            ],
            env={**os.environ, "DJDEPLOY_INPUT_FD": str(told.fileno())},
            pass_fds=[told.fileno()],
            capture_output=True,
            text=True,
        )
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Files as an admin may have left them."""
    made = tmp_path / "shared"
    made.mkdir()
    (made / "open").write_text("open before")
    (made / "open").chmod(0o644)
    (made / "private").write_text("private before")
    (made / "private").chmod(0o400)
    (tmp_path / "elsewhere").write_text("elsewhere before")
    (made / "link").symlink_to("../elsewhere")
    (made / "dangling").symlink_to("../nowhere")
    return made


WANTED = {name: f"{name} after".encode() for name in ("open", "private", "link", "dangling", "new", "deep/new")}


def files(root: Path) -> dict[str, tuple[str, str]]:
    """The files below a directory: what is in them or what they link to, and their modes."""
    return {
        str(path.relative_to(root)): (str(path.readlink()), "link")
        if path.is_symlink()
        else (path.read_text(), oct(stat.S_IMODE(path.stat().st_mode)))
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_what_was_replaced_comes_back_as_it_was_and_what_was_not_there_goes(shared: Path, tmp_path: Path) -> None:
    before = files(shared)
    run(shared, "--install", str(tmp_path / "keep"), wanted=WANTED)
    assert files(shared) == {name: (content.decode(), "0o600") for name, content in WANTED.items()}
    assert (tmp_path / "elsewhere").read_text() == "elsewhere before"
    for _ in range(2):
        run(shared, "--restore", str(tmp_path / "keep"))
        assert files(shared) == before
        assert not (tmp_path / "keep").exists()


def test_a_restoration_that_was_cut_short_is_done_again(shared: Path, tmp_path: Path) -> None:
    before, keep = files(shared), tmp_path / "keep"
    run(shared, "--install", str(keep), wanted=WANTED)
    copied = tmp_path / "copied"
    subprocess.run(["cp", "-a", str(keep), str(copied)], check=True)
    (shared / ".open.djdeploy-new").write_text("half")
    run(shared, "--restore", str(keep))
    copied.rename(keep)
    run(shared, "--restore", str(keep))
    assert files(shared) == before


def test_everything_is_private_when_it_is_created_whatever_the_umask(shared: Path, tmp_path: Path) -> None:
    told = run(shared, "--install", str(tmp_path / "keep"), wanted=WANTED)
    assert {line for line in told.splitlines() if line.startswith("created")} == {"created 0o600"}
    told = run(shared, "--restore", str(tmp_path / "keep"))
    assert {line for line in told.splitlines() if line.startswith("created")} == {"created 0o600"}


def test_what_is_kept_is_private_although_what_was_there_was_not(shared: Path, tmp_path: Path) -> None:
    run(shared, "--install", str(tmp_path / "keep"), wanted=WANTED)
    assert stat.S_IMODE((tmp_path / "keep").stat().st_mode) == 0o700
    assert {mode for _, mode in files(tmp_path / "keep").values()} == {"0o600"}


def test_shared_may_be_another_file_system(tmp_path: Path) -> None:
    if not os.access("/dev/shm", os.W_OK) or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as volume:
        (Path(volume) / "a").write_text("before")
        assert "a was replaced" in run(Path(volume), "--install", str(tmp_path / "keep"), wanted={"a": b"after"})
        assert (Path(volume) / "a").read_text() == "after"
        run(Path(volume), "--restore", str(tmp_path / "keep"))
        assert (Path(volume) / "a").read_text() == "before"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of root's")
@pytest.mark.parametrize("mode", [0o644, 0o600], ids=["readable", "unreadable"])
def test_a_file_of_roots_is_replaced_if_it_can_be_kept(mode: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        shared, nobody = Path(directory, "shared"), 65534
        shared.mkdir()
        (shared / "a").write_text("before")
        (shared / "a").chmod(mode)
        for path in (Path(directory), shared):
            os.chown(path, nobody, nobody)
        told = run(shared, "--install", f"{directory}/keep", wanted={"a": b"after"}, user=nobody)
        if mode == 0o600:
            assert "a could not be replaced: [Errno 13] Permission denied" in told
            assert (shared / "a").read_text() == "before"
        else:
            assert "a was replaced" in told
            assert (shared / "a").read_text() == "after"
            run(shared, "--restore", f"{directory}/keep", user=nobody)
            assert (shared / "a").read_text() == "before"
