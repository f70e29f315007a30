"""From facts to decisions: when a study is complete it is handed to its destinations; when all have it, it is done.

The rules are `studies`; this is the part with the journal, the clock and the forwarders.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial

import structlog

from dicomnode.errors import DicomnodeError, PermanentError
from dicomnode.forward import Forwarder
from dicomnode.model import Delivery, DeliveryState, Event, Study, StudyState
from dicomnode.outbox import Outbox
from dicomnode.places import Turns
from dicomnode.store.journal import Journal
from dicomnode.studies import Fact, Gap, Inquiry, Key, OpenStudies, SourceAnswer, after, amends, judge
from dicomnode.verify import Verifier
from dicomnode.ways import Way

log = structlog.get_logger()

TROUBLED = 5.0  # seconds until the next attempt when the journal cannot be read or written
LET_GO = "a person let it go as it is"
LOOK_EVERY = 0.2  # seconds between looks for quiet studies

SENT_STATES = frozenset({DeliveryState.SENT, DeliveryState.CONFIRMED})
ENDED_STATES = SENT_STATES | {DeliveryState.FAILED, DeliveryState.HELD}
STATE_EVENTS = frozenset(f"study-{state}" for state in StudyState)
UNJUDGED = frozenset({StudyState.RECEIVING, StudyState.INCOMPLETE})
ENDED = frozenset({StudyState.FORWARDED, StudyState.CONFIRMED, StudyState.FAILED, StudyState.WITHHELD})


class Completion:
    """Judges studies that have become quiet and follows their deliveries to the end."""

    def __init__(
        self,
        ways: Mapping[str, Way],
        open_studies: OpenStudies,
        journal: Journal,
        outbox: Outbox,
        verifier: Verifier,
        *,
        keep_segments: bool,
    ) -> None:
        self._ways = ways
        self._open = open_studies
        self._journal = journal
        self._outbox = outbox
        self._verifier = verifier
        self._keep_segments = keep_segments
        self._turns = Turns()
        self._tasks: set[asyncio.Task[None]] = set()
        self._delivered: dict[Key, float] = {}  # studies to delete, and when to try
        self.forwarders: dict[str, Forwarder] = {}
        self.answers: dict[Key, Inquiry] = {}  # what a retrieval has learnt already
        self._judging: dict[Key, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Look for quiet studies until cancelled."""
        try:
            await self._look()
        finally:
            for task in self._judging.values():
                task.cancel()

    async def _look(self) -> None:
        while True:
            for key in self._open.due(time.monotonic()):
                self._begin_judging(key)
            for key in [key for key, at in self._delivered.items() if at <= time.monotonic()]:
                await self._without_trouble(self._sweep(key))
            await asyncio.sleep(LOOK_EVERY)

    async def _without_trouble(self, work: Coroutine[None, None, None]) -> None:
        """What fails for one study is tried again later, and keeps no other study from its turn."""
        try:
            await work
        except (DicomnodeError, OSError) as error:
            _tell_trouble(error)

    def arrived(self, key: Key, association: int | None) -> None:
        """An instance of the study has been made durable; a study that was already judged is reopened."""
        if self._open.arrived(key, association, self._ways[key[0]].quiet, time.monotonic()):
            self._start(lambda: self._reopen(key))

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

    def _begin_judging(self, key: Key) -> None:
        """A source may take its time: each study is judged beside the others."""
        self._open.move_started(key, self._ways[key[0]].quiet, time.monotonic())
        task = asyncio.get_running_loop().create_task(self._without_trouble(self._judge_held(key)))
        self._judging[key] = task
        task.add_done_callback(lambda task: self._judging.pop(key) if self._judging.get(key) is task else None)

    async def judge(self, key: Key) -> None:
        """Have the source asked and what is missing fetched, then decide whether the study is complete."""
        self._open.move_started(key, self._ways[key[0]].quiet, time.monotonic())
        await self._judge_held(key)

    async def _judge_held(self, key: Key) -> None:
        """The same for a study that is held open, so that nobody else judges it meanwhile."""
        known = self.answers.pop(key, None)
        try:
            inquiry = await self._inquire(key, known)
            if inquiry is None:
                if known is not None:
                    self.answers[key] = known
                return
            async with self._turns.turn(key):
                # Closed before its instances are counted: one that arrives meanwhile opens the study again.
                self._open.close(key)
                await self._judge(key, inquiry)
        except (DicomnodeError, OSError):
            self._open.arrived(key, None, max(self._ways[key[0]].quiet, TROUBLED), time.monotonic())
            raise
        finally:
            self._open.move_ended(key, time.monotonic())

    async def _inquire(self, key: Key, known: Inquiry | None) -> Inquiry | None:
        """What the source says; a study that has ended, or that a person decided about, is not asked about."""
        await asyncio.wrap_future(self._journal.flush())
        study = await asyncio.to_thread(self._journal.get_study, *key)
        if study is None or study.state not in UNJUDGED:
            return known or Inquiry(over=True)
        return await self._verifier.inquire(key, known)

    async def _judge(self, key: Key, inquiry: Inquiry) -> None:
        here = await self._verifier.here(key)
        study = await asyncio.to_thread(self._journal.get_study, *key)
        if study is None:
            return
        if study.state in ENDED and await asyncio.to_thread(self._has_unsent, key):
            await self._pass(study, Fact.ARRIVED)
            study = await self._fresh(study)
        if inquiry.answer is None and study.expected is not None:
            inquiry = replace(inquiry, answer=SourceAnswer(count=study.expected))
        verdict = judge(here, self._ways[key[0]].quiet, inquiry)
        study = await self._note_gap(study, verdict.gap)
        state = await self._pass(study, verdict.fact, evidence=verdict.evidence, expected=verdict.expected)
        if state is StudyState.INCOMPLETE and verdict.fact is Fact.MISSING:
            state = await self._let_go(await self._fresh(study))
        if state is StudyState.COMPLETE:
            await self._hand_over(await self._fresh(study))

    async def _note_gap(self, study: Study, gap: Gap) -> Study:
        key = (study.project, study.study_key)
        if study.missing or gap.count:
            await asyncio.wrap_future(self._journal.lacks(*key, gap))
        return replace(study, missing=gap.count)

    async def _let_go(self, study: Study) -> StudyState:
        """An incomplete study goes, marked, where its project says so and there is something to send."""
        if not self._ways[study.project].incomplete_go or not study.stored:
            return study.state
        return await self._pass(study, Fact.LET_GO, evidence=f"{study.evidence}, sent as it is")

    async def _pass(
        self, study: Study, fact: Fact, *, evidence: str | None = None, expected: int | None = None
    ) -> StudyState:
        state = after(study.state, fact)
        amended = True if amends(study.state, fact) else None
        told = replace(study, state=state, evidence=evidence or study.evidence, expected=expected or study.expected)
        event = None if state is study.state else _event(replace(told, amended=amended or study.amended))
        if event is not None or evidence is not None:
            await asyncio.wrap_future(
                self._journal.study(
                    study.project,
                    study.study_key,
                    state=state,
                    evidence=evidence,
                    expected=expected,
                    amended=amended,
                    at=time.time(),
                    event=event,
                )
            )
        if event is not None:
            log.info(event.name, project=study.project, study=study.study_key, **event.facts)
        return state

    async def decide(self, key: Key, fact: Fact, user: str) -> Study:
        """Do with a study what a person decided; the study afterwards. Raises PermanentError where it cannot be."""
        async with self._turns.turn(key):
            await asyncio.wrap_future(self._journal.flush())
            study = await asyncio.to_thread(self._journal.get_study, *key)
            again = study is not None and fact is Fact.RETRY and study.state is StudyState.FORWARDING
            if study is None or (after(study.state, fact) is study.state and not again):
                raise PermanentError(f"{fact}: the study is {study.state if study else 'gone'}", "nothing was changed")
            if fact is Fact.FORWARD and not study.stored:
                raise PermanentError("forward: the study has no clean instance", "nothing was changed")
            log.info("study-decided", project=key[0], study=key[1], kind=str(fact), user=user)
            self._journal.event(Event("study-decided", time.time(), *key, {"kind": str(fact), "user": user}))
            for forwarder in self.forwarders.values():
                forwarder.drop(key)
                forwarder.hurry()
            if key in self._judging:
                self._judging[key].cancel()
            self._open.close(key)
            if fact is Fact.RETRY:
                await asyncio.wrap_future(self._journal.forget_refusals(*key))
                await asyncio.wrap_future(self._journal.lacks(*key, Gap()))
            state = await self._pass(study, fact, evidence=LET_GO if fact is Fact.FORWARD else None)
            if state in (StudyState.COMPLETE, StudyState.FORWARDING):
                await self._hand_over(await self._fresh(study), anew=True)
            elif state is StudyState.RECEIVING:
                self._open.arrived(key, None, self._ways[key[0]].quiet, time.monotonic())
            return await self._fresh(study)

    async def _hand_over(self, study: Study, *, anew: bool = False) -> None:
        before = {d.destination: d for d in await self._deliveries((study.project, study.study_key))}
        for name in self._ways[study.project].destinations:
            delivery = before.get(name) or Delivery(
                study.project, study.study_key, name, DeliveryState.WAITING, 0, 0.0, "", 0, 0
            )
            if anew or delivery.state is not DeliveryState.WAITING:
                delivery = _again(delivery)
            written = self._journal.delivery(delivery)
            self.forwarders[name].add(delivery)  # at once: an attempt that ends now must see that there is more
            await asyncio.wrap_future(written)
        await self._pass(study, Fact.SENDING)

    async def _reopen(self, key: Key) -> None:
        async with self._turns.turn(key):
            await asyncio.wrap_future(self._journal.flush())
            study = await asyncio.to_thread(self._journal.get_study, *key)
            if study is None:
                return
            if study.state is StudyState.RECEIVING:
                await self._tell_receiving(study)
            await self._pass(study, Fact.ARRIVED)

    async def _tell_receiving(self, study: Study) -> None:
        """The row of a late instance has reopened its study already; here it is told."""
        events = await asyncio.to_thread(self._journal.events, study.project, study.study_key)
        states = [event.name for event in events if event.name in STATE_EVENTS]
        if states[-1:] != [f"study-{StudyState.RECEIVING}"]:
            event = _event(study)
            self._journal.event(event)
            if states:
                log.info(event.name, project=study.project, study=study.study_key, **event.facts)

    async def _follow(self, key: Key) -> None:
        async with self._turns.turn(key):
            await asyncio.wrap_future(self._journal.flush())
            study = await asyncio.to_thread(self._journal.get_study, *key)
            deliveries = await self._deliveries(key)
            if study is None or len(deliveries) < len(self._ways[key[0]].destinations):
                return
            if all(delivery.state in ENDED_STATES for delivery in deliveries):
                await self._end(study, deliveries)

    async def _end(self, study: Study, deliveries: list[Delivery]) -> None:
        if any(d.state is DeliveryState.HELD for d in deliveries):
            await self._pass(study, Fact.HELD)
            return
        if any(d.state is DeliveryState.FAILED for d in deliveries):
            await self._pass(study, Fact.UNDELIVERABLE)
            return
        state = await self._pass(study, Fact.DELIVERED)
        if state is not StudyState.FORWARDED:
            return
        state = await self._pass(await self._fresh(study), Fact.CONFIRMED)
        if state is StudyState.CONFIRMED and not self._keep_segments:
            self._delivered[study.project, study.study_key] = 0.0

    async def _deliveries(self, key: Key) -> list[Delivery]:
        """The study's deliveries to the destinations that its project has today."""
        found = await asyncio.to_thread(self._journal.deliveries, key[0], study_key=key[1])
        return [delivery for delivery in found if delivery.destination in self._ways[key[0]].destinations]

    def _has_unsent(self, key: Key) -> bool:
        """Whether a destination still lacks something of the study that lies here (blocking)."""
        return any(self._journal.unsent(*key, name) for name in self._ways[key[0]].destinations)

    async def _fresh(self, study: Study) -> Study:
        fresh = await asyncio.to_thread(self._journal.get_study, study.project, study.study_key)
        return fresh or study

    def _forget(self, key: Key) -> bool:
        """Delete a delivered study's segments, unless one is in use or holds what has not been sent (blocking)."""
        known = self._journal.segment_offsets(*key)
        if self._has_unsent(key):
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

    async def resume(self) -> None:
        """Take up everything that was unfinished when the node last stopped."""
        unfinished = (
            StudyState.RECEIVING,
            StudyState.COMPLETE,
            StudyState.FORWARDING,
            StudyState.FORWARDED,
            StudyState.HELD,
            StudyState.INCOMPLETE,
        )
        for study in await asyncio.to_thread(self._journal.studies, states=unfinished):
            key = (study.project, study.study_key)
            if study.project not in self._ways:
                log.warning("project-gone", project=study.project, study=study.study_key)
            elif study.state is StudyState.RECEIVING:
                self._open.arrived(key, None, self._ways[study.project].quiet, time.monotonic())
            elif study.state is StudyState.INCOMPLETE:
                if await self._let_go(study) is StudyState.COMPLETE:
                    await self._hand_over(await self._fresh(study))
            elif study.state is StudyState.FORWARDED:
                self._start(partial(self._follow, key))
            else:
                await self._pass(study, Fact.RETRY)
                await self._hand_over(await self._fresh(study))
        for key in await asyncio.to_thread(self._outbox.studies):
            await self._look_again(key)
        await self._withdraw()

    def destinations_changed(self) -> None:
        """The configuration has been renewed: what waits for a destination that is gone waits no longer."""
        self._start(self._withdraw)

    async def _withdraw(self) -> None:
        """Deliveries to destinations that their project no longer has end; new ones get what is unfinished."""
        undone = (DeliveryState.WAITING, DeliveryState.SENDING, DeliveryState.HELD)
        for delivery in await asyncio.to_thread(self._journal.deliveries, states=undone):
            key, way = (delivery.project, delivery.study_key), self._ways.get(delivery.project)
            if way is None or delivery.destination in way.destinations:
                continue
            forwarder = self.forwarders.get(delivery.destination)
            if forwarder is not None:
                forwarder.drop(key)
            withdrawn = replace(delivery, state=DeliveryState.WITHDRAWN, error="")
            await asyncio.wrap_future(self._journal.delivery(withdrawn))
            self.delivered(withdrawn)
        unfinished = (StudyState.COMPLETE, StudyState.FORWARDING)
        for study in await asyncio.to_thread(self._journal.studies, states=unfinished):
            await self._hand_to_new(study)

    async def _hand_to_new(self, study: Study) -> None:
        key, way = (study.project, study.study_key), self._ways.get(study.project)
        if way is None:
            return
        async with self._turns.turn(key):
            known = {delivery.destination for delivery in await self._deliveries(key)}
            if not known.issuperset(way.destinations):
                await self._hand_over(await self._fresh(study))

    async def _look_again(self, key: Key) -> None:
        """A study with segments that has ended: reopen it when something in them was never sent, else delete them."""
        study = await asyncio.to_thread(self._journal.get_study, *key)
        if study is None or study.state not in ENDED:
            return
        if await asyncio.to_thread(self._has_unsent, key):
            self.arrived(key, None)
        elif study.state is StudyState.CONFIRMED and not self._keep_segments:
            self._delivered[key] = 0.0

    async def settle(self) -> None:
        """Wait until what was noted is in the journal."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _start(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        task = asyncio.get_running_loop().create_task(self._persist(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _persist(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do it, again and again while the storage is in trouble: what has been noted must not be forgotten."""
        while True:
            try:
                await work()
                return
            except (DicomnodeError, OSError) as error:
                _tell_trouble(error)
                await asyncio.sleep(TROUBLED)


def _tell_trouble(error: Exception) -> None:
    log.error("storage-troubled", error=str(error) if isinstance(error, DicomnodeError) else type(error).__name__)


def _event(study: Study) -> Event:
    facts: dict[str, object] = {"stored": study.stored, "withheld": study.withheld, "expected": study.expected}
    facts |= {"missing": study.missing or None, "evidence": study.evidence, "amended": study.amended or None}
    return Event(f"study-{study.state}", time.time(), study.project, study.study_key, facts)


def _again(delivery: Delivery) -> Delivery:
    return replace(delivery, state=DeliveryState.WAITING, attempts=0, next_at=0.0, error="", failed=0)
