"""Every error that has a code: why it happens, and what to type.

An error is raised with its code, here or by a djdeploy program on the server; `foreign` recognises those of other
programs. Errors show the remedy, `fab explain CODE` shows both, and `docs/errors.md` is made from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .foreign import programs_that_print


@dataclass(frozen=True)
class Entry:
    """What is known about an error.

    Args:
        why: how it comes about.
        remedy: what to do, or to type. It works as it is shown, once the words in CAPITALS are replaced.
    """

    why: str
    remedy: str


REACHING_THE_SERVER = {
    "host-unresolved": Entry(
        "No name server knows this host, and ssh_config has no entry for it.",
        "Check the spelling in `hosts` or after -H, then try: ssh HOST",
    ),
    "host-unreachable": Entry(
        "Nothing answers at this address and port, a firewall drops the packets, or the network broke. A server that "
        "loses its client in the middle of a task, and still runs, undoes by itself what the task had begun there; one "
        "that lost its power comes up as it went down.",
        "Try: ssh HOST. If the host answers slowly, raise `connect_timeout` in the settings.",
    ),
    "not-acknowledged": Entry(
        "At the end of a task every host acknowledges that what was done there stays. A host that has heard nothing "
        "from this client for 45 s, because the client was asleep or the network was cut, has gone back by itself.",
        "See how the site stands: fab status. Then run the task again.",
    ),
    "host-key-unknown": Entry(
        "known_hosts does not have this server's key, and djdeploy connects to no server that it cannot identify: "
        "anybody could answer in its place.",
        "Compare the fingerprint with the server's own, then type what the error shows: it accepts exactly this key. "
        'Or set host_keys="accept-new".',
    ),
    "host-key-changed": Entry(
        "The server was reinstalled, or somebody is intercepting the connection.",
        "Only if you know why the key changed: ssh-keygen -R HOST; then connect again and compare the new fingerprint.",
    ),
    "host-key-revoked": Entry(
        "known_hosts, or the file of revoked keys, says that this host key, or the authority that signed it, must not "
        "be trusted any more: somebody may have stolen it.",
        "Ask whoever revoked it. If the server has a new key, the old one must be removed there.",
    ),
    "ssh-config": Entry(
        "The configuration of ssh has an error, so that ssh itself could not connect either.",
        "Correct the line that is named, then try: ssh HOST",
    ),
    "ssh-algorithms": Entry(
        "ssh_config (Ciphers, MACs, KexAlgorithms, HostKeyAlgorithms, PubkeyAcceptedAlgorithms), or the server's own "
        "configuration, allows only algorithms that this client does not have.",
        "Allow one of those that the error names; ssh -G HOST prints what ssh_config says.",
    ),
    "no-agent": Entry(
        "The settings, or ssh_config, want your SSH agent on the server (`forward_agent`), and none answers at "
        "SSH_AUTH_SOCK.",
        'Start one and give it your key: eval "$(ssh-agent)" && ssh-add. In CI rather use `deploy_key`.',
    ),
    "key-refused": Entry(
        "The account's ~/.ssh/authorized_keys on the server has none of the SSH keys that you offer, or you have none "
        "to offer.",
        "List the keys that you offer: ssh-add -l. Authorise one: ssh-copy-id HOST",
    ),
    "login-refused": Entry(
        "The server hangs up, or runs something other than what djdeploy asked for: the account's shell is nologin, "
        "the account or its password has expired, sshd has a ForceCommand for it, or a shell start-up file ends the "
        "session.",
        "Read what the server says above. Then try: ssh HOST echo hello. It must print hello.",
    ),
    "no-python": Entry(
        "The djdeploy agent needs Python 3.8 or newer on the server, under the name that `python` has in the settings.",
        "As root on the server: apt-get install -y python3 python3-venv",
    ),
    "agent-failed": Entry(
        "The djdeploy agent ended before it answered: the account's shell start-up files end the session, or the "
        "server's Python is older than 3.8.",
        "See what the server prints: ssh HOST python3 --version. It must be 3.8 or newer, and nothing else.",
    ),
    "unexpected-answer": Entry(
        "What arrived is not what a djdeploy agent says, and nothing of it was used: a shell start-up file prints "
        "something, or somebody else has changed the agent's files.",
        "See what the account's shell prints: ssh HOST true. It must print nothing. See also who else may write into "
        "the account's home directory.",
    ),
    "locked": Entry(
        "Only one deploy runs at a time: somebody is deploying now, or a step outlived its deploy. The lock is a "
        "kernel lock that ends with the processes that hold it, so there is no file to remove.",
        "See who holds it: fab lock. A deploy can wait for it: fab deploy --wait=600",
    ),
    "same-server": Entry(
        "Two entries of `hosts` lead to the same machine and the same `home`. One deploy cannot publish there twice.",
        "List the server once, or give each project a home of its own.",
    ),
}

ON_THE_SERVER = {
    "home-not-writable": Entry(
        "The account neither owns `home` nor may create it.",
        "As root on the server: install -d -o ACCOUNT HOME",
    ),
    "not-a-link": Entry(
        "`current` and `previous` must be links, and something else has one of these names, such as a checkout made by "
        "hand. djdeploy did not make it, and does not touch it.",
        "If you do not need it there, on the server: mv HOME/current HOME/current.before-djdeploy",
    ),
    "release-exists": Entry(
        "The directory of the new release exists already. It has no release.json, so djdeploy did not make it, and "
        "does not touch it.",
        "Move it away; or deploy again: the name of a release has the time in it.",
    ),
    "no-runtime": Entry(
        "A release's `runtime.json` says which processes to run. djdeploy did not make this release, or somebody "
        "removed the file.",
        "Deploy a new release: fab deploy",
    ),
    "foreign-releases": Entry(
        "Another project deploys to the same `home`.",
        "Give each project a home of its own.",
    ),
    "shared-file-missing": Entry(
        "Every release links to the files in `shared_files`, and no step creates them.",
        "Copy the file to the server, into HOME/shared; or let each deploy install it: `secret_files` in the settings.",
    ),
    "shared-outside": Entry(
        "A directory above the shared path is a link in the repository, and leads out of the release. Following it, "
        "a deploy would change files that are not its own.",
        "Remove the link from the repository, or share another path (settings: shared_dirs, shared_files).",
    ),
    "disk-full": Entry(
        "A file system has no room, or no inodes, for another file. What is being served is not affected.",
        "See which file system is full, on the server: df -h; df -i. If it is the one that holds `home`, remove old "
        "releases: fab cleanup --keep=2",
    ),
    "out-of-memory": Entry(
        "The kernel gave a program no memory.",
        "See what uses the memory, on the server: free -h. Give the server more memory, or swap.",
    ),
    "noexec": Entry(
        "The file system that holds `home`, or the virtualenvs in it, is mounted with the option `noexec`: the kernel "
        "starts no program from it and loads no compiled module.",
        "See its options, on the server: findmnt -T HOME. As root there: mount it without noexec (/etc/fstab); or "
        "choose another `home`",
    ),
    "no-git": Entry(
        "The server fetches the code itself, with Git.",
        "As root on the server: apt-get install -y git",
    ),
    "no-venv": Entry(
        "Debian and Ubuntu ship a part of Python's standard library in a package of its own, and it is missing.",
        "As root on the server: apt-get install -y python3-venv (or install uv)",
    ),
    "secret-not-installed": Entry(
        "A secret file could not be written into `shared`: the account may not write there, or something else is in "
        "its place.",
        "Look at its directory on the server: ls -la HOME/shared. The account must be able to write there.",
    ),
    "secrets-differ": Entry(
        "A secret file was changed on the server or on your machine, or was never installed.",
        "Install them: fab secrets",
    ),
}

THE_CODE = {
    "ref-unknown": Entry(
        "The repository, as the server sees it, has no branch, tag or commit of this name.",
        "Push it first, or name another: fab deploy --branch=REF",
    ),
    "export-ignored": Entry(
        "The code arrives by `git archive`, which leaves out what `export-ignore` in .gitattributes names. That is "
        "respected; but the settings, or the requirements, name a file that it takes away.",
        "Remove the line with export-ignore that matches the file from .gitattributes, commit, and deploy again.",
    ),
    "lfs-missing": Entry(
        "The repository keeps large files by Git LFS, and has only pointers to them. Without git-lfs on the server, "
        "the site would serve the pointers in the place of the files.",
        "As root on the server: apt-get install -y git-lfs",
    ),
    "repository-host-key-changed": Entry(
        "The repository's host shows the server another key than before: it was reinstalled, or somebody is "
        "intercepting the connection and could hand your server code of their own.",
        "Only if you know why the key changed and its operator publishes the new fingerprint, on the server as the "
        "deploying account: ssh-keygen -R GIT_HOST; then deploy again to see the new key.",
    ),
    "repository-host-key": Entry(
        "The server's known_hosts does not have the key of the repository's host: anybody could answer in its place.",
        "Compare the fingerprint above with the one that the host's operator publishes; then run the command shown "
        'there, on the server as the deploying account. Or set host_keys="accept-new".',
    ),
    "repository-refused": Entry(
        "The server fetches the code with a key of its own, or with your forwarded SSH agent, and neither may read "
        "the repository.",
        "Give the server a deploy key (settings: deploy_key); or set forward_agent=True and see that the right key is "
        "loaded: ssh-add -l",
    ),
    "repository-missing": Entry(
        "There is no repository at this address as seen from the server, though there may be one from your machine.",
        "Check `repository` in the settings. On the server, as the deploying account: git ls-remote REPOSITORY",
    ),
    "repository-unreachable": Entry(
        "The server cannot connect to the repository's host: the address or port is wrong, a firewall drops the "
        "packets, or the host is down.",
        "On the server, as the deploying account: git ls-remote REPOSITORY",
    ),
    "name-unresolved": Entry(
        "The server cannot resolve the name of another host: the name is wrong, or the server's name server does not "
        "answer.",
        "The error shows the name. On the server: getent hosts NAME",
    ),
}

THE_ENVIRONMENT = {
    "unpinned": Entry(
        "Two deploys of one commit must install the same packages. A requirement without an exact version, a branch, a "
        "tag, and an address without a hash may change between two deploys, and between two hosts.",
        "Compile a lock file, commit it, and deploy again: pip-compile requirements.in. What comes from Git: "
        "NAME @ git+ADDRESS@COMMIT, with all 40 digits. A lock of uv: uv export --no-emit-project "
        "-o requirements.txt",
    ),
    "requirements-unreadable": Entry(
        "A requirements file is not in UTF-8, or has a line that pip would not read, or would read only in part. What "
        "is not read could be anything.",
        "Correct the lines above, commit, and deploy again. To see what pip makes of them: "
        "pip install --dry-run -r requirements.txt",
    ),
    "requirements-absent": Entry(
        "The settings, or a requirements file, name a file or a directory that neither the commit nor the server has: "
        "it was not committed, is only on your machine, or its path is wrong.",
        "Commit it, or correct its path: `-r` and `-c` start from the file that has them, all else from the top of the "
        "repository. Without the directories that only your machine has: "
        "pip-compile --no-emit-index-url --no-emit-find-links requirements.in",
    ),
    "not-installed": Entry(
        "The installer ended without an error, and a package of the lock files is not in the virtualenv: something in "
        "the account's configuration leads it elsewhere.",
        "See what is configured, on the server as the deploying account: python3 -m pip config list; env | grep -e "
        "PIP_ -e UV_. What leads elsewhere: target, prefix, root, dry-run.",
    ),
    "other-python": Entry(
        "The installer made the virtualenv with another interpreter than `python` names on this server. The lock file "
        "was chosen for that one.",
        'Set `python` to the interpreter that you mean, by its path: python="/usr/bin/python3". See which it is, on '
        "the server: python3 -c 'import sys; print(sys.executable, sys.version)'",
    ),
    "requirement-missing": Entry(
        "The package index has no such version, or none for the server's Python.",
        "Compile the lock file with the Python version that the server has, commit it, and deploy again: "
        "pip-compile requirements.in",
    ),
    "hashes": Entry(
        "As soon as one line of a lock file has a hash, every line must have one that matches what is downloaded.",
        "Compile the whole lock file with hashes, commit it, and deploy again: "
        "pip-compile --generate-hashes requirements.in",
    ),
    "unsafe-packages": Entry(
        "A package of the lock file needs setuptools or pip, which pip-compile leaves out, since it takes them for "
        "unsafe to pin. With hashes everything must be pinned.",
        "Compile the lock file with them, commit it, and deploy again: "
        "pip-compile --generate-hashes --allow-unsafe requirements.in",
    ),
    "index-order": Entry(
        "uv takes a package from the first index that has any version of it, so that nobody can put a package of the "
        "same name on another one. This version is on a later index.",
        'If you trust all of these indexes alike, in the fabfile: env={"UV_INDEX_STRATEGY": "unsafe-best-match"}. '
        "Otherwise list the index that shall have it first.",
    ),
    "other-python-needed": Entry(
        "A package of the lock file does not work with the Python that `python` names on the server: the lock file was "
        "compiled for another.",
        "Name the Python that it was compiled for (settings: python); or compile it with the server's version, commit "
        "it, and deploy again: uv pip compile --python-version VERSION requirements.in -o requirements.txt",
    ),
    "no-compiler": Entry(
        "A package has no wheel for this server and its Python, so it is built from source, and the server has no "
        "compiler.",
        "As root on the server: apt-get install -y build-essential python3-dev. For a package in Rust: cargo. Or pin a "
        "version that has a wheel.",
    ),
    "no-python-headers": Entry(
        "A package has no wheel for this server and its Python, so it is built from source, and Python's headers are "
        "missing.",
        "As root on the server: apt-get install -y python3-dev (for a Python with a version of its own: "
        "pythonVERSION-dev). Or pin a version that has a wheel.",
    ),
    "no-headers": Entry(
        "A package is built from source, and the library that it is for is missing on the server, or its headers are.",
        "As root on the server, for PostgreSQL: apt-get install -y libpq-dev; for MySQL: "
        "apt-get install -y default-libmysqlclient-dev pkg-config; for another library, its package that ends in -dev. "
        "Or pin a version that has a wheel.",
    ),
}

DJANGO = {
    "no-django": Entry(
        "The lock files do not have Django, so the virtualenv has none.",
        "Add django to requirements.in, compile, commit, and deploy again: pip-compile requirements.in. If Django is "
        "in another lock file, name that, too (settings: requirements).",
    ),
    "module-missing": Entry(
        "The code imports a module that is neither in this commit nor in a package of the lock files.",
        "If it comes with a package, add that to requirements.in: pip-compile requirements.in. If it is your own: git "
        "status shows whether it was committed.",
    ),
    "no-manage": Entry(
        "`source_dir` is the folder of the repository that holds manage.py, and this commit has no manage.py there.",
        "Find it: git ls-files '*manage.py'; then set `source_dir` to its folder, such as source_dir=\"src\".",
    ),
    "database-unreachable": Entry(
        "Django cannot connect to its database with the settings and the environment of the release: the database is "
        "down, its name, address or password is wrong, or a variable is missing on this host (settings: env, "
        "secret_files).",
        "Compare the message above with DATABASES in Django's settings. To see whether the live release can connect: "
        'fab manage "check --database default"',
    ),
    "database-in-release": Entry(
        "A SQLite database lies beside the code, as `startproject` has it. Each release is a directory of its own, so "
        "the site would lose its data with every deploy, and what was written since with a rollback. Once the database "
        "has rows, both are refused.",
        'Keep it in a shared directory: shared_dirs=["data"] in the fabfile, and BASE_DIR / "data/db.sqlite3" in '
        "Django's settings. Move an existing file to HOME/shared/data. If its rows may go: "
        "fab deploy --allow-destructive, or fab rollback --allow-destructive",
    ),
    "conflicting-migrations": Entry(
        "Two branches of the code have each added a migration after the same one, so Django cannot tell which is the "
        "last.",
        "In your checkout: python manage.py makemigrations --merge; commit and push the result, and deploy again.",
    ),
    "destructive-migration": Entry(
        "The old code serves while migrations run, until the last instance has restarted, and again after a rollback. "
        "This migration removes data that nothing can bring back, and that the old code may need.",
        "Deploy in two steps: first the code that does without it, then the migration. If nothing needs what it "
        "removes, say so in the fabfile, for this migration alone (settings: allow), or once: "
        "fab deploy --allow-destructive",
    ),
    "breaking-migration": Entry(
        "The old code serves while migrations run, until the last instance has restarted, and again after a rollback. "
        "It does not work with what this migration makes. Nothing is lost.",
        "Do it as the message above says. If the old code does not do what would fail, say so in the fabfile, for "
        "this migration alone (settings: allow), or once: fab deploy --allow-breaking",
    ),
    "old-code-runs": Entry(
        "A process of an earlier release still runs: a worker that ends slowly, a command, or somebody's shell in its "
        "directory. What it may use is not removed under it. The new release is live.",
        "End what the message above names, or let it end; then: fab deploy. If it may take so long: "
        "Process(stop_timeout=...)",
    ),
    "depends-on-waiting": Entry(
        "A migration that is marked as `djdeploy_contract` runs after its release is published, when the code that may "
        "use what it removes is gone. What depends on it cannot run before it.",
        "Mark the one that depends on it as well, if the new code does without it until then (djdeploy_contract = True "
        "in its class); or have it depend on an earlier migration; or deploy first without it, and then with it.",
    ),
    "new-code-cannot-wait": Entry(
        "A migration that is marked as `djdeploy_contract`, or only removes, runs after its release is published. "
        "Until then the new code serves with the schema as it was, and this code fails with it.",
        "Do it as the message above says: a column that goes becomes nullable first, a key that goes loses its "
        "constraint, in a migration that does not wait; both belong to one deploy. If the new code does not do what "
        "would fail: fab deploy --allow-breaking",
    ),
    "older-code": Entry(
        "The commit is older than the live release, or lacks a migration that is applied: a branch without it, or a "
        "git revert. Its code does not work with what that migration has made.",
        "Deploy a commit that has the migration. To unapply it: fab rollback --migrate-back. To deploy this commit "
        "over the newer schema: fab deploy --allow-destructive",
    ),
    "migrations-ahead": Entry(
        "Migrations were applied since the older release was live, and its code does not work with the newer schema. "
        "All of them can be unapplied.",
        "Unapply them first, which loses what they have stored since: fab rollback --migrate-back. To keep the newer "
        "schema under the older code: fab rollback --allow-destructive",
    ),
    "no-way-back": Entry(
        "A migration between the two releases cannot be unapplied, so the older code would run on a schema that it "
        "does not know.",
        "Fix the fault with a new deploy: fab deploy. If the older code works with the newer schema: "
        "fab rollback --allow-destructive",
    ),
    "not-judged": Entry(
        "Migrations were applied since the older release was live. Whether its code works with them is judged by the "
        "live release's code, and the database; one of these did not answer. They have 20 seconds for it, in which a "
        "busy server's other work does not count, and two minutes in all.",
        "To go back without this judgement: fab rollback --allow-destructive",
    ),
    "lock-timeout": Entry(
        "An ALTER TABLE that waits for its lock makes every later query of the site wait behind it. So a migration "
        "does not queue while another transaction keeps its table, and is tried again for `lock_patience`. Who keeps "
        "it is named: a report, a dump, a session that was left idle.",
        "Wait for its end, or end it: SELECT pg_terminate_backend(PID) on PostgreSQL, KILL PID on MySQL and MariaDB. "
        "Then deploy again: fab deploy. Or give it longer: `lock_patience` in the settings.",
    ),
    "hold-timeout": Entry(
        "A migration kept a table of PostgreSQL from the site for longer than `hold_timeout`: a statement reads or "
        "rewrites all of its rows, or Python works for long after a statement that has locked the table. It was rolled "
        "back.",
        "Do it beside the site: an index by AddIndexConcurrently, a constraint by AddConstraintNotValid and then "
        "ValidateConstraint, RunPython in a migration of its own. Or raise `hold_timeout` in the settings, and deploy "
        "when few are there.",
    ),
    "unreadable-migration": Entry(
        "Django reads all migrations before it applies any. One raises an error when it is imported, or depends on one "
        "that is not there, so nothing could be judged. Nothing was migrated.",
        "Fix it: python manage.py migrate --plan shows the same error on your machine. Then push, and deploy again: "
        "fab deploy",
    ),
    "backup-failed": Entry(
        "The databases are backed up before they are migrated (settings: backup), and that failed. Nothing is "
        "migrated.",
        "Install the program that it names, of the server's version or newer: on Debian as root, apt-get install -y "
        'postgresql-client or mariadb-client; make room on the disk; or without a backup, `backup="never"` in the '
        "settings.",
    ),
    "migration-cut-off": Entry(
        "A migration that is no single transaction was cut off, and goes on where it stopped. But a table that it had "
        "changed is not as it left it, so what is left to do cannot be known.",
        "Make the database what it was before the migration, delete its rows from the table djdeploy_unfinished, and "
        "deploy again: fab deploy.",
    ),
    "static-root": Entry(
        "collectstatic copies files into STATIC_ROOT, and the project's settings have none.",
        'Set STATIC_ROOT = BASE_DIR / "static" in Django\'s settings, or remove collectstatic from `manage_steps`.',
    ),
    "page-error": Entry(
        "The page that the health check asks raised an exception. While DEBUG is off, Django's default LOGGING writes "
        "exceptions nowhere. The smoke test shows them all the same, and its log goes with it.",
        "Its exception is above. To have others in `fab logs`, in Django's settings: "
        'LOGGING = {"version": 1, "disable_existing_loggers": False, "handlers": {"console": {"class": '
        '"logging.StreamHandler"}}, "root": {"handlers": ["console"], "level": "WARNING"}}',
    ),
    "table-missing": Entry(
        "A page, or a module that is imported, asks for a table that the database does not have yet. Where something "
        "is live, migrations run after the smoke test: the old code must not lose its database to a release that does "
        "not start.",
        "Give the health check a page that needs no new table; or deploy in two steps, first the migration. "
        "No module may ask the database while it is imported.",
    ),
    "static-manifest": Entry(
        "ManifestStaticFilesStorage looks files up in the manifest that collectstatic writes, and this ran before it; "
        "or the file is not in the repository.",
        'Put collectstatic first: manage_steps=["collectstatic --noinput", "check", "compilemessages", '
        '"migrate --noinput"]. If it is first already, add the file to the repository.',
    ),
    "allowed-hosts": Entry(
        "Django's ALLOWED_HOSTS does not have the Host header that the health check sends: the address in `bind`, "
        "unless the check has a header of its own.",
        'Give the health check a host that ALLOWED_HOSTS has: health=Health("/", headers={"Host": "example.com"})',
    ),
}

THE_PROCESSES = {
    "smoke-test": Entry(
        "djdeploy started the new release's server on a private socket, in its real environment, and it did not answer "
        "its health path. It would not have answered your users either.",
        "The server's log is shown above. Try the release on your machine with the same settings. If its server cannot "
        "run on a socket: smoke_test=False in the settings.",
    ),
    "server-configuration": Entry(
        "Gunicorn was asked for its configuration in the new release's own environment, which its options, "
        "GUNICORN_CMD_ARGS and gunicorn.conf.py make together. As it is it cannot run under a process manager.",
        "Remove from gunicorn.conf.py, the command and `env` what the lines above name; then: fab deploy",
    ),
    "no-restart": Entry(
        "The old process ended, and Supervisor did not start it again: its program was not installed as djdeploy "
        "prints it.",
        "Install Supervisor's programs again: fab supervisor-conf | ssh root@HOST 'cat > "
        "/etc/supervisor/conf.d/PROJECT.conf && supervisorctl update'",
    ),
    "nothing-runs": Entry(
        "A process that users reach has no running instance, so nobody would be served: its program was stopped, was "
        "never installed, or Supervisor has given it up. What served before was not ended.",
        "As root on the server: supervisorctl status. Start what is stopped: supervisorctl start 'PROJECT-PROCESS:*'. "
        "If the program is not there, install what `fab supervisor-conf` prints; then deploy again.",
    ),
    "manager-differs": Entry(
        "What Supervisor runs, and on which addresses, is not what the settings need: a process, its `bind` or its "
        "`instances` has changed and the configuration was not installed again, or a program was stopped. Only root "
        "may change that.",
        "Do what the lines above say, then deploy again. What has to be installed: fab supervisor-conf",
    ),
    "listens-elsewhere": Entry(
        "The server that a process becomes binds its address itself, and binds another one than `bind` in the settings "
        "names: whoever asks there gets no answer.",
        "Name the same address in the command and in `bind`; or let the server take djdeploy's socket, as Gunicorn "
        "does by itself: uvicorn --fd 3, hypercorn --bind fd://3, daphne --fd 3, uwsgi --http-socket fd://3.",
    ),
    "not-ready": Entry(
        "A restarted instance did not become healthy in time, or did not stay so.",
        "Its log is shown above, and by: fab logs. The state of all instances: fab status",
    ),
    "too-many-failures": Entry(
        "More of the requests that djdeploy sent meanwhile failed than Probe(max_failures=...) allows, so the old "
        "release was brought back.",
        "The lines above say which requests failed, and why; so does log/deploys.jsonl on the server.",
    ),
    "requests-failed": Entry(
        "The task is done and nothing was undone, but a greater part of the requests that djdeploy sent meanwhile "
        "failed than Probe(max_share=...) allows. The processes have no socket that they share, so nobody listens "
        "while one restarts; the migrations did not suit the code that served; or the site is overloaded.",
        "See whether it serves: fab status; fab logs. log/deploys.jsonl on the server says which requests failed, and "
        "when. To go back: fab rollback",
    ),
}

TASKS = {
    "step-timeout": Entry(
        "A step that never ends would hold the lock for ever.",
        "If the step needs that long, raise `step_timeout` in the settings. If it waited for an answer: no step can "
        "ask questions.",
    ),
    "asks-questions": Entry(
        "A management command asks questions, such as `createsuperuser`, or is one long question, such as `shell`. "
        "`fab manage` has no terminal, so that Django would skip what was to be done and still report success.",
        "Run it in a terminal of the server, as the error shows; or give it all answers: "
        "fab manage 'createsuperuser --noinput --username=NAME --email=ADDRESS'",
    ),
    "step-killed": Entry(
        "The step, or a program that it ran, was killed: by somebody, or by the kernel when memory ran out.",
        "As root on the server: dmesg | grep -i oom. If memory ran out, give the server more memory, or swap.",
    ),
    "interrupted": Entry(
        "Somebody pressed Ctrl-C, or cancelled the CI job.",
        "Start again when you are ready. There is nothing to clean up.",
    ),
    "nothing-to-go-back-to": Entry(
        "A rollback goes to a release that has served. It skips releases that failed or were rolled back.",
        "See which releases there are: fab releases; then name one: fab rollback --to=RELEASE",
    ),
    "release-not-there": Entry(
        "A host that joined later, or was left out of a deploy, does not have what the others go back to. Releases of "
        "one commit are the same release on all hosts.",
        "Go back on the others: fab rollback --except=HOST; then bring it along: fab deploy --only=HOST "
        "--branch=COMMIT",
    ),
    "hosts-differ": Entry(
        "The hosts run different releases, as after a deploy to some of them, so they have no one release to go back "
        "to.",
        "Name the release to which all of them go back: fab rollback --to=RELEASE; or bring them together: fab deploy",
    ),
    "nothing-live": Entry(
        "This task works on the current release, and there is none.",
        "Deploy one: fab deploy",
    ),
    "check-failed": Entry(
        "The checkup found problems that would make a deploy fail. It changes nothing.",
        "Each problem above has its remedy. Look again afterwards: fab check",
    ),
    "command-line": Entry(
        "What was typed after `fab` is no task, no option of the task before it, or stands in the wrong place. Nothing "
        "was run.",
        "The tasks: fab --list. What one takes: fab --help TASK",
    ),
    "fabfile": Entry(
        "Python raised an exception while it read the fabfile, or a module that the fabfile imports. Nothing was run. "
        "One raised before `import djdeploy`, and a syntax error in fabfile.py itself, Fabric shows as a traceback.",
        "Correct the line that is named. The whole traceback: fab --debug --list",
    ),
    "settings": Entry(
        "Something in the settings, the options or the recipe is wrong. All problems are listed at once.",
        "Correct what is named above. What a setting may be: fab explain SETTING",
    ),
    "fault": Entry(
        "djdeploy, or Python code in the fabfile, raised an exception that nothing expected. What had begun is undone.",
        "See where it was raised: fab --debug deploy",
    ),
}

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {**REACHING_THE_SERVER, **ON_THE_SERVER, **THE_CODE, **THE_ENVIRONMENT, **DJANGO, **THE_PROCESSES, **TASKS}
)
"""All codes, in the order in which a deploy may meet them."""


def explain(code: str) -> str | None:
    """What `fab explain CODE` prints; `all` lists the codes."""
    if code == "all":
        return "\n".join(CATALOGUE)
    entry = CATALOGUE.get(code)
    return f"{entry.why}\n\n{entry.remedy}" if entry else None


def as_markdown() -> str:
    """The whole catalogue, as `docs/errors.md` has it."""
    lines = [
        "# Errors, and what to do about them",
        "",
        "`fab explain CODE` prints the same. Made by `make docs-generated` from `src/djdeploy/errors/catalogue.py`.",
    ]
    for code, entry in CATALOGUE.items():
        lines += ["", f"## {code}", "", entry.why, "", f"**Remedy:** {entry.remedy}"]
        if programs := programs_that_print(code):
            lines += ["", f"*Recognised in the output of {' and '.join(filter(None, commas(programs)))}.*"]
    return "\n".join(lines) + "\n"


def commas(words: tuple[str, ...]) -> tuple[str, str]:
    """All but the last, with commas, and the last."""
    return ", ".join(words[:-1]), words[-1]
