"""How code arrives on the server: a bare mirror of the repository, and an archive of one commit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from .protocols import Server
from .shell import Shell, sh

GIT = Shell("git -c gc.autoDetach=false -c maintenance.autoDetach=false")
"""What packs itself now and then, before it ends: in the background it would hold the lock, which steps inherit."""

SSH_URL = re.compile(
    r"(?:ssh|git\+ssh|ssh\+git)://((?:[\w.-]+@)?(?:\[[\da-fA-F:]+\]|\w[\w.-]*))(?::(\d+))?/"
    r"|((?:[\w.-]+@)?\w[\w.-]*):(?!//)",
    re.ASCII,
)


@dataclass(frozen=True)
class Git:
    """Git, by a mirror that keeps what was fetched: a second deploy fetches only new objects.

    Args:
        url: anything `git fetch` takes.
        mirror: the bare repository on the server. A cache: broken, it is made anew.
        submodules: a checkout on the server that keeps the submodules' objects; used when a commit has submodules.
    """

    url: str
    mirror: PurePosixPath | Shell
    submodules: PurePosixPath

    @property
    def git(self) -> Shell:
        """Git on the mirror, and on nothing else: with `-C` it would take a repository further up for a broken one."""
        return sh("{git} --git-dir={mirror}", git=GIT, mirror=self.mirror)

    @property
    def functions(self) -> Shell:
        """The shell function `update` brings the mirror up to date; `fetch_anew` makes it anew."""
        # The address is given to each fetch and kept nowhere, so a repository that moved needs no care. A fetch that
        # fails twice although the repository answers means that the mirror is broken.
        return sh(
            """\
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

    def resolve(self, ref: str, server: Server) -> Sequence[Shell]:
        return [self.functions, Shell("update"), self.find(ref, server)]

    def find(self, ref: str, server: Server) -> Shell:
        """Shell that has in `$commit` what a ref names in the mirror, and emits it; or ends the step."""
        return sh(
            """\
commit=
for name in {heads} {tags} {ref}; do
    commit=$({git} rev-parse --verify -q "$name^{{commit}}") && break
done
if [ -z "$commit" ]; then
    {unknown}
fi
{emit} commit="$commit" author="$({git} log -1 --format=%an "$commit")" \\
    subject="$({git} log -1 --format=%s "$commit")\"""",
            heads=f"refs/heads/{ref}",
            tags=f"refs/tags/{ref}",
            ref=ref,
            git=self.git,
            unknown=self.unknown(ref, server),
            emit=server.emit,
        )

    def peek(self, ref: str, server: Server) -> Sequence[Shell]:
        return self.borrowing.look(ref, server, borrows=self)

    def read(self, ref: str, server: Server, reader: Shell) -> Sequence[Shell]:
        """The same; then `reader`, the words of a program, gets the commit's files, as a tar on its standard input."""
        files = sh('{git} archive --format=tar "$commit" | {reader}', git=self.borrowing.git, reader=reader)
        return [*self.peek(ref, server), files]

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
        names = [f"refs/heads/{ref}", f"refs/tags/{ref}", *([ref] if ref.startswith("refs/") else [])]
        return [
            begin,
            self.functions,
            self.ask(*names),
            Shell("fetch_named 2>/dev/null || update"),
            self.find(ref, server),
        ]

    def unknown(self, ref: str, server: Server) -> Shell:
        """Shell that ends a step, since the repository does not have the ref."""
        template = (
            "{emit} error={code} || :\n    printf '%s is no branch, tag or commit of %s\\n' {ref} {url}\n    exit 1"
        )
        return sh(template, emit=server.emit, code="ref-unknown", ref=ref, url=self.url)

    def export(self, commit: str, into: PurePosixPath, server: Server) -> Sequence[Shell]:
        # Through a file: in a pipe, the failure of `git archive` would be hidden by the success of `tar`. What fails
        # without the file, too, fails for the mirror, not for the disk.
        code = sh(
            """\
{git} cat-file -e {object} 2>/dev/null || update
mkdir {into}
{git} -c tar.umask=0022 archive --format=tar -o {archive} {commit} || {{
    if {git} archive --format=tar {commit} >/dev/null 2>&1; then exit 1; fi
    fetch_anew
    {git} -c tar.umask=0022 archive --format=tar -o {archive} {commit}
}}
tar -xf {archive} -C {into}
rm {archive}""",
            git=self.git,
            object=f"{commit}^{{commit}}",
            into=into,
            archive=PurePosixPath(f"{into}.tar"),
            commit=commit,
        )
        return [self.functions, code, self.export_submodules(commit, into)]

    def export_submodules(self, commit: str, into: PurePosixPath) -> Shell:
        # A checkout that shares the mirror's objects; its origin is the real address, from which relative addresses
        # of submodules start. The ceiling: see `git`.
        return sh(
            """\
if {git} cat-file -e {gitmodules} 2>/dev/null; then
    export GIT_CEILING_DIRECTORIES={above} into={into}
    checkout() {{
        if ! {work} rev-parse 2>/dev/null; then
            rm -rf {path} && git clone -q --shared --no-checkout {mirror} {path} || return
        fi
        {work} remote set-url origin {url} &&
            {work} checkout -q --force --detach {commit} &&
            {work} submodule -q sync --recursive &&
            {work} submodule -q update --init --recursive --force
    }}
    checkout 2>/dev/null || {{
        echo 'djdeploy: the submodules could not be brought up to date, all of them are fetched anew'
        rm -rf {path}
        checkout
    }}
    {work} submodule -q foreach --recursive \\
        'git -c tar.umask=0022 archive --format=tar -o "$into.tar" HEAD &&
            tar -xf "$into.tar" -C "$into/$displaypath" && rm "$into.tar"'
fi""",
            git=self.git,
            gitmodules=f"{commit}:.gitmodules",
            above=self.submodules.parent,
            into=into,
            work=sh("{git} -C {path}", git=GIT, path=self.submodules),
            path=self.submodules,
            mirror=self.mirror,
            url=self.url,
            commit=commit,
        )


