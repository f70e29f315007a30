"""However many peers send however much: what the SCP holds stays within the room that it was given."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from keeper import QUICK, Keeper, serving, until
from talk import store
from test_scp_hostile import calling

from dicomnode.dimse.incoming import FIRST
from dicomnode.dimse.scp import Limits
from dicomnode.places import Places

MIB = 1 << 20
ROOM = 8 * MIB
LIMITS = Limits(whole=2 * MIB, stall=60, idle=60)


async def test_instances_that_arrive_together_do_not_hold_more_than_the_room() -> None:
    """Eight peers send 1.9 MiB each, all but the last byte; held whole they would take 16 MiB."""
    keeper, room = Keeper(), Places(ROOM)
    messages = [store(n, bytes([n]) * (1900 << 10)) for n in range(8)]
    async with serving(keeper, LIMITS, room=room) as (server, port), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(calling(port)) for _ in messages]
        for client, message in zip(clients, messages, strict=True):
            await client.open()
            client.say(message[:-1])
        await until(lambda: len(keeper.streams) >= 4)
        await asyncio.sleep(0.2)
        held = sum(len(each._incoming._data) for each in server._connections)
        assert room.taken <= ROOM
        assert room.waiting == 0
        assert held <= ROOM + len(clients) * FIRST
        for client, message in zip(clients, messages, strict=True):
            client.say(message[-1:])
            assert (await client.status())[1] == 0
    assert sorted(data[:1] * len(data) == data and len(data) for _, data in keeper.stored) == [1900 << 10] * 8
    assert room.taken == 0


async def test_an_instance_waits_for_room_before_it_takes_any() -> None:
    keeper, room = Keeper(), Places(MIB)
    room.take(MIB)
    async with serving(keeper, LIMITS, room=room) as (server, port), calling(port) as client:
        await client.open()
        client.say(store(1, bytes(MIB)) + store(2, b"small"))
        await until(lambda: room.waiting == 1)
        await asyncio.sleep(0.2)
        assert all(len(each._incoming._data) <= FIRST for each in server._connections)
        room.give(MIB)
        assert [await client.status(), await client.status()] == [(1, 0), (2, 0)]
    assert room.taken == room.waiting == 0


async def test_who_waits_too_long_for_room_is_refused_and_the_association_lives() -> None:
    keeper, room = Keeper(), Places(MIB)
    room.take(MIB)
    async with serving(keeper, QUICK, room=room) as (_, port), calling(port) as client:
        await client.open()
        client.say(store(1, b"small"))
        assert await client.status() == (1, 0xA700)
        room.give(MIB)
        client.say(store(2, b"small"))
        assert await client.status() == (2, 0)
    assert room.taken == room.waiting == 0


@pytest.mark.parametrize("sent", [1000, 300_000, 1_500_000, 2_500_000])
@pytest.mark.parametrize("free", [True, False])
async def test_room_is_given_back_when_the_association_dies(sent: int, free: bool) -> None:
    keeper, room = Keeper(), Places(ROOM)
    if not free:
        room.take(ROOM - FIRST)
    before = room.taken
    async with serving(keeper, LIMITS, room=room) as (server, port):
        async with calling(port) as client:
            await client.open()
            client.say(store(1, bytes(3 * MIB))[:sent])
            await until(lambda: room.taken > before)
        await until(lambda: server.associations == 0)
    assert room.taken == before
