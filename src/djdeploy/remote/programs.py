"""The programs that steps run on the server, by name; every other module here is a library of theirs."""

from __future__ import annotations

import sys
from importlib import import_module

PROGRAMS = {
    "bytecode": "release.bytecode",  # shares bytecode between environments
    "checkup": "checkup",  # reports what could make a deploy fail
    "commit": "release.commit",  # reads what a commit says
    "django_settings": "migrations.settings_program",  # reports what a release's own settings say
    "comparison": "processes.comparison",  # compares what the process manager has with what a release needs
    "diff": "release.diff",  # compares two commits
    "emit": "emit",  # sends what a step has found out to the client
    "end": "processes.end",  # ends the processes of a failed first release
    "in_release": "release.in_release",  # runs a command in a release's own environment
    "gunicorn": "processes.gunicorn",  # asks Gunicorn for its configuration, and records it
    "judge": "review.program",  # judges migrations in any project, for people and for CI
    "launcher": "launcher",  # installs what Supervisor runs
    "environment": "release.environment",  # finishes an environment, or copies it for a build
    "look_again": "processes.look_again",  # looks once more at what was ready when publishing ended
    "manifest": "release.manifest",  # changes a release's manifest
    "migrations": "migrations.program",  # judges and applies migrations, in a release's own environment
    "old_code": "processes.old_code",  # waits until nothing runs another release
    "orphans": "agent.orphans",  # ends what outlived its deploy
    "probe": "processes.probe",  # asks the site while a task may hurt it
    "remove": "release.remove",  # removes old releases
    "requirements": "release.requirements",  # checks pins, and names the environment
    "rolling_restart": "processes.rolling_restart",  # makes every process run a release, one instance at a time
    "rows_left": "migrations.rows_left",  # tells whether a rollback would leave rows behind
    "secret_files": "release.secret_files",  # installs secret files
    "smoke_test": "processes.smoke_test",  # tries a release's own server on a private socket
    "static_overlay": "release.static_overlay",  # keeps the previous release's static files reachable
    "unapplied_settings": "release.unapplied_settings",  # compares the settings with what a release has
    "unpack": "release.unpack",  # unpacks a commit for somebody who only reads it
    "versions": "versions",  # reports the versions of the server's tools
    "status": "processes.status",  # reports what each process really runs
}
"""Names to modules of this package, each with a `main` that takes the words of its command line."""


def main(words: list[str]) -> None:
    """Runs a program.

    Args:
        words: its name, and its command line.
    """
    name, *rest = words
    sys.exit(import_module("." + PROGRAMS[name], __package__).main(rest))
