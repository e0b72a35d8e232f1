"""Small things as people read them: hosts, moments, durations and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

OLD = 60
"""Days from which a date says more than how long ago it was."""


def short_names(hosts: Sequence[str]) -> Mapping[str, str]:
    """The hosts' names, each as short as tells them apart: `web1` for `demo@web1.example.com:2222`."""

    def forms(host: str) -> Sequence[str]:
        place = host.rpartition("@")[2]
        name = re.sub(r":\d+$", "", place) if place.count(":") == 1 or "]" in place else place
        is_address = re.fullmatch(r"[\d.]+|.*:.*", name)
        return [name if is_address else name.partition(".")[0], name, place, host]

    for number in range(4):
        names = {host: forms(host)[number] for host in hosts}
        if len(set(names.values())) == len(names):
            break
    return names


def listed(names: Sequence[str], most: int = 3) -> str:
    """`web1, web2 and 5 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def moment(text: object) -> datetime | None:
    """A moment that a server tells, if it is one."""
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def ago(text: object, now: datetime) -> str:
    """How long ago it was: `2 h ago`; the date if that is long; what the server tells if that is no moment."""
    if (then := moment(text)) is None:
        return str(text or "")
    seconds = (now - then).total_seconds()
    if seconds < 1:
        return "just now"
    return f"{duration(seconds)} ago" if seconds < OLD * 86400 else f"{then:%Y-%m-%d}"


def duration(seconds: float) -> str:
    """Seconds in a unit that people read."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 2:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{hours:.0f} h" if days < 2 else f"{days:.0f} days"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: `0:04`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def human(size: object) -> str:
    """Bytes in a unit that people read."""
    value = float(size) if isinstance(size, int) else 0.0
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
