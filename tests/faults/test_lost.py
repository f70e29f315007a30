"""Files of the storage directory gone, cut short or damaged: what can be had again is taken again, and it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import images
import pytest
import synthetic
from machine import Machine, four
from peers.dcmtk import Storescp
from structlog.testing import capture_logs

from dicomnode.errors import SealBroken
from dicomnode.model import StudyState


def small(number: int) -> bytes:
    return images.written(synthetic.small(1, 1, number))


def segment_of(node: Machine) -> Path:
    (path,) = node.storage.glob("outbox/*/*/*.seg")
    return path


async def receive(node: Machine, count: int) -> list[bytes]:
    """So many instances of one study, in the journal and in one segment; the node has stopped."""
    sent = [small(number) for number in range(1, count + 1)]
    assert await node.send(sent) == [0] * count
    await asyncio.wrap_future(node.journal.flush())
    await node.stop()
    return sent


async def restart(node: Machine) -> list[dict[str, object]]:
    """Start it; what it said of damage."""
    with capture_logs() as logs:
        await node.start()
    return [line for line in logs if line["event"] == "storage-damaged"]


@pytest.mark.parametrize("how", ["gone", "short", "empty"])
async def test_what_is_gone_is_taken_again(
    machine: Callable[..., Machine], storescp: Callable[..., Storescp], free_port: Callable[[], int], how: str
) -> None:
    port = free_port()
    node = await machine(research=port)
    sent = await receive(node, 3)
    path = segment_of(node)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-10] if how == "short" else b"")
    lost = 1 if how == "short" else 3
    research = storescp(port=port)
    (damage,) = await restart(node)
    assert (damage["segment"], damage["instances"]) == (path.relative_to(node.storage / "outbox").as_posix(), lost)
    (study,) = node.journal.studies()
    assert len(node.journal.lost(study.project, study.study_key)) == lost
    told = [event.name for event in node.journal.events(study.project, study.study_key)]
    assert told.count("instance-lost") == lost
    undelivered = ({"held": 1}, {"incomplete": 1}, {"withheld": 1})
    await node.until(lambda: node.states() in undelivered, what="a study that lacks instances is not delivered")
    assert await node.send(sent) == [0] * 3
    await node.until(lambda: len(research.data_sets()) == 3)
    await node.settled(1)
    (study,) = node.journal.studies()
    assert study.stored == 3


@pytest.mark.parametrize("database", ["journal", "identity"])
async def test_a_damaged_record_costs_itself_alone(
    machine: Callable[..., Machine], storescp: Callable[..., Storescp], free_port: Callable[[], int], database: str
) -> None:
    port = free_port()
    node = await machine(research=port)
    sent = await receive(node, 5)
    path = segment_of(node)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    for file in node.storage.glob(f"{database}.db*"):
        file.rename(file.with_name(f"away-{file.name}"))
    research = storescp(port=port)
    (damage,) = await restart(node)
    assert damage["instances"] == (0 if database == "journal" else 1), "without a row nobody knows what it was"
    await node.until(lambda: len(research.data_sets()) == 4)
    assert await node.send(sent) == [0] * 5
    await node.until(lambda: len(research.data_sets()) == 5)
    await node.settled(1)


async def test_what_was_delivered_is_not_missed(
    machine: Callable[..., Machine], storescp: Callable[..., Storescp]
) -> None:
    node = await machine(research=storescp().port, storage="min_free: 1MiB, keep: segments")
    assert await node.send([small(1), small(2)]) == [0, 0]
    await node.settled(1)
    await node.stop()
    segment_of(node).unlink()
    assert await restart(node) == []
    (study,) = node.journal.studies()
    assert (study.state, study.stored) == (StudyState.CONFIRMED, 2)
    assert node.journal.lost(study.project, study.study_key) == set()
    assert node.journal.placed_segments() == {}


@pytest.mark.parametrize("large", [False, True])
async def test_a_damaged_original_is_sealed_again(
    machine: Callable[..., Machine], storescp: Callable[..., Storescp], large: bool
) -> None:
    node = await machine(research=storescp().port)
    bad = four(1)["bad"][large]
    assert await node.send([bad]) == [0]
    await node.settled(1)
    await node.stop()
    (path,) = node.storage.glob("quarantine/*/*.sealed")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    await node.start()
    assert await node.send([bad]) == [0]
    await asyncio.wrap_future(node.journal.flush())
    originals = []
    for record in node.journal.withheld_list():
        _, _, chunks = node.node._storage.quarantine.read(record.project, record.quarantine)
        with suppress(SealBroken):
            originals.append(b"".join(chunks))
    assert originals == [images.split(bad)[1]]
