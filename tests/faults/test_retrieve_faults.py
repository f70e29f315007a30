"""`retrieve` where the study waits for a person, the journal does not keep up, or all of it is here already."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace

import images
import pytest
import synthetic
from machine import Machine, asked
from peers.dcmtk import Storescp

from dicomnode import retrieve
from dicomnode.dimse import query
from dicomnode.dimse.query import Found, Moved
from dicomnode.model import Peer
from dicomnode.retrieve import Report, Request, Retriever
from dicomnode.route import Route
from dicomnode.studies import Fact

Making = Callable[..., Awaitable[Machine]]


async def _held(node: Machine) -> Request:
    """A study that is here, as it is asked for."""
    assert await node.send([images.written(synthetic.small(1, 1, 1))]) == [0]
    await node.until(lambda: node.states())
    way = node.node._ways["default"]
    return Request(way, node.node.settings.peers["staging"], synthetic.uid(1), 0)


async def test_a_study_on_hold_is_the_end_and_no_success(
    machine: Making, storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await machine(research=storescp().port, quiet="20s")
    request, told = await _held(node), list[dict[str, object]]()
    await node.node._completion.decide(request.key, Fact.HOLD, "somebody")

    async def fetch(self: Retriever, request: Request, report: Report) -> bool:
        report({"event": "study-arrived", "expected": 1, "here": 1})
        return True

    async def ensure(*_: object, **__: object) -> None:
        """The source is not there."""

    monkeypatch.setattr(Retriever, "fetch", fetch)
    monkeypatch.setattr(Route, "ensure", ensure)
    async with asyncio.timeout(5):
        assert await asked(node.node, [request.uid], told.append) == 1
    assert [each["state"] for each in told if each["event"] == "study"] == ["on-hold"]


async def test_a_journal_that_does_not_keep_up_is_said(
    machine: Making, storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await machine(research=storescp().port, quiet="20s")
    request, told = await _held(node), list[dict[str, object]]()
    monkeypatch.setattr(retrieve, "JOURNAL", 0.2)
    monkeypatch.setattr(query, "find_study", lambda *_, **__: Found(request.uid, count=1))
    monkeypatch.setattr(query, "find_instances", lambda *_, **__: [])
    monkeypatch.setattr(query, "move_study", lambda *_, **__: Moved(0, 0, 1, 0, 0, ""))
    locker = sqlite3.connect(node.storage / "journal.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    try:
        assert await node.node._retriever.fetch(request, told.append) is False
    finally:
        locker.execute("ROLLBACK")
        locker.close()
    failed = told[-1]
    assert failed["event"] == "retrieve-failed"
    assert str(failed["error"]).startswith("the journal could not be written for 0.2 s; look at the disk")


async def test_duplicates_are_signs_of_life(machine: Making, storescp: Callable[..., Storescp]) -> None:
    node = await machine(research=storescp().port, quiet="20s")
    request, large = await _held(node), images.written(synthetic.ct(1, 2, 1, rows=256, columns=256))
    studies = node.node._open
    assert await node.send([large]) == [0]
    for again in (images.written(synthetic.small(1, 1, 1)), large):
        before = studies.last_arrival(request.key)
        assert before is not None
        assert await node.send([again]) == [0]
        after = studies.last_arrival(request.key)
        assert after is not None
        assert after > before


async def test_a_source_that_does_not_answer_keeps_no_other_from_being_tried(
    machine: Making, storescp: Callable[..., Storescp], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = (await machine(research=storescp().port)).node
    way, silent = node._ways["default"], node.settings.peers["staging"]
    back = threading.Event()

    def find_study(source: Peer, *_: object) -> None:
        if source is silent:
            back.wait(20)

    monkeypatch.setattr(query, "find_study", find_study)
    waits = asyncio.create_task(node._route.ensure(way, silent, "1.2", bulk=True))
    try:
        await asyncio.sleep(0.2)
        async with asyncio.timeout(5):
            await node._route.ensure(way, replace(silent, name="other", port=1), "1.2", bulk=True)
        assert not waits.done()
    finally:
        back.set()
        await waits
