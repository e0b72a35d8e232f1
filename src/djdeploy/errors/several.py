"""Several errors as one: those that are alike once, with all their hosts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .kinds import DeployError
from .output import TAIL, without_repeats


def together(errors: Sequence[DeployError]) -> DeployError:
    """One error that reports several, those that are alike once with their hosts; the gravest exit code wins."""
    if len(errors) == 1:
        return errors[0]
    gravest = max(errors, key=lambda error: error.exit_code)
    shared_site = {error.site for error in errors}
    site = shared_site.pop() if len(shared_site) == 1 else ""
    alike: dict[object, list[DeployError]] = {}
    for error in errors:
        alike.setdefault(grouping_key(error), []).append(error)
    whole = type(gravest).__new__(type(gravest))
    merged = [of_many(group, bool(site)) for group in alike.values()]
    lines = [line for error in merged for line in error.body.split("\n")]
    DeployError.__init__(whole, "\n".join(without_repeats(lines)), site=site)
    whole.is_aggregate, whole.error_code = True, ""
    whole.failed_steps = [step for error in merged for step in error.failed_steps]
    return whole


def grouping_key(error: DeployError) -> object:
    """What errors have in common that differ only by their host; in the output numbers do not count, such as pids."""

    def anywhere(text: str) -> str:
        return text.replace(error.host, "HOST") if error.host else text

    output = [re.sub(r"\d+", "0", anywhere(line)) for line in error.output[-TAIL:]]
    return error.error_code, anywhere(error.what), tuple(output), anywhere(error.site), anywhere(error.remedy)


def of_many(errors: Sequence[DeployError], silent_about_site: bool) -> DeployError:
    """The first of errors that are alike, with all of their hosts."""
    first = errors[0]
    hosts = [error.host for error in errors if error.host]
    names = hosts if len(hosts) <= 3 else [*hosts[:2], f"{len(hosts) - 2} more"]
    host = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    site = "" if silent_about_site else first.site
    merged = DeployError(
        first.what, code=first.error_code, host=host, output=first.output, remedy=first.remedy, site=site
    )
    merged.hosts = hosts
    # Those of one error alone end with its host.
    merged.failed_steps = [f"{step.removesuffix(f' on {first.host}')} on {host}" for step in first.failed_steps]
    return merged
