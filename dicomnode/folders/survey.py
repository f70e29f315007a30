"""What rules would make of a folder, series by series; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dicomnode.folders.tally import Fate
from dicomnode.model import Originals, Reason

FAILING = {Reason.SERIES_CONDITIONS: True, Reason.STUDY_CONDITIONS: False}
"""Reasons for which more than the instance fails, and whether that is its series alone."""
Failed = frozenset[tuple[str, str]]
"""Study and Series Instance UIDs of what fails as a whole; "" for all series. Identified."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One file: its UIDs where they could be read, and why it would be withheld or passed over. Identified."""

    name: str
    fate: Fate
    reason: Reason | None = None
    where: str = ""
    originals: Originals | None = None
    modality: str = ""


@dataclass(slots=True)
class Series:
    """A series of the folder, or with `first` alone what belongs to none; `kept_back` go with what fails as a whole."""

    first: str
    modality: str = ""
    files: int = 0
    go: int = 0
    withheld: int = 0
    kept_back: int = 0
    why: Counter[str] = field(default_factory=Counter)

    def add(self, seen: Seen, kept_back: bool) -> None:
        """Enter one file."""
        self.files += 1
        self.modality = self.modality or seen.modality
        self.kept_back += kept_back
        if seen.fate is Fate.CLEANED and not kept_back:
            self.go += 1
        elif seen.reason is not None:
            self.withheld += 1
            self.why[f"{seen.reason} {seen.where}".strip()] += 1
        elif seen.fate is not Fate.CLEANED:
            self.why[str(seen.fate)] += 1


def failed(seen: Iterable[Seen]) -> Failed:
    """What fails as a whole because an instance of it fails."""
    return frozenset(_wide(each.reason, each.originals) for each in seen if each.reason in FAILING and each.originals)


def _wide(reason: Reason | None, originals: Originals) -> tuple[str, str]:
    return originals.study_uid, originals.series_uid if reason is Reason.SERIES_CONDITIONS else ""


def fails(originals: Originals, whole: Failed) -> Reason | None:
    """Why an instance fails with others, None when it does not."""
    if (originals.study_uid, "") in whole:
        return Reason.STUDY_CONDITIONS
    return Reason.SERIES_CONDITIONS if (originals.study_uid, originals.series_uid) in whole else None


def by_series(seen: Iterable[Seen]) -> Iterator[Series]:
    """The series in the order of their first files; files that belong to none at the end."""
    every = list(seen)
    whole = failed(every)
    found: dict[tuple[str, str], Series] = {}
    for each in sorted(every, key=lambda one: one.originals is None):
        uids = each.originals
        key = (uids.study_uid, uids.series_uid) if uids else ("", str(each.fate))
        series = found.setdefault(key, Series(each.name))
        series.add(each, each.reason is None and uids is not None and fails(uids, whole) is not None)
    yield from found.values()
