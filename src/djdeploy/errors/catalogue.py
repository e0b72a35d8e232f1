"""Every error that a user can meet: how it is recognised, why it happens, what to type.

This one table is what errors show as their remedy, what `fab explain CODE` prints, and `docs/errors.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """An error that many have met.

    Args:
        code: what `fab explain` takes.
        pattern: what the error says, or the output of the step that failed: the server's own words.
        why: how it comes about.
        remedy: what to do, or to type.
    """

    code: str
    pattern: str
    why: str
    remedy: str


KNOWN: tuple[Known, ...] = (
    # --- reaching the server
    Known(
        "host-unresolved",
        r"the name .* cannot be resolved",
        "No name server knows the host, and ssh_config has no entry of this name.",
        "Look for a typing error in `hosts` or -H; try: ssh HOST",
    ),
    Known(
        "host-unreachable",
        r"the connection failed|no answer from the host in time|the connection was lost",
        "Nothing answers at this address and port, a firewall drops the packets, or the network broke. A server that "
        "lost us undoes by itself what was half done.",
        "Try: ssh HOST. If it answers slowly, raise connect_timeout.",
    ),
    Known(
        "host-key-unknown",
        r"host key (of the jump host .*)?is not known",
        "We refuse servers whose key known_hosts does not have: anybody could answer in their place.",
        "Compare the fingerprint with the server's own, then type what the error shows: it accepts exactly this key. "
        'Or: host_keys="accept-new" in the settings.',
    ),
    Known(
        "host-key-changed",
        r"the host key has changed",
        "The server was installed anew, or somebody is between you and it.",
        "Only if you know why it changed: ssh-keygen -R HOST, and accept the new one.",
    ),
    Known(
        "key-refused",
        r"the server rejected your SSH key|the server wants an SSH key",
        "The account's ~/.ssh/authorized_keys has none of the keys that we offer, or we have none to offer.",
        "See what is offered: ssh-add -l; try: ssh HOST; then on the server add your public key.",
    ),
    Known(
        "no-python",
        r"the server has no python|the djdeploy agent ended at once",
        "What runs on the server needs Python 3.8 or later, by the name in `python` of the settings.",
        "As root on the server: apt-get install python3 python3-venv",
    ),
    Known(
        "locked",
        r"holds the lock|left this running",
        "One deploy at a time: somebody deploys now, or a step outlived its deploy. The lock is a kernel lock that "
        "ends with the processes that hold it; no file has to be removed.",
        "Wait, or: fab deploy --wait=600. Who it is: fab lock",
    ),
    Known(
        "same-server",
        r"are the same server and home",
        "Two entries of `hosts` lead to one machine and one `home`, and one deploy cannot publish there twice.",
        "Name it once, or give each project a home of its own.",
    ),
    # --- the database, before what its messages have in common with those of git
    Known(
        "database-unreachable",
        r"the database '.*' cannot be asked|connection to server (at|on) .* failed|could not connect to server"
        r"|failed to resolve host|could not translate host name|Can't connect to (local )?(MySQL )?server"
        r"|Access denied for user|password authentication failed|unable to open database file",
        "Django does not reach its database with the settings and the environment that the release has: the database "
        "is down, its name, address or password is another, or a variable is missing on this host (settings: env, "
        "secret_files).",
        "Look at the message above, and at DATABASES in Django's settings; whether the live release reaches it: "
        'fab manage "check --database default"',
    ),
    # --- what is on the server
    Known(
        "home-not-writable",
        r"cannot write /|cannot be (written|made) by",
        "The account neither owns `home` nor may make it.",
        "As root on the server: install -d -o ACCOUNT HOME",
    ),
    Known(
        "not-a-link",
        r"it must be a link to a release, or not exist",
        "Something else than a link stands where `current` or `previous` has to be, such as a checkout by hand. It is "
        "not ours, and so is not touched.",
        "If it may go: mv HOME/current HOME/current.before-djdeploy",
    ),
    Known(
        "release-exists",
        r"/.* exists already",
        "Something stands where the new release would be made. It has no release.json, so it is no release of ours, "
        "and is not touched.",
        "Look at it, and move it away; or deploy again: the name has the time in it.",
    ),
    Known(
        "no-runtime",
        r"has no runtime\.json",
        "`runtime.json` in a release says what its processes run. This release was not made by djdeploy, or somebody "
        "removed the file.",
        "Deploy a new release: fab deploy",
    ),
    Known(
        "foreign-releases",
        r"holds releases of",
        "Another project deploys to the same home.",
        "Give each project a home of its own.",
    ),
    Known(
        "shared-file-missing",
        r"is missing \(settings: shared_files\)|/shared/.* is missing",
        "A release links to files in `shared`, and nothing makes them.",
        "Put the file there: scp FILE SERVER:HOME/shared/FILE; or let a deploy bring it: secret_files",
    ),
    Known(
        "disk-full",
        r"No space left on device|Disk quota exceeded|printf: I/O error|the disk of .* is full",
        "The disk has no room, or no inodes, for another release. What serves is not touched by that.",
        "The server's disk is full. Remove what is old: fab cleanup --keep=2; then look at: df -h; df -i",
    ),
    Known(
        "no-git",
        r"git: (command )?not found|the server has no git",
        "The server fetches the code by itself.",
        "The server has no git. As root on the server: apt-get install git",
    ),
    Known(
        "no-venv",
        r"ensurepip is not\s+available|No module named '?(venv|ensurepip)|of the server has no venv",
        "Debian and Ubuntu have a part of Python's standard library in a package of its own.",
        "The server's Python has no venv. As root on the server: apt-get install python3-venv (or install uv).",
    ),
    # --- the code
    Known(
        "ref-unknown",
        r"is no branch, tag or commit of",
        "The repository, as the server sees it, does not have this name.",
        "Push it first, or name another: fab deploy --branch=REF",
    ),
    Known(
        "repository-host-key-changed",
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "The host that has the repository shows the server another key than it did: it was installed anew, or somebody "
        "is between the two, and would give your server code of their own.",
        "The key of the repository's host has changed. Only if you know why, and its operator publishes the new "
        "fingerprint, as the deploying user on the server: ssh-keygen -R HOST; then deploy again to see the new key.",
    ),
    Known(
        "repository-host-key",
        r"Host key verification failed",
        "The server does not know the host that has the repository: anybody could answer in its place.",
        "The server does not know the host key of the repository's host. Compare the fingerprint above with the one "
        "that its operator publishes; then type on the server, as the deploying user, what stands there. "
        'Or: host_keys="accept-new" in the settings.',
    ),
    Known(
        "repository-refused",
        r"Permission denied \(publickey|could not read Username|Authentication failed|Repository not found",
        "The server asks for the code with a key of its own, or with yours; neither may read it.",
        "The server may not read the repository. Give it a deploy key (settings: deploy_key), or forward your agent "
        "(settings: forward_agent=True) with the key loaded: ssh-add -l",
    ),
    Known(
        "repository-missing",
        r"does not appear to be a git repository|repository '.*' not found|repository .* does not exist",
        "The address leads nowhere from there, though it may from here.",
        "There is no repository at this address, seen from the server (settings: repository).",
    ),
    Known(
        "name-unresolved",
        r"Could not resolve host(name)?|Name or service not known|Temporary failure in name resolution",
        "The server has no working name server, or the name is wrong.",
        "The server cannot resolve a name; see the line above.",
    ),
    # --- the environment
    Known(
        "unpinned",
        r"not pinned: |which does not exist|does not exist in this commit \(settings: requirements\)",
        "Two deploys of one commit must install the same. A requirement without an exact version can change between "
        "them, and between two hosts.",
        "Compile the lock: pip-compile requirements.in; and deploy its result.",
    ),
    Known(
        "requirement-missing",
        r"No matching distribution found|No solution found|not found in the package registry",
        "The index has no such version, or none for the server's Python.",
        "A requirement does not exist for the server's Python. Compile the lock for it: pip-compile",
    ),
    Known(
        "hashes",
        r"In `?--require-hashes`? mode|THESE PACKAGES DO NOT MATCH THE HASHES|Hash mismatch",
        "As soon as one line of a lock has a hash, each must have one that fits what is downloaded.",
        "The lock has hashes, so every line must have one that fits. Compile it with: pip-compile --generate-hashes",
    ),
    # --- Django
    Known(
        "no-manage",
        r"can't open file '.*manage\.py'|can't cd to .*/repository|cd: .*/repository.*: No such file or directory",
        "`source_dir` is the folder of the repository that holds manage.py, and this commit does not have it there.",
        "Set source_dir to that folder, such as source_dir=\"src\"; see what the commit has: git ls-files '*manage.py'",
    ),
    Known(
        "conflicting-migrations",
        r"has several last migrations|Conflicting migrations detected",
        "Two branches of the code have each added a migration after the same one, and Django does not know which is "
        "the last.",
        "In your checkout: python manage.py makemigrations --merge; commit the result, push, and deploy again.",
    ),
    Known(
        "static-root",
        r"without having set the STATIC_ROOT setting",
        "collectstatic has to know where to.",
        'Set STATIC_ROOT = BASE_DIR / "static" in the project\'s settings, or leave collectstatic out of manage_steps.',
    ),
    Known(
        "allowed-hosts",
        r"You must set settings\.ALLOWED_HOSTS|Invalid HTTP_HOST|DisallowedHost|does not accept the Host",
        "The health check's Host header is the bind address, unless it has another.",
        "Django's ALLOWED_HOSTS refuses the request: add the host, or give the health check a Host header.",
    ),
    Known(
        "database-in-release",
        r"is a file inside the release",
        "A SQLite database lies beside the code, as `startproject` has it. Each release is a directory of its own: the "
        "site would lose its data with every deploy.",
        'Keep it in a shared directory: shared_dirs=["data"] for djdeploy, and in Django\'s settings BASE_DIR / '
        '"data/db.sqlite3". An old file goes to HOME/shared/data.',
    ),
    Known(
        "destructive-migration",
        r"the old code|and its rows are lost|and what it holds are lost",
        "While migrations run, and until the last instance is renewed, the old code serves; and it comes back with a "
        "rollback. This migration takes away what it needs, or what cannot be brought back.",
        "Deploy in two steps: first the code that works with both schemas, and with the next deploy the migration. "
        "Or, knowing it: fab deploy --allow-destructive",
    ),
    Known(
        "no-way-back",
        r"it has no way back|does not have this migration|cannot be unapplied alone",
        "A migration between the two releases cannot be unapplied, so the older code would meet a schema that it does "
        "not know.",
        "Repair it with a new deploy; or, knowing it: fab rollback --allow-destructive",
    ),
    Known(
        "lock-timeout",
        r"a lock was not free within",
        "On PostgreSQL an ALTER TABLE that waits for a lock makes every query behind it wait. So a migration gives "
        "way, and is tried again, a few times.",
        "Look for what holds the table (pg_stat_activity), then deploy again; or raise lock_timeout.",
    ),
    # --- the processes
    Known(
        "smoke-test",
        r"of the new release does not serve",
        "The new release's own server was started on a private socket, in the real environment, and did not answer its "
        "health path. It would not have answered your users either.",
        "Its log is above. Try it on your machine with the same settings; or, if the server cannot be started there: "
        "smoke_test=False",
    ),
    Known(
        "no-restart",
        r"Supervisor started no other",
        "The old process ended, and Supervisor's program does not start it again.",
        "Root installs what this prints, on the server (the README has the line): fab supervisor-conf",
    ),
    Known(
        "too-many-failures",
        r"requests have failed; the settings allow",
        "Probe(max_failures=...) makes a failed request a reason to go back.",
        "See which failed and why: the line above, and log/deploys.jsonl on the server.",
    ),
    Known(
        "not-ready",
        r"not ready within|exits as soon as it is started|exit as soon as they are started|has ended|does not come up",
        "A renewed instance did not become healthy in its time, so the old release was brought back.",
        "Its log is above, and in: fab logs. How all stand: fab status",
    ),
    # --- tasks
    Known(
        "step-timeout",
        r"did not end within .* \(settings: step_timeout\)",
        "A step that never ends would hold the lock for ever.",
        "If it needs that long, raise step_timeout; else look at what it waited for: it may not ask questions.",
    ),
    Known(
        "step-killed",
        r"was killed by SIG|failed \(exit 137\)|(?m:^(.*line \d+: +\d+ )?Killed\b)",
        "Somebody, or the kernel for want of memory, ended the step, or a program that it ran (exit 137).",
        "As root on the server: dmesg | grep -i oom; if it was memory: give the server more, or swap.",
    ),
    Known(
        "nothing-to-go-back-to",
        r"there is no good release before",
        "Rollback goes to releases that have served, and to none that failed or was rolled back.",
        "See what there is: fab releases; then: fab rollback --to=RELEASE",
    ),
    Known(
        "nothing-live",
        r"no release is live",
        "The task needs a release that is current.",
        "Deploy one: fab deploy",
    ),
    Known(
        "interrupted",
        r"interrupted",
        "Ctrl-C, or a CI job that was cancelled.",
        "Deploy again when you are ready; nothing has to be cleared up.",
    ),
    Known(
        "secrets-differ",
        r"secret files are missing or differ",
        "Somebody changed them here or there.",
        "Install them: fab secrets",
    ),
    Known(
        "settings",
        r"(a problem|\d+ problems)\.\n",
        "The settings check themselves, and name all problems at once.",
        "Correct what the lines name; the README explains all settings and options.",
    ),
)


def known_error(texts: Iterable[str]) -> Known | None:
    """The entry for what an error says, or for the output of the step that failed."""
    text = "\n".join(texts)
    return next((known for known in KNOWN if re.search(known.pattern, text)), None)


def remedy_for(output: Iterable[str]) -> str:
    """What to do about a failed step, judged by its output; empty if nobody knows."""
    known = known_error(output)
    return known.remedy if known else ""


def as_markdown() -> str:
    """The whole table, as `docs/errors.md` has it."""
    lines = [
        "# Errors, and what to do about them",
        "",
        "`fab explain CODE` says the same. Made by `make docs-generated` from `src/djdeploy/errors/catalogue.py`.",
    ]
    for known in KNOWN:
        lines += ["", f"## {known.code}", "", known.why, "", known.remedy]
    return "\n".join(lines) + "\n"
