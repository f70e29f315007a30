"""`confirm: find`: a study is confirmed when its destination lists what it took; what it lacks is sent again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest
import synthetic
from machine import Machine
from peers.archive import Archive

from dicomnode.dimse import query
from dicomnode.model import Delivery, DeliveryState
from dicomnode.studies import Fact

Making = Callable[..., Awaitable[Machine]]
SENT = list(synthetic.series(3))


@pytest.fixture
def research(programs: ExitStack) -> Iterator[Archive]:
    """A research PACS that can be asked."""
    return programs.enter_context(Archive(ae_title="RESEARCH"))


def _delivery(node: Machine) -> Delivery:
    (found,) = node.journal.deliveries()
    return found


def _events(node: Machine) -> list[str]:
    node.journal.flush().result()
    (study,) = node.journal.studies()
    return [event.name for event in node.journal.events(study.project, study.study_key)]


async def test_what_the_destination_lists_is_confirmed(machine: Making, research: Archive) -> None:
    node = await machine(research=research.port, confirm="find")
    assert await node.send(SENT) == [0] * 3
    await node.settled(1)
    assert _delivery(node).state is DeliveryState.CONFIRMED
    told = _events(node)
    assert told.index("delivery-sent") < told.index("delivery-confirmed") < told.index("study-confirmed")
    assert research.asked == ["SERIES", "IMAGE"]
    assert len(research.received) == 3


async def test_by_default_the_answer_to_c_store_is_enough(machine: Making, research: Archive) -> None:
    research.forgets = [1]
    node = await machine(research=research.port)
    await node.send(SENT)
    await node.settled(1)
    assert (_delivery(node).state, research.asked) == (DeliveryState.SENT, [])


async def test_what_it_took_and_lost_is_sent_again_and_nothing_else(machine: Making, research: Archive) -> None:
    research.forgets = [2]
    node = await machine(research=research.port, confirm="find")
    await node.send(SENT)
    await node.settled(1)
    assert _delivery(node).state is DeliveryState.CONFIRMED
    assert len({data_set.SOPInstanceUID for data_set in research.held}) == len(research.received) == 3
    assert "delivery-unconfirmed" in _events(node)


async def test_one_that_loses_all_it_takes_ends_failed_and_can_be_tried_again(
    machine: Making, research: Archive
) -> None:
    research.forgets = [10**6]
    node = await machine(research=research.port, confirm="find")
    await node.send(SENT)
    await node.until(lambda: node.states() == {"failed": 1}, what="a failed study")
    delivery = _delivery(node)
    assert (delivery.state, delivery.failed) == (DeliveryState.FAILED, 3)
    assert delivery.error == "research does not list 3 of the instances that it took"
    assert 10**6 - research.forgets[0] == 3 * 3, "sent, and twice again"
    assert _events(node)[-2:] == ["delivery-failed", "study-failed"]
    assert list(node.storage.glob("outbox/*/*/*.seg")), "what is not there stays here"
    research.forgets = []
    (study,) = node.journal.studies()
    await node.node._completion.decide((study.project, study.study_key), Fact.RETRY, "somebody")
    await node.settled(1)
    assert len(research.received) == 3


async def test_one_that_cannot_be_asked_leaves_the_study_forwarded_until_it_can(
    machine: Making, research: Archive
) -> None:
    research.find = 0xA900
    node = await machine(research=research.port, confirm="find")
    await node.send(SENT)
    await node.until(lambda: any(each.attempts >= 2 for each in node.journal.deliveries()), what="two")
    assert node.states() == {"forwarded": 1}
    assert _delivery(node).error == "research cannot list the instances of a study by C-FIND"
    assert _events(node).count("delivery-unconfirmed") == 1
    await node.stop()
    research.find = 0x0000
    await node.start()
    await node.settled(1)
    assert _delivery(node).state is DeliveryState.CONFIRMED
    assert len(research.received) == 3, "nothing was sent twice"


async def test_a_late_instance_is_confirmed_too(machine: Making, research: Archive) -> None:
    node = await machine(research=research.port, confirm="find")
    await node.send(SENT[:2])
    await node.settled(1)
    await node.send(SENT[2:])
    await node.until(lambda: len(research.received) == 3, what="the late one")
    await node.settled(1)
    (study,) = node.journal.studies()
    assert study.amended
    assert _delivery(node).state is DeliveryState.CONFIRMED


async def test_one_that_answers_nonsense_is_asked_again_and_nothing_is_sent_or_told_twice(
    machine: Making, research: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nonsense(*_: object, **__: object) -> None:
        raise ValueError("Zwetschgenbaum^Ottokar")

    node = await machine(research=research.port, confirm="find")
    with monkeypatch.context() as answers:
        answers.setattr(query, "find_instances", nonsense)
        await node.send(SENT)
        await node.until(lambda: any(each.attempts >= 3 for each in node.journal.deliveries()), what="three questions")
        delivery = _delivery(node)
        assert (delivery.state, node.states()) == (DeliveryState.SENT, {"forwarded": 1})
        assert delivery.error == "research could not be asked: an unexpected ValueError"
    await node.settled(1)
    assert [_events(node).count(f"delivery-{name}") for name in ("sent", "unconfirmed", "confirmed")] == [1, 1, 1]
    assert len(research.received) == 3


async def test_how_often_something_was_sent_again_is_remembered_over_a_restart(
    machine: Making, research: Archive
) -> None:
    research.forgets = [10**6]
    node = await machine(research=research.port, confirm="find")
    await node.send(SENT)
    for times in (1, 2):
        await node.until(lambda times=times: 10**6 - research.forgets[0] >= 3 * (times + 1), what="another copy")
        await node.stop()
        await node.start()
    await node.until(lambda: node.states() == {"failed": 1}, what="a failed study")
    assert 10**6 - research.forgets[0] == 3 * 3, "sent, and twice again"
