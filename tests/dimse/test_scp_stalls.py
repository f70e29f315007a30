"""Callers that stop anywhere in an association: each is left in time, and nothing half-said is kept."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from keeper import QUICK, Keeper, serving, until
from talk import store
from test_scp_hostile import HELLO, calling

from dicomnode.upper_layer.pdus import RELEASE_RQ, encode_request


async def test_a_stall_at_every_byte_of_an_association_ends_in_time() -> None:
    """From the first byte of the request to the last of the release; sixty callers at once."""
    keeper, limits = Keeper(), replace(QUICK, associations=64, per_address=64)
    whole = encode_request(HELLO) + store(1, bytes(300)) + RELEASE_RQ

    async def stall(port: int, length: int) -> None:
        async with calling(port) as client:
            client.say(whole[:length])
            with suppress(asyncio.IncompleteReadError, ConnectionResetError):
                while (await client.pdu(3))[0] not in (6, 7):
                    continue

    async with serving(keeper, limits) as (server, port):
        for first in range(0, len(whole) + 1, 60):
            await asyncio.gather(*(stall(port, n) for n in range(first, min(first + 60, len(whole) + 1))))
        await until(lambda: server.associations == 0)
    assert set(keeper.ends) == {"timeout", "released"}
    assert len(keeper.stored) == len(RELEASE_RQ) + 1
    assert all(data == bytes(300) for _, data in keeper.stored)
