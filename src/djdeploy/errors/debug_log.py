"""What Invoke and Fabric log under `fab --debug`: without the tables of their configuration, which may hold secrets."""

from __future__ import annotations

import logging

LOGGERS = ("invoke", "fabric", "djdeploy")


def without_secrets(record: logging.LogRecord) -> bool:
    """Rewrites a record: of a table nothing is left, since nobody knows what its names mean."""
    from .redaction import hidden_by_its_looks, printable  # few ask for a log, and these are dear

    text, table, _ = record.getMessage().partition("{")
    record.msg, record.args = printable(hidden_by_its_looks(text), keep="\n") + ("{...}" if table else ""), ()
    if record.exc_info:
        record.exc_text = printable(logging.Formatter().formatException(record.exc_info), keep="\n")
    return True


def keep_secrets_out() -> None:
    """From now on; it may be called twice.

    What paramiko logs, tracebacks of its threads, is for `--debug` only, too; Python prints what nobody handles.
    """
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    for name in LOGGERS:
        logging.getLogger(name).addFilter(without_secrets)
