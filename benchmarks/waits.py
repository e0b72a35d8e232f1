"""Draws waits over time as a small SVG: a row for each database, before on the left and now on the right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 480, 200, 52, 34, 12, 34
LEAST, MOST = 0.0001, 100.0  # seconds, on a scale of logarithms
BUCKET = 0.1  # seconds, of which the longest wait is shown
STYLE = (
    "text{font:11px sans-serif;fill:#444}.title{font-size:13px;fill:#111}.axis{stroke:#999}"
    ".limit{stroke:#c03d3e;stroke-dasharray:4 3}.free{stroke:#2e8540}"
    ".waits{fill:none;stroke:#3b76af;stroke-width:1.2}"
)


class Panel(NamedTuple):
    """Times are seconds.

    Args:
        waits: when each query was asked, and for how long it waited.
        free: when the other transaction ended.
    """

    title: str
    waits: Sequence[tuple[float, float]]
    free: float
    ended: float


def picture(panels: Sequence[Panel], limit: float) -> str:
    rows = math.ceil(len(panels) / 2)
    size = f'width="{2 * WIDTH}" height="{rows * HEIGHT}" viewBox="0 0 {2 * WIDTH} {rows * HEIGHT}"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>"]
    lines.append(f'<rect width="{2 * WIDTH}" height="{rows * HEIGHT}" fill="#fff"/>')
    for number, panel in enumerate(panels):
        lines.append(f'<g transform="translate({number % 2 * WIDTH} {number // 2 * HEIGHT})">')
        lines += [*drawn(panel, limit), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def drawn(panel: Panel, limit: float) -> Iterator[str]:
    end = max(panel.ended, *(at for at, _ in panel.waits))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(at: float) -> float:
        return round(LEFT + at / end * (right - LEFT), 1)

    def y(wait: float) -> float:
        share = math.log(max(wait, LEAST) / LEAST) / math.log(MOST / LEAST)
        return round(bottom - share * (bottom - TOP), 1)

    yield f'<text class="title" x="{LEFT}" y="20">{escape(panel.title)}</text>'
    yield f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    for wait, label in ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1, "1 s"), (10, "10 s")):
        yield f'<text x="{LEFT - 6}" y="{y(wait) + 4}" text-anchor="end">{label}</text>'
    for at in range(0, int(end) + 1, 10):
        yield f'<text x="{x(at)}" y="{bottom + 15}" text-anchor="middle">{at} s</text>'
    yield f'<path class="limit" d="M{LEFT} {y(limit)}H{right}"/>'
    yield f'<path class="free" d="M{x(panel.free)} {TOP}V{bottom}"/>'
    points = " ".join(f"{x(at)},{y(wait)}" for at, wait in longest(panel.waits))
    yield f'<polyline class="waits" points="{points}"/>'


def longest(waits: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The longest wait of each bucket, at the moment when it was over."""
    found: dict[int, tuple[float, float]] = {}
    for at, wait in waits:
        bucket = int((at + wait) / BUCKET)
        found[bucket] = max(found.get(bucket, (0.0, 0.0)), (at + wait, wait), key=lambda one: one[1])
    return [found[bucket] for bucket in sorted(found)]
