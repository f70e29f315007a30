"""Retrievals that people ask for: fetched one after the other, then followed to their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from dicomnode.config import Settings
from dicomnode.errors import ConfigError
from dicomnode.retrieve import Report, Request, Retriever
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal
from dicomnode.ways import Way

ENDED = ("confirmed", "failed", "withheld", "incomplete", "held", "on-hold", "closed", "practice")


class Orders:
    """Carries out `retrieve`; what was asked for is in the identity book before anything is fetched."""

    def __init__(
        self,
        settings: Settings,
        ways: Mapping[str, Way],
        retriever: Retriever,
        journal: Journal,
        book: IdentityBook,
    ) -> None:
        self.settings = settings
        self._ways = ways
        self._retriever = retriever
        self._journal = journal
        self._book = book

    async def retrieve(self, request: Mapping[str, object], report: Report) -> int:
        """Fetch studies one after the other, then wait for each to reach its end; 0 when all did."""
        way = self._project(request.get("project"))
        if way.source is None:
            raise ConfigError(f"project {way.project} has no source", "name one in projects.*.source")
        source, uids = self.settings.peers[way.source], request.get("studies")
        wanted = [Request(way, source, str(uid), n) for n, uid in enumerate(uids if isinstance(uids, list) else [])]
        for asked in wanted:
            self._note(asked, "asked")
        await asyncio.wrap_future(self._book.flush())
        arrived = [r for r in wanted if await self._retriever.fetch(r, report)]
        ended = [await self._follow(r, report) for r in wanted if r in arrived or r.listed.instances]
        return 0 if len(arrived) == len(wanted) and all(ended) else 1

    def _note(self, asked: Request, state: str) -> None:
        self._book.put_request(asked.way.project, "study", asked.uid, asked.key[1], state, time.time())

    def _project(self, name: object) -> Way:
        if name is None and len(self._ways) == 1:
            return next(iter(self._ways.values()))
        way = self._ways.get(str(name))
        if way is None:
            raise ConfigError("which project?", f"name one with --project: {', '.join(sorted(self._ways))}")
        return way

    async def _follow(self, request: Request, report: Report) -> bool:
        """Wait until the study has ended or waits for a person, telling each state on the way; True when delivered."""
        told = ""
        while True:
            study = await asyncio.to_thread(self._journal.get_study, *request.key)
            if study is None:
                return False
            if study.state != told:
                told = study.state
                report(
                    {
                        "event": "study",
                        "number": request.number,
                        "project": study.project,
                        "study": study.study_key,
                        "state": str(study.state),
                        "stored": study.stored,
                        "withheld": study.withheld,
                        "expected": study.expected,
                        "evidence": study.evidence,
                    }
                )
            if study.state in ENDED:
                return study.state == "confirmed"
            await asyncio.sleep(0.1)
