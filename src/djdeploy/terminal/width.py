"""How wide a terminal is."""

from __future__ import annotations

import os
from typing import Any


def width_of(stream: Any) -> int:
    """How wide a terminal is; 0 for anything else."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        return 0
