"""What a start does with what is on disk: rows for what has none, and the truth about what is gone. Blocking."""

from __future__ import annotations

import time

import structlog

from dicomnode.model import Event, Withheld
from dicomnode.outbox import Outbox
from dicomnode.quarantine import Quarantine
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal

log = structlog.get_logger()


def recover(outbox: Outbox, quarantine: Quarantine, journal: Journal, book: IdentityBook) -> None:
    """Enter what is on disk but not in the journal, and lose what is in the journal but not on disk.

    Raises KeyFileError, StoreDamaged, CannotKeep.
    """
    rows = journal.segment_offsets()
    recovered = 0
    sealed: list[Withheld] = []
    # A book that is new, or was not finished, is filled from all that is still sealed in the outbox.
    for record in outbox.recover(rows if book.whole else {}, rows):
        book.put(record.instance.project, record.identity, record.instance.study_key)
        journal.stored(record.instance, record.location)
        recovered += 1
    for withheld in quarantine.recover(journal.quarantine_ids(), journal.ended_ids()):
        journal.withheld(withheld)
        sealed.append(withheld)
    book.flush().result()
    journal.flush().result()
    for withheld in sealed:
        _tell_late(journal, withheld)
    if not book.whole:
        book.set_whole()
    for segment, gaps in outbox.damaged.items():
        _tell("outbox", segment=segment, instances=sum(_lose(journal, segment, *gap) for gap in gaps))
    placed = journal.placed_segments()
    for segment in outbox.missing(placed):
        if lost := _lose(journal, segment, 0, placed[segment]):
            _tell("outbox", segment=segment, instances=lost)
        project, study_key, _ = segment.split("/")
        journal.forget_locations(project, study_key, [segment]).result()
    for name in quarantine.damaged:
        project, _, file = name.partition("/")
        _tell("quarantine", project=project, quarantine=file.partition(".")[0])
    if recovered or sealed:
        log.warning("recovered", stored=recovered, withheld=len(sealed))


def _tell_late(journal: Journal, withheld: Withheld) -> None:
    """Say it where what fails with this original was sent before the crash."""
    event = journal.failed_late(withheld)
    if event is not None:
        journal.event(event)
        log.error(event.name, project=event.project, study=event.study_key, **event.facts)


def _tell(kind: str, **facts: object) -> None:
    log.error("storage-damaged", kind=kind, **facts)


def _lose(journal: Journal, segment: str, start: int, end: int) -> int:
    """What lay there was delivered, or it may come again; how many there are of these."""
    lost = 0
    for instance, location, delivered in journal.placed_in(segment, start, end):
        if delivered:
            continue
        event = Event(
            "instance-lost", time.time(), instance.project, instance.study_key, {"instance": instance.instance_key}
        )
        journal.lose(instance.project, instance.instance_key, location, event)
        log.error(event.name, project=event.project, study=event.study_key, **event.facts)
        lost += 1
    if lost:
        journal.flush().result()
    return lost
