"""The free space of the disk: below the mark nothing is taken, said once; and what waits for a destination."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from kept import instance, location
from sqlalchemy import create_engine

from dicomnode import watch
from dicomnode.errors import CannotKeep
from dicomnode.model import Delivery, DeliveryState
from dicomnode.space import NoSpace, Space
from dicomnode.store.database import Interrupter
from dicomnode.store.journal import Journal
from dicomnode.trouble import TELL_EVERY, Trouble
from dicomnode.watch import TOO_LONG, Watch

MIB = 1 << 20


def disk(free: int, files: int = 10**6, all_files: int = 10**7) -> SimpleNamespace:
    return SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_files=all_files, f_favail=files)


def test_the_mark_is_told_once_each_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space(tmp_path, 160 * MIB)
    seen = []
    measured = [500, 159, 100, 161, 169, 171, 500, 10]
    with structlog.testing.capture_logs() as lines:
        for free in measured:
            monkeypatch.setattr(os, "statvfs", lambda _, free=free: disk(free * MIB))
            space.look()
            seen.append(space.low)
    assert seen == [False, True, True, True, True, False, False, True]
    assert [(line["event"], line["free"] // MIB) for line in lines] == [
        ("storage-low", 159), ("storage-enough", 171), ("storage-low", 10),
    ]  # fmt: skip
    with pytest.raises(NoSpace, match="nearly full; make room"):
        space.check()


def test_room_is_made_before_anything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies there to be written over keeps no instance out, and nobody is told of it."""
    free = [159 * MIB]
    monkeypatch.setattr(os, "statvfs", lambda _: disk(free[0]))

    def make_room() -> None:
        free[0] += 5 * MIB

    space = Space(tmp_path, 160 * MIB, make_room)
    with structlog.testing.capture_logs() as lines:
        space.look()
    assert (space.low, space.free, lines) == (False, 164 * MIB, [])


def test_the_mark_holds_where_no_room_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: disk(MIB))

    def fail() -> None:
        raise CannotKeep("cannot delete")

    space = Space(tmp_path, 160 * MIB, fail)
    with structlog.testing.capture_logs() as lines, pytest.raises(CannotKeep, match="cannot delete"):
        space.look()
    assert space.low
    assert [line["event"] for line in lines] == ["storage-low"]


def test_a_file_system_without_inodes_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space(tmp_path, MIB)
    for files, all_files, low in ((100, 10**6, True), (0, 0, False), (5000, 10**6, False)):
        monkeypatch.setattr(os, "statvfs", lambda _, a=files, b=all_files: disk(10 * MIB, a, b))
        space.look()
        assert space.low is low


def test_a_directory_that_is_gone_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(CannotKeep, match="No such file"):
        Space(tmp_path / "gone", MIB).look()


def test_trouble_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = Trouble("storage-troubled")

    def meet(what: str, number: int) -> None:
        error = CannotKeep(what)
        error.__cause__ = OSError(number, "")
        told.tell(error, peer="pacs")

    with structlog.testing.capture_logs() as lines:
        for name in range(50):
            meet(f"cannot create {name}", errno.EROFS)
            told.tell(CannotKeep("the journal cannot be read"))
        now[0] += TELL_EVERY / 2
        meet("cannot create x", errno.ENOSPC)
        meet("cannot create x", errno.EROFS)
        now[0] += TELL_EVERY / 2
        meet("cannot create y", errno.EROFS)
    errors = [line["error"] for line in lines if line["log_level"] == "error"]
    assert errors == ["cannot create 0", "the journal cannot be read", "cannot create x", "cannot create y"]
    assert {line["peer"] for line in lines if "create" in line["error"]} == {"pacs"}


def test_a_destination_that_is_behind_is_named(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.db")
    for number in range(3):
        journal.stored(instance(number), location(number))
    journal.delivery(Delivery("trial", "studya", "research", DeliveryState.WAITING, 40, 0.0, "", 0, 0))
    journal.flush().result()
    watch = Watch(Space(tmp_path, MIB), journal)
    with structlog.testing.capture_logs() as lines:
        watch.tell_waiting(1000.0 + TOO_LONG)
        assert lines == []
        watch.tell_waiting(1002.0 + TOO_LONG + 60)
    journal.close()
    (line,) = lines
    assert (line["event"], line["destination"]) == ("destination-behind", "research")
    assert (line["studies"], line["instances"], line["bytes"], line["seconds"]) == (1, 3, 300, TOO_LONG + 60)


async def test_looking_through_a_large_database_does_not_keep_the_node_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands for it here never ends by itself."""

    def examine(path: Path, head: str, hint: str, interrupter: Interrupter) -> None:
        endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        with create_engine("sqlite://").connect() as connection, interrupter.holding(connection):
            begun.set()
            connection.exec_driver_sql(endless)

    begun = threading.Event()
    monkeypatch.setattr(watch, "examine", examine)
    monkeypatch.setattr(watch, "MOST_INTERRUPTS", 600)
    journal = Journal.open(tmp_path / "journal.db")
    with structlog.testing.capture_logs() as lines:
        looking = asyncio.create_task(Watch(Space(tmp_path, MIB), journal).run())
        await asyncio.to_thread(begun.wait, 60)
        looking.cancel()
        await asyncio.wait({looking})
        await asyncio.get_running_loop().shutdown_default_executor()
    journal.close()
    assert begun.is_set()
    assert lines == []
