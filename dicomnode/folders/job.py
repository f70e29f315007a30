"""What a run is to do: all that a worker process must know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dicomnode.deidentify import Deidentifier, load
from dicomnode.deidentify.plan import Plan
from dicomnode.folders.sources import source
from dicomnode.folders.targets import target
from dicomnode.folders.work import Worker
from dicomnode.keys import ProjectKeys, keyed_digest


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """One run; the keys go to worker processes through a pipe, and to no file."""

    source: str
    target: str
    rules: Path
    keys: ProjectKeys
    overwrite: bool = False
    by_series: bool = False

    def names(self) -> Iterator[str]:
        """The files of the source."""
        return source(self.source).names()

    def worker(self) -> Worker:
        """A worker for this process."""
        deidentifier = Deidentifier(self.plan(), self.keys)
        return Worker(deidentifier, source(self.source), target(self.target, self.overwrite), self.by_series)

    def plan(self) -> Plan:
        """The rules compiled."""
        return load(self.rules)


def keys_of(keys: ProjectKeys, project: str) -> ProjectKeys:
    """The keys of a named project: its UIDs and pseudonyms are its own, so that each project has a copy of its own."""
    if not project:
        return keys
    name = keyed_digest(keys.pseudonym, "key id of project", project.encode()).hex()[:16]
    return replace(keys, pseudonym=keyed_digest(keys.pseudonym, "project", project.encode()), key_id=name)
