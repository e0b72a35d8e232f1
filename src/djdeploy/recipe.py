"""The script: what a task does on a server, in the order in which it is done.

A step returns shell; it runs nothing. The text of each step is run by `/bin/sh` with `set -eu`, so the first command
that fails ends it: one command a line, since in `a && b` the failure of `a` would not. `--dry-run` prints this text.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from .project.secret_files import as_input
from .project.settings import Settings
from .remote.wire import Manifest
from .script.deployment import Deployment
from .script.fragments import emitted, history_line, kept, manifest, stop, synced
from .script.links import set_current_back, set_link, set_previous_if_possible
from .script.management import (
    backed_up,
    before_migrate,
    build_step,
    compile_while_collecting,
    contract_step,
    is_final,
    loses_data,
    manage_step,
    migrate_words,
    names_waiting,
    old_code,
    waiting,
    waits_briefly,
)
from .script.processes import (
    ask_gunicorn,
    compare_manager,
    rolling_restart,
    send_requests,
    start_and_ask,
    write_runtime,
)
from .script.reading import expect_manage, requirements_digest
from .script.recipes import Recipe
from .script.shared import share_directory, share_file
from .script.steps import (
    Step,
    StepDefinition,
    also_called,
    background,
    define,
    emits,
    group,
    join,
    lasting,
    once,
    runs,
    runs_for,
)
from .script.virtualenvs import (
    expect_pinned,
    expect_python,
    finish_virtualenv,
    install_extra,
    install_locked,
    link_virtualenv_of_original_layout,
    make_virtualenv,
    share_bytecode,
)
from .server.installers import Uv
from .server.layout import PACKAGE
from .server.shell import Shell, sh

__all__ = [
    "CLEANUP",
    "DEPLOY",
    "RESTART",
    "ROLLBACK",
    "SECRETS",
    "SETUP",
    "back_up_before_contract",
    "back_up_databases",
    "check_manager",
    "contract_database",
    "create_release",
    "create_virtualenv",
    "expect_old_code_gone",
    "fetch_code",
    "forget_old_secrets",
    "guard_migrations",
    "guard_rollback",
    "guard_rows",
    "install_launcher",
    "install_requirements",
    "install_secrets",
    "keep_old_static",
    "link_shared",
    "look_again",
    "mark_bad",
    "mark_published",
    "mark_ready",
    "migrate_back",
    "migrate_database",
    "note_contracted",
    "prepare_project",
    "probe_site",
    "record",
    "remove_old_releases",
    "restart_processes",
    "run_build_steps",
    "smoke_test",
    "smoke_test_migrated",
    "switch_links",
]

PATIENCE_WITH_OLD_CODE = 60
"""Seconds for which what ends may end, besides its `stop_timeout`, before what it used is removed."""

# --- build: a failure here harms nothing -----------------------------------------------------------------------------


def create_release(d: Deployment) -> Sequence[Shell]:
    """Create the release directory"""
    # Made next to its place and renamed, so that there is never a release without a manifest.
    made = d.layout.private / f"new-{d.token}"
    return [
        sh(
            "if [ -e {root} ]; then {stop}; fi",
            root=d.target.root,
            stop=stop(d, f"{d.target.root} exists already", code="release-exists"),
        ),
        sh("mkdir {made}", made=made),
        sh("printf '%s\\n' {text} > {made}/release.json", text=json.dumps(manifest(d), indent=2), made=made),
        write_runtime(d, made),
        sh("ln -s {name} {made}/{link}", name=d.release, made=made, link=d.target.ready_link.name),
        sh("mv -T {made} {root}", made=made, root=d.target.root),
    ]


def install_launcher(d: Deployment) -> Sequence[Shell]:
    """Install the launcher that Supervisor runs"""
    # Processes of all releases start by it, at any moment.
    source = PurePosixPath(d.snapshot.programs, PACKAGE, "launch.py")
    install = sh("{p} {launcher} {token}", p=d.program("launcher"), launcher=d.layout.launcher, token=d.token)
    return [
        sh("cmp -s {source} {launcher} ||\n    {install}", source=source, launcher=d.layout.launcher, install=install)
    ]


def check_manager(d: Deployment) -> Sequence[Shell]:
    """Compare the process manager's programs with the settings"""
    # Nothing of ours may change it, and whoever may is not there while we publish.
    if not d.settings.processes and not d.snapshot.current:
        return []
    return [compare_manager(d, d.release)]


