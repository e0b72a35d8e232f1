"""What is where: the releases and the processes of all hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .grid import Column, print_lines, print_table
from .phrases import ago, duration, human, listed, moment, short_names

COMMIT = 8
"""Characters of a commit's name that are shown; Git takes them for the whole."""

Row = Mapping[str, Any]


def print_releases(rows: Sequence[Row], hosts: Sequence[str], now: datetime) -> None:
    """A row for each release, the newest first, with the hosts that have it.

    Args:
        rows: one for each release on each host.
        hosts: all that were asked.
    """
    names = short_names(hosts)
    releases: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        releases.setdefault((row["name"], row["commit"]), []).append(row)
    newest_first = sorted(releases.values(), key=lambda same: max(str(row["at"]) for row in same), reverse=True)
    columns = [Column("name"), Column("state"), Column("when"), Column("commit", rank=2)]
    columns += [Column("ref", rank=4), Column("by", rank=3), Column("size", rank=5)]
    columns += [Column("subject", rank=1, may_be_cut=True), Column("note", rank=6, below=True)]
    columns[2:2] = [Column("hosts")] if len(hosts) > 1 else []
    if rows:
        print_table([release_cells(same, names, now) for same in newest_first], columns)
    if empty := [names[host] for host in hosts if host not in {row["host"] for row in rows}]:
        print_lines(f"No release is on {listed(empty)}.")


def release_cells(same: Sequence[Row], names: Mapping[str, str], now: datetime) -> Row:
    """A release as a row for people.

    Args:
        same: the release on each host that has it.
    """
    first = same[0]
    states: dict[str, list[str]] = {}
    for row in same:
        states.setdefault(row["state"], []).append(names[row["host"]])
    hosts = [names[row["host"]] for row in same]
    where = [f"{state} on {listed(on)}" for state, on in states.items()] if len(states) > 1 else []
    everywhere = len(names) > 2 and len(hosts) == len(names)
    return {
        **first,
        "state": ", ".join(states),
        "note": "; ".join([*where, *dict.fromkeys(row["why"] for row in same if row.get("why"))]),
        "hosts": f"all {len(names)}" if everywhere else listed(hosts),
        "when": ago(first["at"], now),
        "commit": str(first["commit"])[:COMMIT],
        "size": human(first["size"]) if first["size"] is not None else "",
    }


def print_status(rows: Sequence[Row], now: datetime) -> None:
    """What is live where, since when and by whom; what each process runs; and a warning where hosts differ."""
    names = short_names([row["host"] for row in rows])
    same: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        same.setdefault((row["current"] or "", row["commit"]), []).append(row)
    for group in same.values():
        what, *more = live_lines(group, [names[row["host"]] for row in group], now)
        print_lines(what, style="bold")
        print_lines(*more)
    instances = [
        {"host": names[row["host"]], **status_cells(instance, row["current"])}
        for row in rows
        for instance in row["processes"]
    ]
    if instances:
        columns = [*(["host"] if len(rows) > 1 else []), "process", "pid", "uptime", "health"]
        print_table(instances, [*columns, Column("note", below=True)])
    if without := [names[row["host"]] for row in rows if not row["processes"]]:
        print_lines(f"No processes{f' on {listed(without)}' if len(rows) > 1 else ''}.")
    commits: dict[str, list[Row]] = {}  # hosts may have names of their own for the release of a commit
    for row in rows:
        commits.setdefault(row["commit"] or row["current"] or "", []).append(row)
    if len(commits) > 1:
        print_lines(*warning_of_difference(list(commits.values()), names), style="yellow")


def live_lines(group: Sequence[Row], hosts: Sequence[str], now: datetime) -> Sequence[str]:
    """What is live on hosts that have the same."""
    row = group[0]
    where = f" on {listed(hosts, 6)}"
    if not row["current"]:
        return [f"Nothing is live{where}."]
    since = row.get("published") or row.get("at")
    then = moment(since)
    facts = [
        f"published {ago(since, now)}{f' ({then:%Y-%m-%d %H:%M} UTC)' if then else ''}" if since else "",
        f"by {row['by']}" if row.get("by") else "",
        f"from {row['ref']}" if row.get("ref") else "",
    ]
    code = f"{row['commit'][:COMMIT]} {row.get('subject') or ''}".strip()
    waiting = row.get("waiting") or ()
    cut_off = "not published: its deploy still runs, or was cut off, which the next `fab deploy` repairs"
    more = [
        what_waits(waiting) if waiting else "",
        went_back(row),
        "" if row.get("mark") in (None, "", "published") else cut_off,
    ]
    return [
        f"{row['current']} is live{where}",
        *(f"  {line}" for line in (code, ", ".join(filter(None, facts)), *more) if line),
    ]


def what_waits(names: Sequence[str]) -> str:
    """The migrations that a release has left for later."""
    verb = "migration waits" if len(names) == 1 else "migrations wait"
    return f"{len(names)} {verb} ({listed(names, 4)}); until fab deploy runs what waits, a rollback is possible"


def went_back(row: Row) -> str:
    """That the site went back to this release by itself, and why."""
    fell = row.get("fell_back")
    return f"It went back from {fell['from']} by itself, which {fell['why']}: fab logs" if fell else ""


def warning_of_difference(groups: Sequence[Sequence[Row]], names: Mapping[str, str]) -> Sequence[str]:
    """The hosts differ: which is the odd one, and what to type to make it like the others."""
    usual = max(groups, key=lambda group: (bool(group[0]["current"]), len(group), str(group[0].get("at"))))
    lines = [
        "warning: the hosts differ: "
        + "; ".join(f"{listed([names[r['host']] for r in g])}: {g[0]['current'] or 'nothing'}" for g in groups)
    ]
    odd = [row["host"] for group in groups if group is not usual for row in group]
    if commit := usual[0]["commit"]:
        only = ",".join(odd)
        lines.append(f"To bring them to {usual[0]['current']}: fab deploy --branch={commit[:12]} --only={only}")
    return lines


def status_cells(instance: Row, current: str | None) -> Row:
    """A process as a row for people."""
    healthy = {True: f"ok, {instance.get('latency_ms', 0):.0f} ms", False: "FAILS", None: "not asked"}
    release = instance["release"]
    other = [f"runs {release}, not the current release"] if release not in (None, current) else []
    return {
        "process": f"{instance['process']} {instance['instance']}",
        "pid": instance["pid"],
        "uptime": duration(instance["uptime"]) if "uptime" in instance else "",
        "health": healthy[instance["healthy"]] if instance["pid"] else "not running",
        "note": "; ".join([*other, *filter(None, [instance.get("note")])]),
    }
