"""Power cuts between SQLite's own writes: what was acknowledged is there, however the rest was torn.

At each acknowledgement the file and its WAL are copied: that much is synced. Whatever SQLite wrote afterwards may have
reached the disk or not, in any order and torn anywhere: later bytes of the WAL, and pages that a checkpoint writes.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kept import instance, location, withheld

from dicomnode.model import Event, Fate, IdentityEntry
from dicomnode.store import database
from dicomnode.store.identity import IdentityBook
from dicomnode.store.jobs import Line
from dicomnode.store.journal import Journal

SECTOR = 512
HEADER = 32  # bytes of a WAL in front of its first frame
Facts = set[tuple[str, ...]]


@dataclass
class Cuts:
    """Copies of a database at its acknowledgements, with what had been acknowledged."""

    path: Path
    copies: list[tuple[bytes, bytes, Facts]] = field(default_factory=list)

    def acknowledged(self, facts: Facts) -> None:
        wal = self.path.with_name(self.path.name + "-wal")
        self.copies.append((self.path.read_bytes(), wal.read_bytes(), set(facts)))

    def restore(self, folder: Path, database: bytes, wal: bytes) -> Path:
        folder.mkdir()
        path = folder / self.path.name
        path.write_bytes(database)
        path.with_name(path.name + "-wal").write_bytes(wal)
        path.chmod(0o600)
        return path


def torn(draw: random.Random, durable: bytes, later: bytes) -> bytes:
    """`durable`, and of what `later` has in other places some sectors; cut off anywhere behind what was durable."""
    found = bytearray(durable)
    found += bytes(max(0, len(later) - len(found)))
    for at in range(0, len(later), SECTOR):
        if draw.random() < 0.5:
            found[at : at + SECTOR] = later[at : at + SECTOR]
    return bytes(found[: draw.randrange(len(durable), len(found) + 1)])


def journal_of(path: Path, cuts: Cuts | None) -> Facts:
    """Fill a journal, or say what it holds."""
    journal = Journal.open(path)
    facts: Facts = set()
    if cuts is not None:
        for number in range(60):
            for each in range(8 * number, 8 * number + 8):
                journal.stored(instance(each), location(each))
                facts.add(("stored", f"instance{each}"))
            if number % 5 == 0:
                journal.withheld(withheld(10_000 + number))
                facts.add(("withheld", f"quarantine{10_000 + number}"))
            if number % 10 == 5:
                place = f"quarantine{10_000 + number - 5}"
                journal.end_withheld("trial", place, Fate.RELEASED, 5.0, Event("quarantine-released", 5.0, "trial"))
                facts.add(("ended", place))
            journal.flush().result()
            cuts.acknowledged(facts)
    facts = {("stored", row[0].instance_key) for row in journal.instances("trial", "studya")}
    facts |= {("withheld", name) for name in journal.quarantine_ids() | set(journal.ended_ids())}
    facts |= {("ended", name) for name in journal.ended_ids()}
    journal.close()
    return facts


def book_of(path: Path, cuts: Cuts | None) -> Facts:
    """Fill an identity book, or say what it holds."""
    book = IdentityBook.open(path)
    facts: Facts = set()
    if cuts is not None:
        for number in range(60):
            entries = [IdentityEntry("PatientID", f"{number}-{n}", f"cleaned-{number}-{n}") for n in range(20)]
            book.put("trial", entries, "studya")
            retrieval = book.jobs.add("trial", "staging", "somebody")
            book.jobs.enter(retrieval, [(Line("study", f"1.2.{number}"), "studya", "2.25.1")]).result()
            book.flush().result()
            facts |= {("identity", entry.original) for entry in entries} | {("request", f"1.2.{number}")}
            cuts.acknowledged(facts)
    found = sqlite3.connect(path)
    facts = {("identity", original) for (original,) in found.execute("SELECT original FROM identity")}
    found.close()
    facts |= {("request", job.value) for job, _ in book.jobs.of_study("studya")}
    book.close()
    return facts


@pytest.mark.parametrize("kept_by", [journal_of, book_of], ids=["journal", "identity book"])
def test_what_was_acknowledged_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_by: Callable[[Path, Cuts | None], Facts]
) -> None:
    monkeypatch.setattr(database, "SETTINGS", (*database.SETTINGS, "PRAGMA wal_autocheckpoint=60"))
    cuts = Cuts(tmp_path / "live.db")
    kept_by(cuts.path, cuts)
    draw = random.Random(20_260_101)
    checkpoints = restarts = 0
    for number, (before, wal, facts) in enumerate(cuts.copies[:-1]):
        after, later, _ = cuts.copies[number + 1]
        states = [(before, wal)]
        if later[:HEADER] != wal[:HEADER]:  # the WAL began anew: its header is synced before its frames
            restarts += 1
            states += [(before, torn(draw, later[:HEADER] + wal[HEADER:], later)) for _ in range(3)]
        else:
            states += [(before, torn(draw, wal, later)) for _ in range(3)]
            if after != before:  # a checkpoint: the WAL that it copies is synced before, and still there
                checkpoints += 1
                states += [(torn(draw, before, after), later) for _ in range(3)]
        for each, state in enumerate(states):
            assert facts <= kept_by(cuts.restore(tmp_path / f"{number}-{each}", *state), None)
    assert checkpoints > 2
    assert restarts > 2
