"""The node's loops: an error that nobody expected ends none of them, and not the node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import synthetic
from machine import Machine
from peers.dcmtk import Storescp

from dicomnode import admission, following, jobs, node, watch
from dicomnode.completion import Completion
from dicomnode.space import Space
from dicomnode.store.jobs import Jobs

PLACES = {
    "deleting": (Completion, "_forget"),
    "judging": (Completion, "_judge"),
    "space": (Space, "look"),
    "names": (admission, "resolve"),
    "jobs": (Jobs, "active"),
}


@pytest.mark.parametrize("place", PLACES)
async def test_it_goes_on(
    machine: Callable[..., Awaitable[Machine]],
    storescp: Callable[..., Storescp],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    for module, name in ((following, "TROUBLED"), (watch, "LOOK_EVERY"), (node, "RESOLVE_EVERY"), (jobs, "FIRST")):
        monkeypatch.setattr(module, name, 0.1)
    made = await machine(research=storescp().port)
    where, name = PLACES[place]
    work, calls = getattr(where, name), list[str]()

    def fails_once(*arguments: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            raise RuntimeError("can't start new thread")
        return work(*arguments)

    monkeypatch.setattr(where, name, fails_once)
    made.node._worker.hurry()
    await made.send(synthetic.series(1))
    await made.settled(1)
    await made.until(lambda: len(calls) > 1, 10, "another try")
    folder = made.storage / "outbox" / "default"
    await made.until(lambda: not list(folder.glob("*/*.seg")), 10, "the end of the segments")
    assert made._running is not None
    assert not made._running.done()
    await asyncio.wait_for(made.stop(), 10)
