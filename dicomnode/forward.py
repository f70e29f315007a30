"""From the outbox to a research PACS: complete studies go out by C-STORE until each instance has its answer.

One forwarder per destination, so that a dead one never holds another. Transient failures wait and try again
(doubling, with jitter, across restarts); permanent ones are recorded for that instance and the rest goes on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import structlog

from dicomnode.dimse.sender import Patience as Deadlines
from dicomnode.dimse.sender import Sender
from dicomnode.dimse.status import Outcome, outcome
from dicomnode.errors import DicomnodeError, PeerRejected, PeerUnreachable
from dicomnode.model import Delivery, DeliveryState, Event, Instance, Location, Peer
from dicomnode.outbox import Outbox
from dicomnode.store.journal import Journal
from dicomnode.studies import Key, backoff
from dicomnode.tally import Departures

log = structlog.get_logger()

MOST_CONTEXTS = 128
NO_CONTEXT = 0x0122  # the status we record where the destination took no context for the instance

Row = tuple[Instance, Location]
Context = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Patience:
    """When to try again: seconds before the first and at most between attempts; how often a refusal is retried."""

    first: float = 5.0
    most: float = 900.0
    refusals: int = 20


@dataclass(slots=True)
class Result:
    """What came of one attempt to deliver a study."""

    sent: int = 0
    failed: int = 0
    error: str = ""
    unreachable: bool = False
    last_chance: bool = False


def split(rows: Iterable[Row], most: int = MOST_CONTEXTS) -> Iterator[tuple[list[Context], list[Row]]]:
    """Group instances so that each group needs at most `most` presentation contexts, one per (class, syntax)."""
    by_context: dict[Context, list[Row]] = {}
    for row in rows:
        by_context.setdefault((row[0].sop_class, row[0].transfer_syntax), []).append(row)
    contexts = list(by_context)
    for first in range(0, len(contexts), most):
        part = contexts[first : first + most]
        yield part, [row for context in part for row in by_context[context]]


class Forwarder:
    """Delivers studies to one destination; `finished` is told of each delivery that ended for now."""

    def __init__(
        self,
        destination: Peer,
        calling: Callable[[str], str],
        outbox: Outbox,
        journal: Journal,
        finished: Callable[[Delivery], None],
        *,
        patience: Patience | None = None,
        deadlines: Deadlines | None = None,
        associations: int = 1,
    ) -> None:
        self.destination = destination
        self._calling = calling
        self._outbox = outbox
        self._journal = journal
        self._finished = finished
        self._patience = patience or Patience()
        self._deadlines = deadlines or Deadlines()
        self._associations = associations
        self.departures = Departures()
        self._waiting: dict[Key, Delivery] = {}
        self._due: dict[Key, float] = {}  # when each may be tried, in monotonic seconds: the wall clock may jump
        self._busy: set[Key] = set()
        self._refusals: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._failures = 0
        self._resume_at = 0.0
        self._stopping = False

    def add(self, delivery: Delivery) -> None:
        """Queue a study; one that is being sent now is taken up again afterwards."""
        self._queue(delivery)
        self._changed.set()

    def _queue(self, delivery: Delivery) -> None:
        wait = min(max(0.0, delivery.next_at - time.time()), self._patience.most * 1.25)
        key = (delivery.project, delivery.study_key)
        self._waiting[key], self._due[key] = delivery, time.monotonic() + wait

    def _queue_again(self, delivery: Delivery) -> None:
        """Queue what was tried, unless more of it was queued meanwhile."""
        if (delivery.project, delivery.study_key) not in self._waiting:
            self._queue(delivery)

    @property
    def up(self) -> bool:
        """False while the destination cannot be reached."""
        return self._failures == 0

    @property
    def waiting(self) -> int:
        """How many studies wait or are being sent."""
        return len(self._waiting.keys() | self._busy)

    def stop(self) -> None:
        """End after the instance that is being sent."""
        self._stopping = True
        self._changed.set()

    async def run(self) -> None:
        """Work until stopped."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._associations):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while not self._stopping:
            delivery = self._next()
            if delivery is None:
                await self._sleep()
                continue
            key = (delivery.project, delivery.study_key)
            del self._waiting[key], self._due[key]
            self._busy.add(key)
            try:
                await self._attempt(delivery)
            except DicomnodeError as error:
                self._set_aside(delivery, error)
            finally:
                self._busy.discard(key)
                self._changed.set()

    def _next(self) -> Delivery | None:
        now = time.monotonic()
        if now < self._resume_at:
            return None
        due = [key for key, at in self._due.items() if key not in self._busy and at <= now]
        return self._waiting[min(due, key=self._due.__getitem__)] if due else None

    async def _sleep(self) -> None:
        self._changed.clear()
        times = [at for key, at in self._due.items() if key not in self._busy]
        wake = max(min(times), self._resume_at) - time.monotonic() if times else 3600.0
        try:
            async with asyncio.timeout(max(wake, 0.01)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _set_aside(self, delivery: Delivery, error: DicomnodeError) -> None:
        """Our own storage cannot be read or written: the study waits like for a destination that is away."""
        log.error("storage-troubled", study=delivery.study_key, error=str(error))
        wait = self._patience.first
        self._queue_again(replace(delivery, next_at=time.time() + wait, error="storage"))

    async def _attempt(self, delivery: Delivery) -> None:
        delivery = replace(delivery, state=DeliveryState.SENDING)
        self._journal.delivery(delivery)
        await asyncio.wrap_future(self._journal.flush())
        rows = await asyncio.to_thread(
            self._journal.unsent, delivery.project, delivery.study_key, self.destination.name
        )
        refusals = self._refusals.get((delivery.project, delivery.study_key), 0)
        result = Result(last_chance=refusals + 1 >= self._patience.refusals)
        for contexts, batch in split(rows):
            await self._send_batch(delivery, contexts, batch, result)
            if result.error or self._stopping:
                break
        await self._conclude(delivery, result)

    async def _send_batch(self, delivery: Delivery, contexts: list[Context], batch: list[Row], result: Result) -> None:
        try:
            calling = self._calling(delivery.project)
            sender = await Sender.connect(self.destination, calling, contexts, patience=self._deadlines)
        except (PeerUnreachable, PeerRejected) as error:
            result.error, result.unreachable = error.what, True
            return
        try:
            for instance, location in batch:
                await self._send(sender, instance, location, result)
                if result.error or self._stopping:
                    break
            await sender.release()
        except PeerUnreachable as error:
            sender.abort()
            result.error, result.unreachable = error.what, True
        except BaseException:
            sender.abort()
            raise

    async def _send(self, sender: Sender, instance: Instance, location: Location, result: Result) -> None:
        if not sender.accepts(instance.sop_class, instance.transfer_syntax):
            self._record(instance, NO_CONTEXT, ok=False, result=result)
            return
        with self._outbox.open(location) as part10:
            data_set = part10[location.data_set_offset :]
            began = time.perf_counter()
            status = await sender.store(instance.sop_class, instance.sop_uid, instance.transfer_syntax, [data_set])
            self.departures.send.add(time.perf_counter() - began)
            self.departures.bytes += len(data_set)
            data_set.release()
        match outcome(status):
            case Outcome.SENT | Outcome.VERIFY:
                self._record(instance, status, ok=True, result=result)
            case Outcome.FAILED:
                self._record(instance, status, ok=False, result=result)
            case Outcome.RETRY if result.last_chance:
                self._record(instance, status, ok=False, result=result)
            case Outcome.RETRY:
                key = (instance.project, instance.study_key)
                self._refusals[key] = self._refusals.get(key, 0) + 1
                result.error = f"answered 0x{status:04X}"

    def _record(self, instance: Instance, status: int, *, ok: bool, result: Result) -> None:
        result.sent += ok
        result.failed += not ok
        self.departures.sent += ok
        self.departures.refused += not ok
        self._journal.sent(
            instance.project, instance.instance_key, self.destination.name, status=status, ok=ok, at=time.time()
        )
        if not ok:
            facts = {"instance": instance.instance_key, "status": f"0x{status:04X}"}
            event = self._event("instance-refused", (instance.project, instance.study_key), **facts)
            self._journal.event(event)
            log.warning(event.name, study=event.study_key, **event.facts)

    def _event(self, name: str, key: Key, **facts: object) -> Event:
        return Event(name, time.time(), *key, {"destination": self.destination.name, **facts})

    async def _conclude(self, delivery: Delivery, result: Result) -> None:
        now = time.time()
        key, before = (delivery.project, delivery.study_key), delivery.error
        event: Event | None = None
        delivery = replace(delivery, sent=delivery.sent + result.sent, failed=delivery.failed + result.failed)
        if result.error or self._stopping:
            delivery = self._postpone(delivery, result, now)
            if result.error and (delivery.attempts == 1 or result.error != before):
                event = self._event("delivery-postponed", key, error=result.error, attempt=delivery.attempts)
        else:
            self._reached()
            self._refusals.pop((delivery.project, delivery.study_key), None)
            state = DeliveryState.FAILED if delivery.failed else DeliveryState.SENT
            delivery = replace(delivery, state=state, attempts=0, error="", next_at=0.0)
            event = self._event(f"delivery-{state}", key, sent=delivery.sent, failed=delivery.failed)
        self._journal.delivery(delivery, event)
        await asyncio.wrap_future(self._journal.flush())
        if delivery.state is DeliveryState.WAITING:
            self._queue_again(delivery)
        else:
            self._finished(delivery)

    def _postpone(self, delivery: Delivery, result: Result, now: float) -> Delivery:
        attempts = delivery.attempts + bool(result.error)
        wait = self._wait(attempts) if result.error else 0.0
        if result.unreachable:
            if self.up:
                self._tell("destination-down", error=result.error)
            self._failures += 1
            self._resume_at = time.monotonic() + self._wait(self._failures)
        if result.error:
            log.warning(
                "delivery-postponed",
                destination=self.destination.name,
                study=delivery.study_key,
                error=result.error,
                attempt=attempts,
                seconds=round(wait, 1),
            )
        return replace(delivery, state=DeliveryState.WAITING, attempts=attempts, next_at=now + wait, error=result.error)

    def _wait(self, attempts: int) -> float:
        return backoff(attempts, self._patience.first, self._patience.most, random.random())

    def _tell(self, name: str, **facts: object) -> None:
        event = self._event(name, ("", ""), **facts)
        self._journal.event(event)
        (log.warning if facts else log.info)(event.name, **event.facts)

    def _reached(self) -> None:
        if self._failures:
            self._tell("destination-up")
        self._failures = 0
        self._resume_at = 0.0
