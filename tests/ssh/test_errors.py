"""Each error of the table is met for real: its cause is made, and what is shown names its code."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from djdeploy import Probe, Secret
from djdeploy.rehearsal.waiting import wait_until

from .site import HOME, Servers, Site, live_site

Provoke: TypeAlias = Callable[[Site], str]
"""Makes the cause, runs `fab`, returns what it shows, and leaves the site as it was."""

OTHER = "/srv/www/other"
"""Another home, in which nothing serves."""

ENVIRONMENT = {"SECRET_KEY": "x", "ALLOWED_HOSTS": "127.0.0.1,localhost"}
RAISE = ["echo 'raise RuntimeError' >> src/demo/wsgi.py"]
"""A build step that breaks the release."""


ELSEWHERE = {
    "lock-timeout": "tests/shell/test_never_stalls.py: it needs a PostgreSQL",
    "release-exists": "tests/shell/test_deploys_here.py: it needs a clock that is known",
    "out-of-memory": "tests/text/test_errors.py: a server without memory would take the target with it",
    "shared-outside": "tests/shell/test_deploys_here.py: it needs a repository with such a link",
    "unexpected-answer": "tests/text/test_errors.py: it needs an agent that lies",
    "not-acknowledged": "tests/shell/test_one_transaction.py: it needs a network that breaks at one instant",
    "requests-failed": "tests/shell/test_probed.py: it needs a site that is well, and then is not",
    "hosts-differ": "tests/text/test_targets.py: it needs two hosts",
    "not-judged": "tests/shell/test_migrations.py: it needs a database that is down",
    "breaking-migration": "tests/shell/test_migrations.py: it stops where destructive-migration does",
    "older-code": "tests/shell/test_migrations.py: it needs two releases, and a commit that is older than both",
    "unreadable-migration": "tests/shell/test_odd_databases.py: it needs a migration that raises",
    "migration-cut-off": "tests/shell/test_never_stalls.py: it needs a migration that fails halfway",
    "hold-timeout": "tests/shell/test_never_stalls.py: it needs a PostgreSQL",
    "backup-failed": "tests/shell/test_backup.py: it needs a program that fails",
    "depends-on-waiting": "tests/shell/test_contract.py: it needs migrations that wait",
    "new-code-cannot-wait": "tests/shell/test_contract.py: it needs migrations that wait",
    "old-code-runs": "tests/shell/test_contract_here.py: it needs migrations that wait",
    "release-not-there": "tests/text/test_targets.py: it needs two hosts",
    "noexec": "tests/unit/test_facts.py: it needs a mount",
    "page-error": "tests/shell/test_smoke.py: it needs a page that raises",
    "table-missing": "tests/shell/test_smoke.py: it needs a page that raises",
    "static-manifest": "tests/text/test_errors.py: it needs another order of the management commands",
    "fault": "tests/text/test_errors.py: it needs a step that raises",
    "export-ignored": "tests/shell/test_sources.py: it needs a repository with such attributes",
    "lfs-missing": "tests/shell/test_sources.py: it needs git-lfs where the repository is made",
    "requirements-unreadable": "tests/unit/test_requirements.py: it needs a line that pip could not read",
    "not-installed": "tests/shell/test_environments.py: it needs pip to be configured so",
    "other-python": "tests/shell/test_environments.py: it needs an installer that errs",
    "other-python-needed": "tests/text/test_errors.py: it needs a package for another Python",
    "unsafe-packages": "tests/text/test_errors.py: it needs a package that needs setuptools",
    "index-order": "tests/text/test_errors.py: it needs two indexes",
    "no-compiler": "tests/text/test_errors.py: it needs a package without a wheel",
    "no-headers": "tests/text/test_errors.py: it needs a package without a wheel",
    "no-python-headers": "tests/text/test_errors.py: it needs a package without a wheel",
    "no-django": "tests/text/test_errors.py: it needs lock files without Django",
    "module-missing": "tests/text/test_errors.py: it needs code that lacks a module",
    "host-key-revoked": "tests/ssh/test_as_openssh.py: it needs other known_hosts",
    "login-refused": "tests/ssh/test_as_openssh.py: it needs an account that cannot log in",
    "no-agent": "tests/ssh/test_as_openssh.py: it needs a user without an agent",
    "ssh-config": "tests/ssh/test_as_openssh.py: it needs another ssh_config",
    "ssh-algorithms": "tests/ssh/test_as_openssh.py: it needs another ssh_config",
    "listens-elsewhere": "tests/shell/test_rolling_restart.py: it needs a server that binds another address",
    "asks-questions": "tests/text/test_interactive.py: it needs no server",
    "server-configuration": "tests/shell/test_gunicorn.py: it needs another gunicorn.conf.py",
    "command-line": "tests/text/test_command_line.py: it needs no server",
    "fabfile": "tests/text/test_command_line.py: it needs no server",
}
BARE: dict[str, Any] = {
    "home": "/srv/www/bare",  # since what serves in HOME would be left without a successor
    "processes": [],
    "manage_steps": [],
    "requirements": [],
    "extra_requirements": [],
}


@pytest.fixture(scope="module")
def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose first release serves. Each error leaves it as it was."""
    return live_site(tmp_path_factory.mktemp("errors"), *servers(1))


