"""Times djdeploy, the original script and a hand-written shell script side by side, over networks of any round trip."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import methodcaller
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from rich.console import Console

from benchmarks import stand_in, startup
from benchmarks.contenders import Contender, Djdeploy, Floor, Ported, Work
from benchmarks.hosts import Hosts, hosts_up
from benchmarks.limits import Limit
from benchmarks.site import answering
from benchmarks.tables import Table, put_between_markers
from benchmarks.windows import ratio
from djdeploy.rehearsal.repository import REQUIREMENTS, SampleRepository

NAME = "speed"
RESULTS = Path(__file__).parent / "results" / f"{NAME}.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / f"{NAME}.md"
PACKAGES = Path(__file__).parent / "packages.txt"
PARTS = ("scenarios", "guarantees", "hosts", "start")

FLOOR, POST, BARE, WHOLE = "floor", "the original script", "djdeploy, bare", "djdeploy"
USUAL = 25
"""Milliseconds: the round trip of what is not measured at every one."""

POLL = 0.03
PATIENCE = 120

OTHER_VERSION = """\
sqlparse==0.5.3 \\
    --hash=sha256:09f67787f56a0b16ecdbde1bfc7f5d9c3371ca683cfeaa8e6ff60b4807ec9272 \\
    --hash=sha256:cf2196ed3418f3ba5de6af7e82c694a9fbdbfecccdfc72e281548517081f16ca
"""

PICTURES = {f"src/notes/static/notes/picture-{number}.svg": f"<svg>{number:4000}</svg>\n" for number in range(300)}

WARM_UP = """\
for name in main other; do
    git -C {repository} show "$name:requirements.txt" >/tmp/lock.txt
    python3 -m venv --clear /tmp/warm
    /tmp/warm/bin/pip install -q -r /tmp/lock.txt
    uv venv -q --clear --no-project --python python3 /tmp/warm
    uv pip install -q --python /tmp/warm/bin/python -r /tmp/lock.txt
done
rm -rf /tmp/warm /tmp/lock.txt
"""


# --- one measurement --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """What one command took.

    Args:
        answers: seconds until the other release answered on all hosts; None if no release was to change.
        ends: seconds until the command ended.
        channels: SSH sessions that were opened.
        processor: seconds of a processor, the client's and the servers': a busy machine changes them little.
    """

    answers: float | None
    ends: float
    channels: int
    processor: float

    @property
    def seconds(self) -> float:
        return self.ends if self.answers is None else self.answers


class Watch(threading.Thread):
    """Notes when each of some addresses first answers with another release than at the beginning."""

    def __init__(self, urls: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.before = {url: answering(url) for url in urls}
        self.moment: float | None = None
        self._given_up = threading.Event()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.join(0 if error else PATIENCE)
        self._given_up.set()

    def run(self) -> None:
        waiting = dict(self.before)
        while waiting and not self._given_up.is_set():
            for url, before in list(waiting.items()):
                if answering(url) not in ("", before):
                    del waiting[url]
            time.sleep(POLL)
        self.moment = time.monotonic()


def timed(contender: Contender, command: Callable[[], object], *, changes: bool) -> Taken:
    """Runs a command of a contender.

    Args:
        changes: whether another release answers afterwards.
    """
    opened, used = contender.hosts.channels, processor_seconds(contender)
    with Watch(contender.urls if changes else []) as watch:
        began = time.monotonic()
        command()
        ended = time.monotonic()
    if watch.is_alive():
        raise RuntimeError(f"{contender.name}: no other release answers")
    answers = watch.moment - began if changes and watch.moment else None
    used = processor_seconds(contender) - used
    return Taken(answers, ended - began, contender.hosts.channels - opened, used)


def processor_seconds(contender: Contender) -> float:
    """What was used so far: by its hosts, and by the commands that we have run."""
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    return contender.hosts.processor + ours.ru_utime + ours.ru_stime


@dataclass
class Series:
    """The repetitions of one measurement of one contender."""

    taken: list[Taken] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(taken.seconds for taken in self.taken)

    @property
    def ends(self) -> float:
        return statistics.median(taken.ends for taken in self.taken)

    @property
    def processor(self) -> float:
        return statistics.median(taken.processor for taken in self.taken)

    @property
    def channels(self) -> int:
        return statistics.median_low([taken.channels for taken in self.taken])


Found: TypeAlias = dict[str, Series]
"""By the contender's name."""


