"""What a run asks of the node beside its retrieval: what reviewers said, which studies stay, when they may go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import structlog

from dicomnode.completion import Completion
from dicomnode.errors import PermanentError
from dicomnode.model import Event, StudyState
from dicomnode.originals import Originals
from dicomnode.reporting import Reporter, unknown_command
from dicomnode.store.jobs import Job, Jobs, Retrieval, Review
from dicomnode.store.journal import Journal
from dicomnode.studies import Fact

log = structlog.get_logger()

PAGE = 1000


class Batch:
    """Carries out `run` commands."""

    def __init__(self, jobs: Jobs, journal: Journal, completion: Completion, originals: Originals) -> None:
        self._jobs = jobs
        self._journal = journal
        self._completion = completion
        self._originals = originals

    async def command(self, request: Mapping[str, Any], report: Reporter) -> int:
        """Carry out one command. Raises DicomnodeError."""
        found = await asyncio.to_thread(self._jobs.retrieval, int(request["retrieval"]))
        if found is None or not found.run:
            raise PermanentError("there is no run of that number", "dicomnode jobs --all lists the retrievals")
        match request.get("do"):
            case "review":
                reviews = [Review(*each) for each in request["reviews"]]
                await asyncio.wrap_future(self._jobs.review(found.id, reviews))
            case "keep":
                await asyncio.wrap_future(self._jobs.keep_only(found.id, request["names"]))
            case "again":
                await asyncio.wrap_future(self._jobs.again(found.id))
            case "taken":
                await asyncio.to_thread(self._forget_originals, found)
            case "release":
                await self._release(found, report.user)
            case "hook-failed":
                await self._tell_all(found, "hook-failed", error=str(request["error"]))
            case _:
                raise unknown_command()
        return 0

    async def _release(self, retrieval: Retrieval, user: str) -> None:
        """The studies of the run go on; what was refused before is tried again."""
        await asyncio.wrap_future(self._jobs.release(retrieval.id))
        for job in await asyncio.to_thread(self._all, retrieval):
            key = (retrieval.project, job.study_key)
            study = await asyncio.to_thread(self._journal.get_study, *key)
            if study is not None and study.state is StudyState.HELD:
                await self._completion.go_on(key)
            elif study is not None and study.state is StudyState.FAILED:
                await self._completion.decide(key, Fact.RETRY, user)

    def _forget_originals(self, retrieval: Retrieval) -> None:
        """The run has taken the sealed originals to its folder (blocking)."""
        for job in self._all(retrieval):
            self._originals.delete((retrieval.project, job.study_key))

    async def _tell_all(self, retrieval: Retrieval, name: str, **facts: object) -> None:
        log.error(name, project=retrieval.project, number=retrieval.id, **facts)
        for job in await asyncio.to_thread(self._all, retrieval):
            if job.here is not None:
                self._journal.event(Event(name, time.time(), retrieval.project, job.study_key, facts))
        await asyncio.wrap_future(self._journal.flush())

    def _all(self, retrieval: Retrieval) -> list[Job]:
        """The jobs of a run that were not cancelled (blocking)."""
        found: list[Job] = []
        after = 0
        while page := self._jobs.jobs(retrieval.id, after, PAGE):
            found += [job for job in page if job.study_key and job.state != "cancelled"]
            after = page[-1].id
        return found
