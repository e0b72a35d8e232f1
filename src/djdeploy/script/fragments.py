"""What the steps of a recipe are made of: pieces of shell, and what is written into a release. Values only."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from ..errors.typed import ssh_as_root
from ..project.process import Process
from ..remote.launch import GUNICORN
from ..server.shell import Shell, sh
from .deployment import Deployment
from .steps import Step, StepDefinition


def stop(d: Deployment, why: str, *, code: str) -> Shell:
    """Ends the step with a sentence of djdeploy, and emits its code, so that nobody has to guess it.

    Args:
        code: what `fab explain` takes.
    """
    return sh("{emit} error={code} || :; echo {why}; exit 1", emit=d.program("emit"), code=code, why=why)


def kept(d: Deployment) -> PurePosixPath:
    """Where this run keeps what it replaces, until it is done."""
    return d.layout.private / f"replaced-{d.token}"


def manifest(d: Deployment) -> Mapping[str, Any]:
    """What `release.json` says when the release begins."""
    return {
        "name": d.release,
        "project": d.settings.project,
        "number": d.snapshot.next_number,
        "state": "building",
        "commit": d.commit,
        "ref": d.ref,
        "subject": d.subject,
        "author": d.author,
        "by": d.by,
        "at": d.at,
        "token": d.token,
        "python": d.snapshot.facts.get("python"),
        "installer": d.installer.name,
    }


def runtime(d: Deployment) -> Mapping[str, Any]:
    """What the release's processes need to start: it travels with the release, so a rollback brings it back."""
    return {
        "project": d.settings.project,
        "release": d.release,
        "commit": d.commit,
        "source_dir": d.settings.source_dir,
        "env": d.settings.env,
        "processes": [asdict(process) | {"server": process.kind} for process in d.settings.processes],
    }


def write_runtime(d: Deployment, directory: PurePosixPath) -> Shell:
    """For this account alone, since the environment may hold secrets."""
    text = json.dumps(runtime(d), indent=2)
    return sh("(umask 077; printf '%s\\n' {text} > {made}/runtime.json)", text=text, made=directory)


def ask_gunicorn(d: Deployment, home: str) -> Sequence[Shell]:
    """Asks Gunicorn for its configuration, where a process becomes it.

    Args:
        home: where the release will live; a check has it elsewhere.
    """
    if not any(process.kind == GUNICORN for process in d.settings.processes):
        return []
    template = "{ask} {home} {release} {real}"
    return [sh(template, ask=d.program("gunicorn"), home=d.layout.home, release=d.release, real=home)]


def synced(path: PurePosixPath | Shell) -> Shell:
    """Whatever was written there is on the disk."""
    return sh("sync -f {path} 2>/dev/null || sync", path=path)


def make_parents(d: Deployment, name: str) -> Sequence[Shell]:
    """The directories above a path of the repository, which must not leave it by a link: what is there is not ours."""
    template = """\
mkdir -p {parent}
case $(readlink -f {parent})/ in
    "$(readlink -f {repository})"/*) ;;
    *) {stop} ;;
esac"""
    why = f"{name} cannot be shared: a link of the repository leads out of the release there"
    leave = stop(d, why, code="shared-outside")
    parents = [d.target.repository / parent for parent in reversed(PurePosixPath(name).parents)][1:]
    return [sh(template, parent=parent, repository=d.target.repository, stop=leave) for parent in parents]


def seed_shared(d: Deployment, name: str) -> Shell:
    """An empty shared directory gets what the checkout has.

    Itself, since it may be a link to a volume, or one, with a `lost+found`. The mark makes an interrupted copy be done
    again.
    """
    target = d.layout.shared / name
    return sh(
        """\
mkdir -p {target}
if [ -d {path} ] && [ ! -L {path} ] && {{ [ -e {mark} ] || [ -z "$(ls -A {target} | grep -vxF lost+found)" ]; }}; then
    : > {mark}
    find {path} -mindepth 1 -maxdepth 1 -exec cp -a -t {target} {{}} +
    {synced}
    rm -f {mark}
fi""",
        path=d.target.repository / name,
        target=target,
        mark=target / ".djdeploy-seeding",
        synced=synced(target),
    )


def link_to_shared(d: Deployment, name: str) -> Shell:
    path, target = d.target.repository / name, d.layout.shared / name
    return sh("rm -rf {path}\nln -s {target} {path}", path=path, target=target)


