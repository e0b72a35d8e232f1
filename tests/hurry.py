"""Deploys that wait for less than users' do: the deploy is tested, and not a new process or a busy network."""

from __future__ import annotations

from djdeploy.remote.durations import USUAL, Durations

HURRIED = USUAL._replace(first_probation=0.4, tested_probation=0.4, smoke_hold=0.4, worker_probation=0.4, last_look=0.4)
"""Trusts a new process sooner."""

ALONE = HURRIED._replace(unexpected_start=0.2)
"""For this machine, where no Supervisor starts what does not run: nobody waits for it."""

IMPATIENT = HURRIED._replace(heartbeat=0.5, agent_silence=12, client_silence=4, way_back=12)
"""Gives a silent peer up sooner as well: dozens of tests cannot wait a minute each."""

PATIENT = HURRIED._replace(kill_after=15)
"""Time enough to see what happens before KILL."""


def with_durations(fabfile: str, durations: Durations) -> str:
    """A fabfile, which calls its tasks `ns`, whose tasks wait as long as this says."""
    return f"""\
{fabfile}
from djdeploy.remote.durations import Durations

for each in ns.tasks.values():
    each.durations = {durations!r}
"""
