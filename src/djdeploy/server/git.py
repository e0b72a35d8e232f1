"""How code arrives on the server: a bare mirror of the repository, and an archive of one commit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import ClassVar

from .git_files import AS_COMMITTED, GIT, put_files
from .git_hosts import show_host_key
from .protocols import Server
from .shell import Shell, sh

COMMIT = re.compile(r"[0-9a-f]{7,64}")

LEFT_OUT = "left-out"
"""Beside a checkout: the files of the commit that its .gitattributes takes out. `requirements` reads it, too."""


@dataclass(frozen=True)
class Git:
    """Git, by a mirror that keeps what was fetched: a second deploy fetches only new objects.

    Args:
        url: anything `git fetch` takes.
        mirror: the bare repository on the server. A cache: broken, it is made anew.
        submodules: a checkout on the server that keeps the submodules' objects; used when a commit has submodules.
        key: the path, on the server, of the private key that reads the repository, and nothing else.
        needed: files without which the settings make no sense, so that nothing may take them away silently.
    """

    url: str
    mirror: PurePosixPath | Shell
    submodules: PurePosixPath
    key: str | None = None
    needed: Sequence[str] = ()

    programs: ClassVar[Sequence[str]] = ("git", "ssh")

    @property
    def git(self) -> Shell:
        """Git on the mirror, and on nothing else: with `-C` it would take a repository further up for a broken one."""
        return sh("{git} --git-dir={mirror}", git=GIT, mirror=self.mirror)

    @property
    def with_key(self) -> Shell:
        """Shell that offers the repository's key in what follows: here, since other hosts may know another key."""
        if not self.key:
            return Shell("own_ssh=")
        more = f" {shlex.join(['-i', self.key, '-o', 'IdentitiesOnly=yes'])}"
        return sh(
            """\
own_ssh="${{GIT_SSH_COMMAND:-ssh}}"
export GIT_SSH_COMMAND="$own_ssh"{more}""",
            more=more,
        )

    @property
    def functions(self) -> Shell:
        """The shell function `update` brings the mirror up to date; `fetch_anew` makes it anew."""
        # The address is given to each fetch and kept nowhere, so a repository that moved needs no care. A fetch that
        # fails twice although the repository answers means that the mirror is broken.
        return sh(
            """\
{with_key}
export GIT_TEMPLATE_DIR=
fetch() {{
    if ! {git} rev-parse 2>/dev/null; then
        rm -rf {mirror} && git init -q --bare {mirror} || return
    fi
    {git} fetch -q --force --prune {url} '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
}}
fetch_anew() {{
    echo 'djdeploy: the mirror of the repository was broken, it is made anew'
    rm -rf {mirror} && fetch
}}
update() {{
    if fetch 2>/dev/null; then return; fi
{ask}
    fetch 2>/dev/null || fetch_anew
}}""",
            with_key=self.with_key,
            git=self.git,
            mirror=self.mirror,
            url=self.url,
            ask=self.ask("HEAD"),
        )

    def ask(self, *names: str) -> Shell:
        """Shell that has in `$said` what the repository says about these names, or ends with why it does not answer."""
        return sh(
            """\
said=$(git ls-remote -q {url} {names} 2>&1) || {{
    printf '%s\\n' "$said" | sed '/^Please make sure you have/,$d'
    case $said in
    *'IDENTIFICATION HAS CHANGED'*) ;;
    *'Host key verification failed'*)
{show_key}
    esac
    exit 1
}}""",
            url=self.url,
            names=names,
            show_key=show_host_key(self.url),
        )

    # --- from a name to a commit

    def resolve(self, ref: str, server: Server) -> Sequence[Shell]:
        return [self.functions, Shell("update"), self.find(ref, server)]

    def find(self, ref: str, server: Server) -> Shell:
        """Shell that has in `$commit` what a ref names in the mirror, and emits it; or ends the step."""
        names = [*full_names(ref), *([ref] if COMMIT.fullmatch(ref) else [])]
        return sh(
            """\
named() {{ {git} rev-parse --verify -q "$1^{{commit}}"; }}
commit=
for name in {names}; do
    commit=$(named "$name") && break
done
if [ -z "$commit" ]; then
    {unknown}
fi
if [ "$name" = {branch} ] && tag=$(named {tag}) && [ "$tag" != "$commit" ]; then
    echo {both}
fi
{emit} commit="$commit" author="$({git} log -1 --format={author} "$commit")" \\
    subject="$({git} log -1 --format={subject} "$commit")\"""",
            git=self.git,
            author=beginning("an"),
            subject=beginning("s"),
            names=names,
            unknown=self.unknown(ref, server),
            branch=f"refs/heads/{ref}",
            tag=f"refs/tags/{ref}",
            both=f"djdeploy: {ref} is a branch and also a tag, of different commits: the branch is meant. "
            f"The tag: --branch=refs/tags/{ref}; to name the branch alone: --branch=refs/heads/{ref}",
            emit=server.emit,
        )

    def peek(self, ref: str, server: Server) -> Sequence[Shell]:
        return self.borrowing.look(ref, server, borrows=self)

    def read(self, ref: str, server: Server, into: PurePosixPath, unpack: Shell) -> Sequence[Shell]:
        """The same; then `unpack`, the words of a program, puts the commit's files there, from its standard input."""
        here = self.borrowing
        files = sh('as_committed archive --format=tar "$commit" | {unpack} {into}', unpack=unpack, into=into)
        only = sh("from={mirror}\n{as_committed}", mirror=here.mirror, as_committed=AS_COMMITTED)
        left_out = here.list_left_out(into)
        return [*self.peek(ref, server), only, here.ignores, here.miss_nothing(server), files, left_out]

    @property
    def borrowing(self) -> Git:
        """A mirror for a moment, beside the real one, which changes only under the lock."""
        return replace(self, mirror=Shell('"$borrowing"'))

    def look(self, ref: str, server: Server, *, borrows: Git) -> Sequence[Shell]:
        """Shell that finds a ref as `resolve` does, in a mirror of its own that needs only what the real one lacks."""
        # Without the history where the repository knows the name; the commits that nobody names are found in all of it.
        begin = sh(
            """\
borrowing=$(mktemp -d)
trap 'rm -rf "$borrowing"' EXIT
trap 'exit 143' HUP INT TERM
git init -q --bare "$borrowing"
if {theirs} rev-parse 2>/dev/null; then
    printf '%s\\n' {objects} > "$borrowing/objects/info/alternates"
fi
fetch_named() {{
    set -- $(printf '%s\\n' "$said" | sed -n 's|^[0-9a-f]*[[:space:]]*\\(refs/[^^]*\\)$|+\\1:\\1|p')
    [ $# -gt 0 ] && {git} fetch -q --force --no-tags --depth=1 {url} "$@"
}}""",
            theirs=borrows.git,
            objects=PurePosixPath(f"{borrows.mirror}/objects"),
            git=self.git,
            url=self.url,
        )
        return [
            self.functions,
            begin,
            self.ask(*full_names(ref)),
            Shell("fetch_named 2>/dev/null || update"),
            self.find(ref, server),
        ]

    def unknown(self, ref: str, server: Server) -> Shell:
        """Shell that ends a step, since the repository does not have the ref."""
        return sh(
            "{emit} error={code} || :\n    printf '%s is no branch, tag or commit of %s\\n' {ref} {url}\n    exit 1",
            emit=server.emit,
            code="ref-unknown",
            ref=ref,
            url=self.url,
        )

    # --- from a commit to files

    def export(self, commit: str, into: PurePosixPath, server: Server) -> Sequence[Shell]:
        # What fails without a file, too, fails for the mirror, not for the disk.
        code = sh(
            """\
{git} cat-file -e {object} 2>/dev/null || update
mkdir {into}
put {mirror} {commit} {into} {url} || {{
    if as_committed archive --format=tar {commit} >/dev/null 2>&1; then exit 1; fi
    fetch_anew
    put {mirror} {commit} {into} {url} || exit 1
}}""",
            git=self.git,
            mirror=self.mirror,
            object=f"{commit}^{{commit}}",
            into=into,
            commit=commit,
            url=self.url,
        )
        put = put_files(server)
        left_out = self.list_left_out(into)
        nothing_missed = self.miss_nothing(server)
        return [self.functions, put, code, self.ignores, nothing_missed, left_out, self.export_submodules(commit, into)]

    def export_submodules(self, commit: str, into: PurePosixPath) -> Shell:
        return sh(
            """\
{find}
if [ -n "$named" ]; then
    export GIT_CEILING_DIRECTORIES={above} GIT_LFS_SKIP_SMUDGE=1
{checkout}
    checkout 2>/dev/null || {{
        echo 'djdeploy: the submodules could not be brought up to date, all of them are fetched anew'
        rm -rf {path}
        checkout
    }}
    {work} submodule -q foreach --recursive 'printf "%s\\n" "$displaypath"' | while read -r path; do
        from=$({git} -C {path}/"$path" rev-parse --absolute-git-dir)
        put "$from" HEAD {into}/"$path" "$({git} --git-dir="$from" config remote.origin.url)" || exit 1
    done
fi""",
            find=self.find_submodules(commit),
            above=self.submodules.parent,
            checkout=self.checkout_submodules(commit),
            path=self.submodules,
            work=self.work,
            git=GIT,
            into=into,
        )

    @property
    def work(self) -> Shell:
        """Git in the checkout that keeps the submodules. The ceiling: see `git`."""
        return sh("{git} -C {path}", git=GIT, path=self.submodules)

    def find_submodules(self, commit: str) -> Shell:
        """Shell that has in `$named` the submodules of a commit, and in `$unnamed` those that no .gitmodules names."""
        return sh(
            """\
named=$({git} config -z --blob {gitmodules} --get-regexp '^submodule\\..*\\.path$' 2>/dev/null |
    tr '\\n\\0' '\\t\\n' | cut -f 2-)
unnamed=$({git} -c core.quotePath=false ls-tree -r {commit} | grep '^160000 ' | cut -f 2- | grep -vxF "$named") || :
printf '%s\\n' "$unnamed" | while read -r path; do
    [ -z "$path" ] || echo "djdeploy: the submodule $path is registered in no .gitmodules: its directory stays empty"
done""",
            git=self.git,
            gitmodules=f"{commit}:.gitmodules",
            commit=commit,
        )

    def checkout_submodules(self, commit: str) -> Shell:
        """The shell function `checkout`, which has all submodules of a commit in a checkout of their own."""
        # It shares the mirror's objects; its origin is the real address, from which relative addresses of submodules
        # start. What no .gitmodules names is left out of its index, since git would stop there.
        return sh(
            """\
    leave_unnamed() {{
        printf '%s\\n' "$unnamed" | while read -r path; do
            [ -z "$path" ] || {work} update-index --force-remove -- "$path" || return
        done
    }}
    fetch_submodules() {{ {work} submodule -q update --init --recursive --force; }}
    checkout() {{
        if ! {work} rev-parse 2>/dev/null; then
            rm -rf {path} && {git} clone -q --shared --no-checkout {mirror} {path} || return
        fi
        {work} remote set-url origin {url} &&
            {work} checkout -q --force --detach {commit} &&
            leave_unnamed &&
            {work} submodule -q sync --recursive || return
        fetch_submodules || {{ [ -n "$own_ssh" ] && GIT_SSH_COMMAND="$own_ssh" fetch_submodules; }}
    }}""",
            work=self.work,
            path=self.submodules,
            git=GIT,
            mirror=self.mirror,
            url=self.url,
            commit=commit,
        )

    @property
    def ignores(self) -> Shell:
        """Shell that has in `$ignores` what takes files of `$commit` out of archives; most commits have nothing."""
        template = """ignores=$({git} grep -lF export-ignore "$commit" -- '*.gitattributes') || :"""
        return sh(template, git=self.git)

    def list_left_out(self, into: PurePosixPath) -> Shell:
        """Shell that lists, beside the files of `$commit`, those that its .gitattributes takes out of archives.

        So that whoever misses one of them can say why it is not there.
        """
        return sh(
            """\
if [ -n "$ignores" ]; then
    {git} ls-tree -r -z --name-only "$commit" | (cd {into} && xargs -0 sh -c {absent} sh) > {left_out}
fi""",
            git=self.git,
            into=into,
            absent='for name; do [ -e "$name" ] || [ -L "$name" ] || printf "%s\\n" "$name"; done',
            left_out=into.parent / LEFT_OUT,
        )

    def miss_nothing(self, server: Server) -> Shell:
        """Shell that ends a step when `$commit` has a file that is needed, and an archive of it has not."""
        return sh(
            """\
if [ -n "$ignores" ]; then
    for name in {needed}; do
        if {git} cat-file -e "$commit:$name" 2>/dev/null &&
            [ -z "$(as_committed archive --format=tar "$commit" -- "$name" 2>/dev/null | tar -tf - 2>/dev/null)" ]; then
            {emit} error={code} || :
            echo "$name is in the commit, and its .gitattributes takes it out of archives (export-ignore)"
            exit 1
        fi
    done
fi""",
            needed=self.needed,
            git=self.git,
            emit=server.emit,
            code="export-ignored",
        )


def full_names(ref: str) -> Sequence[str]:
    """The names that a ref may have in full, in the order in which they are tried. A mirror has branches and tags."""
    names = [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}", ref]
    return [name for name in names if name.startswith(("refs/heads/", "refs/tags/"))]


def beginning(field: str) -> str:
    """git's format for the beginning of a field, with blanks behind it: an argument has 128 KiB at most."""
    return f"%<(200,trunc)%{field}"
