"""Who is who: pseudonyms looked up for a person, with a record; pseudonyms that the site gives, entered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from dicomnode.custody import Custody
from dicomnode.errors import ConfigError, PermanentError
from dicomnode.model import Event, IdentityEntry
from dicomnode.reporting import Reporter, unknown_command
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal
from dicomnode.store.mappings import Mapping as Pair
from dicomnode.ways import Way

log = structlog.get_logger()

MOST_NAMED = 10


class Linking:
    """Carries out `reidentify` and `mapping` commands."""

    def __init__(
        self,
        ways: Mapping[str, Way],
        book: IdentityBook,
        journal: Journal,
        custody: Custody,
        renew: Callable[[], Awaitable[object]],
    ) -> None:
        self._ways = ways
        self._book = book
        self._journal = journal
        self._custody = custody
        self._renew = renew

    async def command(self, request: Mapping[str, Any], report: Reporter) -> int:
        """Carry out one command. Raises DicomnodeError."""
        match request.get("command"), request.get("do"):
            case "reidentify", "values":
                return await self._values(request["values"], report)
            case "reidentify", "run":
                return await self._run(str(request["run"]), report)
            case "reidentify", "unsealed":
                studies = [(str(project), str(key), "originals") for project, key in request["studies"]]
                await self._audit(studies, report.user, int(request["count"]))
                return 0
            case "mapping", "enter":
                return await self._enter(request, report)
        raise unknown_command()

    async def _values(self, values: list[str], report: Reporter) -> int:
        """The originals of cleaned values; the record of who asked is durable before the answer."""
        found = await asyncio.to_thread(lambda: [(value, self._look_up(value)) for value in values])
        studies = [(project, key, attribute) for _, each in found for project, key, attribute, _ in each]
        await self._audit(studies, report.user, len(values))
        for number, (value, each) in enumerate(found, 1):
            for project, _, attribute, original in each:
                told = {"project": project, "attribute": attribute, "cleaned": value, "original": original}
                report({"event": "original", "number": number, **told})
            await report.drain()
        return 0 if all(each for _, each in found) else 1

    def _look_up(self, value: str) -> list[tuple[str, str, str, str]]:
        """Project, study key, attribute and original of a cleaned value, or of a study's key, cut short (blocking)."""
        entries = [
            (project, key, entry.attribute, entry.original) for project, key, entry in self._book.originals(value)
        ]
        begins = [] if entries else [s for s in self._journal.find_study(value) if s.study_key.startswith(value)]
        for study in begins if len(begins) == 1 else ():
            entries += [
                (project, study.study_key, entry.attribute, entry.original)
                for project, _, entry in self._book.originals(study.study_uid)
                if (project, entry.attribute) == (study.project, "StudyInstanceUID")
            ]
        known = {(project, original) for project, _, _, original in entries}
        for job, retrieval in self._book.jobs.named(value):
            if (retrieval.project, job.value) not in known:
                entries.append((retrieval.project, job.study_key, "StudyInstanceUID", job.value))
                known.add((retrieval.project, job.value))
        return entries

    async def _run(self, run: str, report: Reporter) -> int:
        """The original of every study of a run, with what reviewers said of it."""
        retrieval = await asyncio.to_thread(self._book.jobs.of_run, run)
        if retrieval is None:
            raise PermanentError("nothing was asked for in that run", "name the folder data/run_at_... of a run")
        jobs = await asyncio.to_thread(self._book.jobs.jobs, retrieval.id, 0, 1_000_000)
        await self._audit([(retrieval.project, job.study_key, "run") for job in jobs], report.user, len(jobs))
        comments: dict[str, list[str]] = {}
        for review in await asyncio.to_thread(self._book.jobs.reviews, retrieval.id):
            comments.setdefault(review.name, []).append(review.comment)
        for job in jobs:
            told = {"attribute": "StudyInstanceUID", "cleaned": job.name, "original": job.value}
            report({"event": "original", **told, "comments": [text for text in comments.get(job.name, []) if text]})
            await report.drain()
        return 0

    async def _audit(self, studies: list[tuple[str, str, str]], user: str, asked: int) -> None:
        for project, key, attribute in dict.fromkeys(studies):
            self._journal.event(Event("reidentified", time.time(), project, key, {"user": user, "what": attribute}))
        if not studies:
            self._journal.event(Event("reidentified", time.time(), facts={"user": user, "count": 0}))
        log.warning("reidentified", user=user, count=asked)
        await asyncio.wrap_future(self._journal.flush())

    async def _enter(self, request: Mapping[str, Any], report: Reporter) -> int:
        """Enter pseudonyms; with the last part they hold, and what waited for them goes on."""
        project = str(request["project"])
        if project not in self._ways:
            raise ConfigError(
                "the configuration has no such project", f"name one with --project: {', '.join(sorted(self._ways))}"
            )
        pairs = [Pair(*each) for each in request["pairs"]]
        if request.get("strict"):
            await asyncio.to_thread(self._check, project, pairs, request["lines"])
        await asyncio.wrap_future(self._book.mappings.enter(project, pairs))
        keywords = request.get("keywords")
        if keywords:
            given = zip(keywords, pairs, strict=True)
            self._book.put(project, [IdentityEntry(word, each.original, each.cleaned) for word, each in given], "")
            await asyncio.wrap_future(self._book.flush())
        if request.get("last"):
            await self._renew()
            released = await self._custody.release_known(project, report)
            log.info("mapping-entered", project=project, count=await asyncio.to_thread(self._count, project))
            report({"event": "mapping-entered", "project": project, "released": released})
        return 0

    def _check(self, project: str, pairs: list[Pair], lines: list[int]) -> None:
        """Raises PermanentError for pairs that contradict what is known, or let out who somebody is (blocking)."""
        table = self._book.mappings
        for wrong, why in (
            (table.conflicts(project, pairs), "the patient has another pseudonym, or the pseudonym another patient"),
            (table.identifying(project, pairs), "the pseudonym holds a name or an ID that a patient has"),
        ):
            if wrong:
                named = ", ".join(str(lines[number]) for number in wrong[:MOST_NAMED])
                more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
                what = f"line{'s' if len(wrong) > 1 else ''} {named}{more} of the table: {why}"
                raise PermanentError(what, "nothing was entered; correct the table")

    def _count(self, project: str) -> int:
        return self._book.mappings.count(project)
