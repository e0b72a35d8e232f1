"""The hosts of a project that a task leaves out (`--only`, `--except`): what they call the release of a commit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

from ..errors.kinds import DeployError
from ..ssh.opening import Access
from ..ssh.remote import Remote
from .fleet import Fleet, Snapshots

PATIENCE = 5.0
"""Seconds for which a deploy waits for hosts that it does not deploy to: they may be left out since they are down."""


class Neighbours:
    """Looks at the hosts while the task goes on, and takes no lock.

    Args:
        remotes: the hosts that are left out.
        parallel: how many are looked at at once.
    """

    def __init__(self, remotes: Sequence[Remote], parallel: int) -> None:
        self._remotes, self._parallel = remotes, parallel
        self._snapshots: Snapshots = {}
        self._looking = threading.Thread(target=self._look, daemon=True)
        if remotes:
            self._looking.start()

    def _look(self) -> None:
        with suppress(DeployError), Fleet(self._remotes, self._parallel).opened(Access(), partly=True) as found:
            self._snapshots = found

    def name_of(self, commit: str) -> str | None:
        """The name of the release that is live there, if it is of this commit; None also if nobody answers in time."""
        if self._looking.ident is not None:
            self._looking.join(PATIENCE)
        live = (snapshot.live for snapshot in self._snapshots.values())
        return next((release.name for release in live if release and release.commit == commit), None)
