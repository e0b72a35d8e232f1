"""What tasks print: tables, lines and JSON, and the one question they ask."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import IO, Any, cast

from ..errors.redaction import printable
from ..project.checkup import Checkup, Finding
from ..ssh.refusals import describe_holder
from ..ssh.step_run import StepRun
from .progress import Output, Report


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
    Report().write(line)


def print_json(value: Any) -> None:
    Report().write(json.dumps(value, indent=2))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, hosts: bool) -> None:
    """Rows as a table: drawn on a terminal, aligned text elsewhere."""
    columns = ["host", *columns] if hosts else columns
    cells = [[printable(str(row[column] or "")) for column in columns] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=None, header_style="bold")
        styles = {"live": "bold green", "previous": "green", "bad": "red", "failed": "red", "unfinished": "yellow"}
        for line in cells:
            table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in line))
        return Console(file=cast("IO[str]", Output(sys.stdout))).print(table)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [list(columns), *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return None


def print_text(text: str) -> None:
    """Text that is to be copied or piped as it is, such as a configuration file."""
    Report().out.write(f"{text}\n")


def confirm(question: str) -> bool:
    """Whether the user agrees, if there is one to ask."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def print_releases(rows: Sequence[Mapping[str, Any]]) -> None:
    """A row for each release on each host."""
    shown = [{**row, "commit": str(row["commit"])[:12], "size": human(row["size"])} for row in rows]
    print_table(shown, ["name", "state", "commit", "ref", "by", "at", "size"], hosts=len({r["host"] for r in rows}) > 1)


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
    for finding in sorted(findings, key=lambda finding: not finding.fatal):
        say(f"  {'FAIL' if finding.fatal else 'note'}  {finding.what}")
        say(f"        {finding.remedy}")


def print_diff(found: Mapping[str, Any]) -> None:
    """What a deploy would bring, in the order in which people ask for it."""
    say(f"live: {found['release']} {found['from'][:12]}; to deploy: {found['to'][:12]}")
    for title, commits, count in (
        ("new", found["commits"], found["ahead"]),
        ("NOT in what would be deployed", found["gone"], found["behind"]),
    ):
        if count:
            say(f"{count} commit{'s' if count > 1 else ''} {title}:")
            for commit in commits:
                say(f"  {commit['commit'][:12]} {commit['subject']} ({commit['author']})")
    for change in found["requirements"]:
        say(f"requirement: {change['name']} {change['old'] or '(none)'} → {change['new'] or '(removed)'}")
    for migration in found["migrations"]:
        kinds = [
            f"{op['operation']} ({': '.join([op['class'], *filter(None, [op.get('why')])])})"
            for op in migration["operations"]
        ]
        say(f"migration: {migration['app']}.{migration['name']}: {', '.join(kinds)}")
    for migration in found["migrations_gone"]:
        say(f"migration: {migration['app']}.{migration['name']} is NOT in what would be deployed")
    for template in found["settings"]:
        say(f"{template['file']} has new names: {', '.join(template['names'])}")
    for name in found["fabfile"]:
        say(f"fabfile: {name}")
    if not found["ahead"] and not found["behind"] and not found["fabfile"]:
        say("Nothing differs.")


def print_status(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for each host, and one for each process below it; what does not run the current release stands out."""
    for row in rows:
        say(f"{row['host']}: {row['current'] or 'no release'} {row['commit'][:12]}".rstrip())
        instances = [status_cells(instance, row["current"]) for instance in row["processes"]]
        if instances:
            print_table(instances, ["process", "pid", "uptime", "release", "health", "note"], hosts=False)
        else:
            say("  no processes")


def status_cells(instance: Mapping[str, Any], current: str | None) -> Mapping[str, Any]:
    """A process as a row for people."""
    healthy = {True: f"ok, {instance.get('latency_ms', 0):.0f} ms", False: "FAILS", None: "not asked"}
    release = instance["release"]
    other = [f"runs {release}, not the current release"] if release not in (None, current) else []
    return {
        "process": f"{instance['process']} {instance['instance']}",
        "pid": instance["pid"],
        "uptime": duration(instance["uptime"]) if "uptime" in instance else "",
        "release": release,
        "health": healthy[instance["healthy"]] if instance["pid"] else "not running",
        "note": "; ".join([*other, *filter(None, [instance.get("note")])]),
    }


def duration(seconds: float) -> str:
    """Seconds in a unit that people read."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 2:
        return f"{seconds:.0f} s"
    if hours < 2:
        return f"{minutes:.0f} min"
    return f"{hours:.0f} h" if days < 2 else f"{days:.0f} days"


def human(size: object) -> str:
    """Bytes in a unit that people read."""
    value = float(size) if isinstance(size, int) else 0.0
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
