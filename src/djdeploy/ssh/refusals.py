"""Why a task cannot begin on a host, as its agent says it: somebody holds the lock, or `home` cannot be written."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ..errors.kinds import DeployError, Locked, SettingsError

if TYPE_CHECKING:
    from ..remote.wire import Holder, Refusal


def refusal(answer: Refusal, *, host: str, home: str, run: str | None) -> DeployError:
    """The error for the answer of an agent that refuses to begin.

    Args:
        host: the host as the user wrote it.
        home: the settings' `home` there.
        run: what this run of the task calls itself in the locks that it takes.
    """
    if "holder" in answer:
        holder = answer["holder"]
        if run and holder.get("run") == run:
            return same_server(host, holder.get("host", "another"))
        return Locked(describe_holder(holder), host=host)
    return DeployError(
        f"cannot write {answer['path']}: {answer['detail']}",
        code="home-not-writable",
        host=host,
        site="Nothing was changed.",
        remedy=f"As root on the server: install -d -o {shlex.quote(answer.get('user', 'USER'))} {shlex.quote(home)}",
    )


def same_server(host: str, other: str) -> SettingsError:
    return SettingsError(
        "hosts", [f"{host} and {other} are the same server and home; list it once"], code="same-server"
    )


def describe_holder(holder: Holder) -> str:
    """Who holds a lock, in words."""
    if not holder:
        return "another deploy holds the lock"
    by, task = holder.get("by", "somebody"), holder.get("task", "?")
    since = f" since {holder['at']}" if holder.get("at") else ""
    if orphans := holder.get("orphans"):
        left = "; ".join(f"pid {orphan['pid']}: {orphan['command']}" for orphan in orphans)
        return f"{by}, who began `{task}`{since}, is gone, but step {holder.get('step')} left this running ({left})"
    step = f", at step {holder['step']}" if holder.get("step") else ""
    return f"{by} {f'has held the lock{since}' if since else 'holds the lock'} for `{task}`{step}"
