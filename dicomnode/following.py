"""What becomes of a study that goes: handed to its destinations, followed until all have it, then deleted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import replace

import structlog

from dicomnode.errors import DicomnodeError
from dicomnode.forward import Forwarder
from dicomnode.model import Delivery, DeliveryState, Event, Study, StudyState
from dicomnode.outbox import Outbox
from dicomnode.places import Turns
from dicomnode.store.journal import Journal
from dicomnode.studies import Fact, Key, after
from dicomnode.trouble import Trouble
from dicomnode.ways import Way

log = structlog.get_logger()

TROUBLED = 5.0  # seconds until the next attempt when the journal cannot be read or written

SENT_STATES = frozenset({DeliveryState.SENT, DeliveryState.CONFIRMED})
ENDED_STATES = SENT_STATES | {DeliveryState.FAILED, DeliveryState.HELD}
STUCK = frozenset({StudyState.HELD, StudyState.FAILED})

Kept = tuple[Fact, str]
"""Why a complete study is not sent on: what happens to it, and the reason in words."""


async def _nothing(_: Study) -> Kept | None:
    return None


class Following:
    """The part of completion that follows deliveries; one turn for each study."""

    def __init__(self, ways: Mapping[str, Way], journal: Journal, outbox: Outbox, *, keep_segments: bool) -> None:
        self._ways = ways
        self._journal = journal
        self._outbox = outbox
        self._keep_segments = keep_segments
        self._turns = Turns()
        self._trouble = Trouble("storage-troubled")
        self._tasks: set[asyncio.Task[None]] = set()
        self._delivered: dict[Key, float] = {}  # studies to delete, and when to try
        self.forwarders: dict[str, Forwarder] = {}
        self.kept_back: Callable[[Study], Awaitable[Kept | None]] = _nothing

    async def _without_trouble(self, key: Key, work: Coroutine[None, None, None]) -> None:
        """What fails for one study is tried again later, and keeps no other study from its turn."""
        try:
            await work
        except (DicomnodeError, OSError) as error:
            self._trouble.tell(error)
        except Exception as error:  # noqa: BLE001 - whatever it is
            log.error("study-troubled", project=key[0], study=key[1], why=type(error).__name__)

    def delivered(self, delivery: Delivery) -> None:
        """A forwarder has ended a delivery."""
        tell = log.info if delivery.state in SENT_STATES else log.warning
        tell(
            f"delivery-{delivery.state}",
            project=delivery.project,
            study=delivery.study_key,
            destination=delivery.destination,
            sent=delivery.sent,
            failed=delivery.failed,
            error=delivery.error or None,
        )
        self._start(lambda: self._follow((delivery.project, delivery.study_key)))

    async def _pass(
        self, study: Study, fact: Fact, *, evidence: str | None = None, expected: int | None = None, why: str = ""
    ) -> StudyState:
        state = after(study.state, fact)
        told = replace(study, state=state, evidence=evidence or study.evidence, expected=expected or study.expected)
        event = None if state is study.state else event_of(told, why)
        if event is not None or evidence is not None:
            await asyncio.wrap_future(
                self._journal.study(
                    study.project,
                    study.study_key,
                    state=state,
                    evidence=evidence,
                    expected=expected,
                    at=time.time(),
                    event=event,
                )
            )
        if event is not None:
            log.info(event.name, project=study.project, study=study.study_key, **event.facts)
        return state

    async def go_on(self, key: Key) -> None:
        """What kept the study back is over."""
        async with self._turns.turn(key):
            study = await asyncio.to_thread(self._journal.get_study, *key)
            if study is not None and study.state is StudyState.HELD:
                await self._pass(study, Fact.RETRY)
                await self._hand_over(await self._fresh(study))

    async def _hand_over(self, study: Study, *, anew: bool = False) -> None:
        kept = await self.kept_back(study)
        if kept is not None:
            await self._pass(study, kept[0], why=kept[1])
            return
        before = {d.destination: d for d in await self._deliveries((study.project, study.study_key))}
        written: list[Future[None]] = []
        for name in self._ways[study.project].destinations:
            delivery = before.get(name) or Delivery(
                study.project, study.study_key, name, DeliveryState.WAITING, 0, 0.0, "", 0, 0
            )
            if anew or delivery.state is not DeliveryState.WAITING:
                delivery = again(delivery)
            written.append(self._journal.delivery(delivery))
            self.forwarders[name].add(delivery)  # at once: an attempt that ends now must see that there is more
        await self._pass(study, Fact.SENDING)
        for each in written:  # mostly with it, in one commit
            await asyncio.wrap_future(each)

    async def _follow(self, key: Key) -> None:
        async with self._turns.turn(key):
            await asyncio.wrap_future(self._journal.settle(*key))
            study = await asyncio.to_thread(self._journal.get_study, *key)
            deliveries = await self._deliveries(key)
            if study is None or len(deliveries) < len(self._ways[key[0]].destinations):
                return
            if all(delivery.state in ENDED_STATES for delivery in deliveries):
                await self._end(study, deliveries)

    async def _end(self, study: Study, deliveries: list[Delivery]) -> None:
        key = (study.project, study.study_key)
        if study.state in STUCK and await asyncio.to_thread(self._has_unsent, key):
            return  # what ended was what had been handed over before it was kept back
        if any(d.state is DeliveryState.HELD for d in deliveries):
            await self._pass(study, Fact.HELD)
            return
        if any(d.state is DeliveryState.FAILED for d in deliveries):
            await self._pass(study, Fact.UNDELIVERABLE)
            return
        state = await self._pass(study, Fact.DELIVERED)
        asked = self._ways[study.project].asked
        if state is not StudyState.FORWARDED or any(unconfirmed(d, asked) for d in deliveries):
            return
        state = await self._pass(await self._fresh(study), Fact.CONFIRMED)
        if state is StudyState.CONFIRMED and not self._keep_segments:
            self._delivered[key] = 0.0

    async def _deliveries(self, key: Key) -> list[Delivery]:
        """The study's deliveries to the destinations that its project has today."""
        found = await asyncio.to_thread(self._journal.deliveries, key[0], study_key=key[1])
        return [delivery for delivery in found if delivery.destination in self._ways[key[0]].destinations]

    def _has_unsent(self, key: Key) -> bool:
        """Whether a destination still lacks something of the study that lies here (blocking)."""
        return any(self._journal.has_unsent(*key, name) for name in self._ways[key[0]].destinations)

    async def _fresh(self, study: Study) -> Study:
        fresh = await asyncio.to_thread(self._journal.get_study, study.project, study.study_key)
        return fresh or study

    def _forget(self, key: Key) -> bool:
        """Delete a delivered study's segments, unless one is in use, or something is unsent or kept back (blocking)."""
        known = self._journal.segment_offsets(*key)
        if self._has_unsent(key) or self._journal.kept_for_later(*key):
            return True
        deleted = self._outbox.delete_study(*key, known)
        if deleted is None:
            return False
        self._journal.forget_locations(*key, deleted).result()
        return True

    async def _sweep(self, key: Key) -> None:
        """Delete what was delivered, or try again later when it is in use."""
        self._delivered[key] = time.monotonic() + TROUBLED
        async with self._turns.turn(key):
            await asyncio.wrap_future(self._journal.flush())
            if await asyncio.to_thread(self._forget, key):
                self._delivered.pop(key, None)

    async def settle(self) -> None:
        """Wait until what was noted is in the journal."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _start(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        task = asyncio.get_running_loop().create_task(self.persist(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def persist(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do it, again and again while there is trouble, whatever it is: what has been noted must not be forgotten."""
        while True:
            try:
                await work()
                return
            except Exception as error:  # noqa: BLE001 - else the study would stay as it is until the next start
                self._trouble.tell(error)
                await asyncio.sleep(TROUBLED)


def event_of(study: Study, why: str = "") -> Event:
    """What there is to tell of a study in its state."""
    facts: dict[str, object] = {"stored": study.stored, "withheld": study.withheld, "expected": study.expected}
    facts |= {"missing": study.missing or None, "evidence": study.evidence, "amended": study.amended or None}
    facts |= {"why": why or None}
    return Event(f"study-{study.state}", time.time(), study.project, study.study_key, facts)


def unconfirmed(delivery: Delivery, asked: frozenset[str]) -> bool:
    """Whether the destination has taken the study and is still to be asked if it holds it."""
    return delivery.state is DeliveryState.SENT and delivery.destination in asked


def again(delivery: Delivery) -> Delivery:
    """The delivery begun anew, at once."""
    return replace(delivery, state=DeliveryState.WAITING, attempts=0, next_at=0.0, error="", failed=0)
