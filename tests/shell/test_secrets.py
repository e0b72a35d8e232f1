"""Secret files: private from their first byte, and shown nowhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djdeploy import Secret
from djdeploy.errors import SettingsError, StepFailed
from djdeploy.secret import hidden, read_secrets, values_to_hide

from .test_deploys_here import Site, site

__all__ = ["site"]

CONTENT = "SECRET_KEY=hunter2-hunter2\nPASSWORD='correct horse'\n"
WORDS = ("hunter2-hunter2", "correct horse", "aHVudGVyMi1")


def secret(tmp_path: Path, text: str = CONTENT) -> dict[str, Any]:
    (tmp_path / "local.env").write_text(text)
    return {"secret_files": {"conf/.env": Secret(file=str(tmp_path / "local.env"))}}


def files_with(words: tuple[str, ...], root: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink() and any(w.encode() in path.read_bytes() for w in words):
                yield path


def test_a_deploy_installs_what_is_missing_and_links_it_into_the_release(site: Site, tmp_path: Path) -> None:
    site.change(**secret(tmp_path))
    before = os.umask(0)
    try:
        release = site.deploy()
    finally:
        os.umask(before)
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
    assert "PASSWORD" not in failed.value.message  # its whole line is hidden
    assert "***" in failed.value.message
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
            "c": Secret(command=f"cat {tmp_path}/printed; echo no entry c >&2; exit 4"),
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


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_no_line_of_a_secret_survives_hiding(text: str) -> None:
    secret = f"hunter2 {text}\nlast line"
    shown = hidden(f"before {secret} after", values_to_hide({}, [secret.encode()]))
    assert not any(line.strip() in shown for line in secret.splitlines() if len(line.strip()) > 4)
