"""Ends what runs a release after a failed first deploy, when there is no old one to go back to: `end.py HOME RELEASE`.

Only what our launcher started: it starts again, and waits for a release without bothering Supervisor.
"""

from __future__ import annotations

import os
import sys

import launch
from instances import instances_of
from renew import end, graceful_seconds, note


def main(home: str, release: str) -> None:
    runtime = launch.runtime_of(os.path.join(home, release))
    for instance in instances_of(home, runtime) if runtime else []:
        found, _ = instance.find([release])
        if runtime and found and found.release == release and instance.is_launched(found):
            end(instance, found, graceful_seconds(runtime, instance))
            note(f"{instance.label}: pid {found.pid} was ended; it waits for a release")


if __name__ == "__main__":
    main(os.path.realpath(sys.argv[1]), sys.argv[2])
