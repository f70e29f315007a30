"""A power cut that takes both databases along: journal and identity book are made again from what was synced.

The recorder sees what goes through dicomnode.disk; what SQLite writes is not among it, so every rebuilt disk lacks all
rows that were ever committed. Keys must be there before anything was answered, requests before anything was asked.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import images
import synthetic
from machine import Machine, asked, four
from powercut import Recorder

from dicomnode.intake import Intake
from dicomnode.large import LargeInstance
from dicomnode.model import Instance, Location, Received, Withheld
from dicomnode.retrieve import Retriever
from dicomnode.route import Route

KEEP = "min_free: 1MiB, keep: segments"


@dataclass
class Rows:
    """What a journal and an identity book hold; instances and withheld ones by their key."""

    stored: dict[str, tuple[Instance, Location]] = field(default_factory=dict)
    withheld: dict[str, Withheld] = field(default_factory=dict)
    identities: set[tuple[str, str, str]] = field(default_factory=set)


async def _rows(node: Machine) -> Rows:
    await asyncio.wrap_future(node.journal.flush())
    await asyncio.wrap_future(node.node._book.flush())
    found = Rows(withheld={withheld.instance_key: withheld for withheld in node.journal.withheld_list()})
    for study in node.journal.studies():
        found.stored |= {row[0].instance_key: row for row in node.journal.instances(study.project, study.study_key)}
    book = sqlite3.connect(node.storage / "identity.db")
    found.identities = set(book.execute("SELECT attribute, original, cleaned FROM identity"))
    book.close()
    return found


async def test_both_databases_are_made_again_after_a_power_cut(tmp_path: Path, monkeypatch: Any) -> None:
    answers: list[tuple[int, str]] = []
    store, finish = Intake.store, LargeInstance.finish

    async def stored(self: Intake, received: Received, data: bytearray) -> int:
        status = await store(self, received, data)
        answers.append((recorder.now(), received.sop_uid))
        return status

    async def finished(self: LargeInstance) -> int:
        status = await finish(self)
        answers.append((recorder.now(), self._received.sop_uid))
        return status

    monkeypatch.setattr(Intake, "store", stored)
    monkeypatch.setattr(LargeInstance, "finish", finished)
    live = tmp_path / "live"
    live.mkdir()
    with Recorder(live) as recorder:
        node = Machine(live, 1, storage=KEEP)
        await node.start()
        for study in (1, 2):
            files = four(study)
            assert await node.send([*files["clean"], *files["bad"]]) == [0] * 4
        whole = await _rows(node)
        keys = node.node._ways["default"].keys
        await node.stop()
    assert (len(answers), len(whole.stored), len(whole.withheld)) == (8, 4, 4)
    for number, (point, _) in enumerate(answers):
        seed = number if number % 2 else None
        cut = tmp_path / f"cut{number}"
        recorder.rebuild(point, cut, seed)
        again = Machine(cut, 1, storage=KEEP)
        await again.start()
        rows = await _rows(again)
        assert again.node._ways["default"].keys == keys
        await again.stop()
        shutil.rmtree(cut)
        assert rows.stored.items() <= whole.stored.items()
        assert rows.withheld.items() <= whole.withheld.items()
        for _, uid in answers[: number + 1]:
            key = keys.journal_key("instance", uid)
            assert key in rows.stored or key in rows.withheld
        for key in rows.stored:
            assert _identity_of(whole, key) <= rows.identities


def _identity_of(whole: Rows, key: str) -> set[tuple[str, str, str]]:
    """The lines of the identity book that belong to a stored instance: its UIDs and its patient."""
    instance = whole.stored[key][0]
    cleaned = {instance.sop_uid, instance.series_uid, instance.study_uid, instance.patient}
    lines = {line for line in whole.identities if line[2] in cleaned}
    assert {line[2] for line in lines} == cleaned
    return lines


async def test_a_request_is_durable_before_anything_is_asked(tmp_path: Path, machine: Any, monkeypatch: Any) -> None:
    node = await machine()
    seen: list[tuple[str, str]] = []

    async def fetch(self: Retriever, request: Any, report: Any) -> bool:
        book = sqlite3.connect(node.storage / "identity.db")
        seen.extend(book.execute("SELECT value, state FROM job"))
        book.close()
        return False

    async def ensure(*_: Any, **__: Any) -> None:
        """The source is not there."""

    monkeypatch.setattr(Retriever, "fetch", fetch)
    monkeypatch.setattr(Route, "ensure", ensure)
    wanted = [str(images.parse(next(synthetic.series(1, study))).StudyInstanceUID) for study in (1, 2)]
    assert await asked(node.node, wanted, lambda document: None) == 1
    assert seen == [(wanted[0], "moving"), (wanted[1], "waiting"), (wanted[0], "incomplete"), (wanted[1], "moving")]
