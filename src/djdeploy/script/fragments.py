"""What the steps of a recipe are made of: pieces of shell, and what is written into a release. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ..remote.wire import HistoryLine, Manifest, MaybeCommit, ReleaseName
from ..server.shell import Shell, sh
from .deployment import Deployment


def stop(d: Deployment, why: str, *, code: str) -> Shell:
    """Ends the step with a sentence of djdeploy, and emits its code, so that nobody has to guess it.

    Args:
        code: what `fab explain` takes.
    """
    return sh("{emit} error={code} || :; echo {why}; exit 1", emit=d.program("emit"), code=code, why=why)


def kept(d: Deployment) -> PurePosixPath:
    """Where this run keeps what it replaces, until it is done."""
    return d.layout.private / f"replaced-{d.token}"


def manifest(d: Deployment) -> Manifest:
    """What `release.json` says when the release begins."""
    return {
        "name": ReleaseName(d.release),
        "project": d.settings.project,
        "number": d.snapshot.next_number,
        "state": "building",
        "commit": MaybeCommit(d.commit),
        "ref": d.ref,
        "subject": d.subject,
        "author": d.author,
        "by": d.by,
        "at": d.at,
        "token": d.token,
        "python": d.snapshot.facts.get("python"),
        "installer": d.installer.name,
    }


def history_line(d: Deployment) -> Mapping[str, Any]:
    """What `deploys.jsonl` says of the task, but for when it ended."""
    in_the_manifest = ("migrations", "smoke_tested")
    return {
        "task": d.task,
        "outcome": d.outcome,
        "release": d.release,
        "commit": d.commit,
        "ref": d.ref,
        "from": d.snapshot.current,
        "by": d.by,
        "at": d.at,
        "timings": dict(d.timings),
        **{name: value for name, value in emitted(d, HistoryLine).items() if name not in in_the_manifest},
        **({"allowed": allowed} if (allowed := let_through(d)) else {}),
    }


def let_through(d: Deployment) -> Mapping[str, str]:
    """The migrations that break the old code, or lose data, each with why it might run: for longer than its release."""
    by_option = {"destructive": d.allow_destructive, "breaking": d.allow_destructive or d.allow_breaking}
    option = "--allow-destructive" if d.allow_destructive else "--allow-breaking"
    plan = (d.outputs.get("migrations") or {}).get("plan") or []
    grave = [(one, one.get("allowed")) for one in plan if one.get("class") in by_option]
    return {
        f"{one['app']}.{one['name']}": str(option if reason is None else reason)
        for one, reason in grave
        if reason is not None or by_option[one["class"]]
    }


def emitted(d: Deployment, record: Any) -> Mapping[str, Any]:
    """What the steps have emitted, but for what the record has of its own under that name."""
    return {name: value for name, value in d.outputs.items() if name not in record.__annotations__}


def synced(path: PurePosixPath | Shell) -> Shell:
    """Whatever was written there is on the disk."""
    return sh("sync -f {path} 2>/dev/null || sync", path=path)


def as_the_site(d: Deployment, *words: str) -> Shell:
    """Runs the release's Python in its project, in the environment that its processes have."""
    return sh(
        "cd {project}\n{in_release} {without} {root} {python} {words}",
        project=d.target.project,
        in_release=d.program("in_release"),
        root=d.target.root,
        without=[f"--without={name}" for name in d.settings.env],
        python=d.target.python,
        words=words,
    )
