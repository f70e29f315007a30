"""What an instance leaves to be done is done behind its answer: at once, whatever it comes to, and never left out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from client import calling
from keeper import EXPLICIT, STORAGE, Keeper, peer, serving, until
from talk import store

from dicomnode.dimse.scp import Answer
from dicomnode.dimse.sender import Sender
from dicomnode.model import Received
from dicomnode.upper_layer.pdus import RELEASE_RQ


def at_once() -> Awaitable[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


PAUSES = pytest.mark.parametrize("pause", [at_once, lambda: asyncio.sleep(0.05)], ids=["at once", "after a while"])


@PAUSES
async def test_the_sender_has_its_answer_before(pause: Callable[[], Awaitable[None]]) -> None:
    """The loop stands still in `then`, so what the sender has by then was written before."""
    has_it, waited = threading.Event(), list[bool]()

    def send(port: int) -> None:
        async def one() -> None:
            sender = await Sender.connect(peer(port), "STAGING", [(STORAGE, EXPLICIT)])
            assert await sender.store(STORAGE, "1.2.3", EXPLICIT, [b"data"]) == 0
            has_it.set()
            await sender.release()

        asyncio.run(one())

    keeper = Keeper(pause=pause, then=lambda: waited.append(has_it.wait(10)))
    async with serving(keeper) as (_, port):
        await asyncio.to_thread(send, port)
    assert waited == [True]


@PAUSES
async def test_it_is_done_before_the_next_instance_is_begun(pause: Callable[[], Awaitable[None]]) -> None:
    told: list[str] = []

    class Telling(Keeper):
        async def store(self, received: Received, data: bytearray) -> Answer:
            told.append(f"begun {len(self.stored)}")
            return await super().store(received, data)

    keeper = Telling(pause=pause, then=lambda: told.append("done"))
    async with serving(keeper) as (_, port), calling(port) as client:
        await client.open()
        client.say(store(1, b"data") + store(2, b"data"))
        assert [await client.status(), await client.status()] == [(1, 0), (2, 0)]
        await until(lambda: len(told) == 4)
    assert told == ["begun 0", "done", "begun 1", "done"]


async def test_it_is_done_without_an_answer_when_the_peer_has_left() -> None:
    gate, ends = asyncio.Event(), list[tuple[str, ...]]()
    keeper = Keeper(pause=gate.wait, then=lambda: ends.append(tuple(keeper.ends)))
    async with serving(keeper) as (server, port):
        async with calling(port) as client:
            await client.open()
            client.say(store(1, b"data"))
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        gate.set()
        await until(lambda: keeper.ends == ["lost"] and server.associations == 0)
    assert ends == [()]  # and the service hears of the end only then


async def test_when_it_fails_that_is_logged_and_the_association_lives(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("Zwetschgenbaum^Ottokar")

    keeper = Keeper(then=fail)
    async with serving(keeper) as (_, port), calling(port) as client:
        await client.open()
        for number in (1, 2):
            client.say(store(number, b"data"))
            assert await client.status() == (number, 0)
        client.say(RELEASE_RQ)
        await client.rest()
        await until(lambda: keeper.ends == ["released"])
    out, err = capsys.readouterr()
    assert (out + err).count("store-failed") == 2
    assert "Zwetschgenbaum" not in out + err