@runs_for(lambda d: d.source)
def fetch_code(d: Deployment) -> Sequence[Shell]:
    """Fetch the code of the commit"""
    return [*d.source.export(d.commit, d.target.repository, d.server), *expect_manage(d)]


@runs_for(lambda d: d.installer)
def create_virtualenv(d: Deployment) -> Sequence[Shell]:
    """Create the virtualenv, or find the one of the same requirements"""
    # A virtualenv cannot be moved, so it is built where it will live; and it is named by what will be in it.
    return [
        sh(
            """\
digest=$({digest}) || {{ printf '%s\\n' "$digest"; exit 1; }}
environment={virtualenvs}/"$digest"
ln -s ../.djdeploy/virtualenvs/"$digest" {link}
if [ -e "$environment/.complete" ]; then
    echo 'djdeploy: the requirements are unchanged, their virtualenv is used again'
else
    {program} remove "$environment"
    {create}
    {expect_python}
fi""",
            digest=requirements_digest(d),
            virtualenvs=d.layout.virtualenvs,
            link=d.target.virtualenv,
            program=d.program("environment"),
            create=make_virtualenv(d),
            expect_python=expect_python(d),
        ),
        *link_virtualenv_of_original_layout(d),
    ]


@runs_for(lambda d: d.installer)
def install_requirements(d: Deployment) -> Sequence[Shell]:
    """Install the pinned requirements"""
    return [
        sh(
            """\
environment=$(readlink -f {virtualenv})
if [ ! -e "$environment/.complete" ]; then
    cd {repository}
    hashes=$({requirements} --hashes {files})
    {install_locked}
    {install_extra}
    {expect_pinned}
    {share_bytecode}
    {finish}
fi""",
            virtualenv=d.target.virtualenv,
            repository=d.target.repository,
            requirements=d.program("requirements"),
            files=d.settings.requirements,
            install_locked=install_locked(d),
            install_extra=install_extra(d),
            expect_pinned=expect_pinned(d),
            share_bytecode=share_bytecode(d),
            finish=finish_virtualenv(d),
        )
    ]


def install_secrets(d: Deployment) -> Sequence[Step]:
    """Install the secret files that are missing or differ"""
    if not d.secrets:
        return []
    command = sh(
        "{secret} {shared} --install {keep}", secret=d.program("secret_files"), shared=d.layout.shared, keep=kept(d)
    )
    title = "Install the secret files that are missing or differ"
    return [Step("install_secrets", title, (command,), input=as_input(d.secrets))]


def link_shared(d: Deployment) -> Sequence[Shell]:
    """Link what all releases share"""
    directories = [line for name in d.settings.shared_dirs for line in share_directory(d, name)]
    return [*directories, *(line for name in d.settings.linked_files for line in share_file(d, name))]


@group()
def run_build_steps(settings: Settings) -> Sequence[StepDefinition]:
    """Run the project's own build steps"""
    steps = [build_step(number, command) for number, command in enumerate(settings.build_steps, 1)]
    return [define(separate_virtualenv), *steps, define(settle_virtualenv)] if steps else []


def separate_virtualenv(d: Deployment) -> Sequence[Shell]:
    """Give the build a virtualenv of its own"""
    program, uv = d.program("environment"), [d.installer.program] if isinstance(d.installer, Uv) else []
    return [sh("{p} separate {link} {name} {uv}", p=program, link=d.target.virtualenv, name=d.release, uv=uv)]


def settle_virtualenv(d: Deployment) -> Sequence[Shell]:
    """Keep that virtualenv if the build has changed it"""
    return [sh("{program} settle {link}", program=d.program("environment"), link=d.target.virtualenv)]