@contextlib.contextmanager
def changed(site: Site, do: str, undo: str) -> Iterator[None]:
    """Meanwhile root has changed something on the server."""
    assert site.target.root("sh", "-c", do)[0] == 0
    try:
        yield
    finally:
        assert site.target.root("sh", "-c", undo)[0] == 0


@contextlib.contextmanager
def ssh_config(site: Site, old: str, new: str, more: str = "") -> Iterator[None]:
    """Meanwhile ours is another."""
    path = site.directory / "ssh_config"
    before = path.read_text()
    path.write_text(before.replace(old, new) + more)
    try:
        yield
    finally:
        path.write_text(before)


def fab(*words: str, code: int = 1, **settings: Any) -> Provoke:
    return lambda site: site.fab(*words, code=code, **settings)


def meanwhile(do: str, undo: str, provoke: Provoke) -> Provoke:
    def provoked(site: Site) -> str:
        with changed(site, do, undo):
            return provoke(site)

    return provoked


def host_key_unknown(site: Site) -> str:
    empty = site.directory / "empty"
    empty.touch()
    with ssh_config(site, str(site.target.known_hosts), str(empty)):
        return site.fab("releases", code=4)


def host_key_changed(site: Site) -> str:
    known = site.target.known_hosts
    other = site.directory / "other"
    key = site.target.key_file.with_name("other.pub").read_text().split()
    other.write_text(f"{known.read_text().split()[0]} {key[0]} {key[1]}\n")
    with ssh_config(site, str(known), str(other)):
        return site.fab("releases", code=4)


def key_refused(site: Site) -> str:
    with ssh_config(site, str(site.target.key_file), str(site.target.key_file.with_name("other"))):
        return site.fab("releases", code=4)


def locked(site: Site) -> str:
    lock = f"{HOME}/.djdeploy/lock"
    site.target.container.exec_run(["flock", lock, "sleep", "1000"], user="demo", detach=True)
    wait_until("the lock", lambda: site.target.root("flock", "-n", lock, "true")[0] != 0)
    try:
        return site.fab("deploy", code=3)
    finally:
        site.target.root("pkill", "-f", "sleep 1000")


def same_server(site: Site) -> str:
    with ssh_config(site, "", "", site.target.ssh_config("another")):
        return site.fab("deploy", code=2, hosts=["target", "another"])


def disk_full(site: Site) -> str:
    home = "/dev/shm/demo"
    site.fab("setup", home=home)
    with changed(site, f"head -c 1000000000 /dev/zero > {home}/filler || true", f"rm -r {home}"):
        return site.fab("deploy", code=1, home=home)


def hashes(site: Site) -> str:
    """A lock file in which only some requirements have hashes."""
    text = site.repository.read("requirements.txt") + "\ntyping-extensions==4.12.2\n"
    site.repository.commit({"half.txt": text}, "Half of the hashes")
    site.push()
    return site.fab("deploy", code=1, requirements=["half.txt"])