# --- scenarios --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """Something that users do.

    Args:
        command: the contender's.
        prepare: what comes before on each contender, and does not count.
        commit: what is committed before.
        changes: whether another release answers afterwards.
        floor_limits: at most so many times the floor, by the round trip in milliseconds.
        post_limit: at most so many times the original script, at the same round trips.
    """

    name: str
    command: Callable[[Contender], object]
    prepare: Callable[[Contender], object] = lambda _: None
    commit: Callable[[SampleRepository], object] = lambda _: None
    changes: bool = True
    floor_limits: Mapping[int, float] = field(default_factory=dict)
    post_limit: float | None = None


def change_code(repository: SampleRepository) -> None:
    repository.change_page(f"At {time.monotonic()}")


def change_requirement(repository: SampleRepository) -> None:
    """To the other of two versions."""
    other = repository.git("show", "other:" + REQUIREMENTS) + "\n"
    text = repository.git("show", "first:" + REQUIREMENTS) + "\n" if repository.read(REQUIREMENTS) == other else other
    repository.commit({REQUIREMENTS: text}, "Change a requirement")


SCENARIOS = (
    Scenario("first deploy", methodcaller("deploy"), methodcaller("reset")),
    Scenario(
        "code change", methodcaller("deploy"), commit=change_code, floor_limits={25: 1.5, 100: 1.6}, post_limit=0.25
    ),
    Scenario("rollback", methodcaller("rollback"), floor_limits={25: 2.0}, post_limit=1.0),
    Scenario(
        "one changed requirement",
        methodcaller("deploy"),
        methodcaller("forget_other_environments"),
        change_requirement,
        floor_limits={25: 1.5},
        post_limit=0.25,
    ),
    Scenario(
        "cleanup of 20 releases", methodcaller("cleanup"), methodcaller("age"), changes=False, floor_limits={25: 1.2}
    ),
)
CODE_CHANGE = SCENARIOS[1]
ORDER = {scenario.name: place for place, scenario in enumerate(SCENARIOS)}


class Bench:
    """The hosts and what is deployed to them."""

    def __init__(self, start: Callable[[int], Hosts], console: Console) -> None:
        self.start, self.console = start, console
        self.hosts = start(1)
        self.repository = SampleRepository(self.hosts.directory / "repository")
        lock = f"{self.repository.read(REQUIREMENTS)}{PACKAGES.read_text()}"
        self.repository.commit({**PICTURES, REQUIREMENTS: lock}, "A project of some size")
        self.repository.tag("first")
        stand_in.add_branch(self.repository, without=PICTURES)
        self.repository.branch("other")
        lock = re.sub(
            r"^sqlparse==.*\n( +--hash.*\n)+", lambda _: OTHER_VERSION, self.repository.read(REQUIREMENTS), flags=re.M
        )
        self.repository.commit({REQUIREMENTS: lock}, "Another version")
        self.repository.branch("main")
        self.url = self.hosts.push(self.repository.path)
        self.warm = 0

    def with_hosts(self, count: int, *, packages: bool = True) -> Hosts:
        """Hosts that have the repository and, in their caches, the packages."""
        hosts = self.start(count)
        hosts.push(self.repository.path)
        if packages:
            for host in hosts.hosts[self.warm :]:
                host.run(WARM_UP.format(repository=self.url))
            self.warm = max(self.warm, count)
        return hosts

    def measure(self, contenders: Sequence[Contender], scenario: Scenario, into: Found) -> None:
        """One scenario, once, by one contender after the other."""
        scenario.commit(self.repository)
        contenders[0].hosts.push(self.repository.path)
        for contender in contenders:
            scenario.prepare(contender)
            taken = timed(contender, lambda: scenario.command(contender), changes=scenario.changes)  # noqa: B023
            into.setdefault(contender.name, Series()).taken.append(taken)
            self.console.print(f"  {scenario.name}: {contender.name}: {taken.seconds:.2f} s", style="dim")


def main_contenders(bench: Bench, hosts: Hosts) -> list[Contender]:
    """Bare: without what costs time and the floor does not have."""
    work = Work()
    return [
        Floor(FLOOR, "floor", 8101, hosts, bench.url, work),
        Djdeploy(BARE, "bare", 8102, hosts, bench.url, work, smoke_test=False, probe=None),
        Djdeploy(WHOLE, "whole", 8103, hosts, bench.url, work, instances=2),
        Ported(POST, "post", 8104, hosts, bench.url, work),
    ]


def measure_scenarios(bench: Bench, round_trips: Sequence[int], repeat: int) -> dict[tuple[int, str], Found]:
    """All scenarios at all round trips."""
    hosts = bench.with_hosts(1)
    contenders = main_contenders(bench, hosts)
    found: dict[tuple[int, str], Found] = {}
    for number in range(repeat):
        for milliseconds in round_trips:
            bench.console.print(f"{milliseconds} ms, {number + 1} of {repeat}")
            hosts.set_round_trip(milliseconds / 1000)
            for scenario in SCENARIOS:
                bench.measure(contenders, scenario, found.setdefault((milliseconds, scenario.name), {}))
    for contender in contenders:
        contender.stop()
    return found


def measure_guarantees(bench: Bench, repeat: int) -> Found:
    """A code change, with each guarantee that can be had by itself."""
    hosts = bench.with_hosts(1)
    hosts.set_round_trip(USUAL / 1000)
    given = (hosts, bench.url, Work())
    contenders: list[Contender] = [
        Floor("the floor", "floor", 8101, *given),
        Djdeploy("djdeploy without all of these", "bare", 8102, *given, smoke_test=False, probe=None),
        Djdeploy("with the smoke test", "smoke", 8105, *given, probe=None),
        Djdeploy("with the probe", "probe", 8106, *given, smoke_test=False),
        Djdeploy("with two instances", "two", 8107, *given, smoke_test=False, probe=None, instances=2),
        Djdeploy("with all of these", "whole", 8103, *given, instances=2),
    ]
    for contender in contenders:
        contender.reset()
        contender.deploy()
    found: Found = {}
    for _ in range(repeat):
        bench.measure(contenders, CODE_CHANGE, found)
    for contender in contenders:
        contender.stop()
    return found


def measure_waiting_hosts(bench: Bench, counts: Sequence[int], repeat: int) -> dict[int, Found]:
    """A code change on several hosts, all of whose steps only wait: they do not share this machine's processors."""
    found: dict[int, Found] = {}
    for count in counts:
        hosts = bench.with_hosts(count, packages=False)
        hosts.set_round_trip(USUAL / 1000)
        contenders = waiting_contenders(bench, hosts)
        for contender in contenders:
            contender.reset()
            contender.deploy()
        for number in range(repeat):
            bench.console.print(f"{count} waiting hosts, {number + 1} of {repeat}")
            bench.measure(contenders, CODE_CHANGE, found.setdefault(count, {}))
        for contender in contenders:
            contender.stop()
    return found


