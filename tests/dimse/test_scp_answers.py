"""What an instance leaves to be done is done behind its answer: at once, whatever it comes to, and never left out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from client import calling
from keeper import EXPLICIT, STORAGE, Keeper, peer, serving, until
from talk import joined, p_data_pdu, pdv, store

from dicomnode.dimse.scp import Answer
from dicomnode.dimse.sender import Sender
from dicomnode.model import Origin, Received
from dicomnode.upper_layer import echo_request
from dicomnode.upper_layer.commands import Element, encode_command
from dicomnode.upper_layer.messages import p_data


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


async def test_when_it_fails_the_association_ends_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """What was acknowledged lies in its segment: the next start enters it."""

    def fail() -> None:
        raise ValueError("Zwetschgenbaum^Ottokar")

    keeper = Keeper(then=fail)
    async with serving(keeper) as (server, port), calling(port) as client:
        await client.open()
        client.say(store(1, b"data"))
        assert await client.status() == (1, 0)
        assert (await client.rest())[:1] in (b"", b"\7")
        await until(lambda: keeper.ends == ["aborted"] and server.associations == 0)
    out, err = capsys.readouterr()
    assert "association-failed" in out + err
    assert "Zwetschgenbaum" not in out + err


@PAUSES
async def test_an_error_behind_an_instance_ends_the_association(
    pause: Callable[[], Awaitable[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The next message is taken up in the task that answered: no transport would see what goes wrong there."""

    class Failing(Keeper):
        def echoed(self, origin: Origin) -> None:
            raise ValueError("Zwetschgenbaum^Ottokar")

    keeper = Failing(pause=pause)
    async with serving(keeper) as (server, port), calling(port) as client:
        await client.open()
        client.say(store(1, b"data") + joined(p_data(3, echo_request(2), None, 16384)))
        assert await client.status() == (1, 0)
        assert (await client.rest())[:1] in (b"", b"\7")
        await until(lambda: keeper.ends == ["aborted"] and server.associations == 0)
    assert "association-failed" in "".join(capsys.readouterr())


@PAUSES
async def test_a_cancel_with_a_data_set_is_a_breach(
    pause: Callable[[], Awaitable[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    """C-CANCEL-RQ has none (PS3.7 9.3.2.3); one without is passed over, for nothing can be cancelled."""
    keeper = Keeper(pause=pause)
    async with serving(keeper) as (server, port), calling(port) as client:
        await client.open()
        client.say(store(1, b"data") + cancel(1, 0x0101) + store(2, b"data"))
        assert [await client.status(), await client.status()] == [(1, 0), (2, 0)]
        client.say(store(3, b"data") + cancel(3, 1) + p_data_pdu(pdv(1, 2, b"\0\0")))
        assert await client.status() == (3, 0)
        assert (await client.rest())[:1] == b"\7"
        await until(lambda: keeper.ends == ["protocol-error"] and server.associations == 0)
    assert "a C-CANCEL-RQ with a data set" in "".join(capsys.readouterr())


def cancel(number: int, data_set_type: int) -> bytes:
    told = {
        Element.COMMAND_FIELD: 0x0FFF,
        Element.MESSAGE_ID_RESPONDED_TO: number,
        Element.DATA_SET_TYPE: data_set_type,
    }
    return p_data_pdu(pdv(1, 3, encode_command(told)))