@background
@once
@runs("django", "python")
@emits("migrations")
def guard_migrations(d: Deployment) -> Sequence[Shell]:
    """Judge the migrations that would run"""
    words = migrate_words(d)
    refuse = [] if d.allow_destructive else ["--refuse", *(["--allow-breaking"] if d.allow_breaking else [])]
    allow = [f"--allow={name}" for name in d.settings.allow]
    live = ["--live", str(d.departing.root)] if d.departing else []
    old = [*old_code(d), *(["--briefly"] if waits_briefly(d) else [])]
    return [d.migrations(d.target, "plan", *refuse, *allow, *live, *old, *words)] if words else []


@background
@emits("smoke_tested")
def smoke_test(d: Deployment) -> Sequence[Shell]:
    """Try the new release's server on a private socket"""
    # The first release has no tables before its migrations: it is tested after them, and serves nobody until then.
    return [*ask_gunicorn(d, str(d.layout.home)), *(start_and_ask(d) if d.snapshot.current else [])]


@group(arrange=compile_while_collecting)
def prepare_project(settings: Settings) -> Sequence[StepDefinition]:
    """Run the management commands that come before migrations"""
    return [manage_step(command) for command in before_migrate(settings.manage_steps)]


def keep_old_static(d: Deployment) -> Sequence[Shell]:
    """Keep the previous release's static files reachable"""
    if not d.settings.static_dir:
        return []
    template = "{overlay} {new} {directory} {old}"
    old = [d.departing.root] if d.departing else []
    return [
        sh(template, overlay=d.program("static_overlay"), new=d.target.root, directory=d.settings.static_dir, old=old)
    ]


@join
def mark_ready(d: Deployment) -> Sequence[Shell]:
    """Mark the release as ready"""
    # What the links will point at must be on the disk before they do.
    digest = sh('digest="$(basename "$(readlink {virtualenv})")"', virtualenv=d.target.virtualenv)
    mark = d.mark(state="ready", timings=dict(d.timings))
    return [synced(d.target.root), Shell(f"{mark} {digest}")]


@lasting
@emits("probe")
def probe_site(d: Deployment) -> Sequence[Shell]:
    """Send requests to the site meanwhile, and count those that fail"""
    probe = d.settings.probe
    if not probe or not (d.snapshot.current or any(process.bind for process in d.settings.processes)):
        return []
    return [send_requests(d, probe)]


# --- migrate: the old code still serves, on the new schema ------------------------------------------------------------


@once
@runs("django", "python")
@emits("backup")
def back_up_databases(d: Deployment) -> Sequence[Shell]:
    """Back up the databases"""
    return backup_of(d) if d.settings.backup == "always" or loses_data(d) else []


def backup_of(d: Deployment) -> Sequence[Shell]:
    """Backs up the databases, unless the settings want none."""
    if d.settings.backup == "never" or not migrate_words(d):
        return []
    return backed_up(d, d.departing if d.task == "rollback" and d.departing else d.target)


@group()
def migrate_database(settings: Settings) -> Sequence[StepDefinition]:
    """Run the migrations, and the commands that come after them"""
    return [manage_step(command) for command in settings.manage_steps[len(before_migrate(settings.manage_steps)) :]]


@also_called("smoke_test")
@emits("smoke_tested")
def smoke_test_migrated(d: Deployment) -> Sequence[Shell]:
    """Try the first release's server, now that its tables are there"""
    return [] if d.snapshot.current else start_and_ask(d)


@once
def guard_rows(d: Deployment) -> Sequence[Shell]:
    """Look for rows that would stay in the release"""
    if not d.departing or not d.snapshot.live or d.allow_destructive or not migrate_words(d):
        return []
    return [sh("{p} {live} {target}", p=d.program("rows_left"), live=d.departing.root, target=d.target.root)]


