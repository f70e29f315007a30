"""The SCP against peers that stall, lie, flood, pipeline and leave."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from dataclasses import replace

import pytest
import trustme
from client import HELLO, calling
from keeper import EXPLICIT, QUICK, STORAGE, Keeper, serving, until
from peers import dcmtk
from talk import joined, p_data_pdu, pdv, store

from dicomnode.dimse.scp import Limits
from dicomnode.upper_layer import (
    Abort,
    AbortReason,
    AssociateReject,
    ProposedContext,
    echo_request,
    store_request,
)
from dicomnode.upper_layer.commands import encode_command
from dicomnode.upper_layer.messages import p_data
from dicomnode.upper_layer.pdus import (
    APPLICATION_CONTEXT,
    RELEASE_RP,
    RELEASE_RQ,
    decode_accept,
    encode_abort,
    encode_reject,
    encode_request,
)

ABORTED = encode_abort(Abort(0, 0))


@pytest.mark.parametrize("said", [b"", b"\1\0", encode_request(HELLO)[:-1], b"\1\0\0\3\0\0" + bytes(5000)])
async def test_a_silent_caller_is_dropped_without_a_word(said: bytes) -> None:
    async with serving(Keeper(), QUICK) as (_, port), calling(port) as client:
        client.say(said)
        assert await client.rest(2) == b""


async def test_a_trickle_does_not_prolong_the_handshake() -> None:
    async with serving(Keeper(), QUICK) as (_, port), calling(port) as client:
        begin = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionError):
            for byte in encode_request(HELLO):
                client.say(bytes((byte,)))
                await client.writer.drain()
                await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - begin < 2


async def test_silence_between_messages_ends_in_an_abort() -> None:
    keeper = Keeper()
    async with serving(keeper, QUICK) as (server, port), calling(port) as client:
        await client.open()
        assert await client.pdu(2) == ABORTED
        client.writer.close()
        await until(lambda: keeper.ends == ["timeout"] and server.associations == 0)


MESSAGE = store(1, bytes(20000))


@pytest.mark.parametrize("length", [1, 6, 7, 12, 13, 60, 200, 20000, len(MESSAGE) - 1])
async def test_a_stall_at_any_byte_of_a_message_ends_in_an_abort(length: int) -> None:
    keeper = Keeper()
    limits = replace(QUICK, idle=60)
    async with serving(keeper, limits) as (_, port), calling(port) as client:
        await client.open()
        client.say(MESSAGE[:length])
        assert await client.pdu(2) == ABORTED
        await until(lambda: keeper.ends == ["timeout"])
        assert keeper.stored == []


async def test_a_trickled_message_counts_as_a_stall() -> None:
    keeper = Keeper()
    async with serving(keeper, replace(QUICK, idle=60)) as (_, port), calling(port) as client:
        await client.open()
        for byte in MESSAGE:
            client.say(bytes((byte,)))
            await asyncio.sleep(0.02)
            if keeper.ends:
                break
        assert keeper.ends == ["timeout"]


async def test_a_peer_that_does_not_close_after_the_end_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnode.dimse.association.CLOSING", 0.3)
    async with serving(Keeper(), QUICK) as (_, port), calling(port) as client:
        await client.open()
        client.say(RELEASE_RQ)
        assert await client.rest(3) == RELEASE_RP


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\3\1\2\0\1\0\1\xfc\3\3"]
)
async def test_other_protocols_are_shown_the_door(junk: bytes) -> None:
    async with serving(Keeper()) as (_, port), calling(port) as client:
        client.say(junk)
        assert await client.pdu() == ABORTED


async def test_three_hundred_junk_connections_do_not_keep_others_out() -> None:
    keeper = Keeper()
    async with serving(keeper) as (_, port):
        junk = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
        result = await asyncio.to_thread(dcmtk.echo, port)
        assert result.code == 0
        for _, writer in junk:
            writer.close()


async def test_beyond_the_caps_is_a_transient_rejection() -> None:
    rejection = encode_reject(AssociateReject(2, 3, 2))
    for limits in (Limits(associations=2), Limits(per_address=2)):
        keeper = Keeper()
        async with serving(keeper, limits) as (server, port), calling(port) as one, calling(port) as two:
            await one.open()
            await two.open()
            async with calling(port) as three:
                three.say(encode_request(HELLO))
                assert await three.pdu() == rejection
            two.say(RELEASE_RQ)
            assert await two.pdu() == RELEASE_RP
            async with calling(port) as four:
                await four.open()
                assert server.associations == 2


async def test_an_unknown_application_context_is_rejected() -> None:
    async with serving(Keeper()) as (_, port), calling(port) as client:
        client.say(encode_request(replace(HELLO, application_context=APPLICATION_CONTEXT + ".9")))
        assert await client.pdu() == encode_reject(AssociateReject(1, 1, 2))


async def test_many_and_odd_contexts() -> None:
    contexts = [ProposedContext(2 * n + 1, f"{STORAGE}.{n}", (EXPLICIT,)) for n in range(128)]
    contexts += [ProposedContext(2, STORAGE, (EXPLICIT,)), ProposedContext(1, "1.2.840.10008.1.1", (EXPLICIT,))]
    contexts[5] = ProposedContext(11, STORAGE, ())
    contexts[6] = ProposedContext(13, "", (EXPLICIT,))
    async with serving(Keeper()) as (_, port), calling(port) as client:
        client.say(encode_request(replace(HELLO, contexts=tuple(contexts))))
        answered = decode_accept(memoryview(await client.pdu())[6:]).contexts
        results = {context.id: context.result for context in answered}
        assert len(answered) == len(results) == 129
        assert (results.pop(2), results.pop(11), results.pop(13)) == (2, 4, 3)
        assert set(results.values()) == {0}
        client.say(store(1, b"data"))
        assert await client.status() == (1, 0)


async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    gate = asyncio.Event()
    keeper = Keeper(pause=gate.wait)
    async with serving(keeper) as (_, port), calling(port) as client:
        await client.open()
        client.say(b"".join(store(n, bytes([n]) * 300_000) for n in range(1, 9)) + RELEASE_RQ)
        await until(lambda: keeper.open)
        await asyncio.sleep(0.1)
        assert keeper.stored == []
        gate.set()
        assert [await client.status() for _ in range(8)] == [(n, 0) for n in range(1, 9)]
        assert await client.pdu() == RELEASE_RP
        assert [data for _, data in keeper.stored] == [bytes([n]) * 300_000 for n in range(1, 9)]
        assert keeper.ends == ["released"]


@pytest.mark.parametrize("status", [0, 0xA700])
async def test_thousands_of_tiny_ones_that_nothing_has_to_wait_for_are_answered_in_order(status: int) -> None:
    async def nothing() -> None:
        pass

    keeper = Keeper(pause=nothing, status=status)
    async with serving(keeper) as (_, port), calling(port) as client:
        await client.open()
        client.say(b"".join(store(n, bytes([n % 256])) for n in range(1, 3001)) + RELEASE_RQ)
        assert [await client.status() for _ in range(3000)] == [(n, status) for n in range(1, 3001)]
        assert await client.pdu() == RELEASE_RP
        assert [data for _, data in keeper.stored] == [bytes([n % 256]) for n in range(1, 3001)]
        assert keeper.ends == ["released"]


async def test_tiny_ones_that_nothing_has_to_wait_for_leave_every_round_to_others_too() -> None:
    rounds, seen = 0, list[int]()

    async def others() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1

    async def note() -> None:
        seen.append(rounds)

    async with serving(Keeper(pause=note)) as (_, port), calling(port) as client:
        await client.open()
        ticking = asyncio.create_task(others())
        client.say(b"".join(store(n, b"x") for n in range(1, 501)))
        assert [await client.status() for _ in range(500)] == [(n, 0) for n in range(1, 501)]
        ticking.cancel()
    assert max(map(seen.count, seen)) <= 2


async def test_the_socket_is_left_unread_while_the_service_works() -> None:
    gate = asyncio.Event()
    async with serving(Keeper(pause=gate.wait)) as (_, port), calling(port) as client:
        await client.open()
        client.say(store(1, b"x"))
        for _ in range(200):
            client.say(store(2, bytes(100_000)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.writer.drain()
        gate.set()
        assert await client.status() == (1, 0)


async def test_a_peer_that_never_reads_its_answers_is_not_buffered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnode.dimse.association.CLOSING", 0.3)
    keeper = Keeper()
    async with serving(keeper, replace(QUICK, idle=60)) as (_, port):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, encode_request(HELLO))
            echoes = joined(p_data(3, echo_request(1), None, 0)) * 1000
            with pytest.raises(OSError):
                async with asyncio.timeout(6):
                    while not keeper.ends:
                        await loop.sock_sendall(sock, echoes)
                raise OSError
            assert keeper.ends == ["timeout"]


async def test_what_we_do_not_do_is_answered_and_the_association_lives() -> None:
    find = {0x0002: STORAGE.encode(), 0x0100: 0x0020, 0x0110: 4, 0x0800: 1}
    keeper = Keeper()
    async with serving(keeper) as (_, port), calling(port) as client:
        await client.open()
        client.say(joined(p_data(1, encode_command(find), [b"identifier"], 0)))
        assert await client.status() == (4, 0x0211)
        client.say(joined(p_data(3, store_request(5, STORAGE, "1.2"), [b"data"], 0)))
        assert await client.status() == (5, 0x0122)
        client.say(p_data_pdu(pdv(1, 3, encode_command({0x0100: 0x0FFF, 0x0120: 4, 0x0800: 0x0101}))))
        client.say(joined(p_data(3, echo_request(6), None, 0)))
        assert await client.status() == (6, 0)
        assert keeper.stored == []


async def test_an_odd_uid_and_a_missing_data_set_reach_the_service() -> None:
    keeper = Keeper()
    odd = "1.2." + "4" * 80 + "ü"
    bare = encode_command({0x0100: 1, 0x0110: 8, 0x0800: 0x0101, 0x1000: odd.encode("latin-1")})
    async with serving(keeper) as (_, port), calling(port) as client:
        await client.open()
        client.say(joined(p_data(1, bare, None, 0)))
        assert await client.status() == (8, 0)
    ((received, data),) = keeper.stored
    assert (received.sop_class, received.sop_uid, received.transfer_syntax, data) == ("", odd, EXPLICIT, b"")


async def test_a_breach_is_logged_aborted_and_told() -> None:
    keeper = Keeper()
    async with serving(keeper) as (_, port), calling(port) as client:
        await client.open()
        client.say(b"\4\0" + struct.pack(">I", (1 << 20) + 1))
        assert await client.pdu() == encode_abort(Abort(2, AbortReason.INVALID_PARAMETER))
        assert keeper.ends == ["protocol-error"]


async def test_a_response_to_nothing_is_a_breach() -> None:
    keeper = Keeper()
    async with serving(keeper) as (_, port), calling(port) as client:
        await client.open()
        client.say(p_data_pdu(pdv(1, 3, encode_command({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}))))
        assert await client.pdu() == ABORTED
        assert keeper.ends == ["protocol-error"]


@pytest.mark.parametrize("last_words", [b"", ABORTED])
async def test_an_association_that_dies_in_a_stream_abandons_it(last_words: bytes) -> None:
    keeper = Keeper()
    async with serving(keeper, Limits(whole=100_000)) as (server, port):
        async with calling(port) as client:
            await client.open()
            client.say(store(1, bytes(3_000_000))[:2_500_000])
            await until(lambda: keeper.streams and keeper.streams[0].chunks)
        await until(lambda: keeper.ends == ["lost"] and server.associations == 0)
        assert keeper.streams[0].end == "abandoned"
        assert keeper.stored == []


async def test_a_peer_that_leaves_while_its_instance_is_kept_is_told_off_only_afterwards() -> None:
    gate = asyncio.Event()
    keeper = Keeper(pause=gate.wait)
    async with serving(keeper) as (server, port):
        async with calling(port) as client:
            await client.open()
            client.say(store(1, b"data"))
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        assert (keeper.ends, server.associations) == ([], 1)
        gate.set()
        await until(lambda: keeper.ends == ["lost"] and server.associations == 0)
        assert len(keeper.stored) == 1


async def fail() -> None:
    raise ValueError("Zwetschgenbaum^Ottokar")


async def hang() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("pause", [fail, hang])
@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_a_service_that_fails_or_hangs_is_a_refusal_and_the_association_lives(
    pause: type, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = Keeper(pause=pause)
    async with serving(keeper, replace(QUICK, whole=100_000)) as (_, port), calling(port) as client:
        await client.open()
        client.say(store(1, bytes(size)))
        assert await client.status() == (1, 0xA700)
        assert [stream.end for stream in keeper.streams] == ["abandoned"] * len(keeper.streams)
        keeper.pause = lambda: asyncio.sleep(0)
        client.say(store(2, bytes(size)))
        assert await client.status() == (2, 0)
    out, err = capsys.readouterr()
    assert "store-failed" in out + err
    assert "Zwetschgenbaum" not in out + err


async def test_many_associations_leave_nothing_behind() -> None:
    keeper = Keeper()
    async with serving(keeper) as (server, port):
        for number in range(60):
            async with calling(port) as client:
                await client.open()
                client.say(store(1, b"data") if number % 3 else b"\4\0\0\0\0\0")
                await client.pdu()
        await until(lambda: server.associations == 0 and not keeper.open)
        await until(lambda: not server._connections)
        assert not server._addresses


@pytest.mark.parametrize("said", [b"", b"\x16\3\1", encode_request(HELLO)])
async def test_a_caller_that_does_not_finish_the_tls_handshake_is_dropped(said: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serving(Keeper(), QUICK, tls=context) as (_, port), calling(port) as client:
        client.say(said)
        await client.rest(2)