def measure_sharing_hosts(bench: Bench, counts: Sequence[int]) -> dict[tuple[int, str], Found]:
    """All scenarios on several hosts, with real work, once."""
    found: dict[tuple[int, str], Found] = {}
    for count in counts:
        hosts = bench.with_hosts(count)
        hosts.set_round_trip(USUAL / 1000)
        contenders = main_contenders(bench, hosts)
        for scenario in SCENARIOS:
            bench.console.print(f"{count} hosts at work")
            bench.measure(contenders, scenario, found.setdefault((count, scenario.name), {}))
        for contender in contenders:
            contender.stop()
    return found


def waiting_contenders(bench: Bench, hosts: Hosts) -> list[Contender]:
    work = stand_in.WORK
    return [
        Floor(FLOOR, "floor", 8101, hosts, bench.url, work),
        Djdeploy(BARE, "bare", 8102, hosts, bench.url, work, smoke_test=False, probe=None),
    ]


# --- what came of it --------------------------------------------------------------------------------------------------


@dataclass
class Results:
    """All that was measured; a part that was not is empty."""

    scenarios: Mapping[tuple[int, str], Found] = field(default_factory=dict)
    guarantees: Found = field(default_factory=dict)
    waiting: Mapping[int, Found] = field(default_factory=dict)
    sharing: Mapping[tuple[int, str], Found] = field(default_factory=dict)
    starts: Sequence[startup.Start] = ()


