"""What keeps a complete study from being sent on: its run that has not ended, or the project's study hook."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from dicomnode import hooks
from dicomnode.completion import Completion
from dicomnode.config import Settings
from dicomnode.dimse.apart import apart
from dicomnode.following import Kept
from dicomnode.hooks import HookFailed
from dicomnode.model import Event, Study, StudyState
from dicomnode.places import Places
from dicomnode.store.jobs import Jobs
from dicomnode.store.journal import Journal
from dicomnode.studies import Fact, Key

log = structlog.get_logger()

OF_A_RUN = "it waits for the end of the run of retrieval"  # by its number: a folder may have any name
MOST_HOOKS = 4  # that run at once


class Consent:
    """Asked before a study is handed to its destinations."""

    def __init__(
        self, settings: Settings, jobs: Jobs, journal: Journal, completion: Completion, *, practice: bool = False
    ) -> None:
        self.settings = settings
        self._jobs = jobs
        self._journal = journal
        self._completion = completion
        self._practice = practice
        self._passed: dict[Key, tuple[int, int]] = {}  # studies that their hook has passed, with what they held then
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._places = Places(MOST_HOOKS)

    async def __call__(self, study: Study) -> Kept | None:
        """Why the study is not sent on now, or None."""
        if self._practice:
            return Fact.PRACTISED, "nothing is sent in a practice run"
        key = (study.project, study.study_key)
        holding = await asyncio.to_thread(self._jobs.holding, *key)
        if holding:
            return Fact.HELD, f"{OF_A_RUN} {', '.join(str(each.id) for each in holding)}"
        hook = self.settings.projects[study.project].hooks.study
        if hook is None or study.state is StudyState.FORWARDING or self._passed.get(key) == _held(study):
            return None
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._ask(hook, key, study))
        return Fact.HELD, f"its hook {hook} runs"

    def busy(self, key: Key) -> bool:
        """Whether the hook of a study runs now."""
        return key in self._running

    async def _ask(self, hook: str, key: Key, study: Study) -> None:
        """Until the hook has ended; where it ended well, the study goes on."""
        async with self._places.place():
            await self._completion.persist(lambda: self._call(hook, key, study))
        del self._running[key]  # before the study goes on: where more of it came meanwhile, the hook is called again
        if self._passed.get(key) == _held(study):
            await self._completion.persist(lambda: self._completion.go_on(key))

    async def _call(self, hook: str, key: Key, study: Study) -> None:
        document = await asyncio.to_thread(document_of, self._journal, study)
        seconds = self.settings.projects[study.project].hooks.timeout
        output = output_of(self.settings.storage.directory, key)
        try:
            await apart(hooks.call_study, hook, document, seconds, output)
        except HookFailed as error:
            event = Event("hook-failed", time.time(), *key, {"error": str(error)})
            self._journal.event(event)
            log.error(event.name, project=key[0], study=key[1], error=str(error))
            return
        self._passed[key] = _held(study)


def _held(study: Study) -> tuple[int, int]:
    return study.stored, study.withheld


def output_of(directory: Path, key: Key) -> Path:
    """Where the text of a study's hook is kept."""
    return directory / "hooks" / key[0] / f"{key[1]}.txt"


def document_of(journal: Journal, study: Study) -> Mapping[str, object]:
    """What a study hook is told, pseudonymous only (blocking)."""
    instances = [instance for instance, _ in journal.instances(study.project, study.study_key)]
    return {
        "project": study.project,
        "study": study.study_key,
        "study_uid": study.study_uid,
        "patient": study.patient,
        "stored": study.stored,
        "withheld": study.withheld,
        "evidence": study.evidence,
        "amended": study.amended,
        "instances": [
            {
                "sop_instance_uid": instance.sop_uid,
                "series_instance_uid": instance.series_uid,
                "sop_class_uid": instance.sop_class,
                "modality": instance.modality,
            }
            for instance in instances
        ],
    }
