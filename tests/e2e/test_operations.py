"""What an instance costs in operations that can be counted: writes, syncs, files, commits, copies of its pixels.

The node runs in this process, with sockets of its own; the sender is on the same event loop.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import images
import numpy
import pytest
import synthetic
from powercut import Recorder
from sqlalchemy import event

from dicomnode import config, disk
from dicomnode.dimse.sender import Sender
from dicomnode.intake import Intake
from dicomnode.model import Buffer, Peer, Received
from dicomnode.node import Node
from dicomnode.store import writer

RULES = Path(__file__).parents[2] / "rules" / "basic.yaml"
FIRST, MORE = 3, 20
MOST_COMMITS = 2  # of each database for MORE instances: what was hurried before may take the first of them along
PIXELS = 512 * 512 * 2
SLACK = 300_000  # bytes beside the instance: receive buffer, header, record, rows


@dataclass
class Machine:
    """A node, what it does to the disk, and what it commits."""

    node: Node
    recorder: Recorder
    written: list[bool]
    commits: dict[str, int] = field(default_factory=dict)


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[Node]:
    """A node that forwards nothing for now."""
    text = f"""
node: {{ae_title: DICOMNODE, bind: 127.0.0.1, port: 0}}
storage: {{directory: {folder / "storage"}}}
peers:
  staging: {{ae_title: STAGING, host: 127.0.0.1, port: 4242}}
  research: {{ae_title: RESEARCH, host: 127.0.0.1, port: 1}}
projects:
  default: {{rules: {RULES}, source: staging, destinations: [research], completion: {{quiet: 1h}}}}
"""
    node = Node(config.parse(text.encode(), folder / "dicomnode.yaml"))
    await node.start()
    running = asyncio.create_task(node.run())
    try:
        yield node
    finally:
        node.stop()
        await running
        await node.close()


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    """Its rows wait until they are asked for."""
    monkeypatch.setattr(writer, "LINGER", 3600.0)
    with Recorder(tmp_path) as recorder, monkeypatch.context() as patch:
        written = _watch_pixels(patch)
        async with _running(tmp_path) as node:
            made = Machine(node, recorder, written)
            _count_commits(made)
            yield made


def _watch_pixels(patch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the pixels of each write lie in the buffer that was received last."""
    store, write, received, found = Intake.store, disk.write, list[bytearray](), list[bool]()

    async def noted_store(self: Intake, what: Received, data: bytearray) -> int:
        received[:] = [data]
        return await store(self, what, data)

    def noted_write(fd: int, parts: Sequence[Buffer], offset: int) -> int:
        for part in parts:
            if len(part) >= PIXELS:
                views = (numpy.frombuffer(each, numpy.uint8) for each in (part, received[0]))
                found.append(bool(numpy.shares_memory(*views)))
        return write(fd, parts, offset)

    patch.setattr(Intake, "store", noted_store)
    patch.setattr(disk, "write", noted_write)
    return found


def _count_commits(machine: Machine) -> None:
    for name, store in (("journal", machine.node._journal), ("identity book", machine.node._book)):
        machine.commits[name] = 0

        def count(_: Any, name: str = name) -> None:
            machine.commits[name] += 1

        event.listen(store._engine, "commit", count)


async def _sender(node: Node, like: SimpleNamespace) -> Sender:
    peer = Peer("node", "DICOMNODE", "127.0.0.1", node.port, ())
    return await Sender.connect(peer, "STAGING", [(like.sop_class, like.syntax)])


def _instances(count: int) -> list[SimpleNamespace]:
    found = []
    for part10 in synthetic.series(count):
        syntax, data = images.split(part10)
        header = images.header(part10)
        found.append(
            SimpleNamespace(sop_class=str(header.SOPClassUID), uid=str(header.SOPInstanceUID), syntax=syntax, data=data)
        )
    return found


async def _store(sender: Sender, each: SimpleNamespace) -> None:
    assert await sender.store(each.sop_class, each.uid, each.syntax, [each.data]) == 0x0000


async def test_an_instance_on_an_open_segment_is_one_write_and_one_sync(machine: Machine) -> None:
    instances = _instances(FIRST + MORE)
    sender = await _sender(machine.node, instances[0])
    for each in instances[:FIRST]:
        await _store(sender, each)
    before, commits = machine.recorder.now(), dict(machine.commits)
    for each in instances[FIRST:]:
        await _store(sender, each)
    steps = machine.recorder.steps[before:]
    assert [step.kind for step in steps] == ["write", "sync"] * MORE, "no file is created, no directory synced"
    assert len({step.file for step in steps}) == 1
    await asyncio.wrap_future(machine.node._journal.flush())
    assert machine.node._journal.backlog == machine.node._book.backlog == 0
    spent = {name: count - commits[name] for name, count in machine.commits.items()}
    assert max(spent.values()) <= MOST_COMMITS, spent
    assert spent["journal"] > 0
    assert len(machine.node._journal.instances("default", machine.node._journal.studies()[0].study_key)) == FIRST + MORE
    await sender.release()


async def test_the_first_instance_of_a_study_creates_its_segment_and_nothing_else(machine: Machine) -> None:
    before = machine.recorder.now()
    instances = _instances(1)
    sender = await _sender(machine.node, instances[0])
    await _store(sender, instances[0])
    kinds = [step.kind for step in machine.recorder.steps[before:]]
    assert (kinds.count("create"), kinds.count("write"), kinds.count("sync")) == (1, 1, 1)
    assert kinds[-2:] == ["write", "sync"]
    await sender.release()


async def test_pixels_are_written_from_the_buffer_in_which_they_were_received(machine: Machine) -> None:
    instances = _instances(FIRST + MORE)
    sender = await _sender(machine.node, instances[0])
    for each in instances:
        await _store(sender, each)
    assert machine.written == [True] * len(instances)
    await sender.release()


async def test_nothing_of_an_instance_is_held_twice(tmp_path: Path) -> None:
    instances, peaks = _instances(FIRST + MORE), []
    async with _running(tmp_path) as node:
        sender = await _sender(node, instances[0])
        for each in instances[:FIRST]:
            await _store(sender, each)
        tracemalloc.start()
        try:
            for each in instances[FIRST:]:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                await _store(sender, each)
                peaks.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
        await sender.release()
    most = 1.25 * len(instances[0].data) + SLACK  # a growing buffer has an eighth to spare
    assert PIXELS < median(peaks) < most