def limits(results: Results) -> Iterator[Limit]:
    for scenario in SCENARIOS:
        for milliseconds, limit in scenario.floor_limits.items():
            found = results.scenarios.get((milliseconds, scenario.name))
            if not found:
                continue
            bare, what = found[BARE].seconds, f"{scenario.name}, {milliseconds} ms"
            yield Limit(f"{what}: to the floor", ratio(bare, found[FLOOR].seconds), limit)
            if scenario.post_limit:
                yield Limit(f"{what}: to the original script", ratio(bare, found[POST].seconds), scenario.post_limit)
    counts = sorted(results.waiting)
    if len(counts) > 1:
        first, most = (results.waiting[count][BARE].ends for count in (counts[0], counts[-1]))
        yield Limit(f"{counts[-1]} hosts that wait: to {counts[0]}", ratio(most, first), 1.5)


def seconds(value: float) -> str:
    return f"{value:.1f}"


def limit_table(kept: Sequence[Limit]) -> Table:
    rows = [
        [limit.what, f"{limit.value:.2f}", f"{limit.limit:g}", "yes" if limit.is_kept else "**no**"] for limit in kept
    ]
    return Table("What was aimed at: djdeploy, bare, as a ratio", ["", "measured", "at most", "kept"], rows)


def tables(results: Results) -> Iterator[Table]:
    if results.scenarios:
        yield scenario_table(results.scenarios)
        yield processor_table(results.scenarios)
    if results.guarantees:
        yield guarantee_table(results.guarantees)
    if results.waiting:
        yield host_table("A code change on several hosts, where all steps and starts only wait", results.waiting)
    if results.sharing:
        yield sharing_table(results.sharing)
    if results.starts:
        yield start_table(results.starts)


def scenario_table(scenarios: Mapping[tuple[int, str], Found]) -> Table:
    repeat = max(len(series.taken) for found in scenarios.values() for series in found.values())
    title = f"Seconds until the other release answers (cleanup: until it ends), medians of {repeat}; (SSH channels)"
    columns = ["", FLOOR, POST, BARE, "to the floor", "to the original script", "with its guarantees", "until it ends"]
    rows = []
    for milliseconds, name in sorted(scenarios, key=lambda key: (ORDER[key[1]], key[0])):
        found = scenarios[milliseconds, name]
        cells = [f"{seconds(found[who].seconds)} ({found[who].channels})" for who in (FLOOR, POST, BARE)]
        ratios = [f"{ratio(found[BARE].seconds, found[who].seconds):.2f}" for who in (FLOOR, POST)]
        whole = found[WHOLE]
        ends = [f"{seconds(whole.seconds)} ({whole.channels})", seconds(whole.ends)]
        rows.append([f"{name}, {milliseconds} ms", *cells, *ratios, *ends])
    return Table(title, columns, rows)


def processor_table(scenarios: Mapping[tuple[int, str], Found]) -> Table:
    """Of one round trip: it does not change the work."""
    milliseconds = USUAL if any(key[0] == USUAL for key in scenarios) else min(key[0] for key in scenarios)
    columns = ["", FLOOR, POST, BARE, "to the floor", WHOLE]
    rows = []
    for scenario in SCENARIOS:
        found = scenarios[milliseconds, scenario.name]
        floor, post, bare, whole = (found[who].processor for who in (FLOOR, POST, BARE, WHOLE))
        cells = [f"{used:.2f}" for used in (floor, post, bare, ratio(bare, floor), whole)]
        rows.append([scenario.name, *cells])
    return Table(
        "Seconds of a processor, client and server together: a busy machine changes them little", columns, rows
    )


def guarantee_table(guarantees: Found) -> Table:
    title = f"What each guarantee adds to a code change at {USUAL} ms, in seconds"
    columns = ["", "until the new release answers", "until the command ends", "more than bare, answers", "ends"]
    without = list(guarantees.values())[1]
    rows = []
    for name, series in guarantees.items():
        more = [f"{series.seconds - without.seconds:+.1f}", f"{series.ends - without.ends:+.1f}"]
        rows.append([name, seconds(series.seconds), seconds(series.ends), *more])
    return Table(title, columns, rows)


