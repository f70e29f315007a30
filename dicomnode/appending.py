"""One thread that appends to the segments for all associations: what waits together is written, then synced together.

Waking a thread costs more than writing an instance; a batch has two wake-ups, however many instances it holds.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from dataclasses import dataclass

from dicomnode.keep import Kept, Leases
from dicomnode.records import Record
from dicomnode.segments import Segment

Outcome = Kept | BaseException


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A record to append for an association; `done` is told on its own event loop."""

    association: int
    record: Record
    done: asyncio.Future[Kept]


class Appender:
    """Appends records in the order of asking."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="appender", daemon=True)
        self._thread.start()

    async def append(self, association: int, record: Record) -> Kept:
        """Append a record to its study's segment; durable on return. Raises CannotKeep."""
        job = Job(association, record, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        return await job.done

    def close(self) -> None:
        """Append what was asked for, and end; blocks."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._ending:
            batch = self._batch()
            if not batch:
                continue
            outcomes = self._append(batch)
            loop = batch[0].done.get_loop()
            if loop.is_closed():
                continue
            loop.call_soon_threadsafe(_tell, batch, outcomes)

    def _batch(self) -> list[Job]:
        """The jobs that wait, one at least; fewer only at the end."""
        batch: list[Job] = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch
        self._ending = True
        return batch

    def _append(self, batch: list[Job]) -> list[Outcome]:
        """Write all, then sync all: a file system commits for all files at once what they need of it."""
        written = [self._write(job, alone=len(batch) == 1) for job in batch]
        return [self._commit(job, segment) for job, segment in zip(batch, written, strict=True)]

    def _write(self, job: Job, *, alone: bool) -> Segment | BaseException:
        instance = job.record.instance
        try:
            segment = self._leases.take(job.association, (instance.project, instance.study_key))
            segment.write(job.record)
            if not alone:
                segment.begin_sync(job.record)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            return error
        return segment

    def _commit(self, job: Job, segment: Segment | BaseException) -> Outcome:
        if isinstance(segment, BaseException):
            return segment
        try:
            return Kept(job.record.instance, segment.commit(job.record), job.record.identity)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            return error


def _tell(batch: list[Job], outcomes: list[Outcome]) -> None:
    for job, outcome in zip(batch, outcomes, strict=True):
        if job.done.cancelled():
            continue
        if isinstance(outcome, BaseException):
            job.done.set_exception(outcome)
        else:
            job.done.set_result(outcome)
