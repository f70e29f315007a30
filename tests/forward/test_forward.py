"""The forwarder, with real sockets: what each answer does to a study, and what is remembered of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from keeper import peer, serving, until
from kept import clean
from peers.scripted import Acceptor
from studies_to_send import KEY, SOON, WAITING, Receiver, cases, data_set, of, world

from dicomnode.attempt import proposals, split
from dicomnode.dimse.scp import Rejection
from dicomnode.errors import CannotKeep
from dicomnode.forward import Forwarder, Patience
from dicomnode.model import DeliveryState, Location

EXPLICIT, IMPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"
CLASS = "1.2.840.10008.5.1.4.1.1"
HERE = Location("x", 0, 0, 0, 0, 0)


def test_contexts_are_its_own_syntax_and_those_to_fall_back_on() -> None:
    explicit = clean(0).instance
    assert proposals(explicit) == ((explicit.sop_class, EXPLICIT), (explicit.sop_class, IMPLICIT))
    assert [s for _, s in proposals(replace(explicit, transfer_syntax=JPEG))] == [JPEG, EXPLICIT, IMPLICIT]


@pytest.mark.parametrize("kinds", [1, 42, 43, 64, 65, 200])
def test_more_contexts_than_an_association_has_are_split(kinds: int) -> None:
    rows = [
        (of(clean(n), f"{CLASS}.{n % kinds}", JPEG if n % 2 else EXPLICIT).instance, HERE) for n in range(2 * kinds)
    ]
    groups = list(split(rows))
    assert sorted(row[0].instance_key for _, group in groups for row in group) == sorted(
        row[0].instance_key for row in rows
    )
    for contexts, group in groups:
        assert 0 < len(contexts) <= 128
        assert len(set(contexts)) == len(contexts)
        assert {context for row in group for context in proposals(row[0])} == set(contexts)
    needed = len({context for row in rows for context in proposals(row[0])})
    assert len(groups) <= needed // 100 + 1
    assert list(split([])) == []


async def test_many_kinds_go_out_on_several_associations(tmp_path: Path) -> None:
    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        held = here.hold(of(clean(n), f"{CLASS}.{n}", EXPLICIT) for n in range(130))
        here.forwarder(port).add(WAITING)
        delivery = await here.ends(seconds=20)
        assert (delivery.state, delivery.sent, delivery.failed) == (DeliveryState.SENT, 130, 0)
    assert receiver.count == 3
    assert receiver.data_sets == {case.instance.sop_uid: (EXPLICIT, data_set(case)) for case in held}


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111, 0x0107, 0xB123])
async def test_what_counts_as_sent(tmp_path: Path, status: int) -> None:
    async with world(tmp_path) as here, serving(Receiver(status=status)) as (_, port):
        here.hold(cases(2))
        here.forwarder(port).add(WAITING)
        delivery = await here.ends()
        assert (delivery.state, delivery.sent, delivery.failed) == (DeliveryState.SENT, 2, 0)
        assert here.delivery() == delivery
        assert ("instance-verify" in here.events()) == (status not in (0x0000, 0xB000, 0xB006, 0xB007))
        assert here.journal.unsent(*KEY, "research") == []


@pytest.mark.parametrize("status", [0xA900, 0xA9FF, 0xC000, 0xC211, 0xCFFF, 0x0117, 0x0122, 0x0124, 0x0211, 0x1234])
async def test_a_permanent_failure_is_for_that_instance_alone(tmp_path: Path, status: int) -> None:
    held = cases(4)
    receiver = Receiver(answers={held[1].instance.sop_uid: [status]})
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(held)
        here.forwarder(port).add(WAITING)
        delivery = await here.ends()
        assert (delivery.state, delivery.sent, delivery.failed) == (DeliveryState.FAILED, 3, 1)
        assert here.events() == ["instance-refused", "delivery-failed"]
    assert len(receiver.asked) == 4
    assert len(receiver.stored) == 3


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0213])
async def test_a_transient_failure_is_tried_again_and_the_rest_goes_on(tmp_path: Path, status: int) -> None:
    held = cases(5)
    receiver = Receiver(answers={held[1].instance.sop_uid: [status, status, 0]})
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(held)
        here.forwarder(port).add(WAITING)
        delivery = await here.ends()
        assert (delivery.state, delivery.sent, delivery.failed) == (DeliveryState.SENT, 5, 0)
        assert here.events()[0] == "delivery-postponed"
    uids = [case.instance.sop_uid for case in held]
    assert receiver.asked == [*uids, uids[1], uids[1]]
    assert len(receiver.stored) == 5


async def test_a_destination_without_resources_is_left_alone_after_a_few(tmp_path: Path) -> None:
    receiver = Receiver(status=0xA700)
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(50))
        here.forwarder(port, replace(SOON, first=0.5, most=5)).add(WAITING)
        await until(lambda: here.delivery().attempts == 1)
        assert len(receiver.asked) == 3
        assert "out of resources (0xA700)" in here.delivery().error
        receiver.status = 0
        delivery = await here.ends()
        assert (delivery.state, delivery.sent) == (DeliveryState.SENT, 50)


async def test_refusals_for_the_moment_are_bounded(tmp_path: Path) -> None:
    held = cases(3)
    stubborn = held[0].instance.sop_uid
    receiver = Receiver(answers={stubborn: [0x0110]})
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(held)
        here.forwarder(port).add(WAITING)
        delivery = await here.ends()
        assert (delivery.state, delivery.sent, delivery.failed) == (DeliveryState.FAILED, 2, 1)
    assert receiver.asked.count(stubborn) == SOON.refusals
    assert len(receiver.asked) == SOON.refusals + 2


async def test_what_was_refused_is_not_forgotten_over_a_restart(tmp_path: Path) -> None:
    """One instance was refused for good, then the node died before the study was through."""
    held = cases(3)
    receiver = Receiver(answers={held[0].instance.sop_uid: [0xC000], held[2].instance.sop_uid: [0xA700]})
    async with serving(receiver) as (_, port):
        async with world(tmp_path) as here:
            here.hold(held)
            here.forwarder(port, Patience(first=60, most=60)).add(WAITING)
            await until(lambda: here.delivery().attempts == 1)
            assert (here.delivery().sent, here.delivery().failed) == (1, 1)
        receiver.answers.clear()
        async with world(tmp_path) as here:
            here.forwarder(port).add(replace(WAITING, attempts=0, sent=0, failed=0))
            delivery = await here.ends()
            assert (delivery.state, delivery.sent, delivery.failed) == (DeliveryState.FAILED, 2, 1)


async def test_a_restart_goes_on_where_it_was_and_later(tmp_path: Path) -> None:
    receiver = Receiver()
    async with serving(receiver) as (_, port):
        async with world(tmp_path) as here:
            here.hold(cases(2))
            here.forwarder(port).add(WAITING)
            await here.ends()
        async with world(tmp_path) as here:
            here.hold(cases(2, first=2))
            here.forwarder(port).add(replace(WAITING, next_at=time.time() + 0.15))
            begin = time.monotonic()
            delivery = await here.ends()
            assert time.monotonic() - begin > 0.1
            assert (delivery.state, delivery.sent) == (DeliveryState.SENT, 4)
    assert len(receiver.asked) == len(set(receiver.asked)) == 4


async def test_what_comes_while_its_study_is_sent_is_sent_too_and_ends_it_once(tmp_path: Path) -> None:
    gate = asyncio.Event()
    receiver = Receiver(pause=gate.wait)
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(2))
        forwarder = here.forwarder(port)
        forwarder.add(WAITING)
        await until(lambda: receiver.asked)
        here.hold(cases(1, first=2))
        forwarder.add(WAITING)
        gate.set()
        delivery = await here.ends()
        assert (delivery.state, delivery.sent) == (DeliveryState.SENT, 3)
        await asyncio.sleep(0.2)
        assert here.ended == [delivery]
    assert len(receiver.asked) == len(set(receiver.asked)) == 3


async def test_stop_ends_after_the_instance_that_is_being_sent(tmp_path: Path) -> None:
    gate = asyncio.Event()
    receiver = Receiver(pause=gate.wait)
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(3))
        forwarder = here.forwarder(port)
        forwarder.add(WAITING)
        await until(lambda: receiver.asked)
        forwarder.stop()
        gate.set()
        await until(lambda: here.delivery().state is DeliveryState.WAITING)
        assert (here.delivery().sent, here.delivery().attempts, here.delivery().error) == (1, 0, "")
        assert len(here.journal.unsent(*KEY, "research")) == 2
        assert here.ended == []
        await until(lambda: receiver.ends == ["released"])


async def test_a_permanent_rejection_pauses_and_a_transient_one_backs_off(tmp_path: Path) -> None:
    for result, name, most in ((1, "destination-paused", 2), (2, "destination-down", 20)):
        receiver = Receiver(refused={"STAGING": Rejection(result, 1 if result == 1 else 3, 2, "no")})
        async with world(tmp_path / name) as here, serving(receiver) as (_, port):
            here.hold(cases(1))
            forwarder = here.forwarder(port, Patience(first=0.05, most=0.8 if result == 1 else 0.1))
            forwarder.add(WAITING)
            await asyncio.sleep(0.6)
            attempts = here.delivery().attempts
            assert 1 <= attempts < most if result == 1 else attempts >= 3
            assert name in here.events()
            assert here.events().count(name) == 1
            assert not forwarder.up
            receiver.refused.clear()
            assert (await here.ends()).state is DeliveryState.SENT
            assert forwarder.up
            assert here.events()[-1] == "destination-up"


async def test_one_dead_destination_does_not_hold_another(tmp_path: Path) -> None:
    receiver = Receiver()
    with Acceptor([20.0]) as silent:
        async with world(tmp_path) as here, serving(receiver) as (_, port):
            here.hold(cases(3))
            dead = here.forwarder(silent.port)
            dead.destination = replace(peer(silent.port), name="dead")
            dead.add(replace(WAITING, destination="dead"))
            here.forwarder(port).add(WAITING)
            assert (await here.ends()).destination == "research"
            await until(lambda: "destination-down" in here.events())
            assert len(here.journal.unsent(*KEY, "dead")) == 3


async def test_a_study_whose_segment_is_damaged_is_held_and_others_go_on(tmp_path: Path) -> None:
    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(2))
        for path in (tmp_path / "outbox").rglob("*.seg"):
            path.write_bytes(b"")
        other = [clean(number, study="studyb") for number in (7, 8)]
        segment = here.outbox.lease("trial", "studyb")
        for case in other:
            here.journal.stored(case.instance, case.append_to(segment))
        forwarder = here.forwarder(port)
        forwarder.add(WAITING)
        forwarder.add(replace(WAITING, study_key="studyb"))
        await here.ends(2)
        ends = {each.study_key: (each.state, each.sent) for each in here.ended}
        assert ends == {"studya": (DeliveryState.HELD, 0), "studyb": (DeliveryState.SENT, 2)}
        assert forwarder.waiting == 0


async def test_an_error_that_nobody_foresaw_keeps_one_study_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(1))
        unsent, failures = here.journal.unsent, iter([ValueError("Zwetschgenbaum")])

        def fail_once(*arguments: str):
            for error in failures:
                raise error
            return unsent(*arguments)

        monkeypatch.setattr(here.journal, "unsent", fail_once)
        here.forwarder(port).add(WAITING)
        assert (await here.ends()).state is DeliveryState.SENT


async def test_several_associations_share_the_studies(tmp_path: Path) -> None:
    gate = asyncio.Event()
    receiver = Receiver(pause=gate.wait)
    async with world(tmp_path) as here, serving(receiver) as (server, port):
        for study in ("studya", "studyb", "studyc"):
            segment = here.outbox.lease("trial", study)
            for number in range(2):
                case = clean(10 * ord(study[-1]) + number, study=study)
                here.journal.stored(case.instance, case.append_to(segment))
        forwarder: Forwarder = here.forwarder(port, associations=3)
        for study in ("studya", "studyb", "studyc"):
            forwarder.add(replace(WAITING, study_key=study))
        await until(lambda: server.associations == 3)
        gate.set()
        await here.ends(3)
        assert {each.state for each in here.ended} == {DeliveryState.SENT}
    assert len(receiver.stored) == 6


async def test_a_lost_instance_holds_the_study_and_the_rest_goes_out(tmp_path: Path) -> None:
    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        held = cases(3)
        here.journal.stored(held[1].instance, replace(HERE, segment="trial/studya/gone.seg", data_length=9))
        here.hold([held[0], held[2]])
        forwarder = here.forwarder(port)
        forwarder.add(WAITING)
        delivery = await here.ends()
        assert (delivery.state, delivery.sent, delivery.failed) == (DeliveryState.HELD, 2, 0)
        assert "retrieve the study again from its source" in delivery.error
        assert here.delivery() == delivery
        assert sorted(here.events()) == ["delivery-held", "instance-lost"]
        forwarder.add(WAITING)
        assert (await here.ends(2)).state is DeliveryState.HELD
        here.hold(held[1:2])
        forwarder.add(WAITING)
        assert (await here.ends(3)).state is DeliveryState.SENT
    assert sorted(one.sop_uid for one, _ in receiver.stored) == sorted(case.instance.sop_uid for case in held)


async def test_trouble_of_our_own_is_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise CannotKeep("the journal cannot be read", "look at its disk")

    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(1))
        with monkeypatch.context() as trouble:
            trouble.setattr(here.journal, "unsent", broken)
            here.forwarder(port).add(WAITING)
            await until(lambda: here.delivery().attempts == 2)
            assert here.delivery().error == "the journal cannot be read; look at its disk"
            assert here.delivery().state in (DeliveryState.WAITING, DeliveryState.SENDING)
        assert (await here.ends()).state is DeliveryState.SENT
        assert here.events().count("delivery-postponed") == 1
