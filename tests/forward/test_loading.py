"""While records are sent the next ones are read, and no more than those."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from keeper import until
from studies_to_send import KEY, World, cases, world

from dicomnode import loading
from dicomnode.loading import Loaded, Row, loaded
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
