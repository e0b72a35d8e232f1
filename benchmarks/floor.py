"""The floor: what a hand-written shell script costs that does the work of a deploy over a single `ssh` call.

It has neither lock nor checks, no way back, one process, and loses requests while that restarts.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

PRELUDE = """\
set -eu
cd {home}
{exports}
switch() {{
    ln -sfn "$2" ".$1.new"
    mv -T ".$1.new" "$1"
}}
restart() {{
    [ ! -e run/pid ] || kill "$(cat run/pid)"
    until curl -s -D - -o /dev/null {url} | grep -q "^X-Release: $1"; do sleep 0.05; done
}}
"""

DEPLOY = """\
name=$(date -u +%Y%m%d-%H%M%S)
mkdir -p run mirror virtualenvs shared/data "$name/repository"
[ -e mirror/HEAD ] || git init -q --bare mirror
git -C mirror fetch -q --force --prune {repository} '+refs/heads/*:refs/heads/*'
git -C mirror archive {branch} | tar -x -C "$name/repository"
environment=$PWD/virtualenvs/$(cat {locks} </dev/null | sha256sum | cut -c 1-32)
if [ ! -e "$environment/.complete" ]; then
    rm -rf "$environment"
    if command -v uv >/dev/null; then
        uv venv -q --no-project --python python3 "$environment"
        {uv}
    else
        python3 -m venv "$environment"
        {pip}
    fi
    : >"$environment/.complete"
fi
ln -s "$environment" "$name/virtualenv"
rm -rf "$name/repository/data"
ln -s "$PWD/shared/data" "$name/repository/data"
(
    cd "$name/repository/src"
    PATH=$environment/bin:$PATH
{steps}
)
old=$(readlink current || true)
[ -z "$old" ] || switch previous "$old"
switch current "$name"
restart "$name"
"""

ROLLBACK = """\
name=$(readlink previous)
switch current "$name"
restart "$name"
"""

CLEANUP = """\
kept="$(readlink current) $(readlink previous)"
for name in 2*; do
    case " $kept " in *" $name "*) ;; *) rm -rf "$name" ;; esac
done
used=$(readlink 2*/virtualenv)
for environment in "$PWD"/virtualenvs/*; do
    case "$used" in *"$environment"*) ;; *) rm -rf "$environment" ;; esac
done
"""


def prelude(home: str, url: str, env: Mapping[str, str]) -> str:
    """What begins each of the scripts."""
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in env.items())
    return PRELUDE.format(home=home, url=url, exports=exports)


def deploy(repository: str, branch: str, requirements: Sequence[str], steps: Sequence[str]) -> str:
    """The script of a deploy.

    Args:
        requirements: lock files in the repository.
        steps: shell commands in the project's directory.
    """
    locks = " ".join(f'"$name/repository/{name}"' for name in requirements)
    given = " ".join(f'-r "$name/repository/{name}"' for name in requirements)
    return DEPLOY.format(
        repository=repository,
        branch=branch,
        locks=locks,
        uv=f'uv pip install -q --require-hashes --python "$environment/bin/python" {given}' if given else ":",
        pip=f'"$environment/bin/pip" install -q --require-hashes {given}' if given else ":",
        steps="\n".join(f"    {step}" for step in steps),
    )
