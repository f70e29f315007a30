"""While records are sent the next ones are read, and no more than those."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from keeper import until
from studies_to_send import KEY, World, cases, world

from dicomnode import loading
from dicomnode.loading import Loaded, Row, loaded
from dicomnode.model import Location
from dicomnode.outbox import Outbox


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SOP Instance UIDs of what was read, one record at a time."""
    done: list[str] = []
    really = loading._read

    def telling(outbox: Outbox, rows: list[Row]) -> list[Loaded]:
        done.extend(instance.sop_uid for instance, _ in rows)
        return really(outbox, rows)

    monkeypatch.setattr(loading, "_read", telling)
    monkeypatch.setattr(loading, "MOST_AHEAD", 1)
    return done


def rows(here: World, count: int) -> list[Row]:
    here.hold(cases(count))
    return list(here.journal.instances(*KEY))


async def test_the_next_one_is_read_while_one_is_used(tmp_path: Path, read: list[str]) -> None:
    async with world(tmp_path) as here:
        wanted = rows(here, 4)
        uids = [instance.sop_uid for instance, _ in wanted]
        async with aclosing(loaded(here.outbox, wanted)) as records:
            for number in range(4):
                record = await anext(records)
                assert record.instance.sop_uid == uids[number]
                assert bytes(record.whole or b"")[128:132] == b"DICM"
                await until(lambda number=number: len(read) >= min(number + 2, 4))
                await asyncio.sleep(0.02)
                assert read == uids[: number + 2]
            with pytest.raises(StopAsyncIteration):
                await anext(records)


async def test_who_leaves_early_waits_for_nothing(tmp_path: Path, read: list[str]) -> None:
    async with world(tmp_path) as here:
        wanted = rows(here, 4)
        async with aclosing(loaded(here.outbox, wanted)) as records:
            await anext(records)
        await asyncio.sleep(0.05)
        assert len(read) <= 2
        assert not [task for task in asyncio.all_tasks() if "to_thread" in repr(task)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the disk is asked for to read records: an `open` each time a file is, a `pread` for each read."""
    calls: list[str] = []

    def counted(name: str) -> None:
        really = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return really(*arguments, **named)

        monkeypatch.setattr(os, name, call)

    counted("open")
    counted("pread")
    return calls


async def test_records_that_lie_one_behind_the_other_are_read_at_once(tmp_path: Path, asked: list[str]) -> None:
    async with world(tmp_path) as here:
        wanted = rows(here, 12)
        del asked[:]
        found = loading._read(here.outbox, wanted)
        assert asked == ["open", "pread"]
        assert [record.instance for record in found] == [instance for instance, _ in wanted]
        assert [bytes(record.whole or b"") for record in found] == [each(here, location) for _, location in wanted]


async def test_what_lies_elsewhere_or_was_sent_already_ends_a_run(tmp_path: Path, asked: list[str]) -> None:
    async with world(tmp_path) as here:
        wanted = rows(here, 6)
        other = [case.append_to(here.outbox.lease(*KEY)) for case in cases(2)]
        mixed = [wanted[0], wanted[1], *zip((row[0] for row in wanted), other, strict=False), wanted[3], wanted[5]]
        del asked[:]
        found = loading._read(here.outbox, mixed)
        assert asked == ["open", "pread"] * 4 + ["open", "pread"] * (other[0].segment != other[1].segment)
        assert [bytes(record.whole or b"") for record in found] == [each(here, location) for _, location in mixed]


async def test_a_damaged_record_in_a_run_is_that_one_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        wanted = rows(here, 5)
        location = wanted[2][1]
        path = here.outbox.directory / location.segment
        content = bytearray(path.read_bytes())
        content[location.data_offset + location.data_length - 1] ^= 1
        path.write_bytes(content)
        found = loading._read(here.outbox, wanted)
        assert [bool(record.trouble) for record in found] == [False, False, True, False, False]
        assert f"the record at {location.offset} of segment" in str(found[2].trouble)
        path.write_bytes(content[: wanted[3][1].offset + 10])
        found = loading._read(here.outbox, wanted)
        assert [bool(record.trouble) for record in found] == [False, False, True, True, True]
        path.unlink()
        found = loading._read(here.outbox, wanted)
        assert [str(wanted[n][1].offset) in str(found[n].trouble) for n in range(5)] == [True] * 5


def each(here: World, location: Location) -> bytes:
    return b"".join(here.outbox.pieces(location))
