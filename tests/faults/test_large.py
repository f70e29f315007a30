"""A large instance whose storage hangs: whoever gives up, its turn and its room come back."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable

import images
import pytest
import synthetic
from machine import OUT_OF_RESOURCES, Machine
from peers.dcmtk import Storescp
from spoilt import spoilt

from dicomnode.dimse.scp import InstanceStream
from dicomnode.intake import Intake
from dicomnode.large import Writing
from dicomnode.model import Buffer, Origin, Received
from dicomnode.outbox import Segment

HALF = 70_000


class Hanging:
    """Writing of records that waits until the disk is back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.back = threading.Event()
        write = Writing.write

        def late(writing: Writing, parts: list[Buffer]) -> None:
            self.back.wait(20)
            write(writing, parts)

        monkeypatch.setattr(Writing, "write", late)


def _instance() -> tuple[bytes, Callable[[int], Received]]:
    data_set = synthetic.ct(1, 2, 1, rows=256, columns=256)
    syntax, data = images.split(images.written(data_set))

    def received(association: int) -> Received:
        origin = Origin("default", "staging", "STAGING", "DICOMNODE", "127.0.0.1", association)
        return Received(origin, str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), syntax)

    return data, received


async def _cut(work: Awaitable[object], begun: threading.Event | None = None) -> None:
    """What happens at the deadline of an answer, when the disk has `begun` to hang."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.1)
    assert begun is None or await asyncio.to_thread(begun.wait, 10)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _given(stream: InstanceStream, data: bytes) -> int:
    """The status of an instance that comes in two pieces; within 5 s."""
    async with asyncio.timeout(5):
        await stream.write(data[:HALF])
        await stream.write(data[HALF:])
        return await stream.finish()


async def _intake(machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp]) -> Intake:
    return (await machine(research=storescp().port)).node._intake


async def test_an_abandonment_cut_short_gives_everything_back(
    machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = await _intake(machine, storescp)
    data, received = _instance()
    disk, first = Hanging(monkeypatch), await intake.stream(received(101))
    await _cut(first.write(data[:HALF]))
    await _cut(first.abandon())
    disk.back.set()
    second = await intake.stream(received(102))
    assert await _given(second, data) == 0
    assert intake.room.taken == 0


async def test_an_end_cut_short_is_kept_all_the_same(
    machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await machine(research=storescp().port)
    intake = node.node._intake
    data, received = _instance()
    first = await intake.stream(received(101))
    await first.write(data[:HALF])
    disk = Hanging(monkeypatch)
    await _cut(first.write(data[HALF:]))
    await _cut(first.finish())
    await _cut(first.abandon())
    disk.back.set()
    await node.until(lambda: node.states())
    second = await intake.stream(received(102))
    async with asyncio.timeout(5):
        await second.write(data)
        assert await second.finish() == 0
    await node.settled(1)
    assert [study.stored for study in node.journal.studies()] == [1]


async def test_who_waits_for_a_turn_gives_up_at_once(
    machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp]
) -> None:
    intake = await _intake(machine, storescp)
    data, received = _instance()
    first, second = await intake.stream(received(101)), await intake.stream(received(102))
    await first.write(data[:HALF])
    await _cut(second.write(data[:HALF]))
    async with asyncio.timeout(10):
        await second.abandon()
        await first.write(data[HALF:])
        assert await first.finish() == 0


async def test_twins_that_wait_for_a_slow_one_take_no_place(
    machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp]
) -> None:
    intake = await _intake(machine, storescp)
    data, received = _instance()
    slow = await intake.stream(received(101))
    await slow.write(data[:HALF])
    twins = [asyncio.create_task(intake.store(received(102 + n), bytearray(data))) for n in range(3)]
    await asyncio.sleep(0.1)
    assert intake.places.taken == 0
    await slow.write(data[HALF:])
    assert await slow.finish() == 0
    assert await asyncio.gather(*twins) == [0, 0, 0]


@pytest.mark.parametrize("sealed", [False, True], ids=["clean", "withheld"])
async def test_failures_of_the_disk_leave_nobody_at_work(
    machine: Callable[..., Awaitable[Machine]],
    storescp: Callable[..., Storescp],
    monkeypatch: pytest.MonkeyPatch,
    sealed: bool,
) -> None:
    """However long something remembers the errors, the next instance is cleaned."""
    node = await machine(research=storescp().port)
    intake, (data, received) = node.node._intake, _instance()
    given = data[:-1000] if sealed else data  # it ends too early: doubt
    failed = []
    with spoilt(node.storage, monkeypatch) as disk:
        disk.fails = lambda _, what: errno.ENOSPC if what == ("rename" if sealed else "write") else 0
        for association in range(101, 105):
            failed.append(await intake.stream(received(association)))
            assert await _given(failed[-1], given) == OUT_OF_RESOURCES
    assert await _given(await intake.stream(received(110)), data) == 0


@pytest.mark.parametrize("large", [False, True], ids=["whole", "streamed"])
async def test_an_association_that_ends_while_the_disk_hangs_keeps_no_segment(
    machine: Callable[..., Awaitable[Machine]],
    storescp: Callable[..., Storescp],
    monkeypatch: pytest.MonkeyPatch,
    large: bool,
) -> None:
    """Else the study's segments would not be deleted before the next start."""
    node = await machine(research=storescp().port)
    intake, outbox, (data, received) = node.node._intake, node.node._storage.outbox, _instance()
    begun, back, new = threading.Event(), threading.Event(), outbox._new

    def late(project: str, study_key: str) -> Segment:
        begun.set()
        back.wait(20)
        return new(project, study_key)

    monkeypatch.setattr(outbox, "_new", late)
    intake.opened(received(101).origin)
    if large:
        stream = await intake.stream(received(101))
        await _cut(stream.write(data), begun)
        await _cut(stream.abandon())
    else:
        await _cut(intake.store(received(101), bytearray(data)), begun)
    intake.closed(received(101).origin, "aborted")
    await asyncio.sleep(0.1)
    back.set()
    await node.until(lambda: outbox._own and not outbox._leased, 5, "the end of the lease")
