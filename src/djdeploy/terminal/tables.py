"""What tasks print: tables, lines and JSON, and the one question they ask."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from ..errors.redaction import printable
from ..errors.typed import as_typed
from ..errors.wrapping import wrapped
from ..project.checkup import Checkup, Finding
from ..remote.wire import ListedCommit, ReadOperation
from ..ssh.refusals import describe_holder
from ..ssh.step_run import StepRun
from .progress import Report
from .width import width_of


class Printer(Report):
    """Prints the lines that a step prints, and nothing else."""

    def __init__(self, names: bool) -> None:
        super().__init__()
        self.names = names

    def line(self, host: str, run: StepRun, line: str) -> None:
        self.write(f"{host} | {printable(line)}" if self.names else printable(line))

    def step_ended(self, host: str, run: StepRun) -> None:
        run.tail.clear()  # already shown: an error need not repeat it


def say(line: str) -> None:
    """Prints whole lines, which command no terminal whatever a server has put into them."""
    Report().write(wrapped(as_typed(line), width_of(sys.stdout)))


def print_json(value: Any) -> None:
    Report().write(json.dumps(value, indent=2))


def print_text(text: str) -> None:
    """Text that is to be copied or piped as it is, such as a configuration file."""
    Report().out.write(f"{text}\n")


def confirm(question: str) -> bool:
    """Whether the user agrees, if there is one to ask."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def print_locks(locks: Mapping[str, Mapping[str, Any]]) -> None:
    """Who holds the lock of each host."""
    for host, lock in locks.items():
        if not lock["held"]:
            say(f"{host}: nobody holds the lock.")
            continue
        say(f"{host}: {describe_holder(lock['holder'])}.")
        say("  It is free as soon as that deploy, or the step that it left running, has ended.")
        if lock["holder"].get("orphans"):
            say("  To end what is left running: fab unlock")


def print_versions(found: Mapping[str, Mapping[str, str]]) -> None:
    """A line for this machine, and one for each server."""
    for where, versions in found.items():
        say(f"{where}: {', '.join(f'{name} {version}' for name, version in versions.items())}")


def print_checkups(found: Mapping[str, Checkup], *, json: bool) -> None:
    """What is wrong with each host, with the remedies."""
    if json:
        print_json({host: as_table(checkup) for host, checkup in found.items()})
    else:
        print_findings(found)


def as_table(checkup: Checkup) -> Mapping[str, Any]:
    return {
        "versions": checkup.versions,
        "findings": [asdict(finding) for finding in checkup.findings],
        "unknown": list(checkup.unknown),
    }


def print_findings(found: Mapping[str, Checkup]) -> None:
    """What is wrong with each host, the worst first, each with its remedy; what several hosts share is said once."""
    shared: dict[tuple[str, ...], list[Finding]] = {}
    for finding in dict.fromkeys(finding for checkup in found.values() for finding in checkup.findings):
        hosts = tuple(host for host, checkup in found.items() if finding in checkup.findings)
        shared.setdefault(hosts, []).append(finding)
    for host, (versions, findings, _) in found.items():
        say(f"{host}: {'a deploy would work' if not any(f.fatal for f in findings) else 'a deploy would fail'}")
        if versions:
            say(f"  has   {', '.join(f'{name} {version}' for name, version in versions.items())}")
        print_each(shared.pop((host,), ()))
    for hosts, findings in shared.items():
        say(f"{'all hosts' if len(hosts) == len(found) else ', '.join(hosts)}:")
        print_each(findings)
    unknown = list(dict.fromkeys(what for checkup in found.values() for what in checkup.unknown))
    if unknown:
        say(f"Only a build finds out {'; '.join(unknown)}.")


def print_each(findings: Iterable[Finding]) -> None:
    """The worst first; a remedy of several that follow each other is said once, after them."""
    by_remedy = groupby(sorted(findings, key=lambda finding: not finding.fatal), key=lambda each: each.remedy)
    for remedy, alike in by_remedy:
        for finding in alike:
            say(f"  {'FAIL' if finding.fatal else 'note'}  {finding.what}")
        for line in remedy.splitlines():
            say(f"        {line}")


def print_commits(title: str, commits: Sequence[ListedCommit], count: int) -> None:
    if count:
        say(f"{count} commit{'s' if count > 1 else ''} {title}:")
    for commit in commits:
        say(f"  {commit['commit'][:12]} {commit['subject']} ({commit['author']})")


def judged(operation: ReadOperation) -> str:
    why = f": {operation['why']}" if operation.get("why") else ""
    return f"{operation['operation']} ({operation['class']}{why})"


def print_diff(found: Mapping[str, Any]) -> None:
    """What a deploy would bring, in the order in which people ask for it."""
    say(f"live: {found['release']} {found['from'][:12]}; to deploy: {found['to'][:12]}")
    print_commits("new", found["commits"], found["ahead"])
    print_commits("NOT in what would be deployed", found["gone"], found["behind"])
    for change in found["requirements"]:
        say(f"requirement: {change['name']} {change['old'] or '(none)'} → {change['new'] or '(removed)'}")
    if found["requirements"]:
        say("Which migrations these packages bring is known once they are installed; fab check then asks Django.")
    for migration in found["migrations"]:
        later = " (waits until the old code is gone)" if migration.get("waits") else ""
        operations = ", ".join(map(judged, migration["operations"]))
        say(f"migration: {migration['app']}.{migration['name']}{later}: {operations}")
    if waiting := found.get("waiting"):
        say(f"a deploy runs what has waited: {', '.join(waiting)}")
    for migration in found["migrations_gone"]:
        say(f"migration: {migration['app']}.{migration['name']} is NOT in what would be deployed")
    if found.get("unknown"):
        say(f"migrations: {found['unknown']}")
    for template in found["settings"]:
        say(f"{template['file']} has new names: {', '.join(template['names'])}")
    for name in found["fabfile"]:
        say(f"fabfile: {name}")
    for name, state in found["secrets"].items():
        say(f"secret file: {name} {'differs' if state != 'missing' else 'is missing on the server'}")
    if left_out := found["not_compared"]:
        say(f"Not compared, since only a deploy reads them: {', '.join(left_out)}; see: fab secrets --check")
    if not any(found[name] for name in ("ahead", "behind", "fabfile", "secrets")):
        say("Nothing else differs." if left_out else "Nothing differs.")
