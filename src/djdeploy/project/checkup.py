"""What would make a deploy fail or lose requests, judged from the facts that a server reports. Values only."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from ..errors.typed import copied_to, ssh_as_root
from ..remote.wire import CheckupFacts, Facts, LiveSettings, Outputs, ProcessStatus, Strangers
from ..server.layout import LAUNCHER
from ..server.shell import sh
from ..server.snapshot import Snapshot
from .secret_files import read, reason
from .settings import Settings
from .supervisor_conf import problems_with, program_name, supervisor_conf

SKEW = 60
"""Seconds by which a server's clock may differ from this machine's: release names and certificates depend on it."""

ROOM = 2
"""How many releases of the last one's size must fit on the disk: the release, and the archive it is unpacked from."""

LITTLE = {"bytes": 200 * 2**20, "inodes": 20_000}
"""What a first deploy may need: the environment of a Django project takes about 100 MB in 10,000 files."""

KEPT_AT_LEAST = 2
"""Releases that no cleanup removes."""

NOTHING = 1024 * 1024
"""Bytes below which a disk is full."""

OLDEST_GIT = (2, 3)
"""Older versions ignore GIT_SSH_COMMAND, and with it the deploy key and the known hosts."""

OLDEST_PYTHON = (3, 8)


@dataclass(frozen=True)
class Finding:
    """A problem.

    Args:
        what: what is wrong.
        remedy: what to type, or to do.
        fatal: whether a deploy would fail; otherwise it works, perhaps with lost requests.
        code: what `fab explain` takes; empty if the catalogue does not have it.
    """

    what: str
    remedy: str
    fatal: bool = True
    code: str = ""


class Checkup(NamedTuple):
    """The versions and problems of a host.

    Args:
        versions: of the tools on the server, by their names.
        unknown: what only a build finds out.
    """

    versions: Mapping[str, str]
    findings: Sequence[Finding]
    unknown: Sequence[str] = ()


def obstacles(
    snapshot: Snapshot,
    settings: Settings,
    host: str,
    needs: Sequence[str] | None = None,
    files: Sequence[str] = (),
) -> Iterator[Finding]:
    """What keeps a task from starting on a host.

    Args:
        host: as the user wrote it.
        needs: the tools that it needs to build a release; None: it builds none.
        files: the shared files that must be there.
    """
    layout, facts = settings.layout, snapshot.facts
    for name in ("current", "previous"):
        if facts[name]["kind"] not in ("link", "missing"):
            path = str(layout.home / name)
            what = f"{path} is a {facts[name]['kind']}; it must be a link to a release, or not exist"
            yield Finding(
                what,
                sh("If it may go: mv {path} {aside}", path=path, aside=f"{path}.before-djdeploy"),
                code="not-a-link",
            )
    foreign = {str(r.manifest.get("project")) for r in snapshot.releases} - {settings.project}
    if foreign:
        what = f"{layout.home} holds releases of {', '.join(sorted(foreign))}"
        yield Finding(what, "Give each project a home of its own.", code="foreign-releases")
    if needs is not None:
        yield from lacking(settings, facts)
    for tool in needs or ():
        if tool in facts["tools"] and not facts["tools"][tool]:
            yield Finding(
                f"the server has no {tool}", f"As root on the server: apt-get install -y {tool}", code="no-git"
            )
    for file in files:
        if facts["shared"].get(file) == "missing":
            target = layout.shared / file
            remedy = f"Put the file there: {copied_to(host, str(target))}"
            yield Finding(f"{target} is missing (settings: shared_files)", remedy, code="shared-file-missing")


def required_tools(settings: Settings) -> Sequence[str]:
    """The tools that a deploy cannot do without; what a source of the project's own needs, only it knows."""
    return ("git",) if settings.pulls else ()