def show_host_key(url: str) -> Shell:
    """Shell that shows the key of the repository's host, unknown to the server, and what accepts exactly this key."""
    words = ssh_words(url)
    if not words:
        return Shell(":")
    return sh(
        """\
config=$(eval "${{GIT_SSH_COMMAND:-ssh}} -G {words}")
value() {{ printf '%s\\n' "$config" | sed -n "s/^$1 //p"; }}
host=$(value hostname) port=$(value port) alias=$(value hostkeyalias) file=$(value userknownhostsfile)
for type in ed25519 ecdsa rsa; do
    key=$(ssh-keyscan -T 10 -t $type -p "$port" "$host" 2>/dev/null | sed '/^#/d') || :
    [ -z "$key" ] || break
done
if [ -n "$key" ]; then
    printf 'Its key is %s\\n' "$(printf '%s\\n' "$key" | ssh-keygen -lf -)"
    printf "If this is the fingerprint that its operator publishes, type on the server, as %s: echo '%s' >> %s\\n" \\
        "$(id -un)" "${{alias:-${{key%% *}}}} ${{key#* }}" "${{file%% *}}"
else
    printf 'Its key could not be asked for. To see it, type on the server, as %s: %s\\n' "$(id -un)" {by_hand}
fi""",
        words=words,
        by_hand=" ".join(["ssh", *words]),
    )


def ssh_words(url: str) -> Sequence[str]:
    """What `ssh` has to be given to reach the host of an address; nothing if git does not use it."""
    found = SSH_URL.match(url)
    if not found:
        return []
    host, port, scp_like = found.groups()
    return [*(["-p", port] if port else []), (host or scp_like).replace("[", "").replace("]", "")]
