"""From the wire to stable storage: each instance is de-identified, passed by the gate, made durable, then answered.

The sender waits for its answer meanwhile; that wait is the back-pressure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from dicomnode import keep
from dicomnode.admission import Admission
from dicomnode.completion import Completion
from dicomnode.crew import Crew
from dicomnode.deidentify import Cleaned
from dicomnode.dimse.scp import InstanceStream, Rejection
from dicomnode.dimse.status import NOT_AUTHORIZED, OUT_OF_RESOURCES, SUCCESS
from dicomnode.dimse.syntaxes import DEFLATED, EXPLICIT_BIG
from dicomnode.errors import CannotKeep
from dicomnode.expected import Expected
from dicomnode.keep import Kept, Leases
from dicomnode.large import LargeInstance
from dicomnode.model import FAILING, Buffer, Doubt, IdentityEntry, Origin, Originals, Reason, Received, Withheld
from dicomnode.originals import Originals as SealedOriginals
from dicomnode.outbox import Outbox
from dicomnode.places import Places, Turns
from dicomnode.quarantine import Quarantine
from dicomnode.space import NoSpace, Space
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal
from dicomnode.studies import Key, OpenStudies
from dicomnode.tally import Arrivals
from dicomnode.trouble import Trouble
from dicomnode.ways import Way

log = structlog.get_logger()

T = TypeVar("T")

PIXEL_DATA = b"\xe0\x7f\x10\x00"
SHORT_HEADER = 64 << 10  # bytes; a header that may be longer is not cleaned on the event loop
MOST_LONG = 2  # instances with long headers that are cleaned at once, beside the loop
TOO_LONG = 0.25  # seconds of CPU on the loop, after which a peer's instances are all cleaned beside it
MOST_BACKLOG = 20_000  # journal rows that may wait for a commit before new instances are refused


@dataclass(frozen=True, slots=True)
class Storage:
    """Where instances and what is known of them are kept."""

    outbox: Outbox
    quarantine: Quarantine
    journal: Journal
    book: IdentityBook
    originals: SealedOriginals


class Refused:
    """A large instance that is not taken (dimse.scp.InstanceStream)."""

    async def write(self, chunk: Buffer) -> None:
        """It is not kept."""

    async def finish(self) -> int:
        """The status to answer."""
        return OUT_OF_RESOURCES

    async def abandon(self) -> None:
        """Nothing is to be undone."""


class Intake:
    """What the node gives its storage SCP (dimse.scp.Service)."""

    def __init__(
        self,
        ways: Mapping[str, Way],
        admission: Admission,
        storage: Storage,
        open_studies: OpenStudies,
        completion: Completion,
        places: Places,
        room: Places,
        threads: Crew,
        large_threads: ThreadPoolExecutor,
        space: Space,
    ) -> None:
        self._ways = ways
        self.admission = admission
        self.storage = storage
        self._open = open_studies
        self._completion = completion
        self.places = places
        self.room = room
        self._threads = threads
        self.large_threads = large_threads
        self._space = space
        self.quarantine = storage.quarantine
        self._turns = Turns()
        self._trouble = Trouble("instance-refused-storage")
        self._carried: dict[int, Key] = {}
        self._bound: dict[int, Way] = {}
        self.leases = Leases(storage.outbox, self._bound)
        self._owners: dict[tuple[str, str], str] = {}
        self.arrivals = Arrivals()
        self.tells_each = False  # whether the log wants a line for each instance: to ask it costs as much as a line
        self.expected = Expected()
        self.modalities: dict[Key, frozenset[str]] = {}  # of studies of which only instances of these are let through
        self._long = Places(MOST_LONG)
        self._slow: set[str] = set()

    def admit(self, calling: str, called: str, address: str, certificate: bytes | None) -> Origin | Rejection:
        """Judge a caller before the association is accepted."""
        return self.admission.judge(calling, called, address, certificate)

    def opened(self, origin: Origin) -> None:
        """An association was accepted; to its end its instances go the project's way as it is now."""
        self._bound[origin.association] = self._ways[origin.project]

    def echoed(self, origin: Origin) -> None:
        """An association may be kept open for ever by C-ECHO: what it carried is carried no longer."""
        self._leave(origin.association)

    def closed(self, origin: Origin, how: str) -> None:
        """An association ended: what it carried is carried no longer."""
        self._carried.pop(origin.association, None)
        self._bound.pop(origin.association, None)
        self._open.association_closed(origin.association)
        self._threads.submit(self.leases.give_back, origin.association)

    async def store(self, received: Received, data: bytearray) -> int:
        """Take an instance that was held whole; the status to answer."""
        with self.arrivals.whole(received.began, len(data)):
            return await self._store(received, data)

    def _way(self, origin: Origin) -> Way:
        return self._bound.get(origin.association) or self._ways[origin.project]

    async def _store(self, received: Received, data: bytearray) -> int:
        way = self._way(received.origin)
        key = way.keys.journal_key("instance", received.sop_uid)
        if self.expected.refuses((way.project, key)):
            return OUT_OF_RESOURCES
        async with self.turn(way.project, key), self.places.place():
            try:
                self.check_ready()
                return await self._take(way, key, received, data)
            except CannotKeep as error:
                return self.refuse(received, error)

    async def stream(self, received: Received) -> InstanceStream:
        """Take an instance too large to hold."""
        way = self._way(received.origin)
        if self.expected.refuses((way.project, way.keys.journal_key("instance", received.sop_uid))):
            return Refused()
        return LargeInstance(self, way, received)

    async def _take(self, way: Way, key: str, received: Received, data: bytearray) -> int:
        """Keep it, or seal it; the status to answer. Raises CannotKeep."""
        begin = time.perf_counter()
        try:
            cleaned = await self._clean_somewhere(way, received, data)
            self.arrivals.clean.add(time.perf_counter() - begin)
            duplicate = False
            if self.storage.journal.known(way.project, key) is not None:
                digest, _ = await self.in_thread(keep.digests, way, cleaned)
                duplicate = self.is_duplicate(way, key, cleaned.originals, digest)
            if self.storage.originals.wanted:
                await self.in_thread(self.keep_original, way, key, cleaned.originals, received, [data])
            if duplicate:
                self._note_duplicate(way, received)
                return SUCCESS
            self.check_owner(way, cleaned)
        except Doubt as doubt:
            if doubt.reason is Reason.UNKNOWN_PATIENT and way.refuses_unknown:
                return self.refuse_patient(received)
            await self._withhold(way, received, doubt, data)
            return SUCCESS
        begin = time.perf_counter()
        record = keep.record(way, received, cleaned, time.time())
        kept = await self.in_thread(keep.keep, self.leases, received.origin.association, record)
        self.arrivals.keep.add(time.perf_counter() - begin)
        self.note_kept(kept, received)
        return SUCCESS

    async def _clean_somewhere(self, way: Way, received: Received, data: bytearray) -> Cleaned:
        """On the loop what takes a millisecond; beside it what may take seconds, so that others are heard meanwhile."""
        peer = received.origin.peer
        if peer in self._slow or _may_be_long(received, data):
            async with self._long.place():
                work = self.large_threads.submit(self._clean, way, received, data)
                self.arrivals.watch(work)
                return await asyncio.wrap_future(work)
        begin = time.thread_time()
        try:
            return self._clean(way, received, data)
        finally:
            used = time.thread_time() - begin
            if used > TOO_LONG:
                log.warning("instance-slow", project=way.project, peer=peer, seconds=round(used, 1))
                self._slow.add(peer)

    def _clean(self, way: Way, received: Received, data: bytearray) -> Cleaned:
        try:
            return way.deidentifier.clean(received, data)
        except Doubt:
            raise
        except Exception as error:  # noqa: BLE001 - promise 3: whatever happens, the instance is withheld
            raise keep.internal(error) from None

    def is_duplicate(self, way: Way, instance_key: str, originals: Originals, digest: str) -> bool:
        """True when this very instance is already held; raises Doubt when one with other content is."""
        known = self.storage.journal.known(way.project, instance_key)
        if known is None or known.verdict != "stored":
            return False
        if digest != known.received_digest:
            raise Doubt(Reason.CONFLICT, "(0008,0018)", originals)
        self._open.heard((way.project, known.study_key), time.monotonic())
        log.info("instance-duplicate", project=way.project, instance=instance_key)
        return True

    def keep_original(
        self, way: Way, instance_key: str, originals: Originals, received: Received, parts: Iterable[Buffer]
    ) -> None:
        """Seal the original of an instance where its run keeps those; durable on return. Raises CannotKeep; blocks."""
        study = (way.project, way.keys.journal_key("study", originals.study_uid))
        if study in self.storage.originals.wanted:
            self.storage.originals.seal(study, instance_key, received, parts)

    def check_owner(self, way: Way, cleaned: Cleaned) -> None:
        """Raises Doubt when the pseudonym already belongs to another patient, or the modality is not wanted."""
        if self.modalities:
            key = (way.project, way.keys.journal_key("study", cleaned.originals.study_uid))
            if cleaned.modality not in self.modalities.get(key, (cleaned.modality,)):
                raise Doubt(Reason.NOT_ACCEPTED, "(0008,0060)", cleaned.originals)
        original = next((e.original for e in cleaned.identity if e.attribute == "PatientID"), "")
        place = (way.project, cleaned.patient)
        owner = self._owners.get(place)
        if owner is None:
            owner = self.storage.book.owner(way.project, "PatientID", cleaned.patient)
            if len(self._owners) > 10_000:
                self._owners.clear()
            self._owners[place] = original if owner is None else owner
        if owner is not None and owner != original:
            raise Doubt(Reason.COLLISION, "(0010,0020)", cleaned.originals)

    async def _withhold(self, way: Way, received: Received, doubt: Doubt, data: bytearray) -> None:
        digest = await self.in_thread(keep.whole_digest, way, data)
        record = keep.withheld(way, received, doubt, doubt.originals, digest, time.time())
        self.remember(record, doubt.originals)
        sealed = await self.in_thread(keep.seal, self.storage.quarantine, record, received, [data])
        await asyncio.wrap_future(self.note_judged(sealed, doubt))
        self.note_withheld(sealed, received)

    def remember(self, record: Withheld, originals: Originals | None) -> None:
        """Enter the study of a withheld instance in the identity book: its source can be asked for the rest."""
        if originals is not None:
            entry = IdentityEntry("StudyInstanceUID", originals.study_uid, record.study_uid)
            self.storage.book.put(record.project, [entry], record.study_key)

    def note_kept(self, kept: Kept, received: Received) -> None:
        """Enter a durable clean instance; the rows are committed behind the answer."""
        self.arrivals.stored += 1
        self.storage.book.put(kept.instance.project, kept.identity, kept.instance.study_key)
        self.storage.journal.stored(kept.instance, kept.location)
        if self.tells_each:
            place = {"project": kept.instance.project, "study": kept.instance.study_key}
            log.debug("instance-stored", **place, instance=kept.instance.instance_key)
        self._carry((kept.instance.project, kept.instance.study_key), received.origin.association)

    def note_withheld(self, record: Withheld, received: Received) -> None:
        """Enter a durable sealed original."""
        self.arrivals.withheld[str(record.reason)] += 1
        self.storage.journal.withheld(record)
        log.warning(
            "instance-withheld",
            project=record.project,
            study=record.study_key,
            instance=record.instance_key,
            reason=str(record.reason),
            where=record.where,
        )
        if record.reason in FAILING:
            self._completion.failed(record)
        if record.study_key:
            self._carry((record.project, record.study_key), received.origin.association)

    def note_judged(self, record: Withheld, doubt: Doubt) -> Future[None]:
        """Enter what the rules' conditions said of a withheld instance, where they said something."""
        return self.storage.book.put(record.project, [doubt.judged] if doubt.judged else [], record.study_key)

    def one_copy(self, record: Withheld) -> Withheld:
        """Of an original that waits already the new copy is deleted: a sender that tries again fills no disk."""
        before = self.storage.journal.waiting_copy(record)
        if before is None or before.quarantine == record.quarantine:
            return record
        if not self.quarantine.holds(before.project, before.quarantine):
            return record
        self.quarantine.delete(record.project, record.quarantine)
        return before

    def note(self, outcome: Kept | Withheld | None, received: Received) -> None:
        """Enter what became of a large instance; nothing where it was a duplicate."""
        if isinstance(outcome, Kept):
            self.note_kept(outcome, received)
        elif outcome is not None:
            self.note_withheld(outcome, received)
        else:
            self._note_duplicate(self._way(received.origin), received)

    def _note_duplicate(self, way: Way, received: Received) -> None:
        """An association that brings what another study has already has moved on to that one."""
        self.arrivals.duplicates += 1
        known = self.storage.journal.known(way.project, way.keys.journal_key("instance", received.sop_uid))
        if known is not None and self._carried.get(received.origin.association) != (way.project, known.study_key):
            self._leave(received.origin.association)

    def _leave(self, association: int) -> None:
        """The association carries no study for now."""
        key = self._carried.pop(association, None)
        if key is not None:
            self._open.idle_association(association, key)

    def turn(self, project: str, instance_key: str) -> AbstractAsyncContextManager[None]:
        """The only turn for this instance: twins are put one after the other."""
        return self._turns.turn((project, instance_key))

    def _carry(self, key: Key, association: int) -> None:
        if association not in self._bound:  # it has ended: what was under way was kept without it
            self._completion.arrived(key, None)
            return
        if self._carried.get(association) != key:
            self._leave(association)
            self._carried[association] = key
        self._completion.arrived(key, association)

    def check_ready(self) -> None:
        """Raises CannotKeep when there is no space, or when the journal falls too far behind."""
        self._space.check()
        if self.storage.journal.backlog > MOST_BACKLOG:
            raise CannotKeep("the journal cannot be written", "look at the disk of the storage directory")

    def refuse(self, received: Received, error: CannotKeep) -> int:
        """Nothing can be kept safe now: the sender keeps the instance and tries again."""
        self.arrivals.refused += 1
        place = {"project": received.origin.project, "peer": received.origin.peer}
        if isinstance(error, NoSpace):  # that there is no space is said once, by itself
            log.debug("instance-refused-storage", **place, error=str(error))
        else:
            self._trouble.tell(error, **place)
        return OUT_OF_RESOURCES

    def refuse_patient(self, received: Received) -> int:
        """The project refuses patients that are not in its table."""
        self.arrivals.refused += 1
        log.warning("instance-refused-patient", project=received.origin.project, peer=received.origin.peer)
        return NOT_AUTHORIZED

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run blocking work in the storage threads; when it hangs that is seen (observe.view), waited for or not."""
        job = self._threads.submit(work, *arguments)
        self.arrivals.watch(job)
        return await job


def _may_be_long(received: Received, data: bytearray) -> bool:
    """Whether the header may be longer than SHORT_HEADER: no pixel data begins before, or it has to be converted."""
    if received.transfer_syntax in (DEFLATED, EXPLICIT_BIG):
        return len(data) > SHORT_HEADER // 16
    return len(data) > SHORT_HEADER and data.find(PIXEL_DATA, 0, SHORT_HEADER) < 0
