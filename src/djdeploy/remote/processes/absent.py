"""What does not run and does not come: why, and who has to do something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import proc
from .instances import Found, Instance
from .logs import log_of
from .saying import Failed, note, show

if TYPE_CHECKING:
    from .. import wire


def explain(instance: Instance, wrong: list[str], known: str | None, release: str) -> None:
    """Says that nobody starts an instance. That is no fault of a release, unless somebody does and it fails.

    Args:
        wrong: what is wrong with its pid files.
        known: its state by Supervisor's own word, if it is one in which it starts.
    """
    strays = [found for found in strangers(instance) if found.release != release]
    if strays:
        raise Failed(
            f"{'; '.join(wrong)}. {strays[0]} still runs and nothing says which process it is: not touched. "
            f"Is `pid_file` of {instance.process['name']} where its server writes it?"
        )
    launcher = instance.launcher()
    if known or launcher:
        show(log_of(instance, None).tail())
        who = f"Supervisor says {known}" if known else f"its launcher waits (pid {launcher and launcher.pid})"
        raise Failed(
            f"{who}, and it does not come up within {patience(instance):g} s; {start_hint(instance)}",
            code="not-ready",
        )
    note(
        f"{instance.label} is not running, and nothing starts it: install the output of `fab supervisor-conf` if "
        f"that was never done or has changed; else {start_hint(instance)}"
    )


def patience(instance: Instance) -> float:
    return float(instance.process.get("timeout") or 60)


def strangers(instance: Instance) -> list[Found]:
    """Processes that Supervisor runs in this home and that no launcher of ours started."""
    found = []
    for process in proc.everything():
        if process.group == process.pid and proc.is_ours(process.pid):
            known = proc.environment_of(process.pid)
            release = proc.release_of(process.pid, instance.home)
            if release and "SUPERVISOR_PROCESS_NAME" in known and "DJDEPLOY_PROCESS" not in known:
                found.append(Found(process, release))
    return found


def may_start_later(process: wire.Process, old: str | None) -> bool:
    """A program of the user's own that runs inside the release, as the original script had it: Supervisor could not
    start it before the first release, and has given up."""
    return old is None and str(process.get("pid_file")).startswith("current/")


def start_hint(instance: Instance) -> str:
    group = instance.supervisor_name.partition(":")[0]
    return f"as root: supervisorctl start '{group}:*'"
