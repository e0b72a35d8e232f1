"""The command `djdeploy`: the judge, the version, and all of fab."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from djdeploy import __main__ as program
from djdeploy import __version__
from djdeploy.project.interpreter import candidates, without_python


def run(*words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["djdeploy", *words])
        try:
            return program.main()
        except SystemExit as end:
            return int(end.code or 0)


def test_without_a_word_it_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "djdeploy judge" in capsys.readouterr().out


def test_it_says_its_version_without_a_fabfile(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("version") == 0
    assert capsys.readouterr().out.startswith(f"djdeploy {__version__}, Python 3.")


def test_every_other_word_is_a_task_of_fab(tmp_path: Path) -> None:
    (tmp_path / "fabfile.py").write_text("from fabric import task\n\n@task\ndef hello(c):\n    raise SystemExit(42)\n")
    for words, code in ((["hello"], 42), (["--list"], 0)):
        done = subprocess.run(
            [sys.executable, "-m", "djdeploy", *words], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == code


def test_a_word_that_nobody_knows_is_said_to_be_none_where_there_is_no_fabfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("juge") == 2
    assert (
        capsys.readouterr().err
        == "djdeploy: 'juge' is neither judge nor version, and there is no fabfile here for fab\n"
    )


def test_wrong_options_of_the_judge_are_said_before_any_python_is_looked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("judge", "--sinse=main") == 2
    assert "unrecognized arguments: --sinse=main" in capsys.readouterr().err


def test_what_is_for_the_judge_itself_goes_to_it() -> None:
    words = ["--since=main", "--python", "/a/python", "--allow", "shop.0002: why", "--format=json"]
    assert without_python(words) == ["--since=main", "--allow", "shop.0002: why", "--format=json"]


def test_the_projects_python_is_the_active_one_then_one_beside_it_then_any_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("repository/.venv", "repository/src/venv", "elsewhere"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/python").touch()
    (tmp_path / "repository/.git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere/bin"))
    monkeypatch.setenv("VIRTUAL_ENV", "/active")
    beside = [f"{tmp_path}/repository/{name}/bin/python" for name in ("src/venv", ".venv")]
    found = list(candidates(tmp_path / "repository/src"))
    assert found == ["/active/bin/python", *beside, sys.executable, f"{tmp_path}/elsewhere/bin/python"]
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)  # as pipx and pre-commit have it
    assert next(candidates(tmp_path / "repository/src")) == beside[0]
