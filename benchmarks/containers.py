"""The containers that are measured."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.docker_target import BUILD, DockerTarget, engine, remove_containers


class Unavailable(Exception):
    """There is nothing to measure on; says what to do."""


@contextlib.contextmanager
def containers() -> Iterator[tuple[Path, Callable[[], DockerTarget]]]:
    """A directory, and a function that starts a container; all of it is removed afterwards.

    Raises:
        Unavailable: no Docker engine answers.
    """
    client = engine()
    if client is None:
        raise Unavailable("No Docker engine answers. As root: make docker-engine")
    subprocess.run([str(BUILD)], check=True, stdout=subprocess.DEVNULL)
    remove_containers(client, mine=False)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="djdeploy-bench-")))
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "djdeploy-bench", "-f", str(directory / "key")]
        subprocess.run(command, check=True)

        def start() -> DockerTarget:
            target = DockerTarget(client, directory)
            stack.callback(target.remove)
            return target

        yield directory, start
