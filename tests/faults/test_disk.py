"""A disk that fails: refused with 0xA700 and nothing half-done, or answered 0x0000 and kept; then on by itself."""

from __future__ import annotations

import asyncio
import errno

import pytest
from chain import Way
from machine import OUT_OF_RESOURCES, four
from spoilt import spoilt
from structlog.testing import capture_logs

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
NEEDED = ("create", "mkdir", "write", "fdatasync", "dirsync", "rename")


def _whole(machine) -> None:
    """Nothing unfinished lies around, and every sealed original that waits is listed, with its file."""
    files = [path for path in machine.storage.rglob("*") if path.is_file()]
    assert not [path.name for path in files if "unfinished" in path.name]
    sealed = {path.stem for path in files if path.suffix == ".sealed"}
    assert sealed == {withheld.quarantine for withheld in machine.journal.withheld_list()}


@pytest.mark.parametrize("operation", NEEDED)
async def test_an_operation_fails_for_a_while(machine, storescp, monkeypatch, operation):
    research = storescp()
    node = await machine(research=research.port)
    sent, bad = [], []
    with spoilt(node.storage, monkeypatch) as disk, capture_logs() as lines:
        for number, error in enumerate(ERRORS, start=1):
            files = four(number)
            everything = [*files["clean"], *files["bad"]]
            disk.fails = lambda _, what, error=error: error if what == operation else 0
            statuses = await node.send(everything)
            assert set(statuses) <= {0, OUT_OF_RESOURCES}
            assert OUT_OF_RESOURCES in statuses, disk.failed
            disk.fails = lambda number, what: 0
            assert await node.send(everything) == [0] * 4
            sent += files["clean"]
            bad += files["bad"]
    refused = [line["error"] for line in lines if line["event"] == "instance-refused-storage"]
    for text in ("No space left on device", "Input/output error", "Read-only file system"):
        assert any(text in error and "tries again by itself" in error for error in refused), refused
    await node.settled(len(ERRORS))
    assert research.data_sets() == Way(node, research).expect(sent)
    assert len(node.journal.withheld_list()) == len(bad)
    _whole(node)


async def test_any_one_call_fails_once(machine, storescp, monkeypatch):
    """Every call that a study with four kinds of instances makes fails in its turn, half of a write done."""
    research = storescp()
    node = await machine(research=research.port, storage="min_free: 1MiB, keep: segments")
    sent, study = [], 1
    with spoilt(node.storage, monkeypatch) as disk:
        number, failed = 0, set()
        while number < 60:
            files = four(study)
            everything = [*files["clean"], *files["bad"]]
            begun = len(disk.calls)
            disk.fails = lambda n, what, at=begun + number: errno.EIO if n == at else 0
            statuses = await node.send(everything)
            failed |= set(disk.failed)
            again = [data for data, status in zip(everything, statuses, strict=True) if status]
            assert len(again) <= 1
            assert not again or await node.send(again) == [0]
            sent += files["clean"]
            study += 1
            if len(disk.calls) - begun <= number:
                break
            number += 1
    assert number < 60, "there is no end of calls"
    assert failed >= {"create", "mkdir", "write", "fdatasync", "dirsync", "rename"}
    await node.settled(study - 1)
    assert research.data_sets() == Way(node, research).expect(sent)
    assert len(node.journal.withheld_list()) == 2 * (study - 1)
    _whole(node)


async def test_a_sender_that_tries_again_fills_no_disk(machine):
    """A withheld original is kept once, held whole or streamed; again when its file is gone."""
    node = await machine()
    bad = four(1)["bad"]
    for _ in range(3):
        assert await node.send(bad) == [0, 0]
    await asyncio.wrap_future(node.journal.flush())
    assert len(node.journal.withheld_list()) == 2
    _whole(node)
    for path in node.storage.glob("quarantine/*/*"):
        path.unlink()
    assert await node.send(bad) == [0, 0]
    assert len(list(node.storage.glob("quarantine/*/*"))) == 2
