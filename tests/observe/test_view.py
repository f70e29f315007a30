"""Whether the node lives, and what it says of itself in one line."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.observe import notify
from dicomnode.observe.view import STUCK_MARGIN, View
from dicomnode.tally import Arrivals


def view(**parts: Any) -> View:
    rooms: dict[str, Any] = {
        "settings": SimpleNamespace(timeouts=SimpleNamespace(answer=300.0)),
        "journal": SimpleNamespace(last_error=""),
        "intake": SimpleNamespace(arrivals=Arrivals()),
        "server": SimpleNamespace(associations=2, refusing=False, listening=True),
        "open_studies": [1, 2, 3],
        "forwarders": {
            "research": SimpleNamespace(waiting=4, up=False),
            "archive": SimpleNamespace(waiting=1, up=True),
        },
    }
    return View(**{**rooms, **parts})


def test_one_line() -> None:
    assert view().status() == "2 associations, 3 studies open, 5 waiting; down: research"
    troubled = view(journal=SimpleNamespace(last_error="disk full"))
    assert troubled.status().endswith("; the journal cannot be written")


def test_a_node_is_ready_while_it_listens_and_can_write() -> None:
    assert view().unready() == ""
    assert view(journal=SimpleNamespace(last_error="disk full")).unready() == "the journal cannot be written"
    for server in ({"refusing": True, "listening": True}, {"refusing": False, "listening": False}):
        assert view(server=SimpleNamespace(associations=0, **server)).unready() == "the node does not listen"


def test_an_instance_that_waits_too_long_is_a_wedge() -> None:
    seen = view()
    with seen.intake.arrivals.whole(0.0, 1):
        now = time.perf_counter()
        assert seen.stuck(now + 300 + STUCK_MARGIN - 1) == ""
        assert seen.stuck(now + 300 + STUCK_MARGIN + 1).startswith("an instance is stuck since 36")
    assert seen.stuck(now + 10_000) == ""


def test_work_that_hangs_is_a_wedge_when_its_sender_has_long_been_answered() -> None:
    seen, kept, chunk = view(), Future[None](), Future[None]()
    seen.intake.arrivals.watch(kept)
    seen.intake.arrivals.watch(chunk, 1000)
    now = time.perf_counter()
    assert seen.stuck(now + 300 + STUCK_MARGIN - 1) == ""
    assert seen.stuck(now + 300 + STUCK_MARGIN + 1)
    kept.set_result(None)
    assert seen.stuck(now + 1300 + STUCK_MARGIN - 1) == ""
    assert seen.stuck(now + 1300 + STUCK_MARGIN + 1)
    chunk.cancel()
    assert seen.stuck(now + 10_000) == ""


async def test_a_wedge_stops_the_pings_and_its_end_starts_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trouble, sent = [""], []
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setattr(notify, "notify", sent.append)
    pings = asyncio.create_task(notify.ping_watchdog(lambda: trouble[0]))
    await asyncio.sleep(0.1)
    assert sent
    trouble[0] = "an instance waits"
    await asyncio.sleep(0.05)
    count = len(sent)
    await asyncio.sleep(0.1)
    assert len(sent) == count
    trouble[0] = ""
    await asyncio.sleep(0.1)
    assert len(sent) > count
    pings.cancel()
