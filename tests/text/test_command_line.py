"""What is mistyped after `fab` is answered with what to type, and nothing runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fabric import Config, Executor
from fabric import main as fabric_main
from invoke.context import Context

from djdeploy import Host, Settings
from djdeploy.engine.job import chosen, connections_for
from djdeploy.errors.catalogue import CATALOGUE
from djdeploy.errors.kinds import DeployError, SettingsError
from djdeploy.errors.typed import Call, ThisCall

FABFILE = """\
from djdeploy import Settings, collection

given = dict(project="demo", repository="/r", home="/srv/demo", hosts=["web1.invalid"])
ns = collection(Settings(**given))
ns.add_collection(collection(Settings(**given), "staging"))
"""


@dataclass
class Ran:
    code: int
    said: str


Fab = Callable[..., Ran]


@pytest.fixture
def fab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fab:
    """`fab` itself, in this process: it reads a fabfile, which imports the tasks as for the first time."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fabfile.py").write_text(FABFILE)

    def run(*words: str) -> Ran:
        for name in ("djdeploy.tasks", "fabfile"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        program = fabric_main.Fab(name="Fabric", version="0", executor_class=Executor, config_class=Config)
        monkeypatch.setattr(fabric_main, "program", program)
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.setattr(ThisCall, "made", Call())
        code: object = 0
        try:
            program.run(["fab", *words])
        except SystemExit as ended:
            code = ended.code
        out, err = capfd.readouterr()
        return Ran(int(str(code or 0)), out + err)

    return run


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("deploy --version", "--version is an option of fab, and must stand before the tasks: fab --version"),
        ("deploy -V", "must stand before the tasks: fab --version"),
        ("status -c other", "must stand before the tasks: fab --collection=VALUE"),
        ("deploy --list-agent-keys", "must stand before the tasks: fab --list-agent-keys"),
        ("manage migrate --plan", "fab manage 'migrate --plan'"),
        ("manage migrate --plan --all-hosts", "fab manage 'migrate --plan'"),
        ("status manage migrate shop 0002", "fab manage 'migrate shop 0002'"),
        ("staging.manage createsuperuser --email=a@b", "fab staging.manage 'createsuperuser --email=a@b'"),
        ("manage --plan", "fab manage --plan"),
        ("manage", "fab manage 'migrate --plan'"),
        ("deploy staging", "fab staging.deploy"),
        ("staging deploy", "fab staging.deploy"),
        ("deploy.staging", "fab staging.deploy"),
        ("staging", "fab --list staging"),
        ("deply", "did you mean `deploy`?"),
        ("supervisor_conf", "fab supervisor-conf"),
        ("deploy --brnch=x", "did you mean `--branch`?"),
        ("deploy --branch", "--branch needs a value"),
        ("deploy --wait=soon", "--wait must be a whole number, not 'soon'"),
        ("deploy --dry-run=yes", "--dry-run takes no value: fab deploy --dry-run"),
        ("deploy main", "fab deploy --branch=main"),
        ("rollback 20260101-120000", "fab rollback --to=20260101-120000"),
        ("cleanup 3", "fab cleanup --keep=3"),
        ("staging.deploy main", "fab staging.deploy --branch=main"),
        ("explain", "fab explain CODE"),
        ("logs web", "'web' is neither an option of this task nor a task"),
        ("deploy --brnch=x", "fab deploy: there is no option --brnch; did you mean `--branch`?"),
        ("deploy --brnch=x", "What one takes: fab --help deploy"),
        ("--dry-run deploy", "there is no option --dry-run; the options of a task stand behind it"),
    ],
)
def test_a_mistake_is_answered_with_what_to_type(fab: Fab, typed: str, advice: str) -> None:
    ran = fab(*typed.split())

    assert advice in ran.said
    assert ran.code == 2
    assert ran.said.endswith("More: fab explain command-line\n")


@pytest.mark.parametrize(
    ("typed", "next_one"),
    [
        ("status", "fab rollback --to=r1"),
        ("-H a,b status", "fab -H a,b rollback --to=r1"),
        ("status -H a,b", "fab -H a,b rollback --to=r1"),
        ("staging.status", "fab staging.rollback --to=r1"),
        ("-H a -i 'my key' -i other staging.status", "fab -H a -i 'my key' -i other staging.rollback --to=r1"),
        ("-t 3 staging.status staging.releases", "fab -t 3 staging.rollback --to=r1"),
        ("staging.status status", "fab rollback --to=r1"),
        ("-f other.yaml status", "fab -f other.yaml rollback --to=r1"),
        ("-e -w status", "fab rollback --to=r1"),
    ],
)
def test_what_is_to_be_typed_next_works_in_this_fabfile_and_on_these_hosts(
    fab: Fab, tmp_path: Path, typed: str, next_one: str
) -> None:
    (tmp_path / "other.yaml").write_text("x: y\n")
    fab(*shlex.split(typed))
    text = DeployError(
        "no", remedy="Go back: fab rollback --to=r1. All of it: fab explain locked; fab is a program"
    ).message
    assert text == f"no\nGo back: {next_one}. All of it: fab explain locked; fab is a program"


@pytest.mark.parametrize(
    ("text", "adapted"),
    [
        ("fab status; fab logs", "fab -H a s.status; fab -H a s.logs"),
        ("The next `fab deploy` repairs it.", "The next `fab -H a s.deploy` repairs it."),
        ("How it is: fab status.", "How it is: fab -H a s.status."),
        ("those of fab are in: fab --help deploy", "those of fab are in: fab --help deploy"),
        ("fab -H b deploy", "fab -H b deploy"),
        ("fab s.deploy", "fab s.deploy"),
        ("fab deploys, fab deploy-now, prefab deploy", "fab deploys, fab deploy-now, prefab deploy"),
    ],
)
def test_only_commands_of_these_tasks_are_adapted(text: str, adapted: str) -> None:
    assert Call(["-H", "a"], "s.", frozenset({"deploy", "status", "logs"})).adapt(text) == adapted


