"""How code arrives on the server: a bare mirror of the repository, and an archive of one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from .shell import Shell, sh


class Source(Protocol):
    """Where the code of a project comes from."""

    def resolve(self, ref: str, tell: Shell) -> Sequence[Shell]:
        """Shell that finds the commit of a ref, and tells `commit`, `subject` and `author` by the `tell` program."""

    def peek(self, ref: str, tell: Shell) -> Sequence[Shell]:
        """The same, changing nothing on the server."""

    def export(self, commit: str, into: PurePosixPath) -> Sequence[Shell]:
        """Shell that puts the files of a commit into a directory that does not exist yet."""


@dataclass(frozen=True)
class Git:
    """Git, by a mirror that keeps what was fetched: a second deploy fetches only new objects.

    Args:
        url: anything `git fetch` takes.
        mirror: the bare repository on the server. A cache: broken, it is made anew.
        submodules: a checkout on the server that keeps the submodules' objects; used when a commit has submodules.
    """

    url: str
    mirror: PurePosixPath
    submodules: PurePosixPath

    def fetch(self) -> Shell:
        # The address is given to each fetch and kept nowhere, so a repository that moved needs no care. A fetch that
        # fails although the repository answers means that the mirror is broken.
        return sh(
            """\
fetch() {{
    git -C {mirror} rev-parse --git-dir >/dev/null 2>&1 || {{ rm -rf {mirror}; git init -q --bare {mirror}; }}
    git -C {mirror} fetch -q --force --prune {url} '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
}}
fetch 2>/dev/null || {{
    git ls-remote -q {url} >/dev/null
    echo 'djdeploy: the mirror of the repository was broken, it is made anew'
    rm -rf {mirror}
    fetch
}}""",
            mirror=self.mirror,
            url=self.url,
        )

    def resolve(self, ref: str, tell: Shell) -> Sequence[Shell]:
        find = sh(
            """\
commit=
for name in {heads} {tags} {ref}; do
    commit=$(git -C {mirror} rev-parse --verify -q "$name^{{commit}}") && break
done
if [ -z "$commit" ]; then
    printf '%s is no branch, tag or commit of %s\\n' {ref} {url}
    exit 1
fi
{tell} commit="$commit" author="$(git -C {mirror} log -1 --format=%an "$commit")" \\
    subject="$(git -C {mirror} log -1 --format=%s "$commit")\"""",
            heads=f"refs/heads/{ref}",
            tags=f"refs/tags/{ref}",
            ref=ref,
            mirror=self.mirror,
            url=self.url,
            tell=tell,
        )
        return [self.fetch(), find]

    def peek(self, ref: str, tell: Shell) -> Sequence[Shell]:
        # `^{}` is the commit of an annotated tag. A commit that the remote does not name is taken at its word.
        return [
            sh(
                """\
commit=
for name in {names}; do
    commit=$(git ls-remote -q {url} "$name" | cut -f 1)
    [ -z "$commit" ] || break
done
if [ -z "$commit" ] && expr {ref} : '[0-9a-f]\\{{7,40\\}}$' >/dev/null; then commit={ref}; fi
if [ -z "$commit" ]; then
    printf '%s is no branch, tag or commit of %s\\n' {ref} {url}
    exit 1
fi
{tell} commit="$commit\"""",
                names=[f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"],
                url=self.url,
                ref=ref,
                tell=tell,
            )
        ]

    def export(self, commit: str, into: PurePosixPath) -> Sequence[Shell]:
        # Through a file: in a pipe, the failure of `git archive` would be hidden by the success of `tar`.
        have = sh("git -C {mirror} cat-file -e {commit} 2>/dev/null", mirror=self.mirror, commit=f"{commit}^{{commit}}")
        code = sh(
            """\
mkdir {into}
git -C {mirror} -c tar.umask=0022 archive --format=tar -o {archive} {commit}
tar -xf {archive} -C {into}
rm {archive}""",
            into=into,
            mirror=self.mirror,
            archive=PurePosixPath(f"{into}.tar"),
            commit=commit,
        )
        fetch = sh("{have} || {{\n{fetch}\n}}", have=have, fetch=self.fetch())
        return [fetch, code, self.export_submodules(commit, into)]

    def export_submodules(self, commit: str, into: PurePosixPath) -> Shell:
        # A checkout that shares the mirror's objects; its origin is the real address, from which relative addresses
        # of submodules start.
        return sh(
            """\
if git -C {mirror} cat-file -e {gitmodules} 2>/dev/null; then
    git -C {work} rev-parse 2>/dev/null || {{ rm -rf {work}; git clone -q --shared --no-checkout {mirror} {work}; }}
    git -C {work} remote set-url origin {url}
    git -C {work} checkout -q --force --detach {commit}
    git -C {work} submodule -q sync --recursive
    git -C {work} submodule -q update --init --recursive --force
    export into={into}
    git -C {work} submodule -q foreach --recursive \\
        'git -c tar.umask=0022 archive --format=tar -o "$into.tar" HEAD &&
            tar -xf "$into.tar" -C "$into/$displaypath" && rm "$into.tar"'
fi""",
            mirror=self.mirror,
            gitmodules=f"{commit}:.gitmodules",
            work=self.submodules,
            url=self.url,
            commit=commit,
            into=into,
        )