def link_virtualenv_of_original_layout(d: Deployment) -> Sequence[Shell]:
    """The post's Supervisor program runs `current/repository/virtualenv/bin/gunicorn`."""
    if not any(runs_inside_the_release(process) for process in d.settings.processes):
        return []
    return [sh("[ -e {path} ] || ln -s ../virtualenv {path}", path=d.target.repository / "virtualenv")]


def runs_inside_the_release(process: Process) -> bool:
    return process.pid_file.startswith("current/")


def as_the_site(d: Deployment, *words: str) -> Shell:
    """Runs the release's Python in its project, in the environment that its processes have."""
    return sh(
        "cd {project}\n{in_release} {without} {root} {python} {words}",
        project=d.target.project,
        in_release=d.program("in_release"),
        root=d.target.root,
        without=[f"--without={name}" for name in d.settings.env],
        python=d.target.python,
        words=words,
    )


def unapplied_settings(d: Deployment) -> Step:
    """Compares the settings with what the release has."""
    command = sh("{compare} {root}", compare=d.program("unapplied_settings"), root=d.target.root)
    title = "Compare the settings with the release"
    return Step("settings", title, (command,), d.settings.step_timeout, input=json.dumps(runtime(d)))


def is_migrate(command: str) -> bool:
    """Whether this management command changes the database's schema, and so is run once, on one host."""
    return shlex.split(command)[0] in ("migrate", "migrate_schemas", "createcachetable")


def migrate_commands(d: Deployment) -> Sequence[Sequence[str]]:
    """The words of each management command that migrates databases: a project may have one for each."""
    commands = map(shlex.split, d.settings.manage_steps)
    return [words for words in commands if words[0] in ("migrate", "migrate_schemas")]


def migrate_words(d: Deployment) -> Sequence[str]:
    """The same as `migrations.py` takes them: `--` before each."""
    return [word for words in migrate_commands(d) for word in ("--", *words)]


def before_migrate(commands: Sequence[str]) -> Sequence[str]:
    place = next((i for i, command in enumerate(commands) if is_migrate(command)), len(commands))
    return commands[:place]


STEP_NAMES = {
    "check": "check_project",
    "collectstatic": "collect_static",
    "compilemessages": "compile_messages",
    "migrate": "migrate_database",
}


def manage_step(command: str) -> StepDefinition:
    """A management command as a step of its own."""
    words = shlex.split(command)

    def run(d: Deployment) -> Sequence[Shell]:
        run = d.migrations(d.target, *words) if words[0] == "migrate" else d.manage(*words)
        return [compile_messages(d, run) if words[0] == "compilemessages" else run]

    return StepDefinition(
        run,
        STEP_NAMES.get(words[0], words[0]),
        f"manage.py {command}",
        once=is_migrate(command),
        programs=("django", "python"),
        emits=("migrations",) if words[0] == "migrate" else (),
        aliases=(words[0],),
    )


def build_step(number: int, command: str) -> StepDefinition:
    """A command of the project's build as a step of its own; they count from 1."""

    def run(d: Deployment) -> Sequence[Shell]:
        return [sh("cd {repository}", repository=d.target.repository), Shell(command)]

    return StepDefinition(run, f"build_{number}", f"Run {command}", aliases=(command,))


def compile_while_collecting(steps: Sequence[StepDefinition]) -> Sequence[StepDefinition]:
    """Compiles messages while static files are collected, where the settings have them last in this order.

    Neither needs the other. What follows them, up to a step that joins, must need neither: so not a step of a project.
    """
    for i in range(len(steps) - 1):
        collect, compile_ = steps[i : i + 2]
        following = takewhile(lambda step: not step.join, steps[i + 2 :])
        if (collect.name, compile_.name) == ("collect_static", "compile_messages") and all(
            step.name == "keep_old_static" for step in following
        ):
            return [*steps[:i], replace(compile_, background=True), collect, *steps[i + 2 :]]
    return steps


def compile_messages(d: Deployment, run: Shell) -> Shell:
    """Compiles where there is something to compile, and something to compile with; else says why not."""
    return sh(
        """\
if [ -z "$(find -H {project} -type d -name locale -print -quit)" ]; then
    echo 'djdeploy: skipped, the project has no locale directory'
elif ! command -v msgfmt >/dev/null; then
    echo 'djdeploy: skipped, the server has no gettext (as root: apt-get install gettext)'
else
    {run}
fi""",
        project=d.target.project,
        run=run,
    )


