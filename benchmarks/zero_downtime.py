"""Counts lost requests: 20 deploys under load, restarts as in the original script, and deploys of broken releases."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.broken import BROKEN, Broken
from benchmarks.limits import Limit
from benchmarks.post import Post
from benchmarks.site import PORT, SYNC, BenchSite, answering, beginning_of, bench_site
from benchmarks.tables import Table, put_between_markers
from benchmarks.windows import Latency, Window, inside, outside, ratio
from djdeploy.rehearsal.load import Answer, Load, Summary

NAME = "zero-downtime"
PROJECT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / f"{NAME}.json"
DOCUMENT = PROJECT / "docs" / f"{NAME}.md"

RATE = 100
REST = 4.0
"""Seconds between two deploys: what is outside all windows."""

P99_LIMIT, GAP_LIMIT = 3.0, 0.5


@dataclass(frozen=True)
class Way:
    """A way in which users reach the site.

    Args:
        command: the server's.
        port: where the load goes: our own, or nginx's.
        keep_alive: whether the load uses connections again.
        share: of the number of deploys.
    """

    name: str
    command: str = SYNC
    port: int = PORT
    keep_alive: bool = False
    share: float = 1.0


WAYS = {
    "new": Way("new connections, sync workers"),
    "kept": Way("kept connections, threaded workers", f"{SYNC} --threads 4 --keep-alive 600", keep_alive=True),
    "nginx": Way("kept connections to nginx, sync workers", port=80, keep_alive=True, share=0.25),
}


@dataclass(frozen=True)
class Restarts:
    """What became of the requests during many restarts.

    Args:
        releases: how many releases have answered.
        publish, whole, rest: latency while publishing, during whole deploys, and outside them.
        publish_seconds: how long publishing took, on the average.
        p99_each: the p99 of each publishing by itself: a machine that was busy with other work shows in few of them.
    """

    name: str
    restarts: int
    sent: int
    failed: int
    failures: Mapping[str, int]
    longest_gap: float
    releases: int
    publish: Latency
    whole: Latency
    rest: Latency
    publish_seconds: float
    p99_each: Sequence[float]

    @classmethod
    def of(cls, name: str, answers: Sequence[Answer], publish: Sequence[Window], whole: Sequence[Window]) -> Restarts:
        summary = Summary.of(answers)
        return cls(
            name=name,
            restarts=len(publish),
            sent=summary.sent,
            failed=summary.failed,
            failures=summary.failures,
            longest_gap=summary.longest_gap,
            releases=len(summary.releases),
            publish=Latency.of(inside(answers, publish)),
            whole=Latency.of(inside(answers, whole)),
            rest=Latency.of(outside(answers, whole)),
            publish_seconds=round(sum(window.seconds for window in publish) / max(1, len(publish)), 2),
            p99_each=[Latency.of(inside(answers, [window])).p99 for window in publish],
        )

    @property
    def p99_ratio(self) -> float:
        return ratio(self.publish.p99, self.rest.p99)

    @property
    def whole_p99_ratio(self) -> float:
        return ratio(self.whole.p99, self.rest.p99)

    def cells(self) -> list[str]:
        kinds = ", ".join(f"{count} {kind.partition(' (')[0]}" for kind, count in self.failures.items())
        return [
            self.name,
            str(self.restarts),
            f"{self.sent:,}",
            f"{self.failed:,}{kinds and f' ({kinds})'}",
            f"{self.longest_gap:.2f} s",
            str(self.rest),
            f"{self.publish} ({self.p99_ratio:.1f})",
            f"{self.whole} ({self.whole_p99_ratio:.1f})",
        ]

    COLUMNS = (
        "",
        "restarts",
        "sent",
        "failed",
        "longest gap",
        "outside, ms",
        "publishing, ms (ratio)",
        "whole deploy, ms (ratio)",
    )


@dataclass(frozen=True)
class Refusal:
    """What became of a broken release, and of the requests meanwhile."""

    name: str
    code: int
    expected_code: int
    sent: int
    failed: int
    failures: Mapping[str, int]
    longest_gap: float
    old_release_serves: bool
    seconds: float

    @property
    def is_good(self) -> bool:
        return self.code == self.expected_code and self.failed == 0 and self.old_release_serves

    def cells(self) -> list[str]:
        serves = "the old one" if self.old_release_serves else "ANOTHER"
        code = str(self.code) if self.code == self.expected_code else f"{self.code} INSTEAD OF {self.expected_code}"
        return [self.name, code, f"{self.failed} of {self.sent:,}", f"{self.longest_gap:.2f} s", serves]

    COLUMNS = ("broken release", "exit code", "failed", "longest gap", "serves afterwards")


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_deploys(site: BenchSite, way: Way, deploys: int, rate: float, console: Console) -> Restarts:
    """Deploys in a row, alternating two commits, under a load."""
    deploys = max(1, round(deploys * way.share))
    site.run_with(way.command)
    site.deploy()
    publish, whole = [], []
    with Load(site.at(way.port), rate=rate, keep_alive=way.keep_alive, seconds=7200) as load:
        began = beginning_of(load)
        time.sleep(REST)
        for number, branch in zip(range(deploys), itertools.cycle(["other", "main"])):
            done = site.timed_deploy(branch)
            if done.code or done.publish is None:
                raise RuntimeError(f"deploy {number + 1} failed:\n{done.output}")
            publish.append(done.publish.since(began))
            whole.append(done.whole.since(began))
            time.sleep(REST)
            latency = Latency.of(inside(load.answers(), [whole[-1]]))
            counted = f"deploy {number + 1} of {deploys} in {done.whole.seconds:.1f} s"
            console.print(f"[dim]{way.name}: {counted}, p50 / p99 / max {latency} ms[/]")
    return Restarts.of(way.name, load.answers(), publish, whole)


def measure_post(site: BenchSite, restarts: int, rate: float, console: Console) -> Restarts:
    """The original script's restart on the same container, under the same load."""
    post = Post(site)
    windows = []
    with Load(post.url, rate=rate, seconds=7200) as load:
        began = beginning_of(load)
        time.sleep(REST)
        for number in range(restarts):
            windows.append(post.restart().since(began))
            time.sleep(REST)
            console.print(
                f"[dim]the original script's restart {number + 1} of {restarts} in {windows[-1].seconds:.1f} s[/]"
            )
    site.target.root("supervisorctl", "stop", "post")
    return Restarts.of("the original script's restart, new connections", load.answers(), windows, windows)


