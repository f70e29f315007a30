"""Journal and identity book locked, damaged or gone: what was answered is there again, in one step at most."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import images
import pytest
import synthetic
from chain import Way
from machine import OUT_OF_RESOURCES, Machine, four
from structlog.testing import capture_logs

from dicomnode import intake, stalled
from dicomnode.control import Own
from dicomnode.errors import CannotKeep, StoreDamaged
from dicomnode.store import database

KEEP = "min_free: 1MiB, keep: segments"


def rows(storage: Path, name: str, table: str, columns: str = "*") -> list[tuple]:
    """Rows of a database, without their numbers, in a fixed order."""
    connection = sqlite3.connect(storage / name)
    found = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
    names = [column[1] for column in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()
    skip = 1 if columns == "*" and names[0] == "id" else 0
    return sorted((row[skip:] for row in found), key=repr)


def identities(storage: Path) -> list[tuple]:
    """Without the study: of several studies with the same value, whichever is read first is entered."""
    return rows(storage, "identity.db", "identity", "project, attribute, original, cleaned")


def move_away(storage: Path, name: str) -> None:
    for path in storage.glob(f"{name}*"):
        path.rename(path.with_name(f"away-{path.name}"))


async def filled(machine, storescp, studies: int = 3) -> tuple[Machine, Way, list[bytes]]:
    """A stopped node that has received, withheld, forwarded and kept a few studies."""
    research = storescp()
    node = await machine(research=research.port, storage=KEEP)
    sent = []
    for study in range(1, studies + 1):
        files = four(study)
        assert await node.send([*files["clean"], *files["bad"]]) == [0] * 4
        sent += files["clean"]
    await node.settled(studies)
    await node.stop()
    return node, Way(node, research), sent


async def test_a_locked_journal_delays_nothing_and_loses_nothing(machine, storescp, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(intake, "MOST_BACKLOG", 12)
    research = storescp()
    node = await machine(research=research.port)
    locker = sqlite3.connect(node.storage / "journal.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    sent = [images.written(synthetic.small(1, 1, number)) for number in range(1, 21)]
    with capture_logs() as lines:
        statuses = await node.send(sent)
    assert statuses[:5] == [0] * 5
    assert statuses[-1] == OUT_OF_RESOURCES
    refused = {line["error"] for line in lines if line["event"] == "instance-refused-storage"}
    assert refused == {"the journal cannot be written; look at the disk of the storage directory"}
    await asyncio.sleep(0.6)
    assert research.data_sets() == {}
    locker.execute("ROLLBACK")
    locker.close()
    await node.until(lambda: node.journal.backlog == 0)
    monkeypatch.setattr(intake, "MOST_BACKLOG", 1000)
    assert await node.send(sent) == [0] * 20
    await node.until(lambda: len(research.data_sets()) == 20)  # the first ones may be confirmed before the others come
    await node.settled(1)
    assert research.data_sets() == Way(node, research).expect(sent)


@pytest.mark.parametrize(("name", "told"), [("journal.db", "journal"), ("identity.db", "identity book")])
async def test_a_command_does_not_wait_for_ever_for_a_database(machine, monkeypatch, name, told):
    """It says why, and is carried out when that is over; the log says once what cannot be written."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(stalled, "LOOK_EVERY", 0.2)
    node = await machine(quiet="60s")
    assert await node.send(four(1)["clean"]) == [0] * 2
    await asyncio.wrap_future(node.journal.flush())
    jobs = node.node._book.jobs
    asked = {"command": "study", "do": "hold", "id": node.journal.studies()[0].study_key}
    if name == "identity.db":
        lines = [["study", "1.2.3", "", "", ""]]
        asked = {"command": "retrieve", "do": "enter", "project": "default", "lines": lines, "last": True}
    locker = sqlite3.connect(node.storage / name, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    with capture_logs() as logged:

        def said() -> list:
            return [line for line in logged if f"the {told} cannot be written" in str(line.get("error"))]

        with pytest.raises(CannotKeep, match=f"the {told} cannot be written: .* locked; free space or repair the disk"):
            await node.node.command(asked, Own(lambda _: None))
        await node.until(said)
    locker.execute("ROLLBACK")
    locker.close()
    await node.until(jobs.retrievals if name == "identity.db" else lambda: node.states() == {"on-hold": 1})
    assert len(said()) == 1


@pytest.mark.parametrize("name", ["journal.db", "identity.db"])
@pytest.mark.parametrize("damage", ["header", "pages", "text"])
async def test_a_damaged_database_is_a_clear_error_at_the_start(machine, storescp, name, damage):
    node, _, _ = await filled(machine, storescp, 1)
    path = node.storage / name
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:100] = bytes(100)
    elif damage == "pages":
        content[4096:] = b"\xff" * (len(content) - 4096)
    else:
        content[:] = b"this is no database\n" * 400
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=f"{name} cannot be read") as error:
        await node.start()
    hint = "move it away: the node writes a new one" if name == "journal.db" else "restore it from the site's backup"
    assert hint in str(error.value)
    assert "\n" not in str(error.value)
    if damage != "pages":
        return
    (node.folder / "dicomnode.yaml").write_text(node.text())
    arguments = [sys.executable, "-m", "dicomnode", "serve", "--config", str(node.folder / "dicomnode.yaml")]
    told = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr.strip()) == (1, f"dicomnode: {error.value}")


