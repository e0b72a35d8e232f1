"""Draws a deploy under load, beside the original script's restart, from a run that it makes for this."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.post import Post
from benchmarks.site import beginning_of, bench_site
from benchmarks.windows import Window
from djdeploy.rehearsal.load import Answer, Load, Summary

NAME = "picture"
PICTURE = Path(__file__).parent.parent / "docs" / "zero-downtime.svg"

RATE = 50
AROUND = 3.0
"""Seconds that are shown before and after."""

COLORS = ("#3b76af", "#e1812c")
FAILED = "#c03d3e"


@dataclass(frozen=True)
class Scene:
    """A restart under load. All times are seconds since the whole began.

    Args:
        whole: the deploy.
        window: when something is switched.
    """

    title: str
    answers: Sequence[Answer]
    whole: Window
    window: Window
    label: str


def scene(title: str, url: str, label: str, restart: Callable[[], tuple[Window, Window]]) -> Scene:
    """Runs a load and a restart in it."""
    with Load(url, rate=RATE) as load:
        began = beginning_of(load)
        time.sleep(AROUND)
        whole, window = restart()
        time.sleep(AROUND)
    return Scene(title, load.answers(), whole.since(began), window.since(began), label)


def draw(scenes: Sequence[Scene], path: Path) -> None:
    """One picture: a column for each scene; above the latencies, below the failures."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "djdeploy", "font.size": 9, "font.family": "sans-serif"})
    from matplotlib import pyplot

    widths = [made.whole.seconds + 2 * AROUND for made in scenes]
    figure, rows = pyplot.subplots(
        2,
        len(scenes),
        figsize=(11, 4.6),
        sharex="col",
        sharey="row",
        gridspec_kw={"height_ratios": [4, 1], "width_ratios": [max(w, max(widths) / 2) for w in widths]},
    )
    most = max(count for made in scenes for count in per_half_second(made, failed=True).values() or [1])
    for number, made in enumerate(scenes):
        draw_scene(made, rows[0][number], rows[1][number])
    rows[0][0].set_ylabel("latency, ms (log)")
    rows[1][0].set_ylabel("failed\nper 0.5 s")
    lowest, highest = rows[0][0].get_ylim()
    rows[0][0].set_ylim(lowest, highest * 4)  # room for what the dots mean
    rows[0][0].yaxis.set_major_formatter("{x:g}")
    rows[1][0].set_ylim(0, max(1, most) * 1.1)
    figure.tight_layout()
    figure.savefig(path, dpi=200, metadata={"Date": None})


def draw_scene(made: Scene, above: Any, below: Any) -> None:
    zero = made.whole.begin
    first = Summary.of(made.answers).first
    for color, release in zip(COLORS, sorted(first, key=lambda name: first[name]), strict=False):
        good = [answer for answer in made.answers if answer.release == release and not answer.failure]
        times, latencies = [a.planned - zero for a in good], [a.milliseconds for a in good]
        above.scatter(
            times, latencies, s=5, color=color, linewidths=0, label=f"{release} ({len(good)})", rasterized=True
        )
    failed = [answer for answer in made.answers if answer.failure]
    label = f"failed ({len(failed)})"
    marks = [max(answer.milliseconds, 0.5) for answer in failed]
    above.scatter(
        [a.planned - zero for a in failed], marks, s=12, color=FAILED, marker="x", linewidths=0.7, label=label
    )
    counted = per_half_second(made, failed=True)
    below.bar([second - zero + 0.25 for second in counted], list(counted.values()), width=0.5, color=FAILED)
    for axes in (above, below):
        axes.axvspan(made.window.begin - zero, made.window.end - zero, color="#888888", alpha=0.18, linewidth=0)
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
    middle = (made.window.begin + made.window.end) / 2 - zero
    above.text(middle, 0.98, made.label, transform=above.get_xaxis_transform(), ha="center", va="top", fontsize=8)
    above.set_yscale("log")
    above.set_title(made.title)
    above.legend(loc="upper left", fontsize=7, framealpha=0.9)
    below.set_xlabel("seconds since the start")


def per_half_second(made: Scene, *, failed: bool) -> dict[float, int]:
    counted: dict[float, int] = {}
    for answer in made.answers:
        if bool(answer.failure) is failed:
            begin = int(answer.planned * 2) / 2
            counted[begin] = counted.get(begin, 0) + 1
    return counted


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, default=PICTURE, metavar="FILE", help="where the picture goes (%(default)s)")


def run(options: argparse.Namespace, console: Console) -> bool:
    """Returns whether the deploy has lost no request."""
    with bench_site() as site:

        def deploy() -> tuple[Window, Window]:
            done = site.timed_deploy("other")
            if done.publish is None:
                raise RuntimeError(done.output)
            return done.whole, done.publish

        def post_restart() -> tuple[Window, Window]:
            window = post.restart()
            return window, window

        ours = scene("fab deploy", site.url, "publishing", deploy)
        post = Post(site)
        theirs = scene("the original script's restart alone", post.url, "restart", post_restart)
    draw([ours, theirs], options.to)
    for made in (ours, theirs):
        console.print(f"{made.title}: {Summary.of(made.answers)}", highlight=False)
    return Summary.of(ours.answers).failed == 0
