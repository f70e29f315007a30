"""Instances too large to hold: cleaned and written chunk by chunk, in a thread of their own.

On doubt the original is put together again from what the cleaner retained and what was written, sealed, and the
record is voided; only then is the sender answered.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import replace
from typing import Any, Protocol

from dicomnode import keep
from dicomnode.deidentify import Cleaned, CleanStream
from dicomnode.dimse.status import SUCCESS
from dicomnode.errors import CannotKeep
from dicomnode.keep import Kept, Leases
from dicomnode.model import Buffer, Doubt, Originals, Reason, Received, Withheld
from dicomnode.outbox import RecordWriter
from dicomnode.places import Places
from dicomnode.quarantine import Quarantine
from dicomnode.tally import Arrivals
from dicomnode.ways import Way

ROOM_WAIT = 30.0  # seconds that an instance with a large header waits for room in memory
MOST_AT_WORK = 2  # threads that clean a chunk at once: each needs several times its size for a moment
SLOWEST = 4 << 20  # bytes per second that a disk takes at least when it is not stuck
READ_BACK = 1 << 20  # bytes of a record read at once when an original is put together again


_at_work = threading.BoundedSemaphore(MOST_AT_WORK)
_sealing = threading.BoundedSemaphore(MOST_AT_WORK)  # some who are at work take it, never the other way round


class Abandoned(Exception):
    """The association ended before the instance did."""


class Feed:
    """Hands chunks from the event loop to a thread; `put` returns when the thread has done with the chunk."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: queue.SimpleQueue[tuple[Buffer, asyncio.Future[None]] | Exception | None] = queue.SimpleQueue()

    def put(self, chunk: Buffer) -> asyncio.Future[None]:
        done: asyncio.Future[None] = self._loop.create_future()
        self._chunks.put((chunk, done))
        return done

    def end(self, error: Exception | None = None) -> None:
        self._chunks.put(error)

    def __iter__(self) -> Generator[Buffer, None, None]:
        """To be closed: it is at work as long as a chunk is in use, and an error must not leave it so."""
        while True:
            item = self._chunks.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            chunk, done = item
            with _at_work:
                yield chunk
            self._loop.call_soon_threadsafe(_resolve, done)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


class PatientRefused(CannotKeep):
    """The project refuses patients that its table of pseudonyms does not have."""


class Hub(Protocol):
    """What a large instance needs of the intake."""

    arrivals: Arrivals
    leases: Leases
    quarantine: Quarantine
    room: Places
    large_threads: ThreadPoolExecutor

    def turn(self, project: str, instance_key: str) -> AbstractAsyncContextManager[None]:
        """The only turn for this instance."""

    def is_duplicate(self, way: Way, instance_key: str, originals: Originals, digest: str) -> bool:
        """True when this very instance is held; raises Doubt when one with other content is."""

    def keep_original(
        self, way: Way, instance_key: str, originals: Originals, received: Received, parts: Iterable[Buffer]
    ) -> None:
        """Seal the original where its run keeps those; raises CannotKeep."""

    def check_owner(self, way: Way, cleaned: Cleaned) -> None:
        """Raises Doubt when the pseudonym belongs to another patient."""

    def check_ready(self) -> None:
        """Raises CannotKeep when there is no room or the journal falls behind."""

    def one_copy(self, record: Withheld) -> Withheld:
        """The record of this very original that waited before, or this one."""

    def note_judged(self, record: Withheld, doubt: Doubt) -> Future[None]:
        """Enter what the rules' conditions said."""

    def remember(self, record: Withheld, originals: Originals | None) -> None:
        """Enter the study of a withheld instance in the identity book."""

    def note(self, outcome: Kept | Withheld | None, received: Received) -> None:
        """Enter what is durable now."""

    def refuse(self, received: Received, error: CannotKeep) -> int:
        """The status when nothing can be kept."""

    def refuse_patient(self, received: Received) -> int:
        """The status where the project refuses the patient."""


