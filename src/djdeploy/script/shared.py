"""What all releases share: directories and files that each release links to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from ..server.shell import Shell, sh
from .deployment import Deployment
from .fragments import stop, synced


def share_directory(d: Deployment, name: str) -> Sequence[Shell]:
    """Links a directory of the release to the one that all releases share."""
    return [*make_parents(d, name), seed_shared(d, name), link_to_shared(d, name)]


def share_file(d: Deployment, name: str) -> Sequence[Shell]:
    """The same for a file, which must be there already."""
    target = d.layout.shared / name
    missing = stop(d, f"{target} is missing", code="shared-file-missing")
    check = sh("if [ ! -e {target} ]; then {missing}; fi", target=target, missing=missing)
    return [check, *make_parents(d, name), link_to_shared(d, name)]


def make_parents(d: Deployment, name: str) -> Sequence[Shell]:
    """The directories above a path of the repository, which must not leave it by a link: what is there is not ours."""
    template = """\
mkdir -p {parent}
case $(readlink -f {parent})/ in
    "$(readlink -f {repository})"/*) ;;
    *) {stop} ;;
esac"""
    why = f"{name} cannot be shared: a link of the repository leads out of the release there"
    leave = stop(d, why, code="shared-outside")
    parents = [d.target.repository / parent for parent in reversed(PurePosixPath(name).parents)][1:]
    return [sh(template, parent=parent, repository=d.target.repository, stop=leave) for parent in parents]


def seed_shared(d: Deployment, name: str) -> Shell:
    """An empty shared directory gets what the checkout has.

    Itself, since it may be a link to a volume, or one, with a `lost+found`. The mark makes an interrupted copy be done
    again.
    """
    target = d.layout.shared / name
    return sh(
        """\
mkdir -p {target}
if [ -d {path} ] && [ ! -L {path} ] && {{ [ -e {mark} ] || [ -z "$(ls -A {target} | grep -vxF lost+found)" ]; }}; then
    : > {mark}
    find {path} -mindepth 1 -maxdepth 1 -exec cp -a -t {target} {{}} +
    {synced}
    rm -f {mark}
fi""",
        path=d.target.repository / name,
        target=target,
        mark=target / ".djdeploy-seeding",
        synced=synced(target),
    )


def link_to_shared(d: Deployment, name: str) -> Shell:
    path, target = d.target.repository / name, d.layout.shared / name
    return sh("rm -rf {path}\nln -s {target} {path}", path=path, target=target)
