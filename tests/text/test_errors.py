"""Errors that teach: one table, from which the remedy, `fab explain` and the page are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from djdeploy.errors.catalogue import KNOWN, as_markdown, known_error
from djdeploy.errors.kinds import ConnectionFailed, DeployError, Locked, PublishFailed, StepFailed, together

PAGE = Path(__file__).parents[2] / "docs/errors.md"

MET = {  # what users have seen, in the words of the programs that said it
    "the name nowhere.invalid cannot be resolved: Name or service not known": "host-unresolved",
    "the connection failed: [Errno 111] Connection refused": "host-unreachable",
    "its host key is not known: ssh-ed25519 SHA256:abc": "host-key-unknown",
    "the host key has changed: the server was reinstalled, or somebody is intercepting it": "host-key-changed",
    "the host key of the jump host gate is not known: ssh-ed25519 SHA256:abc": "host-key-unknown",
    "the server rejected your SSH key for demo: Authentication failed.": "key-refused",
    "the server wants an SSH key for demo, and you have none to offer": "key-refused",
    "the server has no python3 (settings: python)": "no-python",
    "ann@laptop holds the lock since 2026-11-23T09:00:00Z for `deploy`": "locked",
    "web2 and web1 are the same server and home; list it once": "same-server",
    "cannot write /srv/www/demo: Permission denied": "home-not-writable",
    "/srv/www/demo/current is a directory; it must be a link to a release, or not exist": "not-a-link",
    "/srv/www/demo/20261123-093000 exists already": "release-exists",
    "20261123-093000 has no runtime.json: nothing says what it runs": "no-runtime",
    "/srv/www/demo holds releases of shop": "foreign-releases",
    "/srv/www/demo/shared/.env is missing (settings: shared_files)": "shared-file-missing",
    "tar: app.py: Cannot write: No space left on device": "disk-full",
    "the server has no git": "no-git",
    "The virtual environment was not created successfully because ensurepip is not\navailable.": "no-venv",
    "nope is no branch, tag or commit of git@example.com:demo.git": "ref-unknown",
    "Host key verification failed.\nfatal: Could not read from remote repository.": "repository-host-key",
    "@ REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.": "repository-host-key-changed",
    "git@example.com: Permission denied (publickey).": "repository-refused",
    "fatal: '/srv/git/x.git' does not appear to be a git repository": "repository-missing",
    "fatal: unable to access: Could not resolve host: example.com": "name-unresolved",
    "requirements.txt:3: not pinned: django>=5": "unpinned",
    "ERROR: No matching distribution found for sqlparse==99.99": "requirement-missing",
    "error: In `--require-hashes` mode, all requirements must have a hash": "hashes",
    "You're using the staticfiles app without having set the STATIC_ROOT setting": "static-root",
    "Django does not accept the Host '127.0.0.1:8001': give health a Host header": "allowed-hosts",
    "python: can't open file '/srv/www/demo/r2/repository/manage.py': [Errno 2] No such file": "no-manage",
    "/bin/sh: 3: cd: can't cd to /srv/www/demo/r2/repository/src": "no-manage",
    "bash: line 3: cd: /srv/www/demo/r2/repository/src: No such file or directory": "no-manage",
    "/bin/sh: cd: line 3: can't cd to /srv/www/demo/r2/repository/src: No such file or directory": "no-manage",
    "notes has several last migrations (0003_a, 0003_b): makemigrations --merge": "conflicting-migrations",
    "CommandError: Conflicting migrations detected; multiple leaf nodes": "conflicting-migrations",
    "the database 'default' cannot be asked: unable to open database file": "database-unreachable",
    'connection failed: connection to server at "127.0.0.1", port 5432 failed: refused': "database-unreachable",
    'could not translate host name "db" to address: Name or service not known': "database-unreachable",
    "failed to resolve host 'db': [Errno -2] Name or service not known": "database-unreachable",
    'FATAL:  password authentication failed for user "demo"': "database-unreachable",
    '(2002, "Can\'t connect to local MySQL server through socket")': "database-unreachable",
    "the database 'default' is a file inside the release: /srv/www/demo/r2/db": "database-in-release",
    "notes.0003: Remove field body: the column notes_note.body and what it holds are lost": "destructive-migration",
    "notes.0003: Raw SQL operation: it has no way back, and nobody can tell what this SQL does": "no-way-back",
    "a lock was not free within 5 s, 6 times": "lock-timeout",
    "web of the new release does not serve: its server exits 0.3 s after its start": "smoke-test",
    "web 0: pid 12 ended and Supervisor started no other within 60 s.": "no-restart",
    "web 0: the new server exits as soon as it is started, 2 times in a row": "not-ready",
    "web 0: 3 requests have failed; the settings allow 0": "too-many-failures",
    '"manage.py migrate" did not end within 1800 s (settings: step_timeout) and was ended': "step-timeout",
    '"manage.py migrate" was killed by SIGKILL': "step-killed",
    '"Install the pinned requirements" failed (exit 137)': "step-killed",
    "Collecting django\nKilled": "step-killed",
    "/bin/sh: line 3: 31358 Killed                  python manage.py migrate": "step-killed",
    "there is no good release before 20261123-093000 to go back to": "nothing-to-go-back-to",
    "no release is live on web1": "nothing-live",
    '"Install the pinned requirements" was interrupted': "interrupted",
    "some secret files are missing or differ": "secrets-differ",
    "Settings: 2 problems.\n  - `home` is 'x'": "settings",
}


@pytest.mark.parametrize(("said", "code"), MET.items(), ids=MET.values())
def test_an_error_is_recognised_by_what_it_says(said: str, code: str) -> None:
    found = known_error(said.splitlines())
    assert found
    assert found.code == code


def test_every_entry_of_the_table_has_been_met() -> None:
    assert {known.code for known in KNOWN} == set(MET.values())
    assert len({known.code for known in KNOWN}) == len(KNOWN)


def test_an_error_says_what_where_how_the_site_stands_what_to_type_and_where_to_read_more() -> None:
    error = StepFailed(
        '"Fetch" failed (exit 1)',
        host="web1",
        output=["No space left on device"],
        site="The site still runs r1.",
    )
    assert error.message.splitlines() == [
        'web1: "Fetch" failed (exit 1)',
        "  | No space left on device",
        "The site still runs r1.",
        "The server's disk is full. Remove what is old: fab cleanup --keep=2; then look at: df -h; df -i",
        "More: fab explain disk-full",
    ]


def test_an_error_that_knows_better_what_to_type_says_that() -> None:
    error = ConnectionFailed("the connection failed: refused", remedy="Try: ssh -p 2222 demo@web1")
    assert error.message.splitlines()[1:] == ["Try: ssh -p 2222 demo@web1", "More: fab explain host-unreachable"]
    assert DeployError("nobody has met this").message == "nobody has met this"


def test_of_several_errors_each_says_once_what_to_type() -> None:
    unreachable = ConnectionFailed("the connection failed: refused", host="web1", remedy="Try: ssh -p 2222 web1")
    assert together([unreachable, Locked("ann holds the lock", host="web2")]).message.splitlines() == [
        "web1: the connection failed: refused",
        "Try: ssh -p 2222 web1",
        "More: fab explain host-unreachable",
        "web2: ann holds the lock",
        "Wait, or: fab deploy --wait=600. Who it is: fab lock",
        "More: fab explain locked",
    ]


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


HOSTILE = "\x1b]0;title\x07\x9b2J\u202e[/red]"


def test_no_part_of_an_error_commands_the_users_terminal() -> None:
    error = StepFailed(HOSTILE, host=HOSTILE, output=[HOSTILE], site=HOSTILE, remedy=HOSTILE)
    for each in (error, together([error, Locked(HOSTILE, host="web2", site=HOSTILE)])):
        assert not [c for c in each.message if not c.isprintable() and c != "\n"]
        assert "\\x1b]0;title\\x07\\x9b2J\\u202e[/red]" in each.message


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text() == as_markdown(), "make docs-generated"
