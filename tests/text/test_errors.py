"""Errors own their code: one catalogue, what recognises foreign output, and what must never be guessed."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from fabric import Connection

import djdeploy
from djdeploy import DEPLOY, ROLLBACK, Settings, collection
from djdeploy.engine.failures import as_publish_failed, step_failed
from djdeploy.engine.fleet import as_deploy_error
from djdeploy.errors.catalogue import CATALOGUE, as_markdown
from djdeploy.errors.foreign import FOREIGN, KERNEL, PROGRAMS, matches, recognised
from djdeploy.errors.kinds import (
    ConnectionFailed,
    DeployError,
    Interrupted,
    Locked,
    PublishFailed,
    SettingsError,
    StepFailed,
)
from djdeploy.errors.several import together
from djdeploy.remote.wire import Outputs
from djdeploy.script.stages import STAGES
from djdeploy.script.steps import Step
from djdeploy.script.undo import UNDO
from djdeploy.ssh.channel import Channel
from djdeploy.ssh.remote import Remote
from djdeploy.ssh.step_run import StepRun

from ..ssh.test_errors import ELSEWHERE, PROVOKED
from .test_plan import SETTINGS, deployment

PACKAGE = Path(djdeploy.__file__).parent
PAGE = Path(__file__).parents[2] / "docs/errors.md"

GIT, INSTALL, DJANGO, UNKNOWN = ("git", "ssh"), ("pip", "uv", "python"), ("django", "python"), ()
"""The programs of steps: those that fetch, those that install, management commands, and a project's own."""

# --- foreign output ---------------------------------------------------------------------------------------------------