def with_migration(name: str, operation: str) -> Mapping[str, Any]:
    """Settings whose build adds a migration to the release."""
    text = (
        "from django.db import migrations\\n"
        "class Migration(migrations.Migration):\\n"
        "    dependencies = [('notes', '0002_note_pinned')]\\n"
        f"    operations = [{operation}]\\n"
    )
    return {"build_steps": [f'printf "{text}" > src/notes/migrations/0003_{name}.py']}


def two_last_migrations() -> Mapping[str, Any]:
    made = [with_migration(name, "migrations.RunSQL('SELECT 1')")["build_steps"] for name in ("one", "other")]
    return {"build_steps": [step for steps in made for step in steps]}


def no_way_back(site: Site) -> str:
    first = site.link("current")
    site.fab("deploy", **with_migration("one_way", "migrations.RunSQL('SELECT 1')"))
    shown = site.fab("rollback", "--migrate-back", code=1)
    site.fab("rollback", "--allow-destructive")
    assert site.link("current") == first
    return shown


def migrations_ahead(site: Site) -> str:
    """A refused rollback is answered with what fits a rollback."""
    first = site.link("current")
    renamed = "migrations.RenameField('note', 'pinned', 'sticky')"
    site.fab("deploy", "--allow-destructive", **with_migration("renames", renamed))
    shown = site.fab("rollback", code=1)
    assert "fab rollback --migrate-back" in shown
    assert "fab deploy --allow-destructive" not in shown
    site.fab("rollback", "--migrate-back")
    assert site.link("current") == first
    return shown


def repository_host_key_changed(site: Site) -> str:
    kind, key = site.target.key_file.with_name("other.pub").read_text().split()[:2]
    site.target.put("/etc/ssh/ssh_known_hosts", f"localhost {kind} {key}\n")
    try:
        return site.fab("deploy", code=1, repository="demo@localhost:project.git")
    finally:
        site.target.root("rm", "/etc/ssh/ssh_known_hosts")


def no_restart(site: Site) -> str:
    """Supervisor's program was written by hand, and only root may read it: nobody else knows before it happens."""
    web = replace(site.settings.processes[0], timeout=5)
    conf = site.fab("supervisor-conf")
    site.target.supervisor(conf.replace("autorestart=true", "autorestart=false"))
    wait_until("the site", site.answering)
    assert "has no autorestart=true" in site.fab("deploy", code=1), "unless it can be read"
    site.target.root("sh", "-c", "chmod 600 /etc/supervisor/conf.d/*")
    try:
        return site.fab("deploy", code=5, processes=[web], smoke_test=False)
    finally:
        site.target.supervisor(conf)
        wait_until("the site", site.answering)


def nothing_runs(site: Site) -> str:
    """All was stopped, and whoever deploys leaves out the look at what the manager has, which says so before."""
    site.target.root("supervisorctl", "stop", "demo-web:*")
    try:
        assert "it was stopped" in site.fab("restart", code=1), "unless it is left out"
        return site.fab("deploy", "--skip=check_manager", code=5)
    finally:
        site.target.root("supervisorctl", "start", "demo-web:*")
        wait_until("the site", site.answering)


def interrupted(site: Site) -> str:
    site.write_fabfile(build_steps=["touch began; sleep 1000"])
    process = site.popen("deploy")
    wait_until("the step", lambda: site.target.root("sh", "-c", f"ls {HOME}/2*/repository/began")[0] == 0)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    return shown


