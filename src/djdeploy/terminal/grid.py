"""Tables that fit into a terminal: nothing that is to be copied is ever cut."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from ..errors.redaction import printable
from ..errors.typed import as_typed
from ..errors.wrapping import wrapped
from .progress import Output, Report
from .width import width_of

if TYPE_CHECKING:
    from rich.console import Console

GAP = "  "
SHORTEST = 12
"""Characters to which what may be cut is cut before other columns are left out."""

STYLES = {"live": "bold green", "previous": "green", "bad": "red", "failed": "red", "unfinished": "yellow"}
"""Of cells that begin with these words."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: its heading, and where a row has it.
        rank: which column is left out first where there is no room, the highest; 0 is always there.
        may_be_cut: whether its cells may end in an ellipsis.
        below: whether its cells go below their row where there is no room.
    """

    name: str
    rank: int = 0
    may_be_cut: bool = False
    below: bool = False


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str | Column]) -> None:
    """Rows as a table: on a terminal as wide as that is, elsewhere in full."""
    all_columns = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells = [{c.name: printable(str(row[c.name] or "")) for c in all_columns} for row in rows]
    used = [c for c in all_columns if any(row[c.name] for row in cells) or (c.rank == 0 and not c.below)]
    if sys.stdout.isatty():
        draw(cells, used)
    else:
        widths = [max(len(text) for text in [c.name, *(row[c.name] for row in cells)]) for c in used]
        for line in [{c.name: c.name for c in used}, *cells]:
            Report().write(GAP.join(line[c.name].ljust(w) for c, w in zip(used, widths, strict=True)).rstrip())


def print_lines(*lines: str, style: str = "") -> None:
    """Whole lines, styled on a terminal."""
    if not lines:
        return
    text = as_typed("\n".join(lines))
    if sys.stdout.isatty():
        from rich.text import Text

        text = wrapped(printable(text, keep="\n"), width_of(sys.stdout))
        terminal().print(Text(text, style=style), soft_wrap=True)
    else:
        Report().write(text)


def terminal() -> Console:
    from rich.console import Console

    return Console(file=cast("IO[str]", Output(sys.stdout)), highlight=False)


def draw(cells: Sequence[Mapping[str, str]], columns: Sequence[Column]) -> None:
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    console = terminal()
    natural = {c.name: max(cell_len(text) for text in [c.name, *(row[c.name] for row in cells)]) for c in columns}
    widths = fitted(columns, natural, console.width)
    shown = [c for c in columns if c.name in widths]
    below = [c for c in columns if c.below and c.name not in widths]

    def fit(text: str, width: int) -> str:
        return set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"

    console.print(Text(GAP.join(fit(c.name, widths[c.name]) for c in shown).rstrip(), style="bold"), soft_wrap=True)
    for row in cells:
        line = Text()
        for column in shown:
            text = row[column.name]
            line.append(fit(text, widths[column.name]), style=STYLES.get(text.partition(" ")[0], "")).append(GAP)
        line.rstrip()
        console.print(line, soft_wrap=True)
        for column in below:
            if row[column.name]:
                console.print(Text(f"    {row[column.name]}", style="yellow"), soft_wrap=True)


def fitted(columns: Sequence[Column], natural: Mapping[str, int], room: int) -> Mapping[str, int]:
    """The columns to show, with their widths."""
    chosen = list(columns)

    def missing() -> int:
        return sum(natural[c.name] + len(GAP) for c in chosen) - len(GAP) - room

    def elastic() -> int:
        return sum(max(0, natural[c.name] - SHORTEST) for c in chosen if c.may_be_cut)

    for column in sorted((c for c in columns if c.rank or c.below), key=lambda c: (c.below, c.rank), reverse=True):
        if missing() <= elastic():
            break
        chosen.remove(column)
    cut = max(0, missing())
    return {c.name: max(SHORTEST, natural[c.name] - cut) if c.may_be_cut and cut else natural[c.name] for c in chosen}