def measure_broken(site: BenchSite, broken: Broken, rate: float, console: Console) -> Refusal:
    """A deploy of one broken release, under a load."""
    before = site.link("current")
    broken.make(site)
    with Load(site.url, rate=rate, seconds=7200) as load:
        done = site.timed_deploy()
        time.sleep(2)
    summary = load.summary()
    serves = answering(site.url) == before == site.link("current") and set(summary.releases) == {before}
    broken.repair(site)
    console.print(f"[dim]{broken.name}: exit code {done.code} after {done.whole.seconds:.1f} s[/]")
    if done.code != broken.code:
        console.print(done.output, markup=False, highlight=False)
    return Refusal(
        name=broken.name,
        code=done.code,
        expected_code=broken.code,
        sent=summary.sent,
        failed=summary.failed,
        failures=summary.failures,
        longest_gap=summary.longest_gap,
        old_release_serves=serves,
        seconds=round(done.whole.seconds, 1),
    )


# --- judging ----------------------------------------------------------------------------------------------------------


def limits(deploys: Sequence[Restarts], refusals: Sequence[Refusal]) -> Iterator[Limit]:
    """What the issue allows."""
    for row in deploys:
        yield Limit(f"{row.name}: failed requests", row.failed, 0)
        yield Limit(f"{row.name}: p99 while publishing / outside", row.p99_ratio, P99_LIMIT)
        yield Limit(f"{row.name}: p99 during whole deploys / outside", row.whole_p99_ratio, P99_LIMIT)
        yield Limit(f"{row.name}: longest gap, seconds", row.longest_gap, GAP_LIMIT)
    if refusals:
        yield Limit("broken releases: failed requests", sum(row.failed for row in refusals), 0)
        yield Limit("broken releases: not refused as they should be", sum(not row.is_good for row in refusals), 0)


def tables(deploys: Sequence[Restarts], post: Restarts | None, refusals: Sequence[Refusal]) -> Iterator[Table]:
    rows = [*deploys, *([post] if post else [])]
    if rows:
        title = "Restarts under load. Latencies are p50 / p99 / max; a ratio is p99 to p99 outside all deploys"
        yield Table(title, Restarts.COLUMNS, [row.cells() for row in rows])
    if refusals:
        yield Table("Deploys of broken releases under load", Refusal.COLUMNS, [row.cells() for row in refusals])


def result(
    deploys: Sequence[Restarts], post: Restarts | None, refusals: Sequence[Refusal], kept: Sequence[Limit], rate: float
) -> dict[str, Any]:
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rate": rate,
        "deploys": [asdict(row) | {"ratio": row.p99_ratio, "whole_ratio": row.whole_p99_ratio} for row in deploys],
        "post": asdict(post) if post else None,
        "broken": [asdict(row) for row in refusals],
        "limits": [asdict(limit) | {"kept": limit.is_kept} for limit in kept],
    }


# --- the command ------------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deploys", type=int, default=20, metavar="N", help="deploys in a row; behind nginx a quarter (%(default)s)"
    )
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS), help="how users reach the site")
    parser.add_argument(
        "--post", type=int, default=5, metavar="N", help="restarts as in the original script (%(default)s)"
    )
    parser.add_argument("--broken", type=int, default=len(BROKEN), metavar="N", help="broken releases (%(default)s)")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="leave the results and the document as they are")


def run(options: argparse.Namespace, console: Console) -> bool:
    """Measures, shows, writes; returns whether all limits were kept."""
    with bench_site() as site:
        deploys = [measure_deploys(site, WAYS[w], options.deploys, options.rate, console) for w in options.ways]
        post = measure_post(site, options.post, options.rate, console) if options.post else None
        site.run_with(SYNC)
        site.deploy()
        refusals = [measure_broken(site, broken, options.rate, console) for broken in BROKEN[: options.broken]]
    kept = list(limits(deploys, refusals))
    shown = list(tables(deploys, post, refusals))
    for table in shown:
        table.show(console)
    for limit in kept:
        limit.show(console)
    if not options.dry:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result(deploys, post, refusals, kept, options.rate), indent=2) + "\n")
        put_between_markers(DOCUMENT, "measured", "\n\n".join(table.markdown() for table in shown))
    return all(limit.is_kept for limit in kept)
