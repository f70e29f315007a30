"""What each step of a run finds out and writes down; studies are named by pseudonym."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dicomnode import disk
from dicomnode.config import Settings
from dicomnode.model import Reason, Study, StudyState
from dicomnode.originals import Originals
from dicomnode.outbox import Outbox
from dicomnode.runs import folder as files
from dicomnode.runs.folder import Overview, RunFolder
from dicomnode.store.jobs import Job, Jobs, Review
from dicomnode.store.journal import Journal

READY = (StudyState.HELD, StudyState.PRACTICE)
PUSHED = (StudyState.FORWARDED, StudyState.CONFIRMED)
OVER = (*PUSHED, StudyState.WITHHELD, StudyState.CLOSED, StudyState.PRACTICE)

Studies = Sequence[tuple[Job, Study | None]]


def pages(jobs: Jobs, retrieval: int) -> Iterator[Job]:
    """All jobs of a retrieval."""
    after = 0
    while page := jobs.jobs(retrieval, after):
        yield from page
        after = page[-1].id


def told(document: Mapping[str, object]) -> str:
    """A line about what happens while studies are fetched; empty where it is not worth one."""
    match document.get("event"):
        case "job":
            what = f": {document['error']}" if document.get("error") else ""
            return f"{document.get('name')} {document.get('state')}{what}"
        case "gave-up":
            return f"{document.get('source')} failed {document.get('times')} times in a row; when it answers: run -r"
        case "move-ended" | "source-waits":
            return f"{document.get('source')}: {document.get('text') or document.get('error')}"
    return ""


def received(job: Job, study: Study | None) -> int:
    """How many files came; one that an earlier run kept and this one withheld is one file."""
    if study is None:
        return 0
    return study.stored + study.withheld if job.here is None else job.here


def outcomes(studies: Studies) -> Iterator[str]:
    """What came of each study."""
    for job, study in studies:
        here = f"{received(job, study)} files" if study else "nothing"
        evidence = f" ({study.evidence})" if study and study.evidence else ""
        yield f"{job.name} {job.state}, {here} received{evidence}"


def anonymized(folder: RunFolder, studies: Studies, journal: Journal, quarantine: Path) -> None:
    """What was de-identified and what was withheld, and why; copies of the sealed originals."""
    lines = []
    for job, study in studies:
        if study is None:
            continue
        lines.append(f"{job.name}: {study.stored} files de-identified, {study.withheld} withheld")
        withheld = journal.withheld_list(study.project, study.study_key)
        reasons = Counter(f"{each.reason} {each.where}".strip() for each in withheld)
        lines += [f"\t{count} withheld: {reason}" for reason, count in sorted(reasons.items())]
        for each in withheld:
            _copy(folder, quarantine / each.project / f"{each.quarantine}.sealed", job.name, files.QUARANTINE)
    folder.write(files.ANONYMIZED, lines)


def _copy(folder: RunFolder, sealed: Path, study: str, room: str) -> None:
    """Copy a sealed file into a room of the run; durable on return."""
    found = next(iter(sealed.parent.glob(f"{sealed.stem}.*")), None)
    if found is not None:
        target = folder.path / room / study
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy2(found, target / found.name)
        disk.sync_file(target / found.name)
        disk.sync_directory(target)


def take_originals(folder: RunFolder, studies: Studies, staged: Originals) -> int:
    """Copy the sealed originals that the node has kept for this run; how many there are. Raises CannotKeep."""
    count = 0
    for job, study in studies:
        for path in staged.files((study.project, study.study_key)) if study is not None else ():
            _copy(folder, path, job.name, files.FROM_STAGING)
            count += 1
    return count


def protocol(
    folder: RunFolder, studies: Studies, journal: Journal, reviews: Iterable[Review], overview: Overview
) -> None:
    """In which studies a protocol series was found, in which reviewers saw one, and where the two differ."""
    found = {
        job.name
        for job, study in studies
        if study is not None
        and any(each.reason is Reason.PROTOCOL_SERIES for each in journal.withheld_list(study.project, study.study_key))
    }
    wanted = {job.name for job, _ in studies}
    reviewed = {review.name for review in reviews if review.protocol} & wanted
    missing = reviewed - found
    overview.say(
        f"{len(reviewed)} studies marked as having a protocol series, {len(found)} studies found with protocol series "
        "during anonymization."
    )
    overview.say(
        f"{len(missing)} studies marked as having a protocol series but not found, see 'missing_protocol_studies.txt'."
    )
    folder.write(files.REVIEWED, sorted(reviewed))
    folder.write(files.FOUND, sorted(found))
    folder.write(files.MISSING, sorted(missing))


def export(folder: RunFolder, studies: Iterable[Study], journal: Journal, settings: Settings) -> None:
    """Write the clean files to to_production/STUDY/SERIES/INSTANCE.dcm."""
    outbox = Outbox(settings.storage.directory / "outbox", {})
    for study in studies:
        for instance, location in journal.instances(study.project, study.study_key):
            place = folder.path / files.TO_PRODUCTION / instance.study_uid / instance.series_uid
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            outbox.write_file(location, place / f"{instance.sop_uid}.dcm")


def _hook_failed(study: Study, journal: Journal) -> str:
    """What became of the study hook, where that is why the study waits."""
    events = journal.events(study.project, study.study_key) if study.state is StudyState.HELD else []
    return f": {events[-1].facts['error']}" if events and events[-1].name == "hook-failed" else ""


def deliveries(studies: Studies, journal: Journal) -> Iterator[str]:
    """What became of each study at each destination."""
    for job, study in studies:
        if study is None:
            yield f"{job.name} {job.state}, nothing to push"
            continue
        yield f"{job.name} {study.state}{_hook_failed(study, journal)}"
        for each in journal.deliveries(study.project, study_key=study.study_key):
            error = f": {each.error}" if each.error else ""
            yield f"\t{each.destination} {each.state}, {each.sent} sent, {each.failed} refused{error}"
