"""The error of a step that failed on a host: its kind, its sentence and its code."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from ..errors import ContractFailed, DeployError, Interrupted, PublishFailed, StepFailed
from ..errors.catalogue import CATALOGUE
from ..errors.foreign import recognised
from ..script.deployment import Failure
from ..script.stages import Stage
from ..ssh.step_run import NOTE, StepRun, failure

KILLED = 128 + signal.SIGKILL
"""The exit status of a shell whose program was killed."""


def raise_failure(host: str, runs: Sequence[StepRun]) -> None:
    """Raises the error of the step that failed, if one did."""
    if failed := failure(runs):
        raise step_failed(host, failed)


def step_failed(host: str, run: StepRun) -> DeployError:
    """The error of a step that failed, was interrupted, or took too long."""
    title = f'"{run.step.title}"'
    if run.why == "interrupted":
        return Interrupted(f"{title} was interrupted", host=host)
    if run.why == "timeout":
        what = f"{title} did not end within {run.step.timeout:g} s (settings: step_timeout) and was ended"
    elif run.status < 0:
        what = f"{title} was killed by {signal_name(-run.status)}"
    else:
        what = f"{title} failed (exit {run.status})"
    output = [line.removeprefix(NOTE) for line in run.tail]
    failed = StepFailed(what, code=code_of(run), host=host, output=output)
    failed.failed_steps = [f"{title} on {host}"]
    return failed


def signal_name(number: int) -> str:
    """The name of a signal; a server may report one that this machine does not have."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def code_of(run: StepRun) -> str:
    """The code of a failed step's error: how it ended, what its djdeploy program emitted, or what is recognised."""
    if run.why == "timeout":
        return "step-timeout"
    emitted = run.outputs.get("error")
    code = emitted.get("code") if isinstance(emitted, dict) else None
    if isinstance(code, str) and code in CATALOGUE:
        return code
    if run.status < 0 or run.status == KILLED:
        return "step-killed"
    return recognised(run.tail, run.step.programs)


def as_publish_failed(error: DeployError) -> PublishFailed:
    """The same error, with the exit code of one that users may have noticed."""
    failed = PublishFailed(error.what, code=error.error_code, host=error.host, output=error.output, remedy=error.remedy)
    failed.is_aggregate, failed.failed_steps = error.is_aggregate, error.failed_steps
    return failed


def as_contract_failed(error: DeployError) -> ContractFailed:
    """The same error, of what came after publishing: the release is live, and stays so."""
    failed = ContractFailed(error.what, code=error.error_code, host=error.host, output=error.output, site=error.site)
    failed.remedy = error.remedy
    failed.is_aggregate, failed.failed_steps = error.is_aggregate, error.failed_steps
    return failed


def failure_of(error: DeployError, stage: Stage) -> Failure:
    """The error, as the steps of `on_failure` know it."""
    return Failure(error.what, error.error_code, stage.name, error.site, error.host, error.output)