PROVOKED: Mapping[str, Provoke] = {
    "host-unresolved": fab("-H", "demo@nowhere.invalid", "releases", code=4),
    "host-unreachable": fab("-H", "demo@127.0.0.1:9", "releases", code=4),
    "host-key-unknown": host_key_unknown,
    "host-key-changed": host_key_changed,
    "key-refused": key_refused,
    "no-python": fab("releases", python="python9"),
    "agent-failed": fab("releases", python="false", code=4),
    "locked": locked,
    "same-server": same_server,
    "home-not-writable": fab("deploy", home="/root/demo"),
    "not-a-link": meanwhile(f"install -d -o demo {OTHER} {OTHER}/current", f"rm -r {OTHER}", fab("deploy", home=OTHER)),
    "foreign-releases": fab("deploy", project="other"),
    "shared-file-missing": fab("deploy", shared_files=[".env"]),
    "disk-full": disk_full,
    "no-git": meanwhile("mv /usr/bin/git /root/", "mv /root/git /usr/bin/", fab("deploy")),
    "no-venv": meanwhile(
        "mv /usr/lib/python3.11/ensurepip /root/",
        "mv /root/ensurepip /usr/lib/python3.11/",
        fab("deploy", installer="pip"),
    ),
    "ref-unknown": fab("deploy", "--branch=nope"),
    "repository-host-key-changed": repository_host_key_changed,  # before the next but one, which makes it known
    "repository-host-key": fab("deploy", repository="demo@localhost:project.git"),
    "repository-refused": fab("deploy", repository="demo@localhost:project.git", host_keys="accept-new"),
    "repository-missing": fab("deploy", repository="/srv/git/none.git"),
    "repository-unreachable": fab("deploy", repository="ssh://demo@localhost:9/project.git"),
    "name-unresolved": fab("deploy", repository="https://nowhere.invalid/project.git"),
    "requirements-absent": fab("deploy", requirements=["nowhere.txt"]),
    "unpinned": fab("deploy", extra_requirements=["gunicorn"]),
    "requirement-missing": fab("deploy", extra_requirements=["sqlparse==99.99"]),
    "hashes": hashes,
    "static-root": fab("deploy", build_steps=["sed -i /STATIC_ROOT/d src/demo/settings.py"]),
    "allowed-hosts": fab("deploy", env={**ENVIRONMENT, "ALLOWED_HOSTS": "example.com"}),
    "database-in-release": fab("deploy", code=0, env={}, shared_dirs=[], processes=[], home="/srv/www/third"),
    # Without the smoke test, which meets it too, and whose error may come first.
    "database-unreachable": fab("deploy", smoke_test=False, env={**ENVIRONMENT, "DATABASE": "/nowhere/db"}),
    "no-manage": fab("deploy", source_dir="nowhere"),
    "conflicting-migrations": fab("deploy", **two_last_migrations()),
    "no-runtime": fab("deploy", build_steps=["rm ../runtime.json"]),
    "destructive-migration": fab("deploy", **with_migration("loses", "migrations.RemoveField('note', 'pinned')")),
    "migrations-ahead": migrations_ahead,
    "no-way-back": no_way_back,
    "smoke-test": fab("deploy", build_steps=RAISE),
    "no-restart": no_restart,
    "manager-differs": fab("deploy", processes=[]),
    "nothing-runs": nothing_runs,
    "not-ready": fab("deploy", code=5, smoke_test=False, build_steps=RAISE),
    "too-many-failures": fab("deploy", code=5, smoke_test=False, probe=Probe(path="/nowhere/", max_failures=0)),
    "step-timeout": fab("deploy", step_timeout=1, build_steps=["sleep 1000"], **BARE),
    "step-killed": fab("deploy", build_steps=["kill -9 $$"]),
    "nothing-to-go-back-to": meanwhile(f"install -d -o demo {OTHER}", f"rm -r {OTHER}", fab("rollback", home=OTHER)),
    "nothing-live": meanwhile(f"install -d -o demo {OTHER}", f"rm -r {OTHER}", fab("restart", home=OTHER)),
    "interrupted": interrupted,
    "secret-not-installed": meanwhile(
        f"install -d {HOME}/shared/locked",
        f"rm -r {HOME}/shared/locked",
        fab("deploy", secret_files={"locked/.env": Secret(command="echo x")}),
    ),
    "check-failed": fab("check", shared_files=[".env"]),
    "secrets-differ": fab("secrets", "--check", secret_files={".env": Secret(command="echo x")}),
    "settings": fab("cleanup", "--keep=some", code=2),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A third of the errors is provoked, as the faults are chosen: by a seed that is printed. With `--all` all are."""
    if "code" in metafunc.fixturenames:
        option = metafunc.config.option
        some = random.Random(option.fault_seed).sample(sorted(PROVOKED), len(PROVOKED) // 3)
        metafunc.parametrize("code", list(PROVOKED) if option.all else sorted(some))


def test_an_error_that_is_met_names_its_code_and_leaves_the_site_as_it_was(site: Site, code: str) -> None:
    before = site.link("current")
    shown = PROVOKED[code](site)
    assert f"fab explain {code}" in shown
    assert site.link("current") == before
    assert site.answering() == before
