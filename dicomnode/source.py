"""A project's source: what it says that a study holds, and moving what is missing; UIDs here are identified.

The final status of a C-MOVE is logged and never believed: what arrived is what counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from dicomnode.dimse import query
from dicomnode.dimse.apart import apart
from dicomnode.dimse.lines import Lines
from dicomnode.dimse.query import Found, Moved
from dicomnode.model import Peer
from dicomnode.studies import Key, Next, OpenStudies, SourceAnswer, Verify
from dicomnode.ways import Way

log = structlog.get_logger()

Parts = Sequence[tuple[str | None, list[str] | None]]
"""Series Instance UID and SOP Instance UIDs of each C-MOVE; None: all of the study, or of the series."""

WHOLE: Parts = [(None, None)]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the source told of one study; identified. `instances` is None where it cannot list them."""

    instances: Sequence[Found] | None = None
    count: int | None = None

    def keyed(self, way: Way) -> dict[str, Found]:
        """The instances by their journal keys."""
        return {way.keys.journal_key("instance", found.sop_uid): found for found in self.instances or ()}

    def answer(self, way: Way) -> SourceAnswer:
        """The same without a UID."""
        return SourceAnswer(frozenset(self.keyed(way)) or None, self.count)


@dataclass(slots=True)
class Move:
    """One study to be moved from its source to us; `uid` is identified."""

    way: Way
    source: Peer
    uid: str
    key: Key


async def ask(source: Peer, way: Way, uid: str, lines: Lines | None = None) -> Listed | None:
    """What the source holds of the study, as far as the project wants to know; None: nothing.

    Raises PeerUnreachable, PeerRejected, Transient- or PermanentError.
    """
    found = await apart(query.find_study, source, way.ae_title, uid, lines=lines)
    if found is None or way.verify is Verify.QUIET:
        return None if found is None else Listed()
    instances = None
    if way.verify is Verify.FIND:
        instances = await apart(query.find_instances, source, way.ae_title, uid, lines=lines)
        if instances is not None and len(instances) < (found.count or 0):
            instances = None  # it counts more than it lists: the list proves nothing
    return Listed(instances, found.count)


def parts(step: Next, missing: Iterable[Found]) -> Parts:
    """The C-MOVEs that fetch what is missing: of the study, of whole series, or of the instances alone."""
    if step is Next.FETCH_STUDY:
        return WHOLE
    series: dict[str, list[str]] = {}
    for found in missing:
        series.setdefault(found.series_uid, []).append(found.sop_uid)
    return [(uid, sop_uids if step is Next.FETCH_INSTANCES else None) for uid, sop_uids in series.items()]


class Mover:
    """Has sources move studies to us; `silence` is how long neither a response nor an instance may come.

    Nothing is moved from a source of which `is_wrong` says that what it moves to us goes elsewhere (blocking).
    """

    def __init__(
        self,
        peers: Mapping[str, Peer],
        open_studies: OpenStudies,
        silence: float,
        is_wrong: Callable[[Way, Peer], bool],
    ) -> None:
        self.peers = peers
        self.silence = silence
        self.lines = Lines()
        self._open = open_studies
        self._is_wrong = is_wrong

    async def move(self, move: Move, wanted: Parts, progress: Callable[[Moved], None]) -> str:
        """C-MOVE each part; what the last source to fail said, empty where none did. Raises PeerUnreachable."""
        if await asyncio.to_thread(self._is_wrong, move.way, move.source):
            return f"what it moves does not come here: dicomnode check --source {move.source.name}"
        started, trouble = time.monotonic(), ""

        def alive() -> float:
            return max(started, self._open.last_arrival(move.key) or 0.0)

        title = move.way.ae_title
        for series_uid, sop_uids in wanted:
            told: dict[str, Any] = {"series_uid": series_uid, "sop_uids": sop_uids, "progress": progress}
            told |= {"alive": alive, "silence": self.silence, "lines": self.lines}
            moved = await apart(query.move_study, move.source, title, title, move.uid, **told)
            log.info(
                "move-ended",
                project=move.key[0],
                study=move.key[1],
                status=f"0x{moved.status:04X}",
                completed=moved.completed,
                failed=moved.failed,
            )
            if moved.status:
                trouble = moved.text
        return trouble
