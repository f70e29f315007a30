"""From the outbox to a research PACS: complete studies go out by C-STORE until each instance has its answer.

One forwarder per destination, so that a dead one never holds another. Transient failures wait and try again
(doubling, with jitter, across restarts); permanent ones are recorded for that instance and the rest goes on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from dicomnode import confirm
from dicomnode.attempt import Attempt, Result
from dicomnode.cuts import Cuts
from dicomnode.dimse.sender import Patience as Deadlines
from dicomnode.errors import DicomnodeError
from dicomnode.model import Delivery, DeliveryState, Event, Peer
from dicomnode.outbox import Outbox
from dicomnode.store.journal import Journal
from dicomnode.studies import LONGEST, Key, backoff
from dicomnode.tally import Departures

log = structlog.get_logger()

READS = 5  # attempts, after which an instance that the disk does not give is held


@dataclass(frozen=True, slots=True)
class Patience:
    """When to try again: seconds before the first and at most between attempts; how often a refusal is retried."""

    first: float = 5.0
    most: float = 900.0
    refusals: int = 20


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
        asked: Callable[[str], bool] = lambda project: False,
    ) -> None:
        self.destination = destination
        self._calling = calling
        self._outbox = outbox
        self._journal = journal
        self._finished = finished
        self._patience = patience or Patience()
        self._deadlines = deadlines or Deadlines()
        self._associations = associations
        self._asked = asked  # whether a project wants to know if the destination holds what it took
        self._asking: set[asyncio.Task[list[str]]] = set()
        self._lacked: dict[Key, int] = {}  # how often in a row it did not; the journal has what was sent again
        self.departures = Departures()
        self._cuts = Cuts()
        self._waiting: dict[Key, Delivery] = {}
        self._due: dict[Key, float] = {}  # when each may be tried, in monotonic seconds: the wall clock may jump
        self._busy: set[Key] = set()
        self._dropped: dict[Key, DeliveryState] = {}  # of those that are busy: the state in which they end
        self._refusals: dict[Key, int] = {}
        self._changed = asyncio.Event()
        self._failures = 0
        self._paused = False
        self._resume_at = 0.0
        self._stopping = False

    def add(self, delivery: Delivery) -> None:
        """Queue a study; one that is being sent now is taken up again afterwards."""
        self._queue(delivery)
        key = (delivery.project, delivery.study_key)
        if key in self._dropped:
            self._dropped[key] = DeliveryState.WAITING
        self._changed.set()

    def _queue(self, delivery: Delivery) -> None:
        wait = min(max(0.0, delivery.next_at - time.time()), self._patience.most * LONGEST)
        key = (delivery.project, delivery.study_key)
        self._waiting[key], self._due[key] = delivery, time.monotonic() + wait

    def _queue_again(self, delivery: Delivery) -> None:
        """Queue what was tried, unless more of it was queued meanwhile."""
        key = (delivery.project, delivery.study_key)
        if key not in self._waiting and key not in self._dropped:
            self._queue(delivery)

    @property
    def up(self) -> bool:
        """False while the destination cannot be reached."""
        return self._failures == 0

    @property
    def waiting(self) -> int:
        """How many studies wait or are being sent."""
        return len(self._waiting.keys() | self._busy)

    def renew(self, destination: Peer, patience: Patience, deadlines: Deadlines) -> None:
        """Use these from the next attempt on, which is now; a destination that did not change is not asked earlier."""
        moved = destination != self.destination
        self.destination, self._patience, self._deadlines = destination, patience, deadlines
        for key, delivery in self._waiting.items():
            if moved or delivery.state is not DeliveryState.SENT:
                self._due[key] = time.monotonic()
        self.hurry()

    def drop(self, key: Key, state: DeliveryState = DeliveryState.WAITING) -> bool:
        """Send nothing more of this study until it is added again; True where an instance is just being sent.

        In that case its delivery is left in this `state` afterwards.
        """
        for forgotten in (self._waiting, self._due, self._lacked):
            forgotten.pop(key, None)
        self._cuts.forget(key)
        if key in self._busy:
            self._dropped[key] = state
        return key in self._busy

    def hurry(self) -> None:
        """Try the destination at once, however long it has been away."""
        self._resume_at = 0.0
        self._changed.set()

    def stop(self) -> None:
        """End after the instance that is being sent."""
        self._stopping = True
        self._changed.set()
        for question in self._asking:
            question.cancel()

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
                await (self._confirm(delivery) if delivery.state is DeliveryState.SENT else self._attempt(delivery))
            except DicomnodeError as error:
                log.error("storage-troubled", study=delivery.study_key, error=str(error))
                self._set_aside(delivery, str(error))
            except Exception as error:  # noqa: BLE001 - one study must not keep the others
                log.error("delivery-troubled", study=delivery.study_key, why=type(error).__name__)
                self._set_aside(delivery, f"an unexpected error of the node: {type(error).__name__}")
            finally:
                self._busy.discard(key)
                self._dropped.pop(key, None)
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

    def _set_aside(self, delivery: Delivery, error: str) -> None:
        """Something of ours does not work: the study waits like for a destination that is away."""
        attempts = delivery.attempts + 1
        next_at = time.time() + self._wait(attempts)
        key = (delivery.project, delivery.study_key)
        state = self._dropped.get(key, DeliveryState.WAITING)
        waiting = replace(delivery, state=state, attempts=attempts, next_at=next_at, error=error)
        told = self._event("delivery-postponed", key, error=error, attempt=attempts)
        self._journal.delivery(waiting, told if error != delivery.error else None)
        self._queue_again(waiting)

    async def _attempt(self, delivery: Delivery) -> None:
        key = (delivery.project, delivery.study_key)
        delivery = replace(delivery, state=DeliveryState.SENDING)
        self._journal.delivery(delivery)
        await asyncio.wrap_future(self._journal.flush())
        rows = await asyncio.to_thread(self._journal.unsent, *key, self.destination.name)
        destination = self.destination
        attempt = Attempt(
            destination,
            key,
            self._outbox,
            self._journal,
            deadlines=self._deadlines,
            departures=self.departures,
            cuts=self._cuts,
            most_cuts=self._patience.refusals,
            stopping=lambda: self._stopping or key in self._dropped,
            last_chance=self._refusals.get(key, 0) + 1 >= self._patience.refusals,
            last_read=delivery.attempts + 1 >= READS,
        )
        await attempt.run(self._calling(delivery.project), rows)
        if attempt.result.refused:
            self._refusals[key] = self._refusals.get(key, 0) + 1
        if attempt.result.progress:
            delivery = replace(delivery, attempts=0)
            self._reached()
        elif attempt.result.unreachable and destination == self.destination:
            self._unreached(attempt.result)
        await self._conclude(delivery, attempt.result, destination)

    def _event(self, name: str, key: Key, **facts: object) -> Event:
        return Event(name, time.time(), *key, {"destination": self.destination.name, **facts})

    async def _conclude(self, delivery: Delivery, result: Result, tried: Peer) -> None:
        """Note what came of it; where another was `tried` than is there now, what failed is due at once."""
        key, before = (delivery.project, delivery.study_key), delivery.error
        await asyncio.wrap_future(self._journal.flush())
        sent, refused = await asyncio.to_thread(self._journal.answers, *key, self.destination.name)
        lost = await asyncio.to_thread(self._journal.lost, *key)
        if lost and not result.held:
            result.held = f"{len(lost)} of its instances are lost; retrieve the study again from its source"
        delivery = replace(delivery, sent=sent, failed=refused)
        event: Event | None = None
        if result.error or self._stopping or key in self._dropped:
            delivery = self._postpone(delivery, result, time.time(), at_once=tried != self.destination)
            if result.error and result.error != before:
                facts = {"error": result.error, "instance": result.instance, "attempt": delivery.attempts}
                event = self._event("delivery-postponed", key, **facts)
        else:
            self._reached()
            self._refusals.pop(key, None)
            self._cuts.forget(key)
            if key in self._waiting:  # more of it came meanwhile: its end is the next attempt's
                return
            state = _end(delivery, result)
            delivery = replace(delivery, state=state, attempts=0, error=result.held, next_at=0.0)
            event = self._event(f"delivery-{state}", key, sent=sent, failed=refused, error=result.held)
        self._journal.delivery(delivery, event)
        await asyncio.wrap_future(self._journal.flush())
        if delivery.state is DeliveryState.WAITING:  # perhaps the destination moved while this was noted
            self._queue_again(delivery if tried == self.destination else replace(delivery, next_at=0.0))
        if delivery.state in (DeliveryState.WAITING, DeliveryState.WITHDRAWN):
            return
        self._finished(delivery)
        if delivery.state is DeliveryState.SENT and self._asked(delivery.project):
            self._queue_again(delivery)

    async def _confirm(self, delivery: Delivery) -> None:
        """Ask the destination whether it holds what it took; what it lacks, asked twice, is sent again, bounded."""
        key = (delivery.project, delivery.study_key)
        try:
            lacking = await self._lacking(delivery) if self._asked(delivery.project) else []
        except DicomnodeError as error:
            self._ask_later(delivery, error.what)
            return
        except Exception as error:  # noqa: BLE001 - whatever it answers, what it took is not sent again for it
            self._ask_later(
                delivery, f"{self.destination.name} could not be asked: an unexpected {type(error).__name__}"
            )
            return
        if lacking is None or key in self._waiting or key in self._dropped:
            return
        if not lacking:
            self._lacked.pop(key, None)
            state = DeliveryState.CONFIRMED if self._asked(delivery.project) else DeliveryState.SENT
            await self._confirmed(replace(delivery, state=state, attempts=0, error="", next_at=0.0))
            return
        if key not in self._lacked:  # since the node started
            self._lacked[key] = confirm.ASKS * await asyncio.to_thread(
                self._journal.resent, *key, self.destination.name
            )
        times = self._lacked[key] = self._lacked[key] + 1
        what = f"{self.destination.name} does not list {len(lacking)} of the instances that it took"
        if times % confirm.ASKS:
            self._ask_later(delivery, what)
        elif times > confirm.RESENDS * confirm.ASKS:
            del self._lacked[key]
            failed = replace(delivery, state=DeliveryState.FAILED, failed=len(lacking), error=what, next_at=0.0)
            await self._confirmed(failed)
        else:
            await asyncio.wrap_future(self._journal.untake(key[0], self.destination.name, lacking))
            log.warning("delivery-unconfirmed", study=key[1], destination=self.destination.name, error=what)
            again = replace(delivery, state=DeliveryState.WAITING, attempts=0, error=what, next_at=0.0)
            self._journal.delivery(again, self._event("delivery-unconfirmed", key, error=what, missing=len(lacking)))
            self._queue_again(again)

    async def _lacking(self, delivery: Delivery) -> list[str] | None:
        """Keys of what the destination took and does not list; None when the node stops meanwhile."""
        key = (delivery.project, delivery.study_key)
        study = await asyncio.to_thread(self._journal.get_study, *key)
        taken = await asyncio.to_thread(self._journal.taken, *key, self.destination.name)
        if study is None or self._stopping:
            return None
        calling = self._calling(delivery.project)
        question = asyncio.create_task(confirm.lacking(self.destination, calling, study.study_uid, taken))
        self._asking.add(question)
        try:
            return await question
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            return None
        finally:
            self._asking.discard(question)

    def _ask_later(self, delivery: Delivery, why: str) -> None:
        """Nothing is sent meanwhile; what it took stays in the outbox."""
        attempts, key = delivery.attempts + 1, (delivery.project, delivery.study_key)
        event = None
        if why != delivery.error:
            event = self._event("delivery-unconfirmed", key, error=why, attempt=attempts)
            log.warning(event.name, study=key[1], **event.facts)
        later = replace(delivery, attempts=attempts, error=why, next_at=time.time() + self._wait(attempts))
        self._journal.delivery(later, event)
        self._queue_again(later)

    async def _confirmed(self, delivery: Delivery) -> None:
        key, facts = (delivery.project, delivery.study_key), {"error": delivery.error} if delivery.error else {}
        event = self._event(f"delivery-{delivery.state}", key, sent=delivery.sent, failed=delivery.failed, **facts)
        self._journal.delivery(delivery, event)
        await asyncio.wrap_future(self._journal.flush())
        self._finished(delivery)

    def _postpone(self, delivery: Delivery, result: Result, now: float, *, at_once: bool) -> Delivery:
        attempts = delivery.attempts + bool(result.error)
        wait = self._wait(attempts) if result.error and not at_once else 0.0
        state = self._dropped.get((delivery.project, delivery.study_key), DeliveryState.WAITING)
        if result.error:
            log.warning(
                "delivery-postponed",
                destination=self.destination.name,
                study=delivery.study_key,
                instance=result.instance or None,
                error=result.error,
                attempt=attempts,
                seconds=round(wait, 1),
            )
        error = result.error if state is DeliveryState.WAITING else ""
        return replace(delivery, state=state, attempts=attempts, next_at=now + wait, error=error)

    def _unreached(self, result: Result) -> None:
        """Wait longer and longer; a permanent rejection needs a person, so it is looked after now and then only."""
        paused = result.rejected
        if self.up or paused is not self._paused:
            self._tell("destination-paused" if paused else "destination-down", error=result.error)
        self._paused = paused
        self._failures += 1
        wait = self._patience.most if paused else self._wait(self._failures)
        self._resume_at = time.monotonic() + wait

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
        self._paused = False
        self._resume_at = 0.0


def _end(delivery: Delivery, result: Result) -> DeliveryState:
    if result.held:
        return DeliveryState.HELD
    return DeliveryState.FAILED if delivery.failed else DeliveryState.SENT
