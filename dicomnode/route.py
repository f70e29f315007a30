"""Whether what a source moves to our AE title comes here, and to no other machine.

A source has a table of its own that says where an AE title is. When that is wrong, identified data goes to a
stranger, and the source calls it success. So before studies are fetched from it, and daily, one instance is.
"""

from __future__ import annotations

import asyncio
import time
from datetime import date, timedelta

import structlog

from dicomnode.config import Settings
from dicomnode.dimse import query
from dicomnode.dimse.apart import apart
from dicomnode.dimse.query import Found, Moved
from dicomnode.errors import PermanentError, TransientError
from dicomnode.expected import Expected
from dicomnode.model import Peer
from dicomnode.places import Turns
from dicomnode.store.jobs import Jobs
from dicomnode.studies import Key, OpenStudies
from dicomnode.ways import Way

log = structlog.get_logger()

DAILY = 86400.0
UNKNOWN_DESTINATION = 0xA801
SPANS = (0, 7, 31, 366)  # days in which a study to try is looked for, the nearest first


class WrongMachine(PermanentError):
    """What the source moved to our AE title did not come here."""


class NotServed(TransientError):
    """The source does not know where to move what is for us."""


class Route:
    """Checks the way from each source to us, and remembers what came of it."""

    def __init__(self, settings: Settings, jobs: Jobs, expected: Expected, open_studies: OpenStudies) -> None:
        self.settings = settings
        self._jobs = jobs
        self._expected = expected
        self._open = open_studies
        self._turns = Turns()

    def is_wrong(self, way: Way, source: Peer) -> bool:
        """Whether what the source moved to us last did not come (blocking)."""
        return _went_elsewhere(self._jobs.arrival(self._place(way, source)))

    async def ensure(self, way: Way, source: Peer, study_uid: str, *, bulk: bool) -> None:
        """Raise WrongMachine when the source is known not to move to us.

        In bulk also unless it was seen to do so within a day: it is tried with this study.
        """
        async with self._turns.turn(source.name):
            before = await asyncio.to_thread(self._jobs.arrival, self._place(way, source))
            if _went_elsewhere(before):
                raise self._wrong(way, source)
            if bulk and (before is None or not 0 <= time.time() - before[1] < DAILY):
                await self._try(way, source, study_uid, keep=True)

    async def check(self, way: Way, source: Peer, study_uid: str = "") -> None:
        """Try it now, with this study or any; the instance is refused when it comes. Raises DicomnodeError."""
        async with self._turns.turn(source.name):
            await self._try(way, source, study_uid or await self._any_study(way, source), keep=False)

    async def _any_study(self, way: Way, source: Peer) -> str:
        today = date.today()
        for days in SPANS:
            span = f"{today - timedelta(days):%Y%m%d}-{today:%Y%m%d}"
            found = await apart(query.find_studies, source, way.ae_title, dates=span)
            if found:
                return found[0].uid
        found = await apart(query.find_studies, source, way.ae_title)
        if not found:
            raise PermanentError(f"{source.name} lists no study to try with", "name one with --study")
        return found[0].uid

    async def _try(self, way: Way, source: Peer, study_uid: str, *, keep: bool) -> None:
        if await apart(query.find_study, source, way.ae_title, study_uid) is None:
            if keep:
                return  # nothing of it can be moved anywhere
            raise PermanentError(f"{source.name} does not know that study", "name another with --study")
        async with self._turns.turn((way.project, study_uid)):  # what comes speaks for the one source that moves it
            await self._try_known(way, source, study_uid, keep=keep)

    async def _try_known(self, way: Way, source: Peer, study_uid: str, *, keep: bool) -> None:
        listed = await apart(query.find_instances, source, way.ae_title, study_uid)
        if listed:
            key = (way.project, way.keys.journal_key("instance", listed[0].sop_uid))
            with self._expected.watch(key, keep=keep) as came:
                moved = await self._move(way, source, study_uid, listed[0])
                arrived = came.is_set() if _nothing_moved(moved) else await self._comes(came)
        elif keep:
            study = (way.project, way.keys.journal_key("study", study_uid))
            before = self._open.last_arrival(study)
            moved = await self._move(way, source, study_uid, None)
            arrived = self._open.last_arrival(study) != before
        else:
            raise PermanentError(f"{source.name} does not list the instances of a study", "name another with --study")
        await self._conclude(way, source, moved, arrived)

    async def _move(self, way: Way, source: Peer, study_uid: str, only: Found | None) -> Moved:
        key: Key = (way.project, way.keys.journal_key("study", study_uid))
        started = time.monotonic()

        def alive() -> float:
            return max(started, self._open.last_arrival(key) or 0.0)

        return await apart(
            query.move_study,
            source,
            way.ae_title,
            way.ae_title,
            study_uid,
            series_uid=only.series_uid if only else None,
            sop_uids=[only.sop_uid] if only else None,
            progress=lambda _: None,
            alive=alive,
            silence=self.settings.timeouts.silence,
        )

    async def _comes(self, came: asyncio.Event) -> bool:
        try:
            async with asyncio.timeout(self.settings.timeouts.arrive):
                await came.wait()
        except TimeoutError:
            return False
        return True

    async def _conclude(self, way: Way, source: Peer, moved: Moved, arrived: bool) -> None:
        if arrived:
            await self._note(way, source, True)
            log.info("route-checked", source=source.name, called=way.ae_title)
        elif moved.status == UNKNOWN_DESTINATION:
            raise NotServed(f"{source.name} ended C-MOVE: {moved.text}", self._entry(way, source))
        elif _nothing_moved(moved):
            raise TransientError(f"{source.name} moved nothing: {moved.text}", self._entry(way, source))
        else:
            await self._note(way, source, False)
            log.error("route-wrong", source=source.name, called=way.ae_title)
            raise self._wrong(way, source)

    async def _note(self, way: Way, source: Peer, ok: bool) -> None:
        await asyncio.wrap_future(self._jobs.set_arrival(self._place(way, source), ok))

    def _place(self, way: Way, source: Peer) -> str:
        """Both ends with their addresses: when one changes, it is tried anew."""
        node = self.settings.node
        return f"{source.ae_title}@{source.host}:{source.port} {way.ae_title}@{node.bind}:{node.port}"

    def _wrong(self, way: Way, source: Peer) -> WrongMachine:
        what = f"{source.name} moved an instance to {way.ae_title}, but it did not come here: it may be elsewhere"
        return WrongMachine(what, f"{self._entry(way, source)}, then: dicomnode check --source {source.name}")

    def _entry(self, way: Way, source: Peer) -> str:
        return f"enter {way.ae_title} on {source.name} with this machine's address and port {self.settings.node.port}"


def _went_elsewhere(before: tuple[bool, float] | None) -> bool:
    """Whether the last that is known of a way is that what was moved on it did not come."""
    return before is not None and not before[0]


def _nothing_moved(moved: Moved) -> bool:
    """Whether the source says itself that it has sent nothing."""
    return moved.completed == 0 or (moved.status != 0 and not moved.completed)
