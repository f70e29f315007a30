"""One worker: reads files, de-identifies them with the engine and puts them into the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dicomnode.deidentify import Cleaned, acceptance
from dicomnode.folders.engines import Engines
from dicomnode.folders.files import Other, read
from dicomnode.folders.mapping import Mapping
from dicomnode.folders.part10 import DIRECTORY, read_meta
from dicomnode.folders.sources import Source
from dicomnode.folders.survey import Failed, Seen, fails
from dicomnode.folders.tally import Fate, Outcome
from dicomnode.folders.targets import Target
from dicomnode.model import JUDGED, Doubt, IdentityEntry, Reason

PATIENT_ID = "(0010,0020)"
NOTHING: Failed = frozenset()


@dataclass(slots=True)
class Done:
    """What a worker did with some files; `mapping` is identified.

    `missing` counts, by attribute and variable, the instances that lost the attribute for want of a value.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    mapping: Mapping = field(default_factory=Mapping)
    missing: Counter[str] = field(default_factory=Counter)
    judged: list[str] = field(default_factory=list)
    """What the rules' conditions said of each instance; identified."""
    sent: set[str] = field(default_factory=set)
    """Of these the paths of those that are in the target."""


class Worker:
    """De-identifies files one by one; `by_series` leaves the study's folder out of the path.

    With `only`, instances of other patients than this one are withheld, for all would get the same Patient ID.
    What has `failed` as a whole is withheld.
    """

    def __init__(
        self,
        engines: Engines,
        source: Source,
        target: Target,
        by_series: bool = False,
        only: str | None = None,
        failed: Failed = NOTHING,
    ) -> None:
        self._engines = engines
        self._source = source
        self._target = target
        self._by_series = by_series
        self._only = only
        self._failed = failed

    def take(self, names: Sequence[str]) -> Done:
        """De-identify some files; what they became is durable on return."""
        done, waiting = Done(), []
        for name in names:
            fate = self._one(name, done)
            if fate is None:
                waiting.append(len(done.outcomes))
            done.outcomes.append(fate or Outcome(name, Fate.CLEANED))
        for position, placed in zip(waiting, self._target.commit(), strict=True):
            done.outcomes[position] = _placed(done.outcomes[position].name, placed)
        return done

    def close(self) -> None:
        """Leave nothing unfinished in the target."""
        self._target.close()

    def patient(self, names: Sequence[str]) -> str | None:
        """Whose the first file is that can be de-identified; identified."""
        for name in names:
            try:
                return patient_of(self._clean(name)[0])
            except (Other, Doubt):
                continue
        return None

    def _one(self, name: str, done: Done) -> Outcome | None:
        """What became of a file, None while it waits for the commit."""
        try:
            cleaned, missing = self._clean(name)
        except Other as other:
            return Outcome(name, other.fate, where=other.where)
        except Doubt as doubt:
            _judge(done, doubt.judged, name, "")
            return Outcome(name, Fate.WITHHELD, doubt.reason, doubt.where)
        _judge(done, entry_of(cleaned), name, self._path(cleaned))
        if self._only is not None and patient_of(cleaned) != self._only:
            return Outcome(name, Fate.WITHHELD, Reason.COLLISION, PATIENT_ID)
        wide = fails(cleaned.originals, self._failed)
        if wide is not None:
            return Outcome(name, Fate.WITHHELD, wide)
        parts = [*cleaned.head, *([cleaned.pixels] if cleaned.pixels is not None else []), *cleaned.tail]
        fate = self._target.put(self._path(cleaned), parts)
        if fate is not Fate.WITHHELD:
            done.missing.update(missing)
            done.mapping.add(cleaned.originals, cleaned.study_uid, cleaned.series_uid)
            done.sent.update([self._path(cleaned)] if done.judged else [])
        return None if fate is None else _placed(name, fate)

    def _clean(self, name: str) -> tuple[Cleaned, tuple[str, ...]]:
        """A file de-identified in memory; raises Other and Doubt."""
        return _clean(self._source, self._engines, name)

    def _path(self, cleaned: Cleaned) -> str:
        inside = f"{cleaned.series_uid}/{cleaned.sop_uid}.dcm"
        return inside if self._by_series else f"{cleaned.study_uid}/{inside}"


def _clean(source: Source, engines: Engines, name: str) -> tuple[Cleaned, tuple[str, ...]]:
    content = read(source, name)
    meta = read_meta(content)
    if meta.sop_class == DIRECTORY:
        raise Other(Fate.DIRECTORY)
    return engines.clean(content, meta)


def look(source: Source, engines: Engines, name: str) -> Seen:
    """What would become of a file; nothing is written."""
    try:
        cleaned, _ = _clean(source, engines, name)
    except Other as other:
        return Seen(name, other.fate, where=other.where)
    except Doubt as doubt:
        return Seen(name, Fate.WITHHELD, doubt.reason, doubt.where, doubt.originals)
    return Seen(name, Fate.CLEANED, originals=cleaned.originals, modality=cleaned.modality)


def entry_of(cleaned: Cleaned) -> IdentityEntry | None:
    """What the rules' conditions said of an instance, where they were asked."""
    return next((entry for entry in cleaned.identity if entry.attribute == JUDGED), None)


def _judge(done: Done, entry: IdentityEntry | None, name: str, path: str) -> None:
    if entry is not None:
        done.judged.append(acceptance.renamed(entry.original, name, path))


def patient_of(cleaned: Cleaned) -> str:
    """The original Patient ID; an empty one is told apart by the study."""
    entered = next((entry.original for entry in cleaned.identity if entry.attribute == "PatientID"), "")
    return f"ID {entered.strip()}" if entered.strip() else f"study {cleaned.originals.study_uid}"


def _placed(name: str, fate: Fate) -> Outcome:
    """A file of that name with other content is there: nothing is replaced."""
    return Outcome(name, fate, Reason.CONFLICT if fate is Fate.WITHHELD else None)
