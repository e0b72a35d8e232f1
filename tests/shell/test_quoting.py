"""A value is never interpreted: verified against the real shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from djdeploy import Settings, sh
from djdeploy.recipe import DEPLOY
from djdeploy.script.deployment import Deployment
from djdeploy.script.stages import BUILD, PUBLISH
from djdeploy.server.snapshot import Snapshot
from tests.shell.homes import starter

SHELLS = [
    command
    for command in (["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"], ["/bin/sh"])
    if shutil.which(command[0])
]

nasty = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    [
        "",
        " ",
        "$(touch pwned)",
        "`touch pwned`",
        "'",
        '"',
        "\\",
        "a\nb",
        "\n",
        "-n",
        "*",
        "~",
        "ä ö",
        "; reboot",
        "!x",
        "{x}",
        "%s",
        "\x1b[31m",
    ]
)


def run(shell: list[str], script: str) -> bytes:
    # As the agent runs a step: by standard input, inside braces.
    program = f"{{\nset -eu\n{script}\n}} </dev/null\n"
    return subprocess.run(shell, input=program.encode(), capture_output=True, check=True).stdout


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(max_examples=60)
@given(value=nasty, more=st.lists(nasty, max_size=4))
def test_a_value_arrives_as_one_word_with_its_characters(shell: list[str], value: str, more: list[str]) -> None:
    script = sh("printf '%s\\0' {value} {more} {value}", value=value, more=more)
    assert run(shell, script) == b"".join(word.encode() + b"\0" for word in [value, *more, value])


PROGRAMS = str(starter().parent)
FACTS: Any = {
    "releases": [],
    "current": {"kind": "missing", "target": None},
    "previous": {"kind": "missing", "target": None},
    "tools": {},
    "python": "3",
}
part = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20
).filter(lambda text: text not in (".", "..") and text.strip() and not text.startswith("-"))


@settings(max_examples=40)
@given(home=part, shared=part, value=nasty, source=part)
def test_no_setting_is_interpreted_by_the_shell(
    home: str, shared: str, value: str, source: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Creates, links and marks a release with settings of any characters, by the text that a deploy would run."""
    root = tmp_path_factory.mktemp("home")
    values = Settings(
        project="demo",
        repository="x",
        home=str(root / home),
        source_dir=source,
        shared_dirs=[shared],
        env={"VALUE": value},
    )
    for directory in values.layout.directories:
        Path(directory).mkdir(parents=True, exist_ok=True)
    d = Deployment(
        settings=values, host="h", snapshot=Snapshot.parse(FACTS, PROGRAMS), release="r1", token="t", subject=value
    )
    plan = {step.name: step.script for stage in (BUILD, PUBLISH) for step in DEPLOY.plan(stage, d)}
    run(["/bin/sh"], plan["create_release"])
    Path(d.target.repository, shared).mkdir(parents=True)
    Path(d.target.repository, shared, "seed").write_text("seed")
    run(["/bin/sh"], plan["link_shared"])
    run(["/bin/sh"], plan["switch_links"])
    assert Path(d.layout.current).readlink() == Path("r1")
    assert (Path(d.layout.current) / "repository" / shared / "seed").resolve() == (
        root / home / "shared" / shared / "seed"
    ).resolve()
    assert not list(root.rglob("pwned"))
    assert {path.name for path in root.iterdir()} == {home}
