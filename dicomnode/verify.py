"""From quiet to evidence: the source is asked what a study holds, and has to send what is missing; both bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from dicomnode.dimse.query import Found, Moved
from dicomnode.errors import DicomnodeError, PeerRejected, TransientError
from dicomnode.model import Event
from dicomnode.source import Move, Mover, ask, parts
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal
from dicomnode.studies import Gap, Here, Inquiry, Key, Next, OpenStudies, SourceAnswer, Verify
from dicomnode.ways import Way

log = structlog.get_logger()

AT_ONCE = 2  # studies that one source is asked about at the same time, and as many that it sends meanwhile
LOOK_EVERY = 0.2  # seconds
OTHER_PEER = "sent by another peer than the source"
UNKNOWN_UID = "its UID at the source is not known here"
UNKNOWN_STUDY = "the source does not list the study"


@dataclass(slots=True)
class _Study:
    """A study while it is looked into; `found` is identified."""

    way: Way
    key: Key
    uid: str
    inquiry: Inquiry
    in_vain: Gap = field(default_factory=Gap)
    found: dict[str, Found] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)


class Verifier:
    """Finds out what there is to know about quiet studies."""

    def __init__(
        self,
        ways: Mapping[str, Way],
        open_studies: OpenStudies,
        journal: Journal,
        book: IdentityBook,
        mover: Mover,
    ) -> None:
        self._ways = ways
        self._open = open_studies
        self._journal = journal
        self._book = book
        self.mover = mover
        self._turns: dict[tuple[str, bool], asyncio.Semaphore] = {}  # by source, and whether it is only asked

    async def here(self, key: Key) -> Here:
        """What is here of the study, all that was acknowledged so far."""
        await asyncio.wrap_future(self._journal.settle(*key))
        return await asyncio.to_thread(self._journal.here, *key)

    async def inquire(self, key: Key, known: Inquiry | None) -> Inquiry | None:
        """Ask and fetch until the study can be judged; None when it is not quiet any more."""
        study = await self._begin(key, known)
        while True:
            here, waited = await self.here(key), time.monotonic() - study.began
            step = study.inquiry.next(here, waited, study.way.patience, study.in_vain)
            come = bool(study.inquiry.fetched) and not here.gap(study.inquiry.answer).count
            if not come and not self._open.still(key, time.monotonic()):
                return None
            if step is Next.JUDGE:
                return study.inquiry
            await self._do(study, step, here)

    async def _begin(self, key: Key, known: Inquiry | None) -> _Study:
        way = self._ways[key[0]]
        in_vain = await asyncio.to_thread(self._journal.missing, *key)
        uid = await asyncio.to_thread(self._original, way, key)
        if known is not None:
            return _Study(way, key, uid, replace(known, over=known.over or not uid), in_vain)
        over, why = await self._unasked(way, key, uid)
        return _Study(way, key, uid, Inquiry(over=over, unasked=why), in_vain)

    async def _unasked(self, way: Way, key: Key, uid: str) -> tuple[bool, str]:
        """Whether the source is not to be asked, and why."""
        if way.source is None or way.verify is Verify.QUIET:
            return True, ""
        if way.source not in await asyncio.to_thread(self._journal.senders, *key):
            return True, OTHER_PEER
        return (False, "") if uid else (True, UNKNOWN_UID)

    def _original(self, way: Way, key: Key) -> str:
        """The study's UID as the source knows it, empty where nothing tells (blocking)."""
        study = self._journal.get_study(*key)
        if study is None or not study.study_uid:
            return ""
        entries = self._book.originals(study.study_uid)
        known = [entry.original for project, _, entry in entries if project == key[0]]
        for uid in (*known, study.study_uid):  # rules may retain UIDs
            if way.keys.journal_key("study", uid) == key[1]:
                return uid
        return ""

    async def _do(self, study: _Study, step: Next, here: Here) -> None:
        if step is Next.ASK_LATER:
            left = study.way.patience - (time.monotonic() - study.began)
            await asyncio.sleep(max(0.05, min(study.inquiry.pause(study.way.quiet), left)))
        source = study.way.source or ""
        asking = step in (Next.ASK, Next.ASK_LATER)
        async with self._turns.setdefault((source, asking), asyncio.Semaphore(AT_ONCE)):
            if asking:
                await self._ask(study, source)
                return
            await self._fetch(study, step, here, source)
        await self._settle(study)

    async def _ask(self, study: _Study, source: str) -> None:
        try:
            listed = await ask(self.mover.peers[source], study.way, study.uid, self.mover.lines)
        except DicomnodeError as error:
            passing = error.result != 1 if isinstance(error, PeerRejected) else isinstance(error, TransientError)
            why = f"the source could not be asked: {error.what}"
            study.inquiry = study.inquiry.unanswered(why, for_good=not passing)
            return
        except Exception as error:  # noqa: BLE001 - whatever a source answers, it must not hold a study for ever
            why = f"the source could not be asked: an unexpected {type(error).__name__}"
            study.inquiry = study.inquiry.unanswered(why, for_good=False)
            return
        answer = listed.answer(study.way) if listed else SourceAnswer()
        if listed is None or not (answer.keys or answer.count):
            study.inquiry = study.inquiry.unanswered(UNKNOWN_STUDY, for_good=True)
            return
        study.found = listed.keyed(study.way)
        study.inquiry = study.inquiry.heard(answer)

    async def _fetch(self, study: _Study, step: Next, here: Here, source: str) -> None:
        gap = here.gap(study.inquiry.answer)
        event = Event("gap-fetched", time.time(), *study.key, {"missing": gap.count, "source": source})
        log.info(event.name, project=study.key[0], study=study.key[1], **event.facts)
        self._journal.event(event)
        wanted = parts(step, [found for key, found in study.found.items() if key in gap.keys])
        move = Move(study.way, self.mover.peers[source], study.uid, study.key)
        try:
            trouble = await self.mover.move(move, wanted, _unheard)
        except DicomnodeError as error:
            trouble = error.what
        except Exception as error:  # noqa: BLE001 - nor must what it answers to a C-MOVE
            trouble = f"an unexpected {type(error).__name__}"
        study.inquiry = study.inquiry.fetched_once(trouble)

    async def _settle(self, study: _Study) -> None:
        """Wait until what was missing has come, or nothing has come for the quiet time."""
        ended, seen = time.monotonic(), -1.0
        while (last := self._open.last_arrival(study.key)) is not None:
            if last != seen:  # else nothing has come since it was counted
                seen = last
                if not (await self.here(study.key)).gap(study.inquiry.answer).count:
                    return
            now = time.monotonic()
            if now - ended >= study.way.quiet and self._open.still(study.key, now):
                return
            await asyncio.sleep(LOOK_EVERY)


def _unheard(_: Moved) -> None:
    """Nobody watches."""
