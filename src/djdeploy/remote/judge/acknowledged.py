"""Migrations that somebody has looked at, and says that they may run: in the settings, or in the migration's file.

class Migration(migrations.Migration):
    djdeploy_allow = "nothing has read it since 1.4"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MARKER = "djdeploy_allow"


def named(allow: Iterable[str]) -> dict[str, str]:
    """`shop.0042_drop: the reason` as {"shop.0042_drop": "the reason"}."""
    pairs = (text.partition(":") for text in allow)
    return {name.strip(): reason.strip() for name, _, reason in pairs}


def reason_of(migration: Any, allow: Mapping[str, str]) -> str | None:
    """Why a migration may run; None if nobody says that it may."""
    name = f"{migration.app_label}.{migration.name}"
    if name in allow:
        return allow[name]
    marked = getattr(migration, MARKER, None)
    return None if not marked else marked if isinstance(marked, str) else ""