@pytest.mark.parametrize(("name", "hint"), [("journal", "move it away"), ("identity", "restore it from the site's")])
async def test_pages_that_a_start_does_not_read_are_looked_at_behind_it(machine, storescp, name, hint):
    node, _, _ = await filled(machine, storescp, 1)
    connection = sqlite3.connect(node.storage / f"{name}.db")
    places = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchall()
    connection.close()
    content = bytearray((node.storage / f"{name}.db").read_bytes())
    (last,) = max(places)
    content[(last - 1) * 4096 : last * 4096] = bytes(4096)
    (node.storage / f"{name}.db").write_bytes(content)
    with capture_logs() as lines:
        await node.start()

        def said() -> list[str]:
            return [line["error"] for line in lines if line["event"] == "storage-damaged" and line["kind"] == name]

        await node.until(said)
    (error,) = said()
    assert hint in error


async def test_the_journal_is_made_again_from_segments_and_quarantine(machine, storescp):
    node, way, sent = await filled(machine, storescp)
    before = {table: rows(node.storage, "journal.db", table) for table in ("instance", "withheld", "segment")}
    names = identities(node.storage)
    move_away(node.storage, "journal.db")
    await node.start()
    await node.settled(3)
    assert way.research.data_sets() == way.expect(sent)
    assert await node.send(sent) == [0] * len(sent)
    await node.stop()
    again = {table: rows(node.storage, "journal.db", table) for table in before}
    assert again == before
    assert identities(node.storage) == names


@pytest.mark.parametrize("half", [False, True], ids=["gone", "stopped half-way"])
async def test_the_identity_book_is_made_again_from_sealed_parts(machine, storescp, half):
    node, way, sent = await filled(machine, storescp)
    before = identities(node.storage)
    assert len(before) > 15
    move_away(node.storage, "identity.db")
    if half:
        await node.start()
        await node.stop()
        connection = sqlite3.connect(node.storage / "identity.db")
        connection.execute("DELETE FROM identity WHERE id > 3")
        connection.execute("PRAGMA user_version = 0")
        connection.commit()
        connection.close()
    await node.start()
    assert await node.send(sent) == [0] * len(sent)
    await node.stop()
    assert identities(node.storage) == before
    assert way.research.data_sets() == way.expect(sent)


async def test_a_log_cut_off_loses_only_rows_that_are_entered_again(machine, storescp, tmp_path):
    """What a power cut may leave: the journal as it was at some commit, segments and quarantine as they were last."""
    research = storescp()
    node = await machine(research=research.port, storage=KEEP)
    cuts = []
    for study in range(1, 5):
        files = four(study)
        assert await node.send([*files["clean"], *files["bad"]]) == [0] * 4
        await asyncio.wrap_future(node.journal.flush())
        cuts.append((node.storage / "journal.db-wal").stat().st_size)
    await node.settled(4)
    await asyncio.wrap_future(node.journal.flush())
    log = (node.storage / "journal.db-wal").read_bytes()
    database_before = (node.storage / "journal.db").read_bytes()
    await node.stop()
    before = rows(node.storage, "journal.db", "instance")
    for number, cut in enumerate([0, 100, cuts[0] // 2, *cuts, len(log) - 7]):
        for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
            (node.storage / name).unlink(missing_ok=True)
        (node.storage / "journal.db").write_bytes(database_before)
        (node.storage / "journal.db-wal").write_bytes(log[:cut] + b"\xa5" * (number % 3 * 300))
        await node.start()
        await node.settled(4)
        await node.stop()
        assert rows(node.storage, "journal.db", "instance") == before
        assert len(rows(node.storage, "journal.db", "withheld")) == 8


def test_every_commit_is_synced(tmp_path):
    for kind, head in (("journal", "0001"), ("identity", "0001")):
        engine = database.open_database(tmp_path / f"{kind}.db", kind, head, "")
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        engine.dispose()


def test_a_storage_that_cannot_be_written_is_one_line(tmp_path):
    node = Machine(tmp_path, 4243)
    text = node.text().replace(str(node.storage), "/proc/self/dicomnode")
    node.rules.write_text("profile: basic\n")
    (tmp_path / "dicomnode.yaml").write_text(text)
    arguments = [sys.executable, "-m", "dicomnode", "serve", "--config", str(tmp_path / "dicomnode.yaml")]
    told = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    (line,) = told.stderr.strip().splitlines()
    assert line.startswith("dicomnode: cannot create directory /proc/self/dicomnode: ")
