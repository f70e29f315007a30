"""What a run is to do: all that a worker process must know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicomnode.deidentify.plan import Plan
from dicomnode.deidentify.rules import load_text
from dicomnode.folders import objects
from dicomnode.folders.engines import Engines
from dicomnode.folders.entities import Ids
from dicomnode.folders.options import OPTIONS
from dicomnode.folders.sources import source
from dicomnode.folders.survey import Failed, failed
from dicomnode.folders.targets import target
from dicomnode.folders.work import Worker, look
from dicomnode.keys import ProjectKeys, keyed_digest
from dicomnode.recipes import load

LOCAL = "local"
"""The project where none is named."""


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """One run; the keys go to worker processes through a pipe, and to no file.

    `made` are rules made of options and the file `rules`. With `patient_id` all instances are of one patient, who is
    called so. `ids` has the values of variables.
    """

    source: str
    target: str
    rules: Path
    keys: ProjectKeys
    overwrite: bool = False
    by_series: bool = False
    made: str | None = None
    project: str = ""
    patient_id: str = ""
    ids: Ids | None = None
    only: str | None = None
    """With `patient_id`: whose the instances are; identified."""
    failed: Failed = frozenset()
    """What fails as a whole by the rules' conditions; identified."""

    @property
    def way(self) -> str:
        """How to start a worker process: drivers of object storage have threads, which a fork would lose."""
        return "spawn" if objects.is_address(self.source) or objects.is_address(self.target) else "fork"

    def names(self) -> Iterator[str]:
        """The files of the source."""
        return source(self.source).names()

    def worker(self) -> Worker:
        """A worker for this process."""
        engines = Engines(self.plan, self.keys, self.project, self.ids)
        places = source(self.source), target(self.target, self.overwrite)
        return Worker(engines, *places, self.by_series, self.only, self.failed)

    def of_one_patient(self, names: Sequence[str]) -> Job:
        """The same, and where it names a patient, it is of the patient of the first of these files alone."""
        return replace(self, only=self.worker().patient(names)) if self.patient_id else self

    def of_whole_series(self, names: Sequence[str]) -> Job:
        """The same, and where the rules judge whole series or studies, it is known of all files which of them fail."""
        acceptance = self.plan().acceptance
        if acceptance is None or acceptance.aggregate == "instance":
            return self
        engines, place = Engines(self.plan, self.keys, self.project, self.ids), source(self.source)
        return replace(self, failed=failed(look(place, engines, name) for name in names))

    def plan(self, variables: Mapping[str, str] | None = None) -> Plan:
        """The rules compiled; raises RulesError."""
        made = self.made
        plan = load(self.rules, variables) if made is None else load_text(made, OPTIONS, variables)
        plan = replace(plan, name=self.rules.stem).of_project(self.project or LOCAL)
        if not self.patient_id:
            return plan
        named = dict.fromkeys(("patient_id", "patient_name"), self.patient_id)
        return replace(plan, given=True, templates={**plan.templates, **named})


def keys_of(keys: ProjectKeys, project: str) -> ProjectKeys:
    """The keys of a named project: its UIDs and pseudonyms are its own, so that each project has a copy of its own."""
    if not project:
        return keys
    name = keyed_digest(keys.pseudonym, "key id of project", project.encode()).hex()[:16]
    return replace(keys, pseudonym=keyed_digest(keys.pseudonym, "project", project.encode()), key_id=name)