def lacking(settings: Settings, facts: Facts) -> Iterator[Finding]:
    """What every deploy needs and the server lacks."""
    uv = settings.installer != "pip" and facts["tools"].get("uv")
    if isinstance(settings.installer, str) and not facts["venv"] and not uv:
        but = "" if settings.installer == "pip" else ", and there is no uv"
        yield Finding(
            f"{settings.python} of the server has no venv{but}",
            "As root on the server: apt-get install -y python3-venv",
            code="no-venv",
        )
    if facts["free"]["bytes"] < NOTHING or facts["free"]["inodes"] == 0:
        yield Finding(
            f"the disk of {settings.home} is full", "fab cleanup --keep=2; then look at: df -h; df -i", code="disk-full"
        )

    if facts["noexec"]:
        yield Finding(
            f"{facts['noexec']} is on a file system that is mounted noexec: nothing in a virtualenv can run",
            "As root on the server: mount it without noexec (/etc/fstab), or choose another home",
            code="noexec",
        )


def findings(
    settings: Settings, snapshot: Snapshot, outputs: Outputs, now: float, *, host: str, lacks_programs: bool = False
) -> Iterator[Finding]:
    """The problems of a host.

    Args:
        host: as the user wrote it.
        outputs: what the programs `checkup` and `status` reported there.
        now: this machine's clock, in seconds since the epoch.
        lacks_programs: whether the comparison of a deploy says already what the process manager lacks, and how to
            install it beside what serves.
    """
    facts = outputs["checkup"]
    yield from obstacles(snapshot, settings, host, required_tools(settings), settings.shared_files)
    yield from tools(settings, snapshot, facts)
    yield from too_old(facts["tools"])
    yield from room(snapshot, facts)
    yield from clock(snapshot, now)
    yield from ownership(facts)
    yield from supervisor(settings, facts, host, lacks_programs)
    yield from running(outputs.get("processes", ()), facts["wrong_pid_files"])
    if "live_settings" in outputs:
        yield from django(settings, outputs["live_settings"])
    yield from (Finding(problem, LOSS, fatal=False) for problem in problems_with(settings, facts["versions"]))


LOSS = "See docs/zero-downtime.md."


def secret_sources(settings: Settings) -> Iterator[Finding]:
    """Secret files that cannot be read on this machine. Commands are not run: one may ask for a passphrase."""
    for name, secret in settings.secret_files.items():
        if secret.command:
            continue
        try:
            read(secret)
        except (OSError, KeyError) as error:
            what = f"the secret file {name} cannot be read: {reason(secret, error)}"
            yield Finding(what, "Correct secret_files in the settings, or provide it; then: fab secrets --check")


def too_old(versions: Mapping[str, str]) -> Iterator[Finding]:
    for name, oldest in (("git", OLDEST_GIT), ("Python", OLDEST_PYTHON)):
        has = versions.get(name, "")
        if has and tuple(int(part) for part in re.findall(r"\d+", has)[:2]) < oldest:
            needed = ".".join(map(str, oldest))
            yield Finding(
                f"{name} {has} of the server is too old: {needed} is needed", f"Install {name} {needed} or newer."
            )


def versions_of(facts: CheckupFacts) -> Mapping[str, str]:
    """The versions to show."""
    installed = {
        name: facts["versions"][name.lower()] for name in ("Django", "Gunicorn") if name.lower() in facts["versions"]
    }
    return {**facts["tools"], **installed}


def tools(settings: Settings, snapshot: Snapshot, facts: CheckupFacts) -> Iterator[Finding]:
    uv = snapshot.facts["tools"].get("uv")
    if settings.installer == "auto" and not uv:
        yield Finding("the server has no uv: pip installs instead, which is slower", "pipx install uv", fatal=False)
    if facts["has_locale"] and not facts["gettext"]:
        yield Finding(
            "the project has a locale directory and the server no gettext: compilemessages will be skipped",
            "As root on the server: apt-get install gettext",
            fatal=False,
        )
    if settings.processes and facts["launcher"] in LAUNCHERS:
        what = f"bin/{LAUNCHER} {LAUNCHERS[facts['launcher']]}"
        yield Finding(what, "fab setup (a deploy does it, too)", fatal=False)


LAUNCHERS = {
    "missing": "is not installed yet",
    "damaged": "is damaged: no process can start by it",
    "older": "is older than this djdeploy, so processes start as it knows them",
}


