"""The wall clock jumps by a day: nothing is stuck, and nothing goes out before its time."""

from __future__ import annotations

import asyncio
import time

import images
import pytest
import synthetic
from chain import Way
from machine import asked
from peers.archive import Archive

from dicomnode import jobs

DAY = 86400.0
REAL = time.time


@pytest.fixture
def clock(monkeypatch):
    """A function that lets time.time() jump."""
    shift = [0.0]
    monkeypatch.setattr(time, "time", lambda: REAL() + shift[0])

    def jump(seconds: float) -> None:
        shift[0] += seconds

    return jump


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
async def test_a_jump_while_a_study_arrives(machine, storescp, clock, jump):
    research = storescp()
    node = await machine(research=research.port, quiet="1500ms")
    first, second = synthetic.series(2)
    assert await node.send([first]) == [0]
    began = time.monotonic()
    clock(jump)
    await asyncio.sleep(1.0)
    assert node.states() == {"receiving": 1}
    assert research.files() == []
    assert await node.send([second]) == [0]
    await node.settled(1, 30)
    assert 2.4 < time.monotonic() - began < 30
    assert research.data_sets() == Way(node, research).expect([first, second])
    assert node.journal.studies()[0].stored == 2


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
async def test_a_jump_while_a_destination_is_away(machine, storescp, free_port, clock, jump):
    port = free_port()
    node = await machine(research=port, forward="first: 1500ms, most: 3s", quiet="200ms")
    sent = list(synthetic.series(2))
    assert await node.send(sent) == [0, 0]
    await node.until(lambda: any(d.attempts == 2 for d in node.journal.deliveries()), 10)
    clock(jump)
    research = storescp(port=port)
    began = time.monotonic()
    await asyncio.sleep(0.3)
    assert research.files() == [], "the second wait is 2.2 s at least, whatever the clock says"
    await node.settled(1, 30)
    assert time.monotonic() - began < 30
    assert research.data_sets() == Way(node, research).expect(sent)


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
async def test_a_jump_while_the_node_is_stopped(machine, storescp, free_port, clock, jump):
    port = free_port()
    node = await machine(research=port, forward="first: 500ms, most: 1s", quiet="200ms")
    sent = list(synthetic.series(2))
    assert await node.send(sent) == [0, 0]
    await node.until(lambda: any(d.attempts for d in node.journal.deliveries()), 10)
    await node.stop()
    clock(jump)
    research = storescp(port=port)
    await node.start()
    await node.settled(1, 30)
    assert research.data_sets() == Way(node, research).expect(sent)


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
async def test_a_jump_while_a_study_waits_to_be_fetched_again(machine, storescp, free_port, clock, jump, monkeypatch):
    """Its source cannot be reached; it comes, and the study is fetched within the longest wait between two attempts."""
    monkeypatch.setattr(jobs, "FIRST", 0.5)
    monkeypatch.setattr(jobs, "MOST", 1.0)
    port, files = free_port(), [images.written(synthetic.small(1, 1, number)) for number in (1, 2)]
    node = await machine(research=storescp().port, staging=port)
    told: list[dict[str, object]] = []
    asking = asyncio.create_task(asked(node.node, [synthetic.uid(1)], told.append))
    await node.until(lambda: sum(each["event"] == "source-waits" for each in told) >= 3, 20, "attempts")
    clock(jump)
    with Archive(files, port=port) as archive:
        archive.destinations = {"DICOMNODE": node.node.port}
        await node.settled(1, 15)
        assert await asking == 0