MET: Sequence[tuple[Sequence[str], str, str]] = (  # what users have seen, in the words of the programs that printed it
    (UNKNOWN, "tar: app.py: Cannot write: No space left on device", "disk-full"),
    (UNKNOWN, "cp: error writing 'x': Disk quota exceeded", "disk-full"),
    (UNKNOWN, "/bin/sh: 3: printf: I/O error", "disk-full"),
    (UNKNOWN, "/bin/sh: 1: Cannot fork: Cannot allocate memory", "out-of-memory"),
    (UNKNOWN, "Collecting django\nKilled", "step-killed"),
    (UNKNOWN, "/bin/sh: line 3: 31358 Killed                  python manage.py migrate", "step-killed"),
    (GIT, "/bin/sh: 1: git: not found", "no-git"),
    (GIT, "bash: line 1: git: command not found", "no-git"),
    (GIT, "Host key verification failed.\nfatal: Could not read from remote repository.", "repository-host-key"),
    (GIT, "@ REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "repository-host-key-changed"),
    (GIT, "git@example.com: Permission denied (publickey).", "repository-refused"),
    (GIT, "fatal: Authentication failed for 'https://example.com/x.git/'", "repository-refused"),
    (GIT, "fatal: could not read Username for 'https://example.com': terminal prompts disabled", "repository-refused"),
    (GIT, "ERROR: Repository not found.\nfatal: Could not read from remote repository.", "repository-refused"),
    (GIT, "fatal: '/srv/git/x.git' does not appear to be a git repository", "repository-missing"),
    (GIT, "fatal: repository 'https://example.com/x.git/' not found", "repository-missing"),
    (GIT, "fatal: repository '/srv/git/none.git' does not exist", "repository-missing"),
    (GIT, "fatal: unable to access: Could not resolve host: example.com", "name-unresolved"),
    (GIT, "ssh: Could not resolve hostname x: Name or service not known", "name-unresolved"),
    (GIT, "ssh: connect to host localhost port 9: Connection refused", "repository-unreachable"),
    (GIT, "fatal: unable to access 'https://x/': Failed to connect to x port 443 after 3 ms", "repository-unreachable"),
    (INSTALL, "NewConnectionError: Temporary failure in name resolution", "name-unresolved"),
    (INSTALL, "dns error: failed to lookup address information", "name-unresolved"),
    (INSTALL, "The virtual environment was not created because ensurepip is not\navailable.", "no-venv"),
    (INSTALL, "/usr/bin/python3: No module named venv", "no-venv"),
    (INSTALL, "ERROR: No matching distribution found for sqlparse==99.99", "requirement-missing"),
    (INSTALL, "  x No solution found when resolving dependencies:", "requirement-missing"),
    (INSTALL, "Because nope was not found in the package registry", "requirement-missing"),
    (INSTALL, "error: In `--require-hashes` mode, all requirements must have a hash", "hashes"),
    (INSTALL, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "hashes"),
    (INSTALL, "error: Hash mismatch for `typing-extensions==4.12.2`", "hashes"),
    (DJANGO, 'django.db.utils.ProgrammingError: relation "notes_note" does not exist', "table-missing"),
    (DJANGO, "django.db.utils.OperationalError: no such table: notes_note", "table-missing"),
    (DJANGO, "django.db.utils.ProgrammingError: (1146, \"Table 'demo.notes_note' doesn't exist\")", "table-missing"),
    (DJANGO, "ValueError: Missing staticfiles manifest entry for 'notes/notes.css'", "static-manifest"),
    (
        INSTALL,
        "ERROR: Hashes are required in --require-hashes mode, but they are missing from some requirements",
        "hashes",
    ),
    (INSTALL, "error: Hash-checking is required, but no trusted hash was provided for: `six`", "hashes"),
    (
        INSTALL,
        "error: In `--require-hashes` mode, all requirements must have a hash, but none were provided for: six==1",
        "hashes",
    ),
    (
        INSTALL,
        "error: Hash-checking is required, but no trusted hash was provided for: `setuptools`",
        "unsafe-packages",
    ),
    (
        INSTALL,
        "ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==. These do not:\n"
        "    setuptools>=40 from https://files/setuptools-69.whl (from gunicorn==20.1.0->-r requirements.txt (line 1))",
        "unsafe-packages",
    ),
    (
        INSTALL,
        "error: In `--require-hashes` mode, all requirements must have their versions pinned with `==`, but found: "
        "setuptools>=40",
        "unsafe-packages",
    ),
    (
        INSTALL,
        "(If you did not enable --require-hashes manually, note that it turns on automatically when any package has a "
        "hash.)\n    setuptools==69.0 --hash=sha256:aa",
        "unsafe-packages",
    ),
    (
        INSTALL,
        "error: No solution found when resolving dependencies\nhint: `x` was found on https://a/, but not at the "
        "requested version (x==1.5). If all indexes are equally trusted, use `--index-strategy unsafe-best-match`",
        "index-order",
    ),
    (INSTALL, "ERROR: Package 'x' requires a different Python: 3.11.7 not in '>=3.12'", "other-python-needed"),
    (
        INSTALL,
        "ERROR: Ignored the following versions that require a different python version: 6.0 Requires-Python >=3.12\n"
        "ERROR: No matching distribution found for django==6.0",
        "other-python-needed",
    ),
    (
        INSTALL,
        "error: No solution found when resolving dependencies\n  cause: Because the current Python version (3.11.7) "
        "does not satisfy Python>=3.12 and django==6.0 depends on Python>=3.12",
        "other-python-needed",
    ),
    (INSTALL, "      error: command 'gcc' failed: No such file or directory", "no-compiler"),
    (INSTALL, "unable to execute 'x86_64-linux-gnu-gcc': No such file or directory", "no-compiler"),
    (INSTALL, "  error: can't find Rust compiler", "no-compiler"),
    (INSTALL, "psycopg.c:1:10: fatal error: Python.h: No such file or directory\n", "no-python-headers"),
    (INSTALL, "      src/x.c:22:10: fatal error: ffi.h: No such file or directory", "no-headers"),
    (INSTALL, "Error: pg_config executable not found.", "no-headers"),
    (INSTALL, "Exception: Can not find valid pkg-config name.", "no-headers"),
    (DJANGO, "ModuleNotFoundError: No module named 'django'", "no-django"),
    (DJANGO, "ImportError: Couldn't import Django. Are you sure it's installed", "no-django"),
    (DJANGO, "ModuleNotFoundError: No module named 'environ'", "module-missing"),
    (DJANGO, "python: can't open file '/srv/www/demo/r2/repository/manage.py': [Errno 2] No such file", "no-manage"),
    (DJANGO, "/bin/sh: 3: cd: can't cd to /srv/www/demo/r2/repository/src", "no-manage"),
    (DJANGO, "bash: line 3: cd: /srv/www/demo/r2/repository/src: No such file or directory", "no-manage"),
    (DJANGO, "/bin/sh: cd: line 3: can't cd to /srv/www/demo/r2/repository/src: No such file", "no-manage"),
    (DJANGO, "CommandError: Conflicting migrations detected; multiple leaf nodes", "conflicting-migrations"),
    (DJANGO, 'connection failed: connection to server at "127.0.0.1", port 5432 failed: no', "database-unreachable"),
    (DJANGO, 'could not translate host name "db" to address: Name or service not known', "database-unreachable"),
    (DJANGO, "failed to resolve host 'db': [Errno -2] Name or service not known", "database-unreachable"),
    (DJANGO, "could not connect to server: Connection refused", "database-unreachable"),
    (DJANGO, 'FATAL:  password authentication failed for user "demo"', "database-unreachable"),
    (DJANGO, '(2002, "Can\'t connect to local MySQL server through socket")', "database-unreachable"),
    (DJANGO, "(1045, \"Access denied for user 'demo'@'localhost'\")", "database-unreachable"),
    (DJANGO, "django.db.utils.OperationalError: unable to open database file", "database-unreachable"),
    (DJANGO, "You're using the staticfiles app without having set the STATIC_ROOT setting", "static-root"),
)


@pytest.mark.parametrize(("programs", "printed", "code"), MET)
def test_an_error_of_a_foreign_program_is_recognised_where_that_program_runs(
    programs: Sequence[str], printed: str, code: str
) -> None:
    assert recognised(printed.splitlines(), programs) == code


@pytest.mark.parametrize(("programs", "printed", "code"), MET)
def test_it_is_recognised_nowhere_else(programs: Sequence[str], printed: str, code: str) -> None:
    if programs:  # what the kernel says is heard everywhere
        assert recognised(printed.splitlines(), UNKNOWN) == ""


def test_every_pattern_has_been_met() -> None:
    for foreign in FOREIGN:
        assert set(foreign.programs) <= set(PROGRAMS)
        assert any(foreign.code == code and matches(foreign, printed) for _, printed, code in MET), foreign


def test_the_steps_of_djdeploy_name_the_programs_that_they_run() -> None:
    d = deployment(replace(SETTINGS, build_steps=["make assets"], secret_files={}))
    recipes = (DEPLOY, ROLLBACK, *UNDO.values())
    steps = [
        step for recipe in recipes for stage in STAGES for step in recipe.plan(stage, replace(d, migrate_back=True))
    ]
    assert {program for step in steps for program in step.programs} <= {*PROGRAMS} - {KERNEL}
    for step in steps:
        text = step.script
        assert ("django" in step.programs) == (" manage.py " in text or " migrations " in text), step.name
        assert ("pip" in step.programs) == (" -m venv " in text or " pip install " in text), step.name
    assert [step.programs for step in steps if step.title == "Run make assets"] == [()]


# --- what must never be guessed ---------------------------------------------------------------------------------------


def failed(output: str, programs: tuple[str, ...] = (), status: int = 1, why: str = "", **emitted: Any) -> DeployError:
    run = StepRun(Step("step", "A step", (), timeout=1, programs=programs), status=status, why=why)
    run.tail.extend(output.splitlines())
    run.outputs.update(cast(Outputs, emitted))
    return step_failed("web1", run)


NOT_OURS = {
    "a build step that mentions old code": (UNKNOWN, "warning: the old code path is deprecated"),
    "a build step whose registry wants a login": (UNKNOWN, "npm ERR! Authentication failed for registry"),
    "a build step that clones by itself": (UNKNOWN, "Host key verification failed."),
    "a build step that runs pip by itself": (UNKNOWN, "ERROR: No matching distribution found for left-pad==1"),
    "a build step that lints": (UNKNOWN, "error: notes.0003: it has no way back, and its rows are lost"),
    "a build step with a lock file of its own": (UNKNOWN, "package.json:3: not pinned: react@^18"),
    "a build step that ends workers": (UNKNOWN, "Killed 3 stale workers"),
    "a build step that was told to stop": (UNKNOWN, "webpack: build interrupted"),
    "a build step that asks a database": (UNKNOWN, "Access denied for user 'demo'@'localhost'"),
    "a build step in which a file is there": (UNKNOWN, "ln: /srv/www/demo/r1/repository/x exists already"),
    "a management command that talks of deploys": (DJANGO, "ann holds the lock; a lock was not free within 5 s"),
    "a management command that clones": (DJANGO, "ERROR: Repository not found. Permission denied (publickey)."),
    "a management command that judges": (DJANGO, "the old code would break, and what it holds are lost"),
    "a management command that fetches by name": (DJANGO, "urllib: Temporary failure in name resolution"),
    "a requirement that is built against a database": (INSTALL, "psycopg: could not connect to server: refused"),
    "a requirement that Git refuses": (INSTALL, "fatal: Authentication failed for 'https://example.com/x.git/'"),
    "a repository whose hook mentions a password": (GIT, 'remote: password authentication failed for user "demo"'),
    "a repository whose hook mentions static files": (GIT, "remote: without having set the STATIC_ROOT setting"),
}


@pytest.mark.parametrize(("programs", "output"), NOT_OURS.values(), ids=NOT_OURS)
def test_no_advice_is_given_by_a_guess(programs: tuple[str, ...], output: str) -> None:
    error = failed(output, programs)
    assert (error.error_code, error.advice) == ("", "")
    quoted = [f"  | {line}" for line in output.splitlines()]
    assert error.message.splitlines() == ['web1: "A step" failed (exit 1)', *quoted, 'FAILED: "A step" on web1']


@pytest.mark.parametrize(
    "sentence",
    [
        "/srv/www/demo/r1 exists already",
        "the old code would break",
        "ann holds the lock",
        "not pinned: x",
        "interrupted",
    ],
)
def test_what_djdeploy_itself_says_is_never_searched(sentence: str) -> None:
    assert DeployError(sentence).message == sentence
    assert StepFailed("failed", output=[sentence]).advice == ""


def test_a_step_is_explained_by_what_its_own_program_emits_before_what_its_output_may_mean() -> None:
    error = failed("Conflicting migrations detected", DJANGO, error={"code": "lock-timeout"})
    assert error.error_code == "lock-timeout"
    assert CATALOGUE["lock-timeout"].remedy in error.message


@pytest.mark.parametrize("emitted", [{"code": "no-such-code"}, {"code": ["lock-timeout"]}, {}, "lock-timeout", None])
def test_what_a_server_emits_is_taken_for_a_code_only_if_it_is_one(emitted: object) -> None:
    assert failed("x", error=emitted).error_code == ""
    assert failed("Killed", error=emitted).error_code == "step-killed"


def test_how_a_step_ended_says_enough() -> None:
    assert failed("", status=-9).error_code == "step-killed"
    assert failed("", status=137).error_code == "step-killed"
    assert failed("", why="timeout").error_code == "step-timeout"
    assert failed("", why="interrupted").error_code == "interrupted"


def test_a_refused_rollback_is_answered_with_what_fits_a_rollback() -> None:
    for code in ("migrations-ahead", "no-way-back"):
        remedy = failed("notes.0003: Remove field body: the old code reads it", DJANGO, error={"code": code}).advice
        assert "fab rollback --allow-destructive" in remedy
        assert "fab deploy --allow-destructive" not in remedy
    assert "fab rollback --migrate-back" in CATALOGUE["migrations-ahead"].remedy
    assert "--migrate-back" not in CATALOGUE["no-way-back"].remedy


# --- errors that no real server shows at will -------------------------------------------------------------------------


def remote(host: str) -> Remote:
    return Remote(Connection(host), SETTINGS, host)


def test_an_answer_that_is_no_agents_names_its_host_and_ends_with_the_exit_code_of_the_connection() -> None:
    error = Channel(Connection("web1"), "web1").unlike_an_agent("a line that is no JSON: 'Welcome'")
    assert (error.code, error.error_code) == (4, "unexpected-answer")
    assert error.message.startswith("web1: the server does not answer as the djdeploy agent does: ")


def test_an_exception_in_a_step_of_the_fabfile_is_an_error_that_names_its_place() -> None:
    try:
        raise ValueError("no such colour")
    except ValueError as error:
        made = as_deploy_error(error)
    assert (made.code, made.error_code) == (1, "fault")
    assert "ValueError: no such colour" in made.what
    assert "test_errors.py:" in made.what
    assert "fab --debug" in made.message


# --- the catalogue ----------------------------------------------------------------------------------------------------


def codes_in_the_source() -> Iterator[tuple[str, str]]:
    """(code, file) of each error that the source raises, emits or recognises.

    They are all written in one of these ways: `code="..."` in a call, a default of a parameter `code`, `code = "..."`,
    `error_code = "..."` in a class, or returned by a function `code_of`.
    """
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            values: list[ast.AST] = []
            if isinstance(node, ast.keyword) and node.arg == "code":
                values = [node.value]
            elif isinstance(node, ast.arguments):
                names = [*node.posonlyargs, *node.args]
                pairs = [*zip(names[len(names) - len(node.defaults) :], node.defaults, strict=True)]
                pairs += [(a, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True) if d]
                values = [default for argument, default in pairs if argument.arg == "code"]
            elif isinstance(node, ast.FunctionDef) and node.name == "code_of":
                values = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("code", "error_code"):
                values = [node.value]
            for value in values:
                for each in results_of(value):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value:
                        yield each.value, path.relative_to(PACKAGE).as_posix()


def results_of(value: ast.AST) -> Iterator[ast.AST]:
    """What an expression may come to: the branches of a condition, not the condition."""
    if isinstance(value, ast.IfExp):
        yield from (*results_of(value.body), *results_of(value.orelse))
    elif isinstance(value, ast.BoolOp):
        for each in value.values:
            yield from results_of(each)
    else:
        yield value


def codes_in_sentences() -> set[str]:
    """What the source tells users to look up."""
    return {
        code
        for path in PACKAGE.rglob("*.py")
        for code in re.findall(r"fab explain ([a-z]+(?:-[a-z]+)+)", path.read_text())
    }


def test_every_code_in_the_source_is_in_the_catalogue() -> None:
    assert {found for found in codes_in_the_source() if found[0] not in CATALOGUE} == set()
    assert codes_in_sentences() <= set(CATALOGUE)


def test_every_entry_of_the_catalogue_is_raised_or_recognised_somewhere() -> None:
    used = {code for code, _ in codes_in_the_source()}
    assert set(CATALOGUE) == used
    assert "database-in-release" in codes_in_sentences(), "it is a warning"


def commands(text: str) -> Iterator[list[str]]:
    """The words of each `fab` command in a text."""
    for found in re.findall(r"\bfab ([^;|.`]*?)(?=[;|.`,]|$| lists| shows|: )", text):
        yield shlex.split(found)


@pytest.mark.parametrize("code", CATALOGUE)
def test_each_command_of_a_remedy_is_a_task_with_such_options(code: str) -> None:
    tasks = collection(Settings(project="demo", repository="x", home="/srv/demo"))
    for words in commands(CATALOGUE[code].remedy):
        name, *options = [word for word in words if word != "--debug"]
        if name in ("--list", "--help"):
            continue
        task = tasks[name]
        known = {flag.replace("_", "-") for argument in task.get_arguments() for flag in argument.names}
        for option in options:
            if option.startswith("--"):
                assert option[2:].partition("=")[0] in known, option


@pytest.mark.parametrize("code", CATALOGUE)
def test_an_entry_has_sentences_for_people(code: str) -> None:
    entry = CATALOGUE[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert entry.why.endswith(".")
    assert entry.remedy[0].isupper()
    assert len(entry.why) < 320
    assert len(entry.remedy) < 260
    assert not re.search(r"\b(refused us|our key|our program|the post|text)\b", f"{entry.why} {entry.remedy}")


def test_the_page_is_made_from_the_catalogue() -> None:
    assert PAGE.read_text() == as_markdown(), "make docs-generated"
    for code in CATALOGUE:
        assert f"## {code}\n" in PAGE.read_text()


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_an_error_says_what_where_how_the_site_stands_what_to_type_and_where_to_read_more() -> None:
    error = StepFailed(
        '"Fetch" failed (exit 1)',
        code="disk-full",
        host="web1",
        output=["No space left on device"],
        site="The site still runs r1.",
    )
    assert error.message.splitlines() == [
        'web1: "Fetch" failed (exit 1)',
        "  | No space left on device",
        "The site still runs r1.",
        CATALOGUE["disk-full"].remedy,
        "More: fab explain disk-full",
    ]


def test_an_error_that_knows_better_what_to_type_says_that() -> None:
    error = ConnectionFailed("the connection failed", code="host-unreachable", remedy="Try: ssh -p 2222 demo@web1")
    assert error.message.splitlines()[1:] == ["Try: ssh -p 2222 demo@web1", "More: fab explain host-unreachable"]
    assert DeployError("nobody has met this").message == "nobody has met this"
    assert DeployError("a project's own", code="its-own").message == "a project's own"


def test_a_kind_of_error_has_its_exit_code_and_its_own_code_where_it_has_one_cause() -> None:
    kinds = [(Locked("x"), 3, "locked"), (Interrupted("x"), 130, "interrupted"), (StepFailed("x"), 1, "")]
    kinds += [
        (SettingsError("x", ["y"]), 2, "settings"),
        (SettingsError("x", ["y"], code="same-server"), 2, "same-server"),
    ]
    assert [(each.code, each.error_code) for each, _, _ in kinds] == [(exit_code, code) for _, exit_code, code in kinds]


def test_an_error_keeps_its_code_when_it_becomes_one_of_publishing() -> None:
    error = as_publish_failed(StepFailed("x", code="no-restart", host="web1"))
    assert (error.code, error.error_code) == (5, "no-restart")


def test_of_several_errors_each_says_once_what_to_type() -> None:
    unreachable = ConnectionFailed("refused", code="host-unreachable", host="web1", remedy="Try: ssh -p 2222 web1")
    whole = together([unreachable, Locked("ann holds the lock", host="web2")])
    assert whole.message.splitlines() == [
        "web1: refused",
        "Try: ssh -p 2222 web1",
        "More: fab explain host-unreachable",
        "web2: ann holds the lock",
        CATALOGUE["locked"].remedy,
        "More: fab explain locked",
    ]
    assert whole.error_code == ""
    locks = together([Locked(f"{who} holds the lock", host="web1") for who in ("ann", "bob")])
    assert locks.message.count("More: fab explain locked") == 2


def test_errors_of_different_codes_are_not_alike() -> None:
    errors = [StepFailed("x", host=f"web{n}", code=code) for n, code in enumerate(("disk-full", "no-git"))]
    assert together(errors).message.count("More: ") == 2


def test_several_errors_are_one_with_the_gravest_exit_code() -> None:
    whole = together([Locked("a holds the lock", host="web1"), ConnectionFailed("no answer", host="web2")])
    assert whole.code == 4
    assert "web1: a holds the lock" in whole.message
    assert "web2: no answer" in whole.message
    assert together([PublishFailed("x"), DeployError("y")]).code == 5


def failures(hosts: int, exit_code: int = 1) -> list[DeployError]:
    return [
        StepFailed(
            f'"Install" failed (exit {exit_code})',
            host=f"web{n}",
            output=[f"Killed {1000 + n}", f"no {HOST_KEY} on web{n}"],
            site="The site still runs r1.",
            remedy=f"Try: ssh web{n}",
            code="repository-host-key",
        )
        for n in range(1, hosts + 1)
    ]


HOST_KEY = "Host key verification failed."


def test_errors_that_differ_only_by_their_host_are_shown_once() -> None:
    assert together(failures(64)).message.splitlines() == [
        'web1, web2 and 62 more: "Install" failed (exit 1)',
        "  | Killed 1001",
        "  | no Host key verification failed. on web1",
        "Try: ssh web1",
        "More: fab explain repository-host-key",
        "The site still runs r1.",
    ]
    assert together(failures(2)).message.startswith("web1 and web2: ")
    assert together(failures(3)).message.startswith("web1, web2 and web3: ")


def test_errors_that_differ_otherwise_are_each_shown() -> None:
    message = together([*failures(2), *failures(1, exit_code=2)]).message
    assert "web1 and web2: " in message
    assert 'web1: "Install" failed (exit 2)' in message
    assert message.count("More: fab explain repository-host-key") == 2


def test_the_last_line_names_the_step_that_failed_and_its_hosts_in_bold_red_on_a_terminal() -> None:
    errors = []
    for number in range(1, 4):
        errors.append(step_failed(f"web{number}", StepRun(Step("fetch", "Fetch the code", ()), status=1)))
    assert errors[0].message.splitlines()[-1] == 'FAILED: "Fetch the code" on web1'
    assert together(errors[:2]).message.splitlines()[-1] == 'FAILED: "Fetch the code" on web1 and web2'
    assert as_publish_failed(errors[0]).message.splitlines()[-1] == 'FAILED: "Fetch the code" on web1'
    other = step_failed("web9", StepRun(Step("x", "Collect static files", ()), status=1))
    whole = together([*errors[:2], other])
    last = 'FAILED: "Fetch the code" on web1 and web2; "Collect static files" on web9'
    assert whole.message.splitlines()[-1] == last
    assert whole.message.count("FAILED") == 1
    whole.in_colour = True
    assert whole.message.splitlines()[-1] == f"\x1b[1;31m{last}\x1b[0m"


COLOURFUL = ["\x1b[31mred\x1b[0m", "\x1b[1;38;5;196mred\x1b[m", "\x1b[38:2::255:0:0mred\x1b[39m"]


@pytest.mark.parametrize("line", [*COLOURFUL, "\x1b[2K\x1b[1Gred", "\x1b]0;title\x07red", "\x1b(Bred", "gr\rred"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_colours_of_a_steps_output_are_never_printed_as_what_they_are_made_of(line: str, chunk: int) -> None:
    run = StepRun(Step("x", "X", ()), status=1)
    text = f"{line}\n"
    for begin in range(0, len(text), chunk):
        run.take(text[begin : begin + chunk])
    assert list(run.tail) == ["red"]
    assert "  | red" in step_failed("web1", run).message


def test_a_note_of_a_step_is_shown_without_its_mark() -> None:
    run = StepRun(Step("x", "X", ()), status=1)
    run.take("djdeploy: web: nothing runs it\n")
    assert "  | web: nothing runs it" in step_failed("web1", run).message


@pytest.mark.parametrize("line", COLOURFUL)
def test_nor_those_of_an_error_from_elsewhere(line: str) -> None:
    assert DeployError("it failed", output=[line]).message.splitlines()[-1] == "  | red"


def traceback_of(error: str, number: int = 1) -> list[str]:
    return [
        f"[2026-11-28 12:00:{number:02}] [47{number:02}] [ERROR] Exception in worker process",
        "Traceback (most recent call last):",
        f'  File "/srv/www/demo/r1/manage.py", line 9, in <module> # {number}',
        "    main()",
        "    ~~~~^^",
        error,
    ]


def test_no_traceback_is_shown_twice() -> None:
    chained = [
        *traceback_of("KeyError: 'X'"),
        "",
        "During handling of the above exception, another exception occurred:",
        "",
    ]
    chained += traceback_of("ImproperlyConfigured: set X")[1:]
    output = [*chained, "between", *chained, *traceback_of("KeyError: 'X'", 2), "the end"]
    error = StepFailed("it failed", host="web1", output=output)
    assert error.message.count("Traceback") == 2
    assert error.message.count("During handling") == 1
    assert error.message.splitlines()[-1] == "  | the end"


def test_nor_is_one_that_several_hosts_or_steps_have_in_common() -> None:
    same = traceback_of("ImportError: cannot import name 'x'")
    errors = [
        StepFailed(f"{step} failed", host=host, output=same) for step, host in (("check", "web1"), ("test", "web2"))
    ]
    message = together(errors).message
    assert message.count("Traceback") == 1
    assert "web1: check failed" in message
    assert "web2: test failed" in message


def test_about_twenty_lines_of_output_are_shown() -> None:
    message = StepFailed("it failed", output=[f"line {number}" for number in range(100)]).message
    assert message.splitlines()[1:] == [f"  | line {number}" for number in range(80, 100)]


HOSTILE = "\x1b]0;title\x07\x9b2J\u202e[/red]"


def test_no_part_of_an_error_commands_the_users_terminal() -> None:
    error = StepFailed(HOSTILE, host=HOSTILE, output=[HOSTILE], site=HOSTILE, remedy=HOSTILE)
    for each in (error, together([error, Locked(HOSTILE, host="web2", site=HOSTILE)])):
        assert not [c for c in each.message if not c.isprintable() and c != "\n"]
        assert "\\x1b]0;title\\x07\\x9b2J\\u202e[/red]" in each.message


def test_each_error_of_the_table_is_provoked_by_a_test() -> None:
    assert set(CATALOGUE) == {*PROVOKED, *ELSEWHERE}
    files = {where.partition(":")[0] for where in ELSEWHERE.values()}
    assert [name for name in sorted(files) if not (Path(__file__).parents[2] / name).exists()] == []
