"""What each step of a run finds out and writes down; studies are named by pseudonym."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dicomnode import disk
from dicomnode.config import Settings
from dicomnode.model import DeliveryState, Reason, Study, StudyState
from dicomnode.originals import Originals
from dicomnode.outbox import Outbox
from dicomnode.runs import folder as files
from dicomnode.runs.folder import Overview, RunFolder, minute
from dicomnode.store.jobs import Job, Jobs, Review
from dicomnode.store.journal import Journal

READY = (StudyState.HELD, StudyState.PRACTICE)
PUSHED = (StudyState.FORWARDED, StudyState.CONFIRMED)
WITHDRAWN = DeliveryState.WITHDRAWN
OVER = (*PUSHED, StudyState.WITHHELD, StudyState.CLOSED, StudyState.PRACTICE)

GONE = "its clean files are not here any more, a destination has them"

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


def export(folder: RunFolder, studies: Iterable[Study], journal: Journal, settings: Settings) -> set[str]:
    """Write the clean files to to_production/STUDY/SERIES/INSTANCE.dcm; the keys of the studies that have some."""
    outbox = Outbox(settings.storage.directory / "outbox", {})
    (folder.path / files.TO_PRODUCTION).mkdir(mode=0o700, parents=True, exist_ok=True)
    exported = set()
    for study in studies:
        for instance, location in journal.instances(study.project, study.study_key):
            place = folder.path / files.TO_PRODUCTION / instance.study_uid / instance.series_uid
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            outbox.write_file(location, place / f"{instance.sop_uid}.dcm")
            exported.add(study.study_key)
    return exported


def _why_held(study: Study, journal: Journal, jobs: Jobs) -> str:
    """Why a study still waits: another run that has it too, or its study hook."""
    if study.state is not StudyState.HELD:
        return ""
    holding = jobs.holding(study.project, study.study_key)
    if holding:
        return "".join(f": it waits for the end of another run: {each.go_on}" for each in holding)
    events = journal.events(study.project, study.study_key)
    return f": {events[-1].facts['error']}" if events and events[-1].name == "hook-failed" else ""


def delivered_before(studies: Studies, journal: Journal, since: float) -> dict[str, float]:
    """The studies that had been delivered before, and of which nothing was sent `since` then: when each was.

    Seconds since the epoch. One that is held for the run is among them where nothing is left to send of it.
    """
    found = {}
    for job, study in studies:
        if study is not None and study.state in (*PUSHED, StudyState.HELD):
            key = (study.project, study.study_key)
            wanted = [each for each in journal.deliveries(key[0], study_key=key[1]) if each.state is not WITHDRAWN]
            ways = [each.destination for each in wanted]
            taken = [journal.taken_since(*key, way, since) for way in ways]
            last = [at for _, at in taken if at is not None]
            if last and not any(count for count, _ in taken) and not any(journal.has_unsent(*key, way) for way in ways):
                found[job.name] = max(last)
    return found


def _before(study: Study, at: float | None, journal: Journal) -> str:
    """What there is to say of a study that had been delivered before."""
    if at is None:
        return ""
    gone = "" if journal.instances(study.project, study.study_key) else f"; {GONE}"
    return f": delivered before this run, {minute(at)}, and nothing was sent now{gone}"


def deliveries(
    studies: Studies, journal: Journal, jobs: Jobs, since: float, before: Mapping[str, float]
) -> Iterator[str]:
    """What became of each study at each destination, in a run that began to push at `since`.

    `before` are the studies that had been delivered before, and when.
    """
    for job, study in studies:
        if study is None:
            yield f"{job.name} {job.state}, nothing to push"
            continue
        why = _why_held(study, journal, jobs) + _before(study, before.get(job.name), journal)
        yield f"{job.name} {study.state}{why}"
        for each in journal.deliveries(study.project, study_key=study.study_key):
            error = f": {each.error}" if each.error else ""
            sent, _ = journal.taken_since(study.project, study.study_key, each.destination, since)
            earlier = f", {each.sent - sent} sent before this run" if each.sent > sent else ""
            yield f"\t{each.destination} {each.state}, {sent} sent, {each.failed} refused{earlier}{error}"
