"""What is on a server now: parsed from what the agent saw there. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..remote.wire import ReleaseName

if TYPE_CHECKING:
    from ..remote.wire import Facts, FellBack, Manifest

State = Literal["live", "previous", "good", "bad", "failed", "unfinished"]


@dataclass(frozen=True)
class Release:
    """A release as its manifest describes it.

    Args:
        name: the directory's name.
        number: counts the releases of this home; the order in which they were made, whatever clocks or names say.
        mark: the manifest's `state`: building, ready, published, failed or bad. `published` means that it has served.
        size: bytes of its own directory, if they were counted.
        manifest: all that `release.json` holds.
    """

    name: str
    number: int
    mark: str
    commit: str
    ref: str
    by: str
    at: str
    size: int | None
    manifest: Manifest

    @property
    def is_good(self) -> bool:
        """It has been published, answered, and was not rolled back."""
        return self.mark == "published"

    @property
    def fell_back(self) -> FellBack | None:
        """That the launcher went back to it by itself, unless somebody has published it since."""
        fell = self.manifest.get("fell_back")
        return fell if fell and fell["at"] == self.manifest.get("published") else None

    @classmethod
    def parse(cls, manifest: Manifest) -> Release:
        def text(name: str) -> str:
            return str(manifest.get(name) or "")

        number, size = manifest.get("number"), manifest.get("size")
        return cls(
            name=text("name"),
            number=number if isinstance(number, int) else 0,
            mark=text("state"),
            commit=text("commit"),
            ref=text("ref"),
            by=text("by"),
            at=text("at"),
            size=size if isinstance(size, int) else None,
            manifest=manifest,
        )


@dataclass(frozen=True)
class Snapshot:
    """One server, seen under the lock. `releases` is in the order in which they were made.

    `current` and `previous` are names of releases; or paths, from `home`, of what another tool has made.
    """

    releases: tuple[Release, ...]
    current: str | None
    previous: str | None
    facts: Facts
    programs: str = ""

    @classmethod
    def parse(cls, facts: Facts, programs: str = "") -> Snapshot:
        """Args: facts: what the agent's `look` returned. programs: the directory of the package there."""
        releases = sorted((Release.parse(manifest) for manifest in facts["releases"]), key=lambda r: (r.number, r.name))
        return cls(tuple(releases), facts["current"]["target"], facts["previous"]["target"], facts, programs)

    def find(self, name: str | None) -> Release | None:
        return next((release for release in self.releases if release.name == name), None)

    @property
    def live(self) -> Release | None:
        return self.find(self.current)

    @property
    def next_number(self) -> int:
        return max((release.number for release in self.releases), default=0) + 1

    def state(self, release: Release) -> State:
        """How the release stands, in the words of `fab releases`."""
        if release.name == self.current:
            return "live"
        if release.mark in ("bad", "failed"):
            return "bad" if release.mark == "bad" else "failed"
        if not release.is_good:
            return "unfinished"
        return "previous" if release.name == self.previous else "good"

    def rollback_candidates(self) -> Sequence[Release]:
        """Good releases made before the current one, the newest first."""
        live = self.live
        good = [release for release in self.releases if release.is_good and release.name != self.current]
        return [release for release in reversed(good) if not live or release.number < live.number]

    def after_publishing(self, name: str) -> Snapshot:
        """The same server once a release, made after this was seen, is current."""
        made = Release(name, self.next_number, "published", "", "", "", "", None, {"name": ReleaseName(name)})
        previous = self.current if self.live and self.live.is_good else self.previous
        return replace(self, releases=(*self.releases, made), current=name, previous=previous)

    def removable(self, keep: int) -> Sequence[Release]:
        """What cleanup removes: all but `keep` good releases, and what is not good and older than the current one.

        A release that failed after the current one was made stays, so that it can be looked at. What is unfinished
        belongs to nobody: we hold the lock.
        """
        protected = {self.current, self.previous}
        good = [release for release in self.releases if release.is_good]
        linked = [release for release in good if release.name in protected]
        others = [release for release in good if release.name not in protected]
        kept = others[max(0, len(others) - max(0, keep - len(linked))) :]
        live = self.live

        def is_old(release: Release) -> bool:
            if release.is_good:
                return release not in kept
            unfinished = self.state(release) == "unfinished"
            return unfinished or (live is not None and release.number < live.number)

        return [release for release in self.releases if release.name not in protected and is_old(release)]
