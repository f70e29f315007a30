"""From the source by C-MOVE to ourselves: ask what a study holds, move it, compare, fetch the gap, say what came.

The final status of a C-MOVE is logged and never believed: what arrived is what counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from dicomnode.admission import Admission
from dicomnode.completion import Completion
from dicomnode.dimse.query import Found, Moved
from dicomnode.errors import CannotKeep, DicomnodeError
from dicomnode.model import Event, Peer
from dicomnode.source import Listed, Move, Mover, Parts, ask, parts
from dicomnode.store.journal import Journal
from dicomnode.studies import FETCHES, Here, Inquiry, Key, Next, OpenStudies
from dicomnode.ways import Way

log = structlog.get_logger()

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
    listed: Listed = field(default_factory=Listed)
    trouble: str = ""
    error: DicomnodeError | None = None
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        self.key = (self.way.project, self.way.keys.journal_key("study", self.uid))


class Retriever:
    """Fetches studies for the command line and, later, for queued jobs."""

    def __init__(
        self, open_studies: OpenStudies, completion: Completion, journal: Journal, mover: Mover, admission: Admission
    ) -> None:
        self._open = open_studies
        self._completion = completion
        self._journal = journal
        self._mover = mover
        self._admission = admission

    async def fetch(self, request: Request, report: Report) -> bool:
        """Fetch one study; True when all that the source lists has arrived (or the source lists nothing to compare)."""
        try:
            listed = await ask(request.source, request.way, request.uid, self._mover.lines)
            if listed is None:
                self._say(request, report, "study-unknown", source=request.source.name)
                return False
            request.listed = listed
            return await self._move_all(request, report)
        except DicomnodeError as error:
            request.error = error
            self._say(request, report, "retrieve-failed", source=request.source.name, error=str(error))
            return False

    async def _move_all(self, request: Request, report: Report) -> bool:
        listed = request.listed
        expected = listed.count if listed.instances is None else len(listed.instances)
        self._say(request, report, "study-found", expected=expected)
        self._open.move_started(request.key, request.way.quiet, time.monotonic())
        try:
            missing = await self._move_until_here(request, report)
            self._note_answer(request)
        finally:
            self._open.move_ended(request.key, time.monotonic())
        if listed.instances is not None and not missing:
            await self._completion.judge(request.key)
        here = await asyncio.to_thread(self._here, request)
        self._say(request, report, "study-arrived", expected=expected, here=here.count)
        return not missing

    async def _move_until_here(self, request: Request, report: Report) -> list[Found]:
        """C-MOVE of the study, then of what is still missing; an association that breaks down ends nothing by itself.

        What is missing at the end. Raises what broke the last C-MOVE where it brought nothing.
        """
        missing = list(request.listed.instances or ())
        for step in (Next.FETCH_STUDY, *FETCHES):
            before, broken = len(missing), None
            if step is not Next.FETCH_STUDY:
                self._say(request, report, "gap-fetched", missing=len(missing))
            try:
                await self._move(request, parts(step, missing), report)
            except DicomnodeError as error:
                broken, request.trouble = error, error.what
            missing = await self._settle(request)
            if broken is not None and (not request.listed.instances or len(missing) == before):
                raise broken
            if not missing:
                break
        return missing

    def _note_answer(self, request: Request) -> None:
        answer = request.listed.answer(request.way)
        if answer.keys or answer.count:
            inquiry = Inquiry(answer, alike=1, asked=1, fetched=len(FETCHES), trouble=request.trouble)
            self._completion.answers[request.key] = inquiry

    def _here(self, request: Request) -> Here:
        """What of it is here (blocking). Raises CannotKeep."""
        try:
            self._journal.flush().result(timeout=JOURNAL)
        except TimeoutError:
            error = f"the journal could not be written for {JOURNAL:g} s"
            raise CannotKeep(error, "look at the disk of the storage directory") from None
        return self._journal.here(*request.key)

    async def _settle(self, request: Request) -> list[Found]:
        """What is still missing once nothing has arrived for a while; nothing where the source gave no list."""
        ended, listed = time.monotonic(), request.listed.keyed(request.way)
        answer, missing, seen = request.listed.answer(request.way), list[Found](), -1.0
        while True:
            last = self._open.last_arrival(request.key) or 0.0
            if last != seen:  # else nothing has come since it was counted
                seen = last
                here = await asyncio.to_thread(self._here, request)
                missing = [listed[key] for key in here.gap(answer).keys]
            if not missing or time.monotonic() - max(ended, last) > SETTLE:
                return missing
            await asyncio.sleep(0.1)

    async def _move(self, request: Request, wanted: Parts, report: Report) -> None:
        def progress(moved: Moved) -> None:
            report({"event": "moving", "number": request.number, "completed": moved.completed})

        move = Move(request.way, request.source, request.uid, request.key)
        began = time.time()
        try:
            request.trouble = await self._mover.move(move, wanted, progress)
        finally:
            await self._tell_unheard(request, began, report)
        if request.trouble:
            told = {"source": request.source.name, "text": request.trouble}
            report({"event": "move-ended", "number": request.number, "study": request.key[1], **told})

    async def _tell_unheard(self, request: Request, began: float, report: Report) -> None:
        """Where a C-MOVE brought nothing: whom we turned away meanwhile, or that nobody called."""
        here = await asyncio.to_thread(self._here, request)
        if here.count:
            return
        away = [each for each in self._admission.turned_away if float(str(each["at"])) >= began]
        for each in away:
            facts = {name: each[name] for name in ("calling", "called", "address", "why")}
            self._say(request, report, "move-turned-away", source=request.source.name, **facts)
        if not away and self._admission.last_call.get(request.source.name, 0.0) < began:
            self._say(request, report, "move-unheard", source=request.source.name, ae_title=request.way.ae_title)

    def _say(self, request: Request, report: Report, event: str, **facts: object) -> None:
        log.info(event, project=request.key[0], study=request.key[1], **facts)
        self._journal.event(Event(event, time.time(), *request.key, facts))
        report({"event": event, "number": request.number, "project": request.key[0], "study": request.key[1], **facts})
