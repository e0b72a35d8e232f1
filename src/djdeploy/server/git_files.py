"""From a commit to files: shell functions that archive it as it was committed, whatever a server's configuration is."""

from __future__ import annotations

from .protocols import Server
from .shell import Shell, sh

GIT = Shell("git -c gc.autoDetach=false -c maintenance.autoDetach=false -c core.hooksPath=/dev/null")
"""What packs itself now and then, before it ends: in the background it would hold the lock, which steps inherit."""

AS_COMMITTED = Shell("""\
as_committed() {
    env -u GIT_CONFIG_COUNT -u GIT_CONFIG_PARAMETERS -u GIT_ATTR_SOURCE -u GIT_LFS_SKIP_SMUDGE \\
        GIT_CONFIG_NOSYSTEM=1 GIT_ATTR_NOSYSTEM=1 GIT_CONFIG_SYSTEM=/dev/null GIT_CONFIG_GLOBAL=/dev/null \\
        XDG_CONFIG_HOME=/dev/null HOME=/dev/null \\
        git --git-dir="$from" -c core.attributesFile=/dev/null -c tar.umask=0022 "$@"
}""")
"""The shell function `as_committed`: git on the directory `$from`, whatever the configuration of this server is."""

FETCH_LFS = sh(
    """\
fetch_lfs() {{
    case $url in /*) url=file://$url ;; esac
    place=$(git --git-dir="$from" config --blob "$commit:.lfsconfig" lfs.url 2>/dev/null) || place=
    {git} --git-dir="$from" -c remote.djdeploy.url="$url" ${{place:+-c "lfs.url=$place"}} \\
        -c lfs.fetchinclude= -c lfs.fetchexclude= lfs fetch djdeploy "$commit"
}}""",
    git=GIT,
)
"""The shell function `fetch_lfs`: what Git LFS keeps elsewhere of `$commit` is in `$from`."""

POINTERS = Shell("""\
pointers() {
    export GIT_INDEX_FILE="$into.index"
    as_committed read-tree "$commit"
    (cd "$into" && find . -type f -size -1025c -exec grep -lF 'version https://git-lfs.github.com/spec/v1' {} +) |
        sed 's,^\\./,,' | as_committed check-attr --cached --stdin filter | sed -n 's/: filter: lfs$//p'
    rm -f "$into.index"
    unset GIT_INDEX_FILE
}""")
"""The shell function `pointers`: the files in `$into` that are only pointers to what Git LFS keeps elsewhere."""


def put_files(server: Server) -> Shell:
    """The shell function `put GIT_DIRECTORY COMMIT DIRECTORY URL`, which puts a commit's files into a directory.

    With the contents of what Git LFS keeps elsewhere, or not at all. Through a file: in a pipe, the failure of
    `git archive` would be hidden by the success of `tar`.
    """
    return sh(
        """\
{functions}
put() {{
    from=$1 commit=$2 into=$3 url=$4 lfs= but='and only a pointer to it has arrived'
    rm -f "$from/info/attributes"  # a template of the server's
    if {git} --git-dir="$from" grep -qF filter=lfs "$commit" -- '*.gitattributes'; then lfs=needed; fi
    if [ -z "$lfs" ] || ! {git} lfs version >/dev/null 2>&1; then
        but='and the server has no git-lfs to fetch it'
        as_committed archive --format=tar -o "$into.tar" "$commit" || return
    else
        fetch_lfs || return
        as_committed -c filter.lfs.process='git-lfs filter-process' -c filter.lfs.required=true \\
            archive --format=tar -o "$into.tar" "$commit" || return
    fi
    tar -xf "$into.tar" -C "$into" && rm "$into.tar" || return
    [ -n "$lfs" ] || return 0
    pointer=$(pointers | head -n 1)
    [ -z "$pointer" ] || {{
        {emit} error={code} || :
        echo "$pointer is kept by Git LFS, $but"
        exit 1
    }}
}}""",
        functions=Shell("\n".join([AS_COMMITTED, FETCH_LFS, POINTERS])),
        git=GIT,
        emit=server.emit,
        code="lfs-missing",
    )