def sharing_table(sharing: Mapping[tuple[int, str], Found]) -> Table:
    title = f"Several hosts with real work, all on the processors of one machine; seconds as above, {USUAL} ms, once"
    columns = ["", FLOOR, POST, BARE, "to the floor", "to the original script", "with its guarantees", "until it ends"]
    rows = []
    for count, name in sorted(sharing, key=lambda key: (ORDER[key[1]], key[0])):
        found = sharing[count, name]
        measured = [seconds(found[who].seconds) for who in (FLOOR, POST, BARE)]
        ratios = [f"{ratio(found[BARE].seconds, found[who].seconds):.2f}" for who in (FLOOR, POST)]
        whole = [seconds(found[WHOLE].seconds), seconds(found[WHOLE].ends)]
        hosts = f"{count} hosts" if count > 1 else "1 host"
        rows.append([f"{name}, {hosts}", *measured, *ratios, *whole])
    return Table(title, columns, rows)


def host_table(title: str, by_count: Mapping[int, Found]) -> Table:
    names = list(next(iter(by_count.values())))
    first = next(iter(by_count.values()))
    columns = ["hosts", *(word for name in names for word in (f"{name}, s", "to one host"))]
    rows = [
        [
            str(count),
            *(w for n in names for w in (seconds(found[n].ends), f"{ratio(found[n].ends, first[n].ends):.2f}")),
        ]
        for count, found in by_count.items()
    ]
    return Table(f"{title}; until the command ends, {USUAL} ms", columns, rows)


def start_table(starts: Sequence[startup.Start]) -> Table:
    columns = ["`fab --list`", "milliseconds", "of which imports of djdeploy", "heavy modules that were imported"]
    rows = [
        [start.name, f"{start.median * 1000:.0f}", f"{start.import_milliseconds:.0f}", ", ".join(start.loaded)]
        for start in starts
    ]
    return Table("The start of a task", columns, rows)


def result(results: Results, kept: Sequence[Limit], repeat: int) -> dict[str, Any]:
    def told(found: Found) -> dict[str, Any]:
        return {
            name: {
                "seconds": series.seconds,
                "ends": series.ends,
                "channels": series.channels,
                "processor": series.processor,
            }
            | {"each": [asdict(taken) for taken in series.taken]}
            for name, series in found.items()
        }

    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "repeat": repeat,
        "scenarios": [
            {"scenario": name, "round_trip_ms": milliseconds} | told(found)
            for (milliseconds, name), found in results.scenarios.items()
        ],
        "guarantees": told(results.guarantees),
        "waiting_hosts": {count: told(found) for count, found in results.waiting.items()},
        "sharing_hosts": [
            {"scenario": name, "hosts": count} | told(found) for (count, name), found in results.sharing.items()
        ],
        "starts": [asdict(start) | {"median": start.median} for start in results.starts],
        "limits": [asdict(limit) | {"kept": limit.is_kept} for limit in kept],
    }


# --- the command ------------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repeat", type=int, default=3, metavar="N", help="repetitions, of which medians (%(default)s)"
    )
    parser.add_argument(
        "--round-trips", nargs="*", type=int, default=[0, 25, 100], metavar="MS", help="of the network (%(default)s)"
    )
    parser.add_argument("--hosts", nargs="*", type=int, default=[1, 4, 8], metavar="N", help="(%(default)s)")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS, help="what to measure (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="leave the results and the document as they are")


def measured(options: argparse.Namespace, console: Console) -> Results:
    results = Results()
    if "start" in options.parts:
        results.starts = startup.measure(4 * options.repeat)
    if {*options.parts} == {"start"}:
        return results
    with hosts_up() as start:
        bench = Bench(start, console)
        if "scenarios" in options.parts:
            results.scenarios = measure_scenarios(bench, options.round_trips, options.repeat)
        if "guarantees" in options.parts:
            results.guarantees = measure_guarantees(bench, options.repeat)
        if "hosts" in options.parts:
            results.waiting = measure_waiting_hosts(bench, options.hosts, options.repeat)
            results.sharing = measure_sharing_hosts(bench, options.hosts)
    return results


def run(options: argparse.Namespace, console: Console) -> bool:
    """Measures, shows, writes; returns whether all limits were kept."""
    results = measured(options, console)
    kept = list(limits(results))
    shown = [*tables(results), *([limit_table(kept)] if kept else [])]
    for table in shown:
        table.show(console)
    if not options.dry:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result(results, kept, options.repeat), indent=2) + "\n")
        put_between_markers(DOCUMENT, "measured", "\n\n".join(table.markdown() for table in shown))
    return all(limit.is_kept for limit in kept)
