"""What was measured against what is allowed."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console


@dataclass(frozen=True)
class Limit:
    """Args: what: what was measured. value: what came of it. limit: the most that is allowed."""

    what: str
    value: float
    limit: float

    @property
    def is_kept(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.3g} (limit {self.limit:g})"

    def show(self, console: Console) -> None:
        console.print(f"{'[green]pass[/]' if self.is_kept else '[bold red]FAIL[/]'} {self}", highlight=False)