@pytest.mark.parametrize("words", [["manage", "--help"], ["--help", "manage"], ["explain", "-h"], ["deploy", "--help"]])
def test_help_of_a_task_is_shown_wherever_it_is_asked_for(fab: Fab, words: list[str]) -> None:
    ran = fab(*words)

    assert re.match(r"Usage: fab \[--core-opts\] (manage|explain|deploy)", ran.said)
    assert ran.code == 0


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_is_explained(fab: Fab, code: str) -> None:
    assert fab("explain", code) == Ran(0, f"{CATALOGUE[code].why}\n\n{CATALOGUE[code].remedy}\n")


def test_all_codes_are_listed(fab: Fab) -> None:
    assert fab("explain", "all").said.split() == list(CATALOGUE)


@pytest.mark.parametrize("name", ["branch", "Process.bind", "--code=locked"])
def test_a_setting_is_explained_and_the_option_works_too(fab: Fab, name: str) -> None:
    ran = fab("explain", name)

    assert (ran.code, len(ran.said) > 50) == (0, True)


@pytest.mark.parametrize("words", ["--list", "--help deploy", "explain locked", "explain all"])
def test_a_reader_that_leaves_meets_no_traceback(tmp_path: Path, words: str) -> None:
    (tmp_path / "fabfile.py").write_text(FABFILE)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        command = [str(Path(sys.executable).with_name("fab")), *words.split()]
        ran = subprocess.run(command, cwd=tmp_path, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_code_is_explained_though_the_fabfile_cannot_be_read(fab: Fab, tmp_path: Path) -> None:
    """The error that keeps it from being read is the one to be explained."""
    (tmp_path / "fabfile.py").write_text(FABFILE.replace('"demo",', '"DEMO",'))

    assert "More: fab explain settings" in fab("deploy").said
    assert fab("explain", "settings").said.startswith(CATALOGUE["settings"].why)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "ns = collection(setings)",
            "fabfile.py:6: ns = collection(setings)\n    NameError: name 'setings' is not defined",
        ),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import broken", 'broken.py", line 1\n    def f(:\n'),
        ("1 / 0", "fabfile.py:6: 1 / 0\n    ZeroDivisionError"),
    ],
)
def test_a_fabfile_that_cannot_be_read_is_no_traceback(fab: Fab, tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "fabfile.py").write_text(f"{FABFILE}{line}\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    command = [str(Path(sys.executable).with_name("fab")), "--list"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("More: fab explain fabfile\n")
    assert done.returncode == 2


@pytest.mark.parametrize("line", ["import djdeploy", "from djdeploy import Settings"])
def test_nor_one_that_has_imported_no_task(tmp_path: Path, line: str) -> None:
    (tmp_path / "fabfile.py").write_text(f"{line}\nx = nope\n")
    command = [str(Path(sys.executable).with_name("fab")), "--list"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert "fabfile.py:2: x = nope\n    NameError: name 'nope' is not defined" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line",
    ["ForwardAgent /run/agent", "ForwardAgent $SSH_AUTH_SOCK", "ConnectTimeout 1m", "Match tagged x", 'Host "x'],
)
def test_what_paramiko_cannot_read_of_ssh_config_is_no_traceback(fab: Fab, tmp_path: Path, line: str) -> None:
    (tmp_path / "config").write_text(f"Host web1.invalid\n{line}\n")

    ran = fab("-S", "config", "supervisor-conf")

    assert (ran.code, "Traceback" in ran.said) == (0, False)


def test_an_ssh_config_that_is_not_there_is_named(fab: Fab) -> None:
    assert "nowhere: No such file or directory" in fab("-S", "nowhere", "status").said


SSH_CONFIG = """\
Host web1
    HostName 10.0.0.1
    User bob
    Port 2200
Host v6
    HostName fd00::9
    Port 2222
Host *
    User ann
"""


@pytest.mark.parametrize(
    ("word", "host"),
    [
        *((word, "web1") for word in ("web1", "bob@web1", "web1:2200", "bob@web1:2200")),
        *((word, "deploy@web2:2222") for word in ("web2", "deploy@web2", "web2:2222", "deploy@web2:2222")),
        *((word, "root@[fd00::1]:2222") for word in ("fd00::1", "[fd00::1]", "root@[fd00::1]", "[fd00::1]:2222")),
        *((word, "v6") for word in ("v6", "six", "ann@v6:2222")),
        *((word, None) for word in ("ann@web1", "web1:22", "10.0.0.1", "[fd00::1]:22", "bob@six", "fd00::9")),
    ],
)
def test_only_and_except_know_a_host_by_its_name_with_or_without_its_user_and_port(
    tmp_path: Path, word: str, host: str | None
) -> None:
    """Which ssh_config may say, too; what is said must be so."""
    (tmp_path / "config").write_text(SSH_CONFIG)
    hosts: list[str | Host] = ["web1", "deploy@web2:2222", "root@[fd00::1]:2222", Host("v6", labels=["six"])]
    settings = Settings(project="demo", repository="/r", home="/srv/demo", hosts=hosts)
    every = connections_for(Context(Config(runtime_ssh_path=str(tmp_path / "config"))), settings, [])

    if host is None:
        with pytest.raises(SettingsError, match="is no host and no label"):
            chosen(every, word, None)
    else:
        assert [each.name for each in chosen(every, word, None)] == [host]
        assert host not in [each.name for each in chosen(every, None, word)]
