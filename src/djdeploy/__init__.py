"""Fabric 3 tasks that deploy Django projects over SSH, without root and without downtime."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import DeployError
    from .project.host import Host
    from .project.process import Health, Probe, Process
    from .project.secret import Secret
    from .project.settings import Settings
    from .project.values import setting
    from .recipe import DEPLOY, ROLLBACK
    from .script.deployment import Deployment, Failure
    from .script.recipes import Recipe
    from .script.steps import Step, background, join, once, undone_by
    from .server.protocols import Installer, Server, Source
    from .server.shell import Shell, sh
    from .tasks import collection

__all__ = [
    "DEPLOY",
    "ROLLBACK",
    "DeployError",
    "Deployment",
    "Failure",
    "Health",
    "Host",
    "Installer",
    "Probe",
    "Process",
    "Recipe",
    "Secret",
    "Server",
    "Settings",
    "Shell",
    "Source",
    "Step",
    "background",
    "collection",
    "join",
    "once",
    "setting",
    "sh",
    "undone_by",
]


LATER = {
    "DeployError": "errors",
    "Host": "project.host",
    **dict.fromkeys(("Health", "Probe", "Process"), "project.process"),
    "Secret": "project.secret",
    "Settings": "project.settings",
    "setting": "project.values",
    **dict.fromkeys(("DEPLOY", "ROLLBACK"), "recipe"),
    **dict.fromkeys(("Deployment", "Failure"), "script.deployment"),
    "Recipe": "script.recipes",
    **dict.fromkeys(("Step", "background", "join", "once", "undone_by"), "script.steps"),
    **dict.fromkeys(("Installer", "Server", "Source"), "server.protocols"),
    **dict.fromkeys(("Shell", "sh"), "server.shell"),
    "collection": "tasks",
}
"""Where the names are, which are imported when they are asked for.

Most fabfiles have no steps of their own, and `fab --list` needs none. `python -m djdeploy.judge` needs no name at all:
it runs where there is Django, and neither Fabric nor anything else.
"""


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(import_module(f".{LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if getattr(getattr(sys.modules.get("fabric.main"), "program", None), "argv", None):
    # A fabfile imports us: what is wrong in the rest of it is answered in our words.
    import_module(".tasks", __name__)