class LargeInstance:
    """One large instance on its way (dimse.scp.InstanceStream)."""

    def __init__(self, hub: Hub, way: Way, received: Received) -> None:
        self._hub = hub
        self._way = way
        self._received = received
        self._key = way.keys.journal_key("instance", received.sop_uid)
        self._feed = Feed()
        self._work: asyncio.Task[None] | None = None
        self._chunk: asyncio.Future[None] | None = None
        self._begun = False
        self._size = 0
        self._holds = 0
        self._taken = 0

    async def write(self, chunk: Buffer) -> None:
        """Clean and write a chunk; returns when the chunk may be reused."""
        self._size += len(chunk)
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._run())
            self._work.add_done_callback(self._ended)
        if not self._work.done():
            self._chunk = self._feed.put(chunk)
            self._hub.arrivals.watch(self._chunk, self._size / SLOWEST)
            waiting: set[asyncio.Future[Any]] = {self._chunk, self._work}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await self._take_room(self._work)

    async def _run(self) -> None:
        """From the turn to the entry in the journal, and to its end even when nobody waits for it any more."""
        async with self._hub.turn(self._way.project, self._key):
            self._begun = True
            try:
                work = asyncio.get_running_loop().run_in_executor(self._hub.large_threads, self._take)
                self._hub.note(await work, self._received)
            finally:
                self._leave_room()

    def _ended(self, work: asyncio.Task[None]) -> None:
        """What ended the work is told to whoever still waits for it; nobody may. It takes no chunk any more."""
        if not work.cancelled():
            work.exception()
        if self._chunk is not None:
            self._chunk.cancel()

    async def _take_room(self, work: asyncio.Task[None]) -> None:
        """What the cleaner holds counts as memory. Others may hold and wait as well, so nobody waits for ever."""
        more = self._holds - self._taken
        if more > 0 and not self._hub.room.take(more):
            try:
                async with asyncio.timeout(ROOM_WAIT):
                    await self._hub.room.wait(more)
            except TimeoutError:
                error = CannotKeep("there is no room in memory for a large header", "raise queue.bytes")
                self._hub.refuse(self._received, error)
                raise error from None
        self._taken += max(more, 0)
        if work.done():
            self._leave_room()

    def _leave_room(self) -> None:
        taken, self._taken = self._taken, 0
        if taken:
            self._hub.room.give(taken)

    async def finish(self) -> int:
        """The instance is whole; the C-STORE status."""
        with self._hub.arrivals.whole(self._received.began, self._size):
            return await self._finish()

    async def _finish(self) -> int:
        assert self._work is not None
        self._feed.end()
        self._hub.arrivals.watch(self._work, self._size / SLOWEST)
        try:
            await asyncio.wait({self._work})
            self._work.result()
        except PatientRefused:
            return self._hub.refuse_patient(self._received)
        except CannotKeep as error:
            return self._hub.refuse(self._received, error)
        return SUCCESS

    async def abandon(self) -> None:
        """The association ended first: nothing of the instance stays."""
        if self._work is None:
            return
        self._feed.end(Abandoned())
        if not self._begun:
            self._work.cancel()
        await asyncio.wait({self._work})

    def _take(self) -> Kept | Withheld | None:
        """In a thread: clean chunk by chunk into a record, or seal. Raises CannotKeep, Abandoned."""
        with closing(iter(self._feed)) as chunks:
            return self._take_from(chunks)

    def _take_from(self, chunks: Iterator[Buffer]) -> Kept | Withheld | None:
        self._hub.check_ready()
        writing = Writing(self._hub.leases, self._way, self._received)
        try:
            return clean(self._hub, self._way, self._key, writing, self._counted(writing, chunks))
        except (Abandoned, CannotKeep):
            raise
        except Doubt as doubt:
            if doubt.reason is Reason.UNKNOWN_PATIENT and self._way.refuses_unknown:
                raise PatientRefused("the patient is not in the project's table") from None
            return self._seal(writing, doubt, chunks)
        except Exception as error:  # noqa: BLE001 - promise 3: whatever happens, the instance is withheld
            return self._seal(writing, keep.internal(error), chunks)
        finally:
            writing.void()

    def _counted(self, writing: Writing, chunks: Iterator[Buffer]) -> Iterator[Buffer]:
        for chunk in chunks:
            yield chunk
            self._holds = writing.stream.held

    def _seal(self, writing: Writing, doubt: Doubt, chunks: Iterator[Buffer]) -> Withheld:
        originals = doubt.originals or writing.stream.originals
        record = keep.withheld(self._way, self._received, doubt, originals, "", time.time())
        self._hub.remember(record, originals)
        digest = keep.Digest(self._way)
        with closing(writing.original(chunks)) as original:
            sealed = self._hub.quarantine.seal(record, self._received, digest.over(original))
        self._hub.note_judged(sealed, doubt).result()
        return self._hub.one_copy(replace(sealed, received_digest=digest.value()))


def clean(hub: Hub, way: Way, instance_key: str, writing: Writing, chunks: Iterator[Buffer]) -> Kept | None:
    """Clean a stream into a durable record; None when it is held already. Raises Doubt, CannotKeep; blocks."""
    for chunk in chunks:
        hub.check_ready()
        writing.write(writing.stream.feed(chunk))
    last, cleaned = writing.stream.finish()
    duplicate = hub.is_duplicate(way, instance_key, cleaned.originals, writing.stream.received_digest)
    with closing(writing.original(iter(()))) as original:
        hub.keep_original(way, instance_key, cleaned.originals, writing.received, original)
    if duplicate:
        return None
    hub.check_owner(way, cleaned)
    writing.write(last)
    return writing.finish(cleaned)


class Writing:
    """The record that is being written, and the way back to the original."""

    def __init__(self, leases: Leases, way: Way, received: Received) -> None:
        self.stream: CleanStream = way.deidentifier.stream(received)
        self._leases = leases
        self._way = way
        self.received = received
        self._record: RecordWriter | None = None

    def write(self, parts: list[Buffer]) -> None:
        if not parts:
            return
        if self._record is None:
            assert self.stream.originals is not None
            key = self._way.keys.journal_key("study", self.stream.originals.study_uid)
            self._record = self._leases.take(self.received.origin.association, (self._way.project, key)).begin()
        self._record.write(parts)

    def finish(self, cleaned: Cleaned) -> Kept:
        assert self._record is not None
        stream = self.stream
        instance = keep.describe(
            self._way, self.received, cleaned, (stream.received_digest, stream.data_digest), time.time()
        )
        location = self._record.finish(
            instance, cleaned.identity, cleaned.data_set_offset, stream.pixels_at, stream.pixels_length
        )
        self._record = None
        return Kept(instance, location, cleaned.identity)

    def original(self, chunks: Iterator[Buffer]) -> Generator[Buffer, None, None]:
        """The original data set: what was retained, what was written, the unwritten rest, and what still comes.

        To be closed: others wait while it reads what was written.
        """
        stream = self.stream
        yield stream.original_head
        at, end = stream.pixels_at, stream.pixels_at + stream.pixels_written
        with _sealing:  # no sender is waited for meanwhile
            while at < end:
                assert self._record is not None
                yield self._record.read(at, min(READ_BACK, end - at))
                at += READ_BACK
        yield from stream.original_rest
        yield from chunks

    def void(self) -> None:
        """Drop what is unfinished, if anything is; nothing more is written."""
        if self._record is not None:
            self._record.void()
            self._record = None
        self._leases.settle(self.received.origin.association)