@once
@runs("django", "python")
@emits("migrations")
def guard_rollback(d: Deployment) -> Sequence[Shell]:
    """Judge the migrations that lie between"""
    # By the manifests where these suffice, else by the newer code, which knows them. Whoever allows what is destructive
    # needs no judgement, nor a database.
    if not d.departing or not d.snapshot.live or d.allow_destructive or d.migrate_back or not migrate_words(d):
        return []
    records = ["--from-json", str(d.departing.manifest), "--to-json", str(d.target.manifest)]
    return [d.migrations(d.departing, "back", *records, "--refuse", *migrate_words(d))]


@once
@runs("django", "python")
@emits("migrations")
def migrate_back(d: Deployment) -> Sequence[Shell]:
    """Unapply the migrations that lie between"""
    if not d.departing or not d.migrate_back:
        return []
    return [d.migrations(d.departing, "back", "--to-json", str(d.target.manifest), "--run", *migrate_words(d))]


# --- publish: a failure here puts the links back and brings the old release up again ----------------------------------


def switch_links(d: Deployment) -> Sequence[Shell]:
    """Switch the links `current` and `previous`"""
    live = d.snapshot.live  # None also for a release that another tool made: it has served, so it is kept in `previous`
    served = d.snapshot.current if not live or live.is_good else None
    keep = served if served != d.release else None
    if d.task == "rollback":  # a full disk is no reason to stay where one wants to leave
        return [set_current_back(d, d.release), *([set_previous_if_possible(d, keep)] if keep else [])]
    # The mark comes first: a full disk is met before anything is touched. Then `previous`, which is the way back.
    previous = [set_link(d, "previous", keep)] if keep else []
    return [d.mark("switched"), *previous, set_link(d, "current", d.release)]


@emits("instances")
def restart_processes(d: Deployment) -> Sequence[Shell]:
    """Restart the processes, one instance at a time"""
    if not d.settings.processes and not d.snapshot.current:  # else the old release may have some
        return []
    # What has served before needs no proof; whoever goes back to it has users who meet something worse meanwhile.
    has_served = d.task == "rollback" and any(r.is_good for r in d.snapshot.releases if r.name == d.release)
    return [rolling_restart(d, d.release, d.snapshot.current, force=d.task == "restart", quick=has_served)]


def mark_published(d: Deployment) -> Sequence[Shell]:
    """Mark the release as live"""
    mark = d.mark("published", state="published", published_by=d.by, timings=dict(d.timings), also=emitted(d, Manifest))
    if d.task == "rollback":  # it was live before; a full disk is no reason to stay where one wanted to leave
        mark = sh("{mark} || echo 'djdeploy: its manifest could not be written'", mark=mark)
    return [mark]


# --- contract: the old code is gone, and the new release stays live whatever happens ----------------------------------


def expect_old_code_gone(d: Deployment) -> Sequence[Shell]:
    """Look once more at the processes, and that none runs the old code"""
    if not waiting(d):
        return []
    seconds = f"{PATIENCE_WITH_OLD_CODE + max((p.stop_timeout or 0 for p in d.settings.processes), default=0):g}"
    old = [d.snapshot.current] if d.snapshot.current else []
    program, home = d.program("old_code"), d.layout.home
    template = "{program} {home} {release} {seconds} {old}"
    gone = sh(template, program=program, home=home, release=d.release, seconds=seconds, old=old)
    return [*look_again(d), gone]


@once
@runs("django", "python")
@emits("backup")
def back_up_before_contract(d: Deployment) -> Sequence[Shell]:
    """Back up the databases before what cannot be undone"""
    plan = d.outputs.get("migrations", {}).get("plan")
    is_last_chance = plan is None or any(is_final(one) for one in plan if one.get("waits"))
    return backup_of(d) if waiting(d) and (d.settings.backup == "always" or is_last_chance) else []


@group()
def contract_database(settings: Settings) -> Sequence[StepDefinition]:
    """Run the migrations that have waited for the end of the old code"""
    commands = map(shlex.split, settings.manage_steps)
    return [contract_step(words) for words in commands if words[0] == "migrate"]


# --- finish: a failure here is a warning ------------------------------------------------------------------------------


