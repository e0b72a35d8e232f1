"""What fabfiles would have taken from patchwork, over a real connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fabric import Connection

from djdeploy.files import append, directory, exists, rsync
from djdeploy.rehearsal.target import Rehearsal

AWKWARD = 'it\'s a "file" of $HOME; ünd\tmore'


def connected(server: Rehearsal) -> Connection:
    """A connection whose commands do not read pytest's standard input."""
    connection = server.connection()
    connection.config.run.in_stream = False
    return connection


def test_a_file_exists_or_not(shared_rehearsal: Rehearsal, tmp_path: Path) -> None:
    with connected(shared_rehearsal) as c:
        assert not exists(c, str(tmp_path / AWKWARD))
        (tmp_path / AWKWARD).touch()
        assert exists(c, str(tmp_path / AWKWARD))


def test_a_directory_is_made_once_with_its_mode(shared_rehearsal: Rehearsal, tmp_path: Path) -> None:
    made = tmp_path / AWKWARD / "inner"
    with connected(shared_rehearsal) as c:
        for mode in ("0750", "0700"):
            directory(c, str(made), mode=mode)
            assert oct(made.stat().st_mode)[-4:] == mode


def test_a_directory_is_given_its_owner(shared_rehearsal: Rehearsal, tmp_path: Path) -> None:
    commands: list[str] = []
    with connected(shared_rehearsal) as c:

        def run(command: str, **_: Any) -> Any:
            commands.append(command)

        directory(c, "/srv/x y", user="demo", runner=run)
    assert commands == ["mkdir -p '/srv/x y'", "chown demo:demo '/srv/x y'"]


@pytest.mark.parametrize("line", ["PLAIN=1", "-n", AWKWARD, "a.c"])
def test_a_line_is_appended_only_once(shared_rehearsal: Rehearsal, tmp_path: Path, line: str) -> None:
    file = tmp_path / AWKWARD
    file.write_text("abc\n")
    with connected(shared_rehearsal) as c:
        append(c, str(file), line)
        append(c, str(file), ["abc", line])
    assert file.read_text() == f"abc\n{line}\n"


def test_part_of_a_line_may_be_enough(shared_rehearsal: Rehearsal, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with connected(shared_rehearsal) as c:
        append(c, str(file), "setting = 1  # with a comment")
        append(c, str(file), "setting = 1", partial=True)
    assert file.read_text() == "setting = 1  # with a comment\n"


def test_a_directory_is_copied_by_rsync(shared_rehearsal: Rehearsal, tmp_path: Path) -> None:
    source, target = tmp_path / AWKWARD, tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for name in ("kept", "left.pyc"):
        (source / name).write_text(name)
    (target / "surplus").touch()
    with connected(shared_rehearsal) as c:
        options = f"-F {shared_rehearsal.ssh_config}"
        rsync(c, f"{source}/", str(target), exclude="*.pyc", delete=True, ssh_opts=options)
    assert {file.name: file.read_text() for file in target.iterdir()} == {"kept": "kept"}
