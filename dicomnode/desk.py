"""What people decide about studies: hold, forward, retry, close."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from dicomnode.completion import Completion
from dicomnode.errors import ConfigError, PermanentError
from dicomnode.keys import ProjectKeys
from dicomnode.model import Study, StudyState
from dicomnode.reporting import Reporter, unknown_command
from dicomnode.store.jobs import Jobs, Retrieval
from dicomnode.store.journal import Journal
from dicomnode.studies import DECISIONS, Fact
from dicomnode.ways import Way

FIND = "find"
LETS_GO = (Fact.RETRY, Fact.FORWARD)
OURS = "2.25."  # how the UIDs begin that are made here


class Desk:
    """Carries out `study` commands; each is an event of the study that names the user."""

    def __init__(self, ways: Mapping[str, Way], completion: Completion, journal: Journal, jobs: Jobs) -> None:
        self._ways = ways
        self._completion = completion
        self._journal = journal
        self._jobs = jobs

    async def command(self, request: Mapping[str, object], report: Reporter) -> int:
        """Do with one study what is asked; 0 when it was done. Raises DicomnodeError."""
        fact = next((fact for fact in DECISIONS if fact == request.get("do")), None)
        if fact is None and request.get("do") != FIND:
            raise unknown_command()
        project, keys = request.get("project"), {name: way.keys for name, way in self._ways.items()}
        study = await asyncio.to_thread(
            find_study, self._journal, str(request.get("id", "")), None if project is None else str(project), keys
        )
        if fact is None:
            report({"event": "study", "project": study.project, "study": study.study_key, "state": str(study.state)})
            return 0
        if study.project not in self._ways:
            raise ConfigError(f"the configuration has no project {study.project} any more", "put it back")
        holding = await asyncio.to_thread(self._jobs.holding, study.project, study.study_key)
        if holding and study.state is StudyState.HELD and fact in LETS_GO:
            raise PermanentError(f"{fact}: the study is held, {_waits(holding)}", "nothing was changed")
        study = await self._completion.decide((study.project, study.study_key), fact, report.user)
        told = {"project": study.project, "study": study.study_key, "state": str(study.state)}
        why = _waits(holding) if holding and study.state is StudyState.HELD else None
        report({"event": "study", **told, **({"why": why} if why else {})})
        return 0


def _waits(holding: list[Retrieval]) -> str:
    """For which runs a study waits, and how each comes to its end."""
    return "; ".join(f"it waits for the end of {Path(each.run).name}: {each.go_on}" for each in holding)


def find_study(journal: Journal, named: str, project: str | None, keys: Mapping[str, ProjectKeys]) -> Study:
    """The one study whose key or pseudonymous UID begins so, or whose whole UID this is, here or there (blocking).

    `keys` are those of the projects whose original UIDs may be asked for. Raises PermanentError.
    """
    begin = [study for study in journal.find_study(named) if project in (None, study.project)] if named else []
    found = [study for study in begin if named in (study.study_key, study.study_uid)]
    if not found:  # a UID that is retained may be the beginning of another's, and name one that is not here
        found = [s for s in begin if s.study_key.startswith(named) or s.study_uid.startswith(OURS)]
    if not found:
        by_key = {name: journal.get_study(name, own.journal_key("study", named)) for name, own in keys.items()}
        found = [study for study in by_key.values() if study and project in (None, study.project)]
    if len(found) != 1:
        what = f"{len(found)} studies begin so" if found else "no study begins so"
        raise PermanentError(what, "dicomnode studies lists them; --project tells those of several projects apart")
    return found[0]
