"""Ends what runs a release after a failed first deploy, when there is no old one to go back to: `end HOME RELEASE`.

Only what djdeploy's launcher started: it is started again, and waits for a release without bothering Supervisor.
"""

from __future__ import annotations

import os

from .. import durations, launch
from .ending import end
from .instances import instances_of
from .saying import note


def main(words: list[str]) -> None:
    waits = durations.of_environment()
    home, release = os.path.realpath(words[0]), words[1]
    runtime = launch.runtime_of(os.path.join(home, release))
    for instance in instances_of(home, runtime) if runtime else []:
        found, _ = instance.find([release])
        if runtime and found and found.release == release and instance.is_launched(found):
            end(instance, found, waits)
            note(f"{instance.label}: pid {found.pid} was ended; it waits for a release")
