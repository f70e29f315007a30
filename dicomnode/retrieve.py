"""From the source by C-MOVE to ourselves: ask what a study holds, move it, compare, fetch the gap, say what came.

The final status of a C-MOVE is logged and never believed: what arrived is what counts.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar, cast

import structlog

from dicomnode.completion import Completion
from dicomnode.dimse import query
from dicomnode.dimse.query import Found, Moved
from dicomnode.errors import CannotKeep, DicomnodeError
from dicomnode.model import Event, Peer
from dicomnode.store.journal import Journal
from dicomnode.studies import Key, OpenStudies, SourceAnswer
from dicomnode.ways import Way

log = structlog.get_logger()

T = TypeVar("T")

GAP_FETCHES = 2  # how often what is missing is asked for again
JOURNAL = 60.0  # seconds that the journal may take to write what has arrived
SETTLE = 2.0  # seconds without an arrival after a move has ended before the gap is believed

Report = Callable[[dict[str, object]], None]


@dataclass(slots=True)
class Request:
    """One study asked for; `uid` is the original Study Instance UID and identified."""

    way: Way
    source: Peer
    uid: str
    number: int
    instances: list[Found] | None = None
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        self.key = (self.way.project, self.way.keys.journal_key("study", self.uid))


class Retriever:
    """Fetches studies for the command line and, later, for queued jobs."""

    def __init__(self, open_studies: OpenStudies, completion: Completion, journal: Journal, silence: float) -> None:
        self._open = open_studies
        self._completion = completion
        self._journal = journal
        self.silence = silence

    async def fetch(self, request: Request, report: Report) -> bool:
        """Fetch one study; True when all that the source lists has arrived (or the source lists nothing to compare)."""
        try:
            found = await _apart(query.find_study, request.source, request.way.ae_title, request.uid)
            if found is None:
                self._say(request, report, "study-unknown", source=request.source.name)
                return False
            request.instances = await _apart(query.find_instances, request.source, request.way.ae_title, request.uid)
            return await self._move_all(request, found, report)
        except DicomnodeError as error:
            self._say(request, report, "retrieve-failed", source=request.source.name, error=str(error))
            return False

    async def _move_all(self, request: Request, found: Found, report: Report) -> bool:
        expected = found.count if request.instances is None else len(request.instances)
        self._say(request, report, "study-found", expected=expected)
        self._open.move_started(request.key, request.way.quiet, time.monotonic())
        try:
            await self._move(request, None, report)
            missing = await self._settle(request)
            for _ in range(GAP_FETCHES):
                if not missing:
                    break
                self._say(request, report, "gap-fetched", missing=len(missing))
                await self._move(request, missing, report)
                missing = await self._settle(request)
        finally:
            self._note_answer(request, found)
            self._open.move_ended(request.key, time.monotonic())
        if request.instances is not None and not missing:
            await self._completion.judge(request.key)
        here = len(await asyncio.to_thread(self._here, request))
        self._say(request, report, "study-arrived", expected=expected, here=here)
        return not missing

    def _note_answer(self, request: Request, found: Found) -> None:
        keys = None if request.instances is None else frozenset(self._keys(request))
        self._completion.answers[request.key] = SourceAnswer(keys, found.count)

    def _keys(self, request: Request) -> dict[str, Found]:
        journal_key = request.way.keys.journal_key
        return {journal_key("instance", found.sop_uid): found for found in request.instances or ()}

    def _here(self, request: Request) -> set[str]:
        """Keys of its instances that are here (blocking). Raises CannotKeep."""
        try:
            self._journal.flush().result(timeout=JOURNAL)
        except TimeoutError:
            error = f"the journal could not be written for {JOURNAL:g} s"
            raise CannotKeep(error, "look at the disk of the storage directory") from None
        held, withheld = self._journal.instance_keys(*request.key)
        return set(held) | set(withheld)

    async def _settle(self, request: Request) -> list[Found]:
        """What is still missing once nothing has arrived for a while; nothing where the source gave no list."""
        ended = time.monotonic()
        while True:
            here = await asyncio.to_thread(self._here, request)
            missing = [found for key, found in self._keys(request).items() if key not in here]
            quiet_since = max(ended, self._open.last_arrival(request.key) or 0.0)
            if not missing or time.monotonic() - quiet_since > SETTLE:
                return missing
            await asyncio.sleep(0.1)

    async def _move(self, request: Request, only: list[Found] | None, report: Report) -> None:
        started = time.monotonic()

        def alive() -> float:
            return max(started, self._open.last_arrival(request.key) or 0.0)

        def progress(moved: Moved) -> None:
            report({"event": "moving", "number": request.number, "completed": moved.completed})

        for series, uids in _by_series(only):
            moved = await _apart(
                query.move_study,
                request.source,
                request.way.ae_title,
                request.way.ae_title,
                request.uid,
                series_uid=series,
                sop_uids=uids,
                progress=progress,
                alive=alive,
                silence=self.silence,
            )
            log.info(
                "move-ended",
                project=request.key[0],
                study=request.key[1],
                status=f"0x{moved.status:04X}",
                completed=moved.completed,
                failed=moved.failed,
            )
            if moved.status:
                told = {"source": request.source.name, "text": moved.text}
                report({"event": "move-ended", "number": request.number, "study": request.key[1], **told})

    def _say(self, request: Request, report: Report, event: str, **facts: object) -> None:
        log.info(event, project=request.key[0], study=request.key[1], **facts)
        self._journal.event(Event(event, time.time(), *request.key, facts))
        report({"event": event, "number": request.number, "project": request.key[0], "study": request.key[1], **facts})


async def _apart(work: Callable[..., T], *arguments: object, **named: object) -> T:
    """Run a query in a thread of its own, which does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(cast(T, result))

    def run() -> None:
        result, failure = None, None
        try:
            result = work(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - handed over to whoever waits
            failure = error
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name="query", daemon=True).start()
    return await done


def _by_series(only: list[Found] | None) -> list[tuple[str | None, list[str] | None]]:
    if only is None:
        return [(None, None)]
    series: dict[str, list[str]] = {}
    for found in only:
        series.setdefault(found.series_uid, []).append(found.sop_uid)
    return list(series.items())
