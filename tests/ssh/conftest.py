"""The servers that tests deploy to."""

from tests.docker_target import docker_engine, docker_target, keys
from tests.embedded_target import rehearsal, shared_rehearsal

from .site import live, live_hosts, live_image, own_live, own_live_hosts, servers, site

__all__ = [
    "docker_engine",
    "docker_target",
    "keys",
    "live",
    "live_hosts",
    "live_image",
    "own_live",
    "own_live_hosts",
    "rehearsal",
    "servers",
    "shared_rehearsal",
    "site",
]
