"""The links `current` and `previous`: each changes by a rename, and a full disk keeps nobody from going back."""

from __future__ import annotations

from pathlib import PurePosixPath

from ..server.shell import Shell, sh
from .deployment import Deployment


def set_link(d: Deployment, name: str, target: str, make: Shell | None = None) -> Shell:
    """Replaces a link by a rename, at no instant of which it is missing, and reads it back.

    The new link's name is unique to this run: a leftover of a crashed one must not be renamed into place.

    Args:
        make: makes the new link, if it takes more than to make it.
    """
    return sh(
        """\
{make}
mv -fT {made} {link}
[ "$(readlink {link})" = {target} ]""",
        make=make or make_link(d, name, target),
        target=target,
        made=made_link(d, name),
        link=d.layout.home / name,
    )


def make_link(d: Deployment, name: str, target: str) -> Shell:
    return sh("ln -sfn -- {target} {made}", target=target, made=made_link(d, name))


def made_link(d: Deployment, name: str) -> PurePosixPath:
    """Where a link is made before it takes its place."""
    return d.layout.home / f".{name}-{d.token}"


def set_current_back(d: Deployment, target: str) -> Shell:
    """Makes an older release current, if it is not, also where no inode is left: then by the link that it has ready."""
    make = sh(
        "{make} || mv -fT {ready} {made} || {{ rm -f {previous}; {make}; }}",
        make=make_link(d, "current", target),
        ready=d.layout.release(target).ready_link,
        made=made_link(d, "current"),
        previous=d.layout.home / "previous",
    )
    link, switched = d.layout.home / "current", set_link(d, "current", target, make)
    return sh('if [ "$(readlink {link})" != {target} ]; then\n{set}\nfi', link=link, target=target, set=switched)


def set_previous_if_possible(d: Deployment, target: str) -> Shell:
    """What is current counts; nobody who goes back shall fail for `previous`."""
    return sh(
        "{make} && mv -fT {made} {link} || echo 'djdeploy: `previous` could not be set'",
        make=make_link(d, "previous", target),
        made=made_link(d, "previous"),
        link=d.layout.home / "previous",
    )