def start_and_ask(d: Deployment) -> Sequence[Shell]:
    """Starts the release's own server where no user can meet it, and asks it."""
    if not d.settings.smoke_test or not any(process.health for process in d.settings.processes):
        return []
    path = [f"--path={d.settings.probe.path}"] if d.settings.probe and d.settings.probe.path else []
    template = "{p} {home} {release} {path}" if path else "{p} {home} {release}"
    return [sh(template, p=d.program("smoke_test"), home=d.layout.home, release=d.release, path=path)]


def set_link(d: Deployment, name: str, target: str, make: Shell | None = None) -> Shell:
    """Replaces a link by a rename, at no instant of which it is missing, and reads it back.

    The new link's name is unique to this run: a leftover of a crashed one must not be renamed into place.

    Args:
        make: makes the new link, if it takes more than to make it.
    """
    return sh(
        """\
{make}
mv -fT {made} {link}
[ "$(readlink {link})" = {target} ]""",
        make=make or make_link(d, name, target),
        target=target,
        made=made_link(d, name),
        link=d.layout.home / name,
    )


def make_link(d: Deployment, name: str, target: str) -> Shell:
    return sh("ln -sfn -- {target} {made}", target=target, made=made_link(d, name))


def made_link(d: Deployment, name: str) -> PurePosixPath:
    """Where a link is made before it takes its place."""
    return d.layout.home / f".{name}-{d.token}"


def set_current_back(d: Deployment, target: str) -> Shell:
    """Makes an older release current, if it is not, also where no inode is left: then by the link that it has ready."""
    make = sh(
        "{make} || mv -fT {ready} {made} || {{ rm -f {previous}; {make}; }}",
        make=make_link(d, "current", target),
        ready=d.layout.release(target).ready_link,
        made=made_link(d, "current"),
        previous=d.layout.home / "previous",
    )
    link, switched = d.layout.home / "current", set_link(d, "current", target, make)
    return sh('if [ "$(readlink {link})" != {target} ]; then\n{set}\nfi', link=link, target=target, set=switched)


def set_previous_if_possible(d: Deployment, target: str) -> Shell:
    """What is current counts; nobody who goes back shall fail for `previous`."""
    return sh(
        "{make} && mv -fT {made} {link} || echo 'djdeploy: `previous` could not be set'",
        make=make_link(d, "previous", target),
        made=made_link(d, "previous"),
        link=d.layout.home / "previous",
    )


def compare_manager_before_a_build(d: Deployment) -> Sequence[Shell]:
    """The same, for a release that is not made yet."""
    if not d.settings.processes and not d.snapshot.current:
        return []
    begin = """\
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
trap 'exit 143' HUP INT TERM
printf '%s\\n' {runtime} > "$there/runtime.json\""""
    return [sh(begin, runtime=json.dumps(runtime(d))), compare_manager(d, Shell('"$there"'))]


def compare_manager(d: Deployment, release: str | Shell) -> Shell:
    """Compares what the process manager really has with what a release needs.

    Args:
        release: its name, or where else its `runtime.json` lies.
    """
    options = [f"--old={d.snapshot.current}"] if d.snapshot.current else []
    if d.task == "rollback":  # that less runs than was wanted once is no reason to stay
        options.append("--only-if-served")
    names = [host.name for host in d.settings.servers]
    fab = ["fab", *(["-H", d.host] if d.host not in names else []), "supervisor-conf"]
    fab += [f"--only={d.host}"] if d.host in names and len(names) > 1 else []
    return sh(
        "{program} {home} {release} {options} --print={fab} --as-root={ssh}",
        program=d.program("comparison"),
        home=d.layout.home,
        release=release,
        options=options,
        fab=shlex.join(fab),
        ssh=shlex.join(ssh_as_root(d.host)),
    )


def rolling_restart(d: Deployment, release: str, old: str | None, *, force: bool = False, quick: bool = False) -> Shell:
    """Makes every instance of every process run a release, one instance at a time."""
    options = [f"--old={old}" if old else "", "--force" if force else "", "--quick" if quick else ""]
    for option, names in (("verified", d.verified), ("smoke-tested", d.outputs.get("smoke_tested", ()))):
        options += [f"--{option}={process.name}" for process in d.settings.processes if process.name in names]
    return sh(
        "{program} {home} {release} {options}",
        program=d.program("rolling_restart"),
        home=d.layout.home,
        release=release,
        options=[option for option in options if option],
    )
