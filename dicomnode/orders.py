"""Retrievals that people ask for: entered, controlled, followed to their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dicomnode.config import Settings
from dicomnode.consent import Consent
from dicomnode.errors import ConfigError, PermanentError
from dicomnode.jobs import Worker, line_of
from dicomnode.model import Study, StudyState
from dicomnode.reporting import Reporter, unknown_command
from dicomnode.route import Route
from dicomnode.store.jobs import ACTIVE, CANCELLED, ENDED, PAUSED, UNDONE, Job, Jobs, Line, Retrieval
from dicomnode.store.journal import Journal
from dicomnode.ways import Way

DELIVERY_ENDS = ("confirmed", "failed", "withheld", "incomplete", "held", "on-hold", "closed", "practice")
GIVEN = ("priority", "modalities", "most", "any_time", "run")
CONTROL = {"pause": PAUSED, "resume": ACTIVE, "cancel": CANCELLED}
LOOK_EVERY = 0.1  # seconds
TELL_EVERY = 2.0
PAGE = 100  # jobs that are looked at together
MOST_TRIES = 3  # how often a source may fail one after the other until a command without a daemon gives up


class Orders:
    """Carries out `retrieve` and `jobs`; what was asked for is in the identity book before anything is fetched."""

    def __init__(
        self,
        settings: Settings,
        ways: Mapping[str, Way],
        worker: Worker,
        route: Route,
        jobs: Jobs,
        journal: Journal,
        consent: Consent,
    ) -> None:
        self.settings = settings
        self._ways = ways
        self._worker = worker
        self._route = route
        self._jobs = jobs
        self._journal = journal
        self._consent = consent

    async def command(self, request: Mapping[str, Any], report: Reporter) -> int:
        """Carry out one command. Raises DicomnodeError."""
        do = request.get("do")
        if do == "enter":
            return await self._enter(request, report)
        if do == "follow":
            return await self._follow(self._found(request), report)
        if do == "check":
            return await self._check(request, report)
        if do in (*CONTROL, "priority"):
            return await self._control(str(do), request, report)
        raise unknown_command()

    async def _enter(self, request: Mapping[str, Any], report: Reporter) -> int:
        """Enter lines to a new retrieval, or to one that is still being entered; with `last` it is worked."""
        number = request.get("retrieval")
        if number is None:
            way = self._way(request.get("project"))
            if way.source is None:
                raise ConfigError(f"project {way.project} has no source", "name one in projects.*.source")
            told = {name: request[name] for name in GIVEN if name in request}
            number = self._jobs.add(way.project, way.source, report.user, **told)
            await asyncio.wrap_future(self._jobs.enter(number, []))
        way = self._ways[self._found({"retrieval": number}).project]
        lines = [line_of(way, Line(*line)) for line in request["lines"]]
        await asyncio.wrap_future(self._jobs.enter(number, lines))
        if request.get("last"):
            await asyncio.wrap_future(self._jobs.change(number, PAUSED if request.get("paused") else ACTIVE))
            self._worker.turn_to(number)
        report({"event": "entered", "retrieval": number})
        return 0

    def _found(self, request: Mapping[str, Any]) -> Retrieval:
        found = self._jobs.retrieval(int(request["retrieval"]))
        if found is None:
            raise PermanentError("there is no retrieval of that number", "dicomnode jobs lists them")
        return found

    def _way(self, name: object) -> Way:
        if name is None and len(self._ways) == 1:
            return next(iter(self._ways.values()))
        way = self._ways.get(str(name))
        if way is None:
            what = "the configuration has several projects" if name is None else "the configuration has no such project"
            raise ConfigError(what, f"name one with --project: {', '.join(sorted(self._ways))}")
        return way

    async def _control(self, do: str, request: Mapping[str, Any], report: Reporter) -> int:
        """Pause, resume, cancel, or give another priority."""
        found = self._found(request)
        if found.state in (ENDED, CANCELLED):
            raise PermanentError(f"{do}: retrieval {found.id} has ended", "nothing was changed")
        if do == "priority":
            await asyncio.wrap_future(self._jobs.set_priority(found.id, int(request["priority"])))
        else:
            await asyncio.wrap_future(self._jobs.change(found.id, CONTROL[do]))
        if do == "resume":
            await asyncio.wrap_future(self._jobs.due_now(found.id))
            self._worker.try_again()
        self._worker.turn_to(found.id)
        report({"event": "retrieval", **asdict(self._found(request))})
        return 0

    async def _check(self, request: Mapping[str, Any], report: Reporter) -> int:
        """Whether what a source moves comes here: under the AE title of each project that has this source."""
        name = str(request.get("source"))
        ways = [way for way in self._ways.values() if way.source == name]
        if not ways:
            raise ConfigError(f"no project has the source {name}", "projects.*.source names the sources")
        for way in ways:
            await self._route.check(way, self.settings.peers[name], str(request.get("study") or ""))
            report({"event": "route-checked", "source": name, "called": way.ae_title})
        self._worker.try_again()
        return 0

    async def _follow(self, retrieval: Retrieval, report: Reporter) -> int:
        """Tell what happens until every study has ended or waits for a person; 0 when all were delivered whole."""
        source = self._worker.sources.get(retrieval.source)
        if source is not None and source.blocked:
            report({"event": "source-waits", "source": retrieval.source, "error": source.why})
        silent = self._worker.listen(retrieval.id, report)
        told: dict[str, tuple[str, str]] = {}  # of each study the state, and what kept it from its destinations
        good, after, tell_at = True, 0, 0.0
        try:
            while True:
                await report.drain()
                over = await self._is_over(retrieval.id)
                if time.monotonic() >= tell_at:
                    await self._tell_progress(retrieval, report)
                    tell_at = time.monotonic() + TELL_EVERY
                page = await asyncio.to_thread(self._jobs.jobs, retrieval.id, after, PAGE)
                for job in page:
                    delivered = await self._delivered(retrieval, job, report, told, over)
                    if delivered is None:
                        break
                    good, after = good and delivered, job.id
                if over and not page:
                    await self._tell_progress(retrieval, report)
                    return 0 if good and after else 1
                if not page or page[-1].id != after:
                    await asyncio.sleep(LOOK_EVERY)
        finally:
            silent()
            if self._gives_up(retrieval.source):
                report({"event": "gave-up", "source": retrieval.source, "times": MOST_TRIES})

    async def _tell_progress(self, retrieval: Retrieval, report: Reporter) -> None:
        progress = await asyncio.to_thread(self._jobs.progress, retrieval)
        source = self._worker.sources.get(retrieval.source)
        report({"event": "progress", **asdict(progress), "why": source.why if source else ""})

    async def _is_over(self, number: int) -> bool:
        """Whether nothing more is fetched of it for now: it ended, or its source needs a person, or fails for a command
        that works without a daemon."""
        now = await asyncio.to_thread(self._jobs.retrieval, number)
        if self._worker.stopped or now is None or now.state not in (ACTIVE, PAUSED):
            return True
        source = self._worker.sources.get(now.source)
        return (source is not None and source.blocked) or self._gives_up(now.source)

    def _gives_up(self, name: str) -> bool:
        """Whether a command that works without a daemon has seen a source fail too often."""
        source = self._worker.sources.get(name)
        return source is not None and self._worker.only is not None and source.failures >= MOST_TRIES

    async def _delivered(
        self, retrieval: Retrieval, job: Job, report: Reporter, told: dict[str, tuple[str, str]], over: bool
    ) -> bool | None:
        """Whether a job has come to a good end; None while it or its study is under way."""
        if job.state in UNDONE:
            return False if over else None
        if job.state == "resolved" or (job.state == "cancelled" and retrieval.most):
            return True
        study = None
        if job.here is not None:
            study = await asyncio.to_thread(self._journal.get_study, retrieval.project, job.study_key)
        if study is None:
            return False
        where = {"number": self._worker.number_of(retrieval.id, job), "study": study.study_key}
        state, error = told.get(job.study_key, ("", ""))
        if state != study.state:
            facts = {"stored": study.stored, "withheld": study.withheld, "expected": study.expected}
            report({"event": "study", **where, "state": str(study.state), **facts, "evidence": study.evidence})
        now = await self._error(study) if study.state is StudyState.FORWARDING else ""
        if now and now != error:
            report({"event": "delivery-waits", **where, "error": now})
        told[job.study_key] = study.state, now or error
        if study.state not in DELIVERY_ENDS or self._consent.busy((study.project, study.study_key)):
            return None
        return study.state == "confirmed" and job.state == "arrived"

    async def _error(self, study: Study) -> str:
        """Why its destinations do not have it yet, where an attempt has failed."""
        deliveries = await asyncio.to_thread(self._journal.deliveries, study.project, study_key=study.study_key)
        return "; ".join(sorted({each.error for each in deliveries if each.error}))
