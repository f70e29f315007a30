"""What the demonstration finds out afterwards: the journal on one side, what the research PACS holds on the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnode.deidentify import data_set_digest
from dicomnode.demo.studies import Offer
from dicomnode.keys import ProjectKeys
from dicomnode.model import Instance, Study, StudyState, Withheld
from dicomnode.store.journal import Journal

PROJECT = "demo"
LEAST_NEEDLE = 5  # characters; shorter values are found in innocent bytes
LEAST_DIGITS = 10  # the same for numbers, which UIDs hold by chance
IDENTIFYING = ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
DONE = (StudyState.FORWARDED, StudyState.CONFIRMED)

Received = Mapping[str, tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One study at the end; `at_research` counts the instances that are there with the bytes the node says it sent."""

    offer: Offer
    study: Study | None
    instances: tuple[Instance, ...]
    withheld: tuple[Withheld, ...]
    at_research: int

    @property
    def good(self) -> bool:
        """Everything asked for is accounted for, and all that is clean lies at research byte for byte."""
        asked = len(self.offer.data_sets)
        accounted = len(self.instances) + len(self.withheld) == asked
        ended = DONE if self.instances else (StudyState.WITHHELD,)
        there = self.study is not None and self.study.state in ended
        return there and accounted and self.at_research == len(self.instances)


@dataclass(slots=True)
class Findings:
    """All outcomes, what research holds beyond them, and the identifying values found there (keyword, file)."""

    outcomes: list[Outcome]
    strangers: list[str]
    searched: int
    leaks: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether the demonstration succeeded."""
        return all(outcome.good for outcome in self.outcomes) and not self.strangers and not self.leaks


def findings(journal_file: Path, keys: ProjectKeys, offers: list[Offer], received: Received) -> Findings:
    """Compare the journal with what the research PACS received."""
    journal = Journal.open(journal_file)
    try:
        outcomes = [_outcome(journal, keys, offer, received) for offer in offers]
    finally:
        journal.close()
    known = {instance.sop_uid for outcome in outcomes for instance in outcome.instances}
    needles = _needles([data_set for offer in offers for data_set in offer.data_sets])
    found = Findings(outcomes, sorted(set(received) - known), len(needles))
    for uid, (_, data) in received.items():
        found.leaks += [f"{keyword} in {uid}" for keyword, value in needles if value in data]
    return found


def _outcome(journal: Journal, keys: ProjectKeys, offer: Offer, received: Received) -> Outcome:
    key = keys.journal_key("study", offer.uid)
    instances = tuple(instance for instance, _ in journal.instances(PROJECT, key))
    same = [instance for instance in instances if _same(instance, received)]
    withheld = tuple(journal.withheld_list(PROJECT, key))
    return Outcome(offer, journal.get_study(PROJECT, key), instances, withheld, len(same))


def _same(instance: Instance, received: Received) -> bool:
    syntax, data = received.get(instance.sop_uid, ("", b""))
    return syntax == instance.transfer_syntax and data_set_digest(data, syntax) == instance.data_digest


def _needles(data_sets: list[Dataset]) -> list[tuple[str, bytes]]:
    found: dict[tuple[str, bytes], None] = {}
    for data_set in data_sets:
        for keyword in IDENTIFYING:
            value = str(data_set.get(keyword) or "")
            if len(value) >= (LEAST_DIGITS if value.isdigit() else LEAST_NEEDLE):
                found[keyword, value.encode("latin-1", "replace")] = None
    return list(found)
