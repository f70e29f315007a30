"""The power-cut harness end to end: for every 0x0000, only what was synced before the answer must hold the instance.

The node runs in this process, so that what it does to the disk can be recorded; it is called over real sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import images
import pytest
import synthetic
from powercut import Recorder

from dicomnode import config
from dicomnode.deidentify import Deidentifier, load
from dicomnode.dimse.sender import Sender
from dicomnode.intake import Intake
from dicomnode.keys import load_key
from dicomnode.large import LargeInstance
from dicomnode.model import Origin, Peer, Received
from dicomnode.node import Node
from dicomnode.outbox import Outbox
from dicomnode.quarantine import Quarantine

SEEDS = (None, 1, 2)
WHOLE = "128KiB"


@dataclass
class Answer:
    """A status that the node gave, and how much had been done to the disk by then."""

    point: int
    received: Received
    status: int


@dataclass
class Machine:
    """A node, its recorded disk and its answers."""

    node: Node
    storage: Path
    rules: Path
    recorder: Recorder
    answers: list[Answer] = field(default_factory=list)
    originals: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    """A running node whose research PACS cannot be reached, so that everything stays here."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("profile: basic\n")
    text = f"""
node: {{ae_title: DICOMNODE, bind: 127.0.0.1, port: 0, whole: {WHOLE}}}
storage: {{directory: {tmp_path / "storage"}}}
peers:
  staging: {{ae_title: STAGING, host: 127.0.0.1, port: 4242}}
  research: {{ae_title: RESEARCH, host: 127.0.0.1, port: 1}}
projects:
  default: {{rules: {rules}, source: staging, destinations: [research], completion: {{quiet: 1s}}}}
"""
    settings = config.parse(text.encode(), tmp_path / "dicomnode.yaml")
    with Recorder(tmp_path) as recorder:
        made = Machine(Node(settings), tmp_path / "storage", rules, recorder)
        _record_answers(made, monkeypatch)
        await made.node.start()
        running = asyncio.create_task(made.node.run())
        yield made
        made.node.stop()
        await running
        await made.node.close()


def _record_answers(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    store, finish = Intake.store, LargeInstance.finish

    async def recorded_store(self: Intake, received: Received, data: bytearray) -> int:
        status = await store(self, received, data)
        machine.answers.append(Answer(machine.recorder.now(), received, status))
        return status

    async def recorded_finish(self: LargeInstance) -> int:
        status = await finish(self)
        machine.answers.append(Answer(machine.recorder.now(), self._received, status))
        return status

    monkeypatch.setattr(Intake, "store", recorded_store)
    monkeypatch.setattr(LargeInstance, "finish", recorded_finish)


async def _send(port: int, files: Iterable[bytes]) -> list[int]:
    """Send Part 10 files on one association; the statuses."""
    parsed = [(images.parse(part10), *images.split(part10)) for part10 in files]
    contexts = list(dict.fromkeys((str(header.SOPClassUID), syntax) for header, syntax, _ in parsed))
    peer = Peer("node", "DICOMNODE", "127.0.0.1", port, ())
    sender = await Sender.connect(peer, "STAGING", contexts)
    statuses = [
        await sender.store(str(header.SOPClassUID), str(header.SOPInstanceUID), syntax, [data])
        for header, syntax, data in parsed
    ]
    await sender.release()
    return statuses


def _truncated(data_set: Any) -> bytes:
    """Pixels shorter than the attributes say: withheld."""
    data_set[synthetic.PIXELS].value = data_set[synthetic.PIXELS].value[:-512]
    return images.written(data_set)


def _trailing(data_set: Any) -> bytes:
    """An element behind the pixels that reaches beyond the end: withheld, when the pixels have been written."""
    return images.written(data_set) + bytes.fromhex("fcfffcff4f42000000100000")


def _held(disk: Path, machine: Machine) -> tuple[dict[str, bytes], set[str]]:
    """What recovery finds on a rebuilt disk: clean data by instance key, and keys of sealed originals."""
    keys = {"default": load_key(disk / "storage" / "keys" / "default.key")}
    outbox = Outbox(disk / "storage" / "outbox", keys)
    clean: dict[str, bytes] = {}
    for found in outbox.recover({}):
        clean[found.instance.instance_key] = b"".join(outbox.pieces(found.location))
    quarantine = Quarantine(disk / "storage" / "quarantine", keys)
    sealed = set()
    for withheld in quarantine.recover():
        _, received, original = quarantine.read("default", withheld.quarantine)
        assert b"".join(original) == machine.originals[received.sop_uid]
        sealed.add(withheld.instance_key)
    assert not quarantine.damaged
    return clean, sealed


def _expected(machine: Machine, part10: bytes) -> bytes:
    keys = load_key(machine.storage / "keys" / "default.key")
    syntax, data = images.split(part10)
    header = images.parse(part10)
    origin = Origin("default", "staging", "STAGING", "DICOMNODE", "127.0.0.1", 1)
    received = Received(origin, str(header.SOPClassUID), str(header.SOPInstanceUID), syntax)
    cleaned = Deidentifier(load(machine.rules), keys).clean(received, data)
    return b"".join(bytes(part) for part in (*cleaned.head, cleaned.pixels or b"", *cleaned.tail))


async def test_every_answered_instance_survives_a_power_cut(machine: Machine, tmp_path: Path) -> None:
    small = [images.written(synthetic.small(study, 1, n)) for n in (1, 2, 3) for study in (1, 2)]
    large = [images.written(synthetic.ct(3, 1, n)) for n in (1, 2)]
    bad = [_truncated(synthetic.small(1, 2, 9)), _trailing(synthetic.ct(3, 2, 9)), _truncated(synthetic.ct(4, 1, 1))]
    first, second = [*small[::2], bad[0], large[0], bad[1]], [*small[1::2], large[1], bad[2], small[0]]
    everything = {images.parse(f).SOPInstanceUID: f for f in (*small, *large, *bad)}
    machine.originals = {uid: images.split(f)[1] for uid, f in everything.items()}

    statuses = await asyncio.gather(_send(machine.node.port, first), _send(machine.node.port, second))

    assert statuses == [[0] * len(first), [0] * len(second)]
    assert len(machine.answers) == len(first) + len(second)
    keys = load_key(machine.storage / "keys" / "default.key")
    for number, answer in enumerate(machine.answers):
        key = keys.journal_key("instance", answer.received.sop_uid)
        for seed in SEEDS:
            disk = machine.recorder.rebuild(answer.point, tmp_path / f"cut-{number}-{seed}", seed)
            clean, sealed = _held(disk, machine)
            original = everything[answer.received.sop_uid]
            if original in bad:
                assert key in sealed
                assert key not in clean
            else:
                assert clean[key] == _expected(machine, original)


async def test_before_the_answer_no_half_record_counts(machine: Machine, tmp_path: Path) -> None:
    sent = images.written(synthetic.small(1, 1, 1))
    machine.originals = {}
    begun = machine.recorder.now()
    assert await _send(machine.node.port, [sent]) == [0]
    for point in range(begun, machine.answers[0].point):
        for seed in SEEDS:
            clean, sealed = _held(machine.recorder.rebuild(point, tmp_path / f"cut-{point}-{seed}", seed), machine)
            assert not sealed
            assert set(clean.values()) <= {_expected(machine, sent)}
