"""A renewed configuration is not undone by what was under way when it came."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from machine import Machine

from dicomnode import admission, config, node
from dicomnode.admission import Caller
from dicomnode.dimse.scp import Rejection
from dicomnode.model import Peer

Making = Callable[..., Awaitable[Machine]]


def _write(machine: Machine, staging: str) -> None:
    """The configuration with another AE title of the staging PACS."""
    (machine.folder / "dicomnode.yaml").write_text(machine.text().replace("STAGING", staging))


def _admitted(machine: Machine, calling: str) -> bool:
    return not isinstance(machine.node._admission.judge(calling, "DICOMNODE", "127.0.0.1"), Rejection)


async def test_a_look_up_begun_before_a_renewal_is_dropped(machine: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, resolve = threading.Event(), threading.Event(), admission.resolve

    def slow(peers: Iterable[Peer]) -> dict[str, list[Caller]]:
        found = resolve(peers)
        if "STAGING" in found:
            begun.set()
            go_on.wait(10)
        return found

    running = await machine()
    monkeypatch.setattr(admission, "resolve", slow)
    monkeypatch.setattr(node, "RESOLVE_EVERY", 0.01)
    looking = asyncio.create_task(running.node._look_up_peers())
    try:
        await asyncio.to_thread(begun.wait, 10)
        _write(running, "RENEWED")
        assert await running.node.renew()
        assert (_admitted(running, "STAGING"), _admitted(running, "RENEWED")) == (False, True)
        go_on.set()
        await asyncio.sleep(0.2)
        assert (_admitted(running, "STAGING"), _admitted(running, "RENEWED")) == (False, True)
    finally:
        go_on.set()
        looking.cancel()


async def test_the_last_of_two_renewals_counts(machine: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, load = threading.Event(), threading.Event(), config.load

    def slow(*file: Any) -> config.Settings:
        loaded = load(*file)
        if not begun.is_set():
            begun.set()
            go_on.wait(10)
        return loaded

    running = await machine()
    monkeypatch.setattr(config, "load", slow)
    _write(running, "FIRST")
    first = asyncio.create_task(running.node.renew())
    await asyncio.to_thread(begun.wait, 10)
    _write(running, "SECOND")
    second = asyncio.create_task(running.node.renew())
    await asyncio.sleep(0.2)
    go_on.set()
    assert await asyncio.gather(first, second) == [True, True]
    assert [_admitted(running, each) for each in ("STAGING", "FIRST", "SECOND")] == [False, False, True]