def room(snapshot: Snapshot, facts: CheckupFacts) -> Iterator[Finding]:
    disk, release, made = snapshot.facts["free"], facts["release"], facts["environment"]
    kinds = (
        (disk["bytes"], release["bytes"], made["bytes"], LITTLE["bytes"], 2**20, "MB"),
        (disk["inodes"], release["inodes"], made["inodes"], LITTLE["inodes"], 1, "inodes"),
    )
    has_old_ones = len(snapshot.releases) > KEPT_AT_LEAST
    remedy = "fab cleanup --keep=2" if has_old_ones else "Make room on its disk: there is no old release to remove."
    for free, of_release, of_environment, little, each, unit in kinds:
        if not free or (unit == "MB" and free < NOTHING):  # unknown, or full, which is reported elsewhere
            continue
        needed = ROOM * of_release + (0 if of_environment else little)
        for also, when, fatal in ((0, "a deploy", True), (of_environment, "a changed requirement", False)):
            if free < needed + also:
                said = f"{free // each} {unit} are free, and {when} may need {(needed + also) // each}"
                yield Finding(said, remedy, fatal)
                break


def clock(snapshot: Snapshot, now: float) -> Iterator[Finding]:
    skew = snapshot.facts["time"] - now
    if abs(skew) > SKEW:
        direction = "ahead of" if skew > 0 else "behind"
        yield Finding(
            f"the server's clock is {abs(skew):.0f} s {direction} this machine's",
            "As root on the server: timedatectl set-ntp true",
            fatal=False,
        )


def ownership(facts: CheckupFacts) -> Iterator[Finding]:
    home = facts["home"]
    if not home["writable"]:
        remedy = sh("As root on the server: install -d -o {user} {home}", user=facts["user"], home=home["path"])
        yield Finding(
            f"{home['path']} cannot be {'written' if home['exists'] else 'made'} by {facts['user']}",
            remedy,
            code="home-not-writable",
        )
    for part in facts["writable_by_all"]:
        remedy = sh("chmod {recursive} o-w {root}", recursive=recursive(part), root=part["root"])
        yield Finding(f"every account can write to {counted(part)}", remedy, fatal=False)
    for part in facts["foreign"]:
        remedy = sh("As root on the server: chown -R {user} {root}", user=facts["user"], root=part["root"])
        yield Finding(
            f"{counted(part)} {'belongs' if part['count'] == 1 else 'belong'} to another account", remedy, False
        )


def counted(part: Strangers) -> str:
    """The first path found in a part of `home`, and the number of others."""
    others = part["count"] - 1
    return f"{part['first']} and {others} more in {part['root']}" if others else str(part["first"])


def recursive(part: Strangers) -> Sequence[str]:
    return [] if part["first"] == part["root"] and part["count"] == 1 else ["-R"]


# --- Supervisor and the processes -------------------------------------------------------------------------------------


def supervisor(settings: Settings, facts: CheckupFacts, host: str, lacks_programs: bool) -> Iterator[Finding]:
    """Where Supervisor differs from what `supervisor-conf` prints."""
    if not settings.processes:
        return
    live = facts["supervisor"]
    if not live["runs"]:
        yield Finding(
            f"{live['why']}: nothing restarts the processes",
            "As root on the server: apt-get install supervisor",
            fatal=False,
        )
        return
    if "why" in live:
        remedy = sh(
            "Compare by hand: fab supervisor-conf. Or as root on the server: let {user} read the file",
            user=facts["user"],
        )
        yield Finding(f"{live['why']}: not compared with what supervisor-conf prints", remedy, fatal=False)
        return
    if uses_original_layout(settings):
        return
    conf = f"/etc/supervisor/conf.d/{settings.project}.conf"
    install = f"fab supervisor-conf | {shlex.join(ssh_as_root(host))} 'cat > {conf} && supervisorctl update'"
    for difference in differences(settings, live["programs"], lacking=not lacks_programs):
        yield Finding(f"{difference} ({live['path']})", install, fatal=False)
    for section in live["not_loaded"]:
        what = f"[{section}] is in Supervisor's files, but Supervisor has not loaded it as it stands there"
        yield Finding(what, "As root on the server: supervisorctl update", fatal=False)


def uses_original_layout(settings: Settings) -> bool:
    """A Supervisor program of the user's own, as the original script had, which we do not print."""
    return all(process.pid_file.startswith("current/") for process in settings.processes)


