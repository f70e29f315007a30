"""What became of the files of a folder: one outcome each, and the sum."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from dicomnode.model import Reason


class Fate(StrEnum):
    """What became of one file."""

    CLEANED = "cleaned"
    THERE = "already_there"
    NOT_DICOM = "not_dicom"
    DIRECTORY = "dicomdir"
    NO_FILE = "no_file"
    BARE = "no_preamble"
    UNREADABLE = "unreadable"
    WITHHELD = "withheld"


SAID = {
    Fate.THERE: "already there, with the same content",
    Fate.NOT_DICOM: "not DICOM",
    Fate.DIRECTORY: "DICOMDIR, which names patients and is not taken over",
    Fate.NO_FILE: "passed over: a symbolic link, which is not followed, a pipe, a socket or a device",
    Fate.BARE: "DICOM without preamble or file meta, which alone says the transfer syntax: left where it is",
    Fate.UNREADABLE: "not readable",
}
LEFT = (Fate.BARE, Fate.UNREADABLE, Fate.WITHHELD)
"""What was to be de-identified, and was not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the file `name`; of a withheld one why, and at which attribute."""

    name: str
    fate: Fate
    reason: Reason | None = None
    where: str = ""


@dataclass(slots=True)
class Tally:
    """What became of all files; `names` has the names of those that were not taken over, by fate and reason."""

    fates: Counter[Fate] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    places: dict[Reason, Counter[str]] = field(default_factory=dict)
    names: dict[Fate, list[Outcome]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one file."""
        self.fates[outcome.fate] += 1
        if outcome.reason is not None:
            self.reasons[outcome.reason] += 1
            self.places.setdefault(outcome.reason, Counter())[outcome.where] += 1
        if outcome.fate not in (Fate.CLEANED, Fate.THERE):
            self.names.setdefault(outcome.fate, []).append(outcome)

    @property
    def done(self) -> int:
        """How many files were looked at."""
        return self.fates.total()

    @property
    def good(self) -> bool:
        """Whether there was something to de-identify, and all of it is in the target."""
        left = any(self.fates[fate] for fate in LEFT)
        return not left and self.fates[Fate.CLEANED] + self.fates[Fate.THERE] > 0
