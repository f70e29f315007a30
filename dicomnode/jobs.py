"""Works off the jobs: so many studies at once from each source as it may be asked for, when it may be asked.

What was taken up is in the identity book; what is under way when the node ends waits again at its next start.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from dicomnode.config import Settings
from dicomnode.dimse import query
from dicomnode.dimse.apart import apart
from dicomnode.dimse.query import FoundStudy
from dicomnode.errors import (
    CannotKeep,
    DicomnodeError,
    PeerLost,
    PeerRejected,
    PeerUnreachable,
    PermanentError,
    TransientError,
    safe_text,
)
from dicomnode.hours import outside_hours, seconds_until
from dicomnode.model import Peer
from dicomnode.retrieve import Report, Request, Retriever
from dicomnode.route import NotServed, Route, WrongMachine
from dicomnode.store.jobs import ENDED, FETCHED, MOVING, RESOLVED, WAITING, Job, Jobs, Line, Retrieval
from dicomnode.studies import LONGEST, Key, OpenStudies, backoff
from dicomnode.trouble import Trouble
from dicomnode.ways import Way

log = structlog.get_logger()

ATTEMPTS = 5  # how often a study is tried that its source answers, but does not give
FIRST, MOST = 5.0, 900.0  # seconds until the next attempt, doubling
LOOK = 30.0  # seconds between looks when nothing is due


@dataclass(slots=True)
class Source:
    """A source at work: what is under way, and when and why it is left alone.

    `lost_at` is the last job in the middle of which it ended the association, unless another was done since.
    """

    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    resume_at: float = 0.0
    failures: int = 0
    blocked: bool = False
    why: str = ""
    lost_at: int | None = None


class Worker:
    """Carries out the jobs of active retrievals; those of `only` alone where that is given."""

    def __init__(
        self,
        settings: Settings,
        ways: Mapping[str, Way],
        retriever: Retriever,
        route: Route,
        jobs: Jobs,
        open_studies: OpenStudies,
        check_ready: Callable[[], None],
        modalities: dict[Key, frozenset[str]],
        originals: set[Key],
    ) -> None:
        """`modalities` is told of which studies only some instances are wanted, `originals` of which they are kept."""
        self._modalities = modalities
        self._originals = originals
        self._trouble = Trouble("storage-troubled")
        self.settings = settings
        self.only: int | None = None
        self.stopped = False
        self.sources: dict[str, Source] = {}
        self._ways = ways
        self._retriever = retriever
        self._route = route
        self._jobs = jobs
        self._open = open_studies
        self._check_ready = check_ready
        self._changed = asyncio.Event()
        self._listeners: dict[int, list[Report]] = {}
        self._first: dict[int, int] = {}

    def hurry(self) -> None:
        """There may be something to do: look now."""
        self._changed.set()

    def turn_to(self, retrieval: int) -> None:
        """There may be something to do for a retrieval; where only what is asked for is fetched, that is it now."""
        if self.only is not None:
            self.only = retrieval
        self.hurry()

    def try_again(self) -> None:
        """A source that was left alone is tried at once."""
        for source in self.sources.values():
            source.resume_at, source.failures, source.blocked, source.why = 0.0, 0, False, ""
            source.lost_at = None
        self.hurry()

    def listen(self, retrieval: int, report: Report) -> Callable[[], None]:
        """Tell what happens to the jobs of a retrieval; the function that is returned ends it."""
        self._listeners.setdefault(retrieval, []).append(report)
        return lambda: self._listeners[retrieval].remove(report)

    async def run(self) -> None:
        """Work until cancelled; what is under way then waits again."""
        try:
            while True:
                self._changed.clear()
                wait = await self._start_what_can()
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            self.stopped = True
            for task in [task for source in self.sources.values() for task in source.tasks]:
                task.cancel()

    async def _start_what_can(self) -> float:
        """Start as many jobs as may run; seconds until there may be more to do."""
        wait = LOOK
        try:
            active = await asyncio.to_thread(self._jobs.active)
            if self.only is not None:
                active = [each for each in active if each.id == self.only]
            for name in dict.fromkeys(each.source for each in active):
                mine = [each for each in active if each.source == name]
                wait = min(wait, await self._start_at(name, mine))
        except CannotKeep as error:
            self._trouble.tell(error)
            return FIRST
        except Exception as error:  # noqa: BLE001 - nothing about jobs ends the node
            log.error("job-troubled", why=type(error).__name__)
            return FIRST
        return wait

    async def _start_at(self, name: str, active: list[Retrieval]) -> float:
        peer, source = self.settings.peers.get(name), self.sources.setdefault(name, Source())
        if peer is None:
            source.why = "the configuration has no such peer any more"
            return LOOK
        pause = source.resume_at - time.monotonic()
        if pause > 0:
            return pause
        closed = seconds_until(peer.off_peak, datetime.now())
        allowed = [each for each in active if each.any_time or not closed]
        if closed and not source.tasks:
            source.why = "" if allowed else outside_hours(closed)
        wait = min(LOOK, closed) if closed else LOOK
        while len(source.tasks) < peer.max_moves and time.monotonic() >= source.resume_at:
            found = await self._take(allowed)
            if found is None:
                due = [await asyncio.to_thread(self._jobs.next_at, each.id) for each in allowed]
                return max(0.05, min([wait, *(at - time.time() for at in due if at is not None)]))
            task = asyncio.create_task(self._work(peer, source, *found))
            source.tasks.add(task)
            task.add_done_callback(source.tasks.discard)
            task.add_done_callback(lambda _: self.hurry())
        return wait

    async def _take(self, active: list[Retrieval]) -> tuple[Retrieval, Job] | None:
        """The most urgent job that is due, marked as under way; retrievals with nothing left end."""
        for retrieval in active:
            job = await asyncio.to_thread(self._jobs.next_job, retrieval.id, time.time(), LONGEST * MOST)
            if job is not None and retrieval.most and await self._is_full(retrieval):
                await self._end(retrieval)
                continue
            if job is not None:
                if retrieval.id not in self._first:
                    self._first[retrieval.id] = (await asyncio.to_thread(self._jobs.jobs, retrieval.id, most=1))[0].id
                await asyncio.wrap_future(self._jobs.set_job(job.id, MOVING))
                return retrieval, job
            counts = await asyncio.to_thread(self._jobs.counts, retrieval.id)
            if not counts.get(WAITING) and not counts.get(MOVING):
                await self._end(retrieval)
        return None

    async def _is_full(self, retrieval: Retrieval) -> bool:
        """Whether as many studies as were wanted at most are fetched or being fetched."""
        counts = await asyncio.to_thread(self._jobs.counts, retrieval.id)
        return sum(counts.get(state, 0) for state in FETCHED) >= retrieval.most

    async def _end(self, retrieval: Retrieval) -> None:
        await asyncio.wrap_future(self._jobs.change(retrieval.id, ENDED))
        log.info("retrieval-ended", project=retrieval.project, source=retrieval.source, number=retrieval.id)
        self._tell(retrieval.id, {"event": "retrieval-ended"})

    async def _work(self, peer: Peer, source: Source, retrieval: Retrieval, job: Job) -> None:
        """Do one job; whatever comes of it is entered."""
        told: list[dict[str, object]] = []
        try:
            state, changed = await self._do(peer, source, retrieval, job, told.append)
        except (PeerUnreachable, PeerRejected, CannotKeep, WrongMachine, NotServed) as error:
            if isinstance(error, PeerLost) and _at_this_alone(source, job):
                state, changed = self._put_off(job, error)
            else:
                wait = self._leave_alone(peer, source, retrieval, error)
                at = time.time() + (0.0 if source.blocked else wait)
                state, changed = WAITING, {"error": str(error), "next_at": at}
        except TransientError as error:
            state, changed = self._put_off(job, error)
        except DicomnodeError as error:
            state, changed = "failed", {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - one study must not keep the others
            log.error("job-troubled", study=job.study_key, why=type(error).__name__)
            state, changed = self._put_off(job, error)
        await asyncio.wrap_future(self._jobs.set_job(job.id, state, **changed))
        self._say_job(retrieval, job, state, changed)

    def _put_off(self, job: Job, error: Exception) -> tuple[str, dict[str, object]]:
        attempts = job.attempts + 1
        text = safe_text(error)
        if attempts >= ATTEMPTS:
            return "failed", {"attempts": attempts, "error": text}
        wait = backoff(attempts, FIRST, MOST, random.random())
        return WAITING, {"attempts": attempts, "error": text, "next_at": time.time() + wait}

    def _leave_alone(self, peer: Peer, source: Source, retrieval: Retrieval, error: DicomnodeError) -> float:
        """Something is wrong with the source, or with us, and not with this study: wait so long before the next."""
        source.failures += 1
        wait = backoff(source.failures, FIRST, MOST, random.random())
        source.blocked = isinstance(error, WrongMachine)  # until a person has seen to it
        wait = math.inf if source.blocked else wait
        source.resume_at, source.why = time.monotonic() + wait, str(error)
        seconds = None if source.blocked else round(wait, 1)
        log.warning("source-waits", source=peer.name, error=str(error), seconds=seconds)
        self._tell(
            retrieval.id, {"event": "source-waits", "source": peer.name, "error": str(error), "seconds": seconds}
        )
        return wait

    async def _do(
        self, peer: Peer, source: Source, retrieval: Retrieval, job: Job, note: Report
    ) -> tuple[str, dict[str, object]]:
        """The state that the job goes into, and what else is to be entered. Raises DicomnodeError."""
        way = self._ways.get(retrieval.project)
        if way is None:
            raise PermanentError(f"the configuration has no project {retrieval.project} any more", "put it back")
        self._check_ready()
        if job.kind == "study":
            answer = await self._fetch(way, peer, retrieval, job)
        else:
            answer = await self._resolve(way, peer, retrieval, job)
        source.failures, source.why, source.lost_at = 0, "", None
        return answer

    async def _resolve(self, way: Way, peer: Peer, retrieval: Retrieval, job: Job) -> tuple[str, dict[str, object]]:
        """Find the studies of an accession number or a patient; each becomes a job."""
        asked = {"accession": job.value, "patient": job.patient}
        if job.kind == "patient":
            asked = {"patient": job.value}
        dates = f"{job.since}-{job.until}" if job.since or job.until else ""
        found = await apart(query.find_studies, peer, way.ae_title, dates=dates, **asked)
        found = [study for study in found if _within(study, job)]
        if not found:
            return "unknown", {"error": f"{peer.name} has no study that matches"}
        patients = len({study.patient for study in found})
        if job.kind == "accession" and patients > 1:
            return "ambiguous", {"error": f"{len(found)} studies of {patients} patients match"}
        lines = [line_of(way, Line("study", study.uid)) for study in found]
        await asyncio.wrap_future(self._jobs.enter(retrieval.id, lines))
        return RESOLVED, {"expected": len(found)}

    async def _fetch(self, way: Way, peer: Peer, retrieval: Retrieval, job: Job) -> tuple[str, dict[str, object]]:
        if retrieval.modalities:
            there = await apart(query.find_modalities, peer, way.ae_title, job.value)
            if there and not there & set(retrieval.modalities.split(",")):
                return "wrong-modality", {"error": f"its modalities are {', '.join(sorted(there))}"}
        request = Request(way, peer, job.value, self.number_of(retrieval.id, job))
        if retrieval.run and retrieval.modalities:
            self._modalities[request.key] = frozenset(retrieval.modalities.split(","))
        if retrieval.run and self.settings.projects[retrieval.project].keep_identified:
            self._originals.add(request.key)
        self._open.move_started(request.key, way.quiet, time.monotonic())
        try:
            await self._route.ensure(way, peer, job.value, bulk=await self._is_bulk(retrieval))
            told: dict[str, object] = {}

            def report(document: dict[str, object]) -> None:
                told.update(document)
                self._tell(retrieval.id, document)

            arrived = await self._retriever.fetch(request, report)
        finally:
            self._open.move_ended(request.key, time.monotonic())
            self._modalities.pop(request.key, None)
            self._originals.discard(request.key)
        if request.error is not None:
            raise request.error
        changed = {name: told[name] for name in ("expected", "here") if told.get(name) is not None}
        if told.get("event") == "study-unknown":
            return "unknown", {"error": f"{peer.name} does not know it"}
        return ("arrived" if arrived else "incomplete"), changed

    async def _is_bulk(self, retrieval: Retrieval) -> bool:
        """Whether more than one thing was asked for; a single study shows by itself whether it comes."""
        return len(await asyncio.to_thread(self._jobs.jobs, retrieval.id, most=2)) > 1

    def number_of(self, retrieval: int, job: Job) -> int:
        """The job's number within its retrieval, from 0."""
        return job.id - self._first.get(retrieval, job.id)

    def _say_job(self, retrieval: Retrieval, job: Job, state: str, changed: Mapping[str, object]) -> None:
        facts = {"number": self.number_of(retrieval.id, job), "study": job.study_key, "name": job.name, "state": state}
        self._tell(retrieval.id, {"event": "job", "kind": job.kind, **facts, **changed})

    def _tell(self, retrieval: int, document: dict[str, object]) -> None:
        for report in self._listeners.get(retrieval, []):
            report(document)


def _at_this_alone(source: Source, job: Job) -> bool:
    """Whether it is this job in the middle of which the source ends the association, as far as has been seen."""
    alone = source.lost_at in (None, job.id)
    source.lost_at = job.id
    return alone


def line_of(way: Way, line: Line) -> tuple[Line, str, str]:
    """A line with the study's key and its pseudonym, where it is a study."""
    if line.kind != "study":
        return line, "", ""
    return line, way.keys.journal_key("study", line.value), way.deidentifier.pseudonyms.uid(line.value)


def _within(study: FoundStudy, job: Job) -> bool:
    """Whether a study lies in the days asked for; one without a date is believed."""
    if not study.date:
        return True
    return (not job.since or study.date >= job.since) and (not job.until or study.date <= job.until)
