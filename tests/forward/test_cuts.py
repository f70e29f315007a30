"""Associations that end while an instance is sent: whom that costs what, and when the next attempt is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from keeper import peer, serving, until
from kept import clean
from peers.process import free_port
from peers.scripted import Acceptor
from structlog.testing import capture_logs
from studies_to_send import KEY, SHORT, SOON, WAITING, Receiver, cases, world

from dicomnode.dimse.scp import Server
from dicomnode.forward import Patience
from dicomnode.model import Delivery, DeliveryState, Received

LONG = Patience(first=60, most=60)


@dataclass
class Cutter(Receiver):
    """A research PACS that drops the connection instead of answering where `cuts` says so."""

    cuts: Callable[[Received], bool] = lambda received: False
    server: Server | None = None
    of_association: Counter[int] = field(default_factory=Counter)

    async def store(self, received: Received, data: bytearray) -> int:
        self.of_association[received.origin.association] += 1
        if self.cuts(received):
            self.asked.append(received.sop_uid)
            assert self.server is not None
            for connection in list(self.server._connections):
                connection.drop()
            return 0xC000
        return await super().store(received, data)


@asynccontextmanager
async def cutting(cutter: Cutter) -> AsyncIterator[int]:
    async with serving(cutter) as (server, port):
        cutter.server = server
        yield port


@pytest.mark.parametrize("place", [0, 2, 5])
async def test_one_instance_that_is_always_cut_costs_itself_alone(tmp_path: Path, place: int) -> None:
    held = cases(6)
    bad = held[place].instance
    cutter = Cutter(cuts=lambda received: received.sop_uid == bad.sop_uid)
    async with world(tmp_path) as here, cutting(cutter) as port:
        here.hold(held)
        forwarder = here.forwarder(port)
        forwarder.add(WAITING)
        await until(lambda: len(cutter.data_sets) == 5)
        other = clean(50, study="studyb")
        segment = here.outbox.lease("trial", "studyb")
        here.journal.stored(other.instance, other.append_to(segment)).result()
        forwarder.add(replace(WAITING, study_key="studyb"))
        await here.ends(2)
        (delivery,) = (each for each in here.ended if each.study_key == "studya")
        assert (delivery.state, delivery.sent) == (DeliveryState.HELD, 5)
        assert delivery.error == (
            f"instance {bad.instance_key} alone ends each association on which it is sent: "
            "research aborted the association; look into the log of research, then dicomnode studies retry"
        )
        assert here.events().count("instance-held") == 1
        assert here.events().count("destination-down") == (place == 0), "nothing had been answered before"
        assert cutter.asked.count(bad.sop_uid) in (SOON.refusals + 1, SOON.refusals + 2)
        others = [case.instance.sop_uid for case in (*held, other) if case.instance is not bad]
        assert sorted(uid for uid in cutter.asked if uid != bad.sop_uid) == sorted(others), "nothing was sent twice"
        cutter.cuts = lambda received: False
        forwarder.add(WAITING)
        delivery = await here.ends(3)
        assert (delivery.state, delivery.sent) == (DeliveryState.SENT, 6)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_destination_that_drops_whatever_comes_is_away(tmp_path: Path, count: int) -> None:
    cutter = Cutter()
    async with world(tmp_path) as here, cutting(cutter) as port:
        here.hold(cases(2, first=10))
        forwarder = here.forwarder(port)
        forwarder.add(WAITING)
        await here.ends()
        cutter.cuts = lambda received: True
        here.hold(cases(count))
        forwarder.add(WAITING)
        await until(lambda: here.delivery().attempts >= 2 + 3 * SOON.refusals, 20)
        assert here.delivery().error == "research aborted the association"
        assert not forwarder.up
        assert here.events().count("destination-down") == 1
        assert "instance-held" not in here.events()
        cutter.cuts = lambda received: False
        delivery = await here.ends(2)
        assert (delivery.state, delivery.sent) == (DeliveryState.SENT, 2 + count)
        assert here.events()[-1] == "destination-up"


async def test_who_takes_a_few_with_each_association_is_not_away_and_waits_do_not_grow(tmp_path: Path) -> None:
    cutter = Cutter()
    cutter.cuts = lambda received: cutter.of_association[received.origin.association] > 2
    async with world(tmp_path) as here, cutting(cutter) as port:
        here.hold(cases(20))
        with capture_logs() as lines:
            here.forwarder(port, replace(SOON, refusals=1, most=60)).add(WAITING)
            delivery = await here.ends(seconds=20)
        assert (delivery.state, delivery.sent) == (DeliveryState.SENT, 20)
        attempts = [line["attempt"] for line in lines if line["event"] == "delivery-postponed"]
        assert len(attempts) >= 6
        assert set(attempts) == {1}
        assert here.events() == ["delivery-postponed", "delivery-sent"]


async def test_a_destination_that_moved_is_tried_at_once(tmp_path: Path) -> None:
    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(2))
        forwarder = here.forwarder(free_port(), LONG)
        forwarder.add(WAITING)
        await until(lambda: here.delivery().attempts == 1 and here.delivery().state is DeliveryState.WAITING)
        forwarder.renew(peer(port), LONG, SHORT)
        assert (await here.ends()).state is DeliveryState.SENT


async def test_a_destination_that_moved_while_the_attempt_was_noted_is_tried_at_once(tmp_path: Path) -> None:
    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(2))
        forwarder, note = here.forwarder(free_port(), LONG), here.journal.delivery

        def noted(delivery: Delivery, *event: Any) -> Any:
            future = note(delivery, *event)
            if delivery.attempts == 1 and delivery.state is DeliveryState.WAITING:
                forwarder.renew(peer(port), LONG, SHORT)
            return future

        here.journal.delivery = noted  # type: ignore[method-assign]
        forwarder.add(WAITING)
        assert (await here.ends()).state is DeliveryState.SENT


async def test_a_destination_that_moved_while_it_was_tried_is_tried_again_at_once(tmp_path: Path) -> None:
    receiver = Receiver()
    with Acceptor(["pdu", 20.0]) as silent:
        async with world(tmp_path) as here, serving(receiver) as (_, port):
            here.hold(cases(2))
            forwarder = here.forwarder(silent.port, LONG)
            forwarder.add(WAITING)
            await until(lambda: any(silent.read))
            forwarder.renew(peer(port), LONG, SHORT)
            assert (await here.ends()).state is DeliveryState.SENT
            assert "destination-down" not in here.events()


async def test_what_was_withdrawn_while_it_was_sent_stays_withdrawn_until_it_is_added(tmp_path: Path) -> None:
    receiver = Receiver()
    with Acceptor([20.0]) as silent:
        async with world(tmp_path) as here, serving(receiver) as (_, port):
            here.hold(cases(2))
            forwarder = here.forwarder(silent.port)
            forwarder.add(WAITING)
            await until(lambda: here.delivery().state is DeliveryState.SENDING)
            assert forwarder.drop(KEY, DeliveryState.WITHDRAWN)
            await until(lambda: not forwarder.waiting)
            assert (here.delivery().state, here.delivery().error) == (DeliveryState.WITHDRAWN, "")
            forwarder.renew(peer(port), SOON, SHORT)
            forwarder.add(WAITING)
            assert (await here.ends()).state is DeliveryState.SENT
