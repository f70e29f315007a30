"""The end of the SCP: associations at work finish, others do not keep it."""

from __future__ import annotations

import asyncio

import pytest
from keeper import Keeper, serving
from talk import store
from test_scp_hostile import ABORTED, calling

from dicomnode.upper_layer.pdus import RELEASE_RP, RELEASE_RQ


async def wait_listening_ended(port: int) -> None:
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionResetError:
            continue
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)
    raise AssertionError("the port still takes connections")


async def test_drain_lets_open_associations_finish() -> None:
    keeper = Keeper()
    async with serving(keeper) as (server, port), calling(port) as client, calling(port) as undecided:
        await client.open()
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(server.drain(10))
        await wait_listening_ended(port)
        assert await undecided.rest() == b""
        client.say(store(1, b"data"))
        assert await client.status() == (1, 0)
        client.say(RELEASE_RQ)
        assert await client.pdu() == RELEASE_RP
        async with asyncio.timeout(10):
            await draining
        assert keeper.ends == ["released"]


async def test_drain_does_not_wait_for_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnode.dimse.scp.QUIET", 0.5)
    keeper = Keeper()
    async with serving(keeper) as (server, port), calling(port) as idle, calling(port) as busy, calling(port) as slow:
        for client in (idle, busy, slow):
            await client.open()
        whole = store(1, b"data")
        slow.say(whole[: len(whole) // 2])
        draining = asyncio.create_task(server.drain(20))
        for _ in range(6):
            await asyncio.sleep(0.25)
            busy.say(store(1, b"data"))
            assert await busy.status() == (1, 0)
        assert await idle.pdu(2) == ABORTED
        slow.say(whole[len(whole) // 2 :])
        assert await slow.status() == (1, 0)
        for client in (busy, slow):
            client.say(RELEASE_RQ)
            assert await client.pdu() == RELEASE_RP
        async with asyncio.timeout(10):
            await draining
        assert keeper.ends == ["aborted", "released", "released"]
        assert len(keeper.stored) == 7


async def test_after_the_deadline_stores_are_refused_then_associations_aborted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dicomnode.dimse.scp.GRACE", 0.5)
    keeper = Keeper()
    async with serving(keeper) as (server, port), calling(port) as client:
        await client.open()
        draining = asyncio.create_task(server.drain(0.2))
        await asyncio.sleep(0.4)
        client.say(store(1, b"data"))
        assert await client.status() == (1, 0xA700)
        assert await client.rest() == ABORTED
        async with asyncio.timeout(10):
            await draining
        assert keeper.stored == []
        assert keeper.ends == ["aborted"]
