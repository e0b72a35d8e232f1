"""The servers that tests deploy to."""

from tests.docker_target import docker_engine, docker_target, keys
from tests.embedded_target import rehearsal, shared_rehearsal

__all__ = ["docker_engine", "docker_target", "keys", "rehearsal", "shared_rehearsal"]
