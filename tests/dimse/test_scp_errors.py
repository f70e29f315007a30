"""An error behind an instance, in the task that answered it, ends the association as it would anywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from client import calling
from keeper import Keeper, serving, until
from talk import joined, p_data_pdu, pdv, store

from dicomnode.model import Origin
from dicomnode.upper_layer import echo_request
from dicomnode.upper_layer.commands import Element, encode_command
from dicomnode.upper_layer.messages import p_data


def at_once() -> Awaitable[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


PAUSES = pytest.mark.parametrize("pause", [at_once, lambda: asyncio.sleep(0.05)], ids=["at once", "after a while"])


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
