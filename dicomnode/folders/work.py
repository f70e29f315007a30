"""One worker: reads files, de-identifies them with the engine and puts them into the target."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from dicomnode.deidentify import Cleaned, Deidentifier
from dicomnode.folders.mapping import Mapping
from dicomnode.folders.part10 import DIRECTORY, FileMeta, is_part10, read_meta
from dicomnode.folders.sources import Source
from dicomnode.folders.tally import Fate, Outcome
from dicomnode.folders.targets import Target
from dicomnode.model import Buffer, Doubt, Origin, Originals, Reason, Received

LOCAL = Origin("local", "local", "", "", "", 0)


@dataclass(slots=True)
class Done:
    """What a worker did with some files; `mapping` is identified."""

    outcomes: list[Outcome] = field(default_factory=list)
    mapping: Mapping = field(default_factory=Mapping)


class Worker:
    """De-identifies files one by one; `by_series` leaves the study's folder out of the path."""

    def __init__(self, deidentifier: Deidentifier, source: Source, target: Target, by_series: bool) -> None:
        self._deidentifier = deidentifier
        self._source = source
        self._target = target
        self._by_series = by_series

    def take(self, names: Sequence[str]) -> Done:
        """De-identify some files; what they became is durable on return."""
        done, waiting = Done(), []
        for name in names:
            outcome, originals, cleaned = self._one(name)
            if outcome is None:
                waiting.append(len(done.outcomes))
                outcome = Outcome(name, Fate.CLEANED)
            done.outcomes.append(outcome)
            if originals is not None and cleaned is not None:
                done.mapping.add(originals, cleaned.study_uid, cleaned.series_uid)
        for position, fate in zip(waiting, self._target.commit(), strict=True):
            done.outcomes[position] = _placed(done.outcomes[position].name, fate)
        return done

    def close(self) -> None:
        """Leave nothing unfinished in the target."""
        self._target.close()

    def _one(self, name: str) -> tuple[Outcome | None, Originals | None, Cleaned | None]:
        """What became of a file, None while it waits for the commit."""
        try:
            content = self._source.read(name)
        except OSError as error:
            return Outcome(name, Fate.UNREADABLE, where=os.strerror(error.errno) if error.errno else ""), None, None
        if not is_part10(content):
            return Outcome(name, Fate.NOT_DICOM), None, None
        try:
            meta = read_meta(content)
            if meta.sop_class == DIRECTORY:
                return Outcome(name, Fate.DIRECTORY), None, None
            cleaned = self._clean(meta, memoryview(content)[meta.data_set :])
        except Doubt as doubt:
            return Outcome(name, Fate.WITHHELD, doubt.reason, doubt.where), None, None
        parts = [*cleaned.head, *([cleaned.pixels] if cleaned.pixels is not None else []), *cleaned.tail]
        fate = self._target.put(self._path(cleaned), parts)
        return None if fate is None else _placed(name, fate), cleaned.originals, cleaned

    def _path(self, cleaned: Cleaned) -> str:
        inside = f"{cleaned.series_uid}/{cleaned.sop_uid}.dcm"
        return inside if self._by_series else f"{cleaned.study_uid}/{inside}"

    def _clean(self, meta: FileMeta, data: Buffer) -> Cleaned:
        received = Received(LOCAL, meta.sop_class, meta.sop_uid, meta.transfer_syntax)
        try:
            return self._deidentifier.clean(received, data)
        except (Doubt, KeyboardInterrupt):
            raise
        except Exception as error:  # noqa: BLE001 - whatever goes wrong withholds the instance
            raise Doubt(Reason.INTERNAL, type(error).__name__) from None


def _placed(name: str, fate: Fate) -> Outcome:
    """A file of that name with other content is there: nothing is replaced."""
    return Outcome(name, fate, Reason.CONFLICT if fate is Fate.WITHHELD else None)
