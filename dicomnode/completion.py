"""From facts to decisions: when a study is complete it is handed to its destinations; when all have it, it is done.

The rules are `studies`; this is the part with the journal, the clock and the forwarders.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from dicomnode.errors import PermanentError
from dicomnode.following import TROUBLED, Following, again, event_of, unconfirmed
from dicomnode.model import Delivery, DeliveryState, Event, Study, StudyState, Withheld
from dicomnode.outbox import Outbox
from dicomnode.store.journal import Journal
from dicomnode.studies import Fact, Gap, Inquiry, Key, OpenStudies, SourceAnswer, after, judge
from dicomnode.verify import Verifier
from dicomnode.ways import Way

log = structlog.get_logger()

LET_GO = "a person let it go as it is"
LOOK_EVERY = 0.2  # seconds between looks for quiet studies
TOGETHER = 256  # studies taken up at once, so that what is written for them is committed together
RENEWAL = "renewal"  # has a turn of its own

UNDELIVERED = frozenset({DeliveryState.WAITING, DeliveryState.SENDING})
STATE_EVENTS = frozenset(f"study-{state}" for state in StudyState)
UNJUDGED = frozenset({StudyState.RECEIVING, StudyState.INCOMPLETE})
ENDED = frozenset({StudyState.FORWARDED, StudyState.CONFIRMED, StudyState.FAILED, StudyState.WITHHELD})

Each = TypeVar("Each")


async def _together(work: Callable[[Each], Awaitable[None]], those: Sequence[Each]) -> None:
    for start in range(0, len(those), TOGETHER):
        await asyncio.gather(*map(work, those[start : start + TOGETHER]))


class Completion(Following):
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
        super().__init__(ways, journal, outbox, keep_segments=keep_segments)
        self._open = open_studies
        self._verifier = verifier
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
                await self._without_trouble(key, self._sweep(key))
            await asyncio.sleep(LOOK_EVERY)

    def arrived(self, key: Key, association: int | None) -> None:
        """An instance of the study has been made durable; a study that was already judged is reopened."""
        if self._open.arrived(key, association, self._ways[key[0]].quiet, time.monotonic()):
            self._start(lambda: self._reopen(key))

    def _begin_judging(self, key: Key) -> None:
        """A source may take its time: each study is judged beside the others."""
        self._open.move_started(key, self._ways[key[0]].quiet, time.monotonic())
        task = asyncio.get_running_loop().create_task(self._without_trouble(key, self._judge_held(key)))
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
        except Exception:
            self._open.arrived(key, None, max(self._ways[key[0]].quiet, TROUBLED), time.monotonic())
            raise
        finally:
            self._open.move_ended(key, time.monotonic())

    async def _inquire(self, key: Key, known: Inquiry | None) -> Inquiry | None:
        """What the source says; a study that has ended, or that a person decided about, is not asked about."""
        await asyncio.wrap_future(self._journal.settle(*key))
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
        if not self._ways[study.project].incomplete_go or not await self._may_go(study):
            return study.state
        return await self._pass(study, Fact.LET_GO, evidence=f"{study.evidence}, sent as it is")

    async def _may_go(self, study: Study) -> bool:
        """Whether there is a clean instance that is not kept back."""
        here = await asyncio.to_thread(self._journal.here, study.project, study.study_key)
        return bool(here.may_go)

    def failed(self, record: Withheld) -> None:
        """An instance failed the rules' conditions: nothing more is sent of its study before it is judged again."""
        key = (record.project, record.study_key)
        under_way = [forwarder.drop(key) for forwarder in self.forwarders.values()]
        self._start(lambda: self._tell_late(record, any(under_way)))

    async def _tell_late(self, record: Withheld, under_way: bool) -> None:
        """Where some of what fails with it has gone out already, a person has to know."""
        await asyncio.wrap_future(self._journal.flush())
        event = await asyncio.to_thread(self._journal.failed_late, record, under_way)
        if event is not None:
            self._journal.event(event)
            log.error(event.name, project=event.project, study=event.study_key, **event.facts)

    def may_delete(self, key: Key) -> None:
        """What was kept back is not to be kept any longer: delete it when nothing else is left to send."""
        self._start(lambda: self._look_again(key))

    async def decide(self, key: Key, fact: Fact, user: str) -> Study:
        """Do with a study what a person decided; the study afterwards. Raises PermanentError where it cannot be."""
        async with self._turns.turn(key):
            await asyncio.wrap_future(self._journal.flush())
            study = await asyncio.to_thread(self._journal.get_study, *key)
            again = study is not None and fact is Fact.RETRY and study.state is StudyState.FORWARDING
            if study is None or (after(study.state, fact) is study.state and not again):
                raise PermanentError(f"{fact}: the study is {study.state if study else 'gone'}", "nothing was changed")
            if fact is Fact.FORWARD and not await self._may_go(study):
                raise PermanentError("forward: the study has no clean instance that may go", "nothing was changed")
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
            if fact is Fact.FORWARD and study.expected and not study.missing:  # it was to be judged again
                here = await self._verifier.here(key)
                await self._note_gap(study, here.gap(SourceAnswer(count=study.expected)))
            state = await self._pass(study, fact, evidence=LET_GO if fact is Fact.FORWARD else None)
            if state in (StudyState.COMPLETE, StudyState.FORWARDING):
                await self._hand_over(await self._fresh(study), anew=True)
            elif state is StudyState.RECEIVING:
                self._open.arrived(key, None, self._ways[key[0]].quiet, time.monotonic())
            return await self._fresh(study)

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
            event = event_of(study)
            self._journal.event(event)
            if states:
                log.info(event.name, project=study.project, study=study.study_key, **event.facts)

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
        found = await asyncio.to_thread(self._journal.studies, states=unfinished)
        await _together(self._resume, found)
        resumed = {(study.project, study.study_key) for study in found if study.state not in ENDED}
        lying = await asyncio.to_thread(self._outbox.studies)
        await _together(self._look_again, [key for key in lying if key not in resumed])
        await self._withdraw()

    async def _resume(self, study: Study) -> None:
        if study.project not in self._ways:
            log.warning("project-gone", project=study.project, study=study.study_key)
            return
        async with self._turns.turn((study.project, study.study_key)):
            await self._resume_one(study)

    async def _resume_one(self, study: Study) -> None:
        key = (study.project, study.study_key)
        if study.state is StudyState.RECEIVING:
            self._open.arrived(key, None, self._ways[study.project].quiet, time.monotonic())
        elif study.state is StudyState.INCOMPLETE:
            if await self._let_go(study) is StudyState.COMPLETE:
                await self._hand_over(await self._fresh(study))
        elif study.state is StudyState.FORWARDED:
            await self._take_up(key)
            self._start(partial(self._follow, key))
        else:
            await self._pass(study, Fact.RETRY)
            await self._hand_over(await self._fresh(study))

    async def _take_up(self, key: Key) -> None:
        """Of a study that went out: what waits to be confirmed, or to be sent again, and what was withdrawn."""
        for delivery in await self._deliveries(key):
            if delivery.state in UNDELIVERED or unconfirmed(delivery, self._ways[key[0]].asked):
                self.forwarders[delivery.destination].add(delivery)
            elif delivery.state is DeliveryState.WITHDRAWN:
                self.forwarders[delivery.destination].add(again(delivery))

    def destinations_changed(self) -> None:
        """The configuration has been renewed: studies wait for the destinations that they have now, and no others."""
        self._start(self._change_destinations)

    async def _change_destinations(self) -> None:
        async with self._turns.turn(RENEWAL):
            await self._withdraw()
            unfinished = (StudyState.COMPLETE, StudyState.FORWARDING, StudyState.HELD)
            await _together(self._hand_to_new, await asyncio.to_thread(self._journal.studies, states=unfinished))
            lying = set(await asyncio.to_thread(self._outbox.studies))
            withdrawn = await asyncio.to_thread(self._journal.deliveries, states=(DeliveryState.WITHDRAWN,))
            back = {(each.project, each.study_key) for each in withdrawn if self._has_way(each)}
            await _together(self._look_again, sorted(back & lying))

    async def _withdraw(self) -> None:
        """Deliveries to destinations that their project no longer has end, and studies that have only these left."""
        await asyncio.wrap_future(self._journal.flush())
        undone = (DeliveryState.WAITING, DeliveryState.SENDING, DeliveryState.HELD)
        found = await asyncio.to_thread(self._journal.deliveries, states=undone)
        await _together(self._withdraw_one, [each for each in found if each.project in self._ways])
        ended = (StudyState.FORWARDED, StudyState.FAILED)
        for study in await asyncio.to_thread(self._journal.studies, states=ended):
            if study.project in self._ways:
                self._start(partial(self._follow, (study.project, study.study_key)))

    def _has_way(self, delivery: Delivery) -> bool:
        """Whether its project has the delivery's destination now."""
        return delivery.project in self._ways and delivery.destination in self._ways[delivery.project].destinations

    async def _withdraw_one(self, delivery: Delivery) -> None:
        if self._has_way(delivery):
            return
        forwarder = self.forwarders.get(delivery.destination)
        if forwarder is not None:
            forwarder.drop((delivery.project, delivery.study_key), DeliveryState.WITHDRAWN)
        withdrawn = replace(delivery, state=DeliveryState.WITHDRAWN, error="")
        await asyncio.wrap_future(self._journal.delivery(withdrawn))
        self.delivered(withdrawn)

    async def _hand_to_new(self, study: Study) -> None:
        """A study that has a destination more than when it was handed over."""
        key, way = (study.project, study.study_key), self._ways.get(study.project)
        if way is None:
            return
        async with self._turns.turn(key):
            study = await self._fresh(study)
            deliveries = await self._deliveries(key)
            known = {each.destination for each in deliveries if each.state is not DeliveryState.WITHDRAWN}
            if known.issuperset(way.destinations):
                return
            if study.state is StudyState.HELD and deliveries:  # else it was never handed over
                study = replace(study, state=await self._pass(study, Fact.RETRY))
            if study.state in (StudyState.COMPLETE, StudyState.FORWARDING):
                await self._hand_over(await self._fresh(study))

    async def _look_again(self, key: Key) -> None:
        """A study with segments that has ended: reopen it when something in them was never sent, else delete them."""
        study = await asyncio.to_thread(self._journal.get_study, *key)
        if study is None or study.state not in ENDED:
            return
        if await asyncio.to_thread(self._has_unsent, key):
            self.arrived(key, None)
        elif study.state is StudyState.FORWARDED:
            await self._take_up(key)
        elif study.state in (StudyState.CONFIRMED, StudyState.WITHHELD) and not self._keep_segments:
            self._delivered[key] = 0.0
