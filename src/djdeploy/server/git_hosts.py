"""The host of a repository that is reached by SSH, and what a server must know of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .shell import Shell, sh

SSH_URL = re.compile(
    r"(?:ssh|git\+ssh|ssh\+git)://((?:[\w.-]+@)?(?:\[[\da-fA-F:]+\]|\w[\w.-]*))(?::(\d+))?/"
    r"|((?:[\w.-]+@)?\w[\w.-]*):(?!//)",
    re.ASCII,
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
