"""The servers that tests deploy to."""

from tests.docker_target import docker_engine, docker_target, keys

__all__ = ["docker_engine", "docker_target", "keys"]