def differences(settings: Settings, live: Mapping[str, Mapping[str, str]], *, lacking: bool) -> Iterator[str]:
    """How Supervisor's programs differ from the printed ones. Args: lacking: whether to name those that are missing."""
    printed = configparser.RawConfigParser()
    printed.read_string(supervisor_conf(settings))
    for process in settings.processes:
        section = next(s for s in printed.sections() if s.endswith(f":{program_name(settings, process)}"))
        if section not in live and not lacking:
            continue
        if section not in live:
            others = [name for name in live if name.partition(":")[2] == section.partition(":")[2]]
            yield (
                f"Supervisor has [{others[0]}] in the place of [{section}]"
                if others
                else (f"Supervisor has no [{section}]")
            )
            continue
        for name, value in printed.items(section):
            has = live[section].get(name)
            if name == "environment":
                differ = variables(has or "") ^ variables(value)
                if differ:  # never their values: passwords are kept there
                    names = ", ".join(sorted({variable for variable, _ in differ}))
                    yield f"[{section}] has other variables than would be printed in its environment: {names}"
            elif name != "user" and has != value:
                yield f"[{section}] has {name}={has}, and would be printed with {value}"


def variables(text: str) -> set[tuple[str, str]]:
    """The names and values of an `environment=` of Supervisor's."""
    pairs = re.findall(r"""(\w+)\s*=\s*("[^"]*"|'[^']*'|[^,]*)""", text)
    return {(name, value.strip().strip("\"'")) for name, value in pairs}


def running(rows: Sequence[ProcessStatus], wrong_pid_files: Sequence[str]) -> Iterator[Finding]:
    """The processes as they are now."""
    for row in rows:
        label = f"{row['process']} {row['instance']}"
        if row["pid"] is None:
            yield Finding(f"{label}: {row['note']}", "fab status; fab logs", fatal=False)
        elif row["healthy"] is False:
            yield Finding(f"{label} (pid {row['pid']}) is unhealthy: {row['note']}", "fab logs", fatal=False)
        elif row["note"] and not was_started_again_once(row):
            remedy = "fab logs" if row.get("restarts") else "See docs/settings.md: Health"
            yield Finding(f"{label}: {row['note']}", remedy, fatal=False)
    for wrong in wrong_pid_files:
        yield Finding(wrong, "Nothing to do: what runs is found without it, and the next start writes it", fatal=False)


def was_started_again_once(row: ProcessStatus) -> bool:
    """Whether all that is said of an instance is true of each after the server was started again."""
    return row.get("restarts") == 1 and ";" not in row["note"]


def django(settings: Settings, live: LiveSettings) -> Iterator[Finding]:
    """What the live release's own settings say."""
    if live["debug"]:
        yield debug_is_on()
    if live["generated_key"]:
        yield key_is_generated()
    yield from (database_in_release(path) for path in live["databases_in_release"])
    media = live["media_in_release"]
    if media is not None and not lies_in(media, settings.shared_dirs):
        yield Finding(
            f"MEDIA_ROOT is {media}, inside a release: uploads are left behind by the next deploy",
            f"Add {media!r} to shared_dirs",
            fatal=False,
        )


def lies_in(path: str, shared: Sequence[str]) -> bool:
    """Whether a path of the repository is shared, by itself or with a directory above it."""
    return any(PurePosixPath(each) in [PurePosixPath(path), *PurePosixPath(path).parents] for each in shared)


def debug_is_on() -> Finding:
    what = "DEBUG is on: errors show the source and the settings to everybody"
    return Finding(what, 'In Django\'s settings: DEBUG = os.environ.get("DEBUG") == "1"', fatal=False)


def key_is_generated() -> Finding:
    what = "SECRET_KEY is the one that `startproject` wrote into the repository: who reads it can sign in as anybody"
    remedy = 'In Django\'s settings: SECRET_KEY = os.environ["SECRET_KEY"]; and in the fabfile: env={"SECRET_KEY": ...}'
    return Finding(what, remedy, fatal=False)


def database_in_release(path: str) -> Finding:
    what = f"the database {path} is a file inside a release: the site loses its data with each deploy"
    remedy = "Keep it in a shared directory (settings: shared_dirs); fab explain database-in-release"
    return Finding(what, remedy, fatal=False, code="database-in-release")