def mark_bad(d: Deployment) -> Sequence[Shell]:
    """Mark the release that was rolled back as bad"""
    left, target = d.snapshot.live, d.snapshot.find(d.release)
    if not left or not target or left.number <= target.number:
        return []
    return [d.mark_release(left.name, "withdrawn", state="bad", why=f"rolled back by {d.by}")]


def note_contracted(d: Deployment) -> Sequence[Shell]:
    """Note which migrations wait no more"""
    known = d.outputs.get("migrations", {})
    before = names_waiting(known.get("waiting") or {}, [])
    if list(waiting(d)) == list(before):
        return []
    left = {
        alias: {app: [name for name in names if f"{app}.{name}" in waiting(d)] for app, names in apps.items()}
        for alias, apps in known["waiting"].items()
    }
    return [d.mark(also={"migrations": {"waiting": left, "applied": known["applied"]}})]


def record(d: Deployment) -> Sequence[Shell]:
    """Write the history"""
    # When it ends, and how long it took, is known there and then: by the clock that was looked at when it began.
    template = """\
printf '%s, "ended": "%s", "seconds": %s}}\\n' {line} \\
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(($(date +%s) - {began}))" >> {history}"""
    line, began = json.dumps(history_line(d)).removesuffix("}"), int(d.snapshot.facts.get("time", 0))
    return [sh(template, line=line, began=str(began), history=d.layout.history)]


def forget_old_secrets(d: Deployment) -> Sequence[Shell]:
    """Forget the secret files that were replaced"""
    return [sh("rm -rf {keep}", keep=kept(d))] if d.secrets else []


def look_again(d: Deployment) -> Sequence[Shell]:
    """Look once more at the processes"""
    rows = [row for row in d.outputs.get("instances", ()) if row.get("pid")]
    words = ["{process}:{instance}:{pid}".format(**row) for row in rows]
    return [sh("{look} {home} {words}", look=d.program("look_again"), home=d.layout.home, words=words)] if words else []


@emits("removed", "environments")
def remove_old_releases(d: Deployment) -> Sequence[Shell]:
    """Remove old releases"""
    snapshot = d.snapshot.after_publishing(d.release) if d.task == "deploy" else d.snapshot
    names = [release.name for release in snapshot.removable(d.settings.keep_releases)]
    return [
        sh(
            "{remove} {home} {project} {names}",
            remove=d.program("remove"),
            home=d.layout.home,
            project=d.settings.project,
            names=names,
        )
    ]


# --- the recipes ------------------------------------------------------------------------------------------------------

DEPLOY = Recipe(
    # A failure here harms nothing: the new directory is removed, the site never noticed.
    build=(
        create_release,
        install_launcher,
        check_manager,
        fetch_code,
        create_virtualenv,
        install_requirements,
        install_secrets,
        link_shared,
        run_build_steps,
        guard_migrations,  # these two in the background
        smoke_test,
        prepare_project,
        keep_old_static,
        mark_ready,
        probe_site,  # from here on users may be hurt
    ),
    # The old code still serves, on the new schema: additive migrations only, on one host.
    migrate=(back_up_databases, migrate_database, smoke_test_migrated),
    # A failure here puts the links back and brings the old release up again, on every host that had switched.
    publish=(switch_links, restart_processes, mark_published),
    # Nothing that fails from here on takes the new release back: what waited removes what the old code used.
    contract=(expect_old_code_gone, back_up_before_contract, contract_database),
    # A failure here is a warning.
    finish=(note_contracted, record, forget_old_secrets, remove_old_releases, look_again),
)

ROLLBACK = Recipe(
    build=(background(check_manager), background(guard_rows), guard_rollback, probe_site),  # users may wait for it
    migrate=(back_up_databases, migrate_back),
    publish=(switch_links, restart_processes, mark_published),
    finish=(mark_bad, record, look_again),
)

RESTART = Recipe(build=(check_manager,), publish=(probe_site, restart_processes), finish=(record, look_again))

SETUP = Recipe(build=(install_launcher,))

SECRETS = Recipe(build=(install_secrets, forget_old_secrets))

CLEANUP = Recipe(finish=(remove_old_releases, record))
