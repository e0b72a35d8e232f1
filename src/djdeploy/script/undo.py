"""What restores a stage's promise when it fails, or when the client vanishes while it runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..server.shell import Shell, sh
from .deployment import Deployment
from .fragments import kept
from .links import set_current_back, set_previous_if_possible
from .management import migrate_commands
from .plan import OWN_UNDOS
from .processes import rolling_restart
from .recipes import Recipe
from .steps import Step, once, runs


def discard_release(d: Deployment) -> Sequence[Shell]:
    """Remove the unfinished release"""
    # Only what this very run has made: if the directory was there before, it is somebody's.
    return [
        sh("rm -rf {made}", made=d.layout.private / f"new-{d.token}"),
        sh(
            "if grep -qs {token} {manifest}; then rm -rf {root}; fi",
            token=d.token,
            manifest=d.target.manifest,
            root=d.target.root,
        ),
    ]


def restore_secrets(d: Deployment) -> Sequence[Shell]:
    """Put the secret files back"""
    if not d.secrets:
        return []
    return [
        sh("{secret} {shared} --restore {keep}", secret=d.program("secret_files"), shared=d.layout.shared, keep=kept(d))
    ]


def mark_failed(d: Deployment) -> Sequence[Shell]:
    """Mark the release as failed"""
    # A disk that is full must not stop what restores the site; a release that is not live is never gone back to.
    template = "{mark} || echo 'djdeploy: it could not be marked as failed; cleanup removes it all the same'"
    return [sh(template, mark=d.mark(state="failed", timings=dict(d.timings)))]


def restore_links(d: Deployment) -> Sequence[Shell]:
    """Put the links back"""
    current, previous = (d.snapshot.facts[name]["target"] for name in ("current", "previous"))
    return [
        set_current_back(d, current) if current else remove_link(d, "current"),
        set_previous_if_possible(d, previous) if previous else remove_link(d, "previous"),
    ]


def restart_old(d: Deployment) -> Sequence[Shell]:
    """Bring the old release up again"""
    if not d.snapshot.current:
        return []
    return [rolling_restart(d, d.snapshot.current, d.release, quick=True)]


@once
@runs("django", "python")
def migrate_forward_again(d: Deployment) -> Sequence[Step]:
    """Apply the migrations again"""
    if not d.departing or not d.migrate_back:
        return []
    return [
        Step("migrate_forward_again", f"manage.py {shlex.join(words)}, again", (d.migrations(d.departing, *words),))
        for words in migrate_commands(d)
        if words[0] == "migrate"
    ]


def end_processes(d: Deployment) -> Sequence[Shell]:
    """End the processes, since there is no old release"""
    if not d.settings.processes or d.snapshot.current:
        return []
    return [sh("{end} {home} {release}", end=d.program("end"), home=d.layout.home, release=d.release)]


def remove_link(d: Deployment, name: str) -> Shell:
    return sh("rm -f {link}", link=d.layout.home / name)


# The links come first, since nothing can keep them from it. Then the undos of a project's own steps (`OWN_UNDOS`), the
# last step's first; they may still use the new release. The processes come after what they read as they start: whatever
# the project has undone, secrets, and the schema.
UNDO = {
    "deploy": Recipe(
        build=(OWN_UNDOS, restore_secrets, discard_release),
        migrate=(OWN_UNDOS, restore_secrets, mark_failed),
        publish=(restore_links, OWN_UNDOS, restore_secrets, restart_old, end_processes, mark_failed),
    ),
    "rollback": Recipe(
        build=(OWN_UNDOS,),
        migrate=(OWN_UNDOS, migrate_forward_again),
        publish=(restore_links, OWN_UNDOS, migrate_forward_again, restart_old),
    ),
    "restart": Recipe(publish=(OWN_UNDOS,)),
}
