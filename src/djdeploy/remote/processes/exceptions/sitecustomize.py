"""Makes a Django site that is smoke-tested print the exceptions of its pages.

While DEBUG is off, Django's default LOGGING writes them nowhere. Python imports this before it runs a program, since
the smoke test puts its directory first on PYTHONPATH; nothing else does.
"""

from __future__ import annotations

import logging
import sys
import traceback
from importlib.util import find_spec
from typing import Any

SIGNALS = "django.core.signals"


class Finder:
    """Waits for Django's signals to be imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != SIGNALS:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def and_connect(module: Any) -> None:
                execute(module)
                module.got_request_exception.connect(tell, weak=False)

            spec.loader.exec_module = and_connect  # type: ignore[method-assign]
        return spec


def tell(**_: object) -> None:
    """Prints the exception that is being handled, once, unless the site's own LOGGING does it."""
    text = traceback.format_exc()
    if text not in told and not is_logged():
        told.add(text)
        print(text, file=sys.stderr, flush=True)


told: set[str] = set()


def is_logged() -> bool:
    """Whether what Django logs of a page reaches standard output or error."""
    logger: logging.Logger | None = logging.getLogger("django.request")
    if logger and not logger.isEnabledFor(logging.ERROR):
        return False
    while logger:
        if any(is_open(handler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def is_open(handler: logging.Handler) -> bool:
    """Whether a handler writes errors to a stream, also while DEBUG is off."""
    is_stream = isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    in_debug_only = any(type(each).__name__ == "RequireDebugTrue" for each in handler.filters)
    return is_stream and not in_debug_only and handler.level <= logging.ERROR


sys.meta_path.insert(0, Finder())
