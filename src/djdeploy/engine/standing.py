"""How the site stands after a failure: in one sentence, or host by host where they differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DeployError
from ..script.deployment import Deployment
from ..script.recipes import Recipe
from ..script.stages import BUILD, MIGRATE, PUBLISH, Stage
from ..script.undo import discard_release, restore_links


@dataclass(frozen=True)
class Standing:
    """How one host stands after a stage has failed.

    Args:
        d: the task there.
        stage: the one that failed.
        began: whether it had begun there.
        undo: what was to restore what the stage promised.
        failure: why that was not restored; None if it was.
        is_lost: whether its connection broke.
        asked_anew: whether it could be asked again after that; `runs` is then what is current there.
    """

    d: Deployment
    stage: Stage
    began: bool
    undo: Recipe
    failure: DeployError | None = None
    is_lost: bool = False
    asked_anew: bool = False
    runs: str | None = None

    @property
    def sentence(self) -> str:
        return self._not_restored(self.failure) if self.failure else self._restored()

    @property
    def line(self) -> str:
        return f"  {self.d.host}: {self.sentence}"

    def _restored(self) -> str:
        before = self.d.snapshot.current
        stands = f"The site still runs {before}." if before else "Nothing was live before, and nothing is."
        if self.stage == BUILD:
            removed = discard_release in self.undo
            return f"{stands} {'The unfinished release was removed.' if removed else 'Nothing was changed.'}"
        if self.stage == MIGRATE:
            return f"{stands} Nothing was published; look at what the migration has changed in the database."
        if restore_links not in self.undo:
            return f"{before} is current, as before. How its processes are: fab status"
        if self.asked_anew:
            return f"It has gone back by itself. {stands}"
        return f"The links were put back. {stands}" if self.began else f"It was not touched. {stands}"

    def _not_restored(self, failure: DeployError) -> str:
        before = self.d.snapshot.current or "nothing"
        if self.stage != PUBLISH or not self.began:
            return f"{failure.what}. Nothing was published there; {before} is live."
        if self.asked_anew:
            return f"NOT restored: it runs {self.runs or 'nothing'}. Before this, {before} was live."
        alone = f" {self._alone()}" if self.is_lost and restore_links in self.undo else ""
        return f"NOT restored: {failure.what}.{alone} Before this, {before} was live."

    def _alone(self) -> str:
        """What a host does that was lost while it published. One without power comes up as it went down."""
        launched = bool(self.d.settings.processes and self.d.snapshot.current) and self.d.task == "deploy"
        unless = ", unless that dies again and again" if launched else ""
        return f"If it still runs, it goes back by itself; if it went down, it comes up with {self.d.release}{unless}."


def of_the_site(hosts: Sequence[Standing]) -> str:
    """How the site stands once a failed stage has been undone, as far as it could be."""
    if not any(host.failure for host in hosts):
        if len(sentences := {host.sentence for host in hosts}) == 1:
            return sentences.pop()
        return host_by_host(sorted({host.line for host in hosts}))
    healing = "See how they stand now: fab status. The next `fab deploy` repairs them."
    return host_by_host([*sorted({host.line for host in hosts}), healing])


def where_some_are_unknown(tasks: Iterable[Deployment], unknown: Collection[str]) -> str:
    """How the site stands where these hosts cannot be asked, and the others have committed: nothing was changed."""

    def stands(d: Deployment) -> str:
        if d.host not in unknown:
            return f"{d.release} is live."
        return f"unknown. It runs {d.release}, or goes back to {d.snapshot.current or 'nothing'} by itself."

    return host_by_host(f"  {d.host}: {stands(d)}" for d in tasks)


def host_by_host(lines: Iterable[str]) -> str:
    return "\n".join(["How the hosts stand:", *lines])


def met_by_users(deployments: Iterable[Deployment]) -> Sequence[str]:
    """How many of the probe's requests have failed until all was restored, if some have."""
    probes = [d.outputs["probe"] for d in deployments if "probe" in d.outputs]
    sent, failed = (sum(probe[name] for probe in probes) for name in ("sent", "failed"))
    return [f"Until then, {failed} of {sent} requests failed."] if failed else []


def backups_of(deployments: Iterable[Deployment]) -> Sequence[str]:
    """What was backed up before the migrations, for whoever finds that they have to be undone by hand."""
    paths = [path for d in deployments for path in d.outputs.get("backup", ())]
    return [f"A backup from before the migrations: {path}" for path in paths]


def beyond_the_limit(d: Deployment) -> Sequence[Mapping[str, Any]]:
    """The addresses of a host where too much failed."""
    limits, seen = d.settings.probe, d.outputs.get("probe")
    return [site for site in seen["sites"] if site["worst_share"] > limits.max_share] if limits and seen else []
