"""The sender against DCMTK, pynetdicom, our own server, and acceptors that misbehave."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import images
import pytest
import synthetic
import trustme
from keeper import EXPLICIT, STORAGE, Keeper, peer, serving, until
from peers.dcmtk import Storescp
from peers.scripted import Acceptor, Step
from pynetdicom import AE, evt
from talk import joined

from dicomnode.dimse.scp import Limits, Rejection
from dicomnode.dimse.sender import Patience, Sender, echo
from dicomnode.errors import PeerRejected, PeerUnreachable, PermanentError
from dicomnode.upper_layer import (
    Abort,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    response_to,
    store_request,
)
from dicomnode.upper_layer.commands import decode_command, encode_command
from dicomnode.upper_layer.messages import p_data
from dicomnode.upper_layer.pdus import RELEASE_RQ, encode_abort, encode_accept, encode_reject

CONTEXTS = [(STORAGE, EXPLICIT)]
SHORT = Patience(connect=2, associate=0.4, stall=0.4, answer=0.4, release=0.4)
ACCEPTED = encode_accept(AssociateAccept("DICOMNODE", "NODE", (AnsweredContext(1, 0, EXPLICIT),), 16384))


def answer(status: int, number: int = 1, uid: str = "") -> bytes:
    request = decode_command(1, store_request(number, STORAGE, uid or f"1.2.{number}"))
    return joined(p_data(1, response_to(request, status), None, 0))


async def send(sender: Sender, number: int, *data: bytes) -> int:
    return await sender.store(STORAGE, f"1.2.{number}", EXPLICIT, data)


@pytest.mark.parametrize("max_pdu", [4096, 16384, 131072])
async def test_storescp_gets_what_we_send(max_pdu: int, storescp: Callable[..., Storescp]) -> None:
    receiver = storescp(options=["--max-pdu", str(max_pdu)])
    files = list(synthetic.series(5))
    sender = await Sender.connect(peer(receiver.port, "RESEARCH"), "NODE", CONTEXTS)
    expected = {}
    for file in files:
        data_set = images.parse(file)
        syntax, data = images.split(file)
        expected[str(data_set.SOPInstanceUID)] = (syntax, data)
        view = memoryview(data)
        parts = [view[:1001], view[1001:1001], view[1001:5000], view[5000:]]
        assert await sender.store(STORAGE, data_set.SOPInstanceUID, syntax, parts) == 0
    await sender.release()
    assert receiver.data_sets() == expected


async def test_echo_and_rejection_by_real_peers(storescp: Callable[..., Storescp]) -> None:
    receiver = storescp()
    assert await echo(peer(receiver.port, "RESEARCH"), "NODE") == 0
    keeper = Keeper(refused={"NODE": Rejection(1, 1, 3, "unknown"), "BUSY": Rejection(2, 3, 2, "busy")})
    async with serving(keeper) as (_, port):
        assert await echo(peer(port), "OTHER") == 0
        with pytest.raises(PeerRejected, match="does not know the calling AE title NODE") as caught:
            await echo(peer(port), "NODE")
        assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)
        with pytest.raises(PeerRejected) as caught:
            await echo(peer(port), "BUSY")
        assert caught.value.result == 2


async def test_pynetdicom_gets_what_we_send_and_its_statuses_come_back(free_port: Callable[[], int]) -> None:
    received = []

    def keep(event: evt.Event) -> int:
        received.append((str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue()))
        return len(received) * 0x100

    ae = AE("RESEARCH")
    ae.add_supported_context(STORAGE, EXPLICIT)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    try:
        contexts = [(STORAGE, "1.2.840.10008.1.2.5"), (STORAGE, EXPLICIT), ("1.2.3", EXPLICIT)]
        sender = await Sender.connect(peer(port, "RESEARCH"), "NODE", contexts)
        assert [sender.accepts(*context) for context in contexts] == [False, True, False]
        assert [await send(sender, n, bytes([n]) * 50_000) for n in (1, 2, 3)] == [0x100, 0x200, 0x300]
        with pytest.raises(PermanentError):
            await sender.store("1.2.3", "1.2", EXPLICIT, [b""])
        await sender.release()
    finally:
        await asyncio.to_thread(server.shutdown)
    assert received == [(f"1.2.{n}", bytes([n]) * 50_000) for n in (1, 2, 3)]


async def test_large_instances_go_to_a_slow_reader_in_little_memory() -> None:
    async def slow() -> None:
        await asyncio.sleep(0.02)

    keeper = Keeper(pause=slow)
    data = bytes(range(256)) * (100 << 10)
    async with serving(keeper, Limits(whole=1 << 20)) as (_, port):
        sender = await Sender.connect(peer(port), "NODE", CONTEXTS)
        storing = asyncio.create_task(send(sender, 1, b"head", data, b"tail"))
        copied, waited = 0, False
        while not storing.done():
            copied = max(copied, sender._link._transport.get_write_buffer_size())
            waited = waited or bool(sender._link._rest)
            await asyncio.sleep(0.001)
        assert storing.result() == 0
        assert waited
        assert copied == 0
        await sender.release()
    assert keeper.stored[0][1] == b"head" + data + b"tail"


async def test_tls() -> None:
    authority = trustme.CA()
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.configure_trust(client_side)
    keeper = Keeper()
    async with serving(keeper, tls=server_side) as (_, port):
        sender = await Sender.connect(peer(port), "NODE", CONTEXTS, tls=client_side)
        assert await send(sender, 1, bytes(3_000_000)) == 0
        await sender.release()
        with pytest.raises(PeerUnreachable):
            await echo(peer(port), "NODE", patience=SHORT)
        with pytest.raises(PeerUnreachable):
            await Sender.connect(peer(port), "NODE", CONTEXTS, tls=ssl.create_default_context())


async def test_nobody_listens(free_port: Callable[[], int]) -> None:
    with pytest.raises(PeerUnreachable, match="Connection refused"):
        await echo(peer(free_port()), "NODE")


def scripted(programs: ExitStack, *steps: Step) -> Acceptor:
    return programs.enter_context(Acceptor(steps))


SILENCE: tuple[Step, ...] = ("end",)
FAILED_HANDSHAKES: dict[str, tuple[tuple[Step, ...], str]] = {
    "silence": (SILENCE, "does not answer"),
    "a stall in the answer": (("pdu", ACCEPTED[:20], "end"), "does not answer"),
    "a closed connection": (("pdu", "close"), "closed the connection"),
    "a reset": (("pdu", "reset"), "closed the connection"),
    "an abort": (("pdu", encode_abort(Abort(2, 0)), "end"), "aborted the association"),
    "another protocol": ((b"SSH-2.0-OpenSSH\r\n", "end"), "broke the protocol"),
    "a giant length": (("pdu", b"\2\0\xff\xff\xff\xff", "end"), "broke the protocol"),
    "an unasked release": (("pdu", RELEASE_RQ, "end"), "broke the protocol"),
}


@pytest.mark.parametrize("case", FAILED_HANDSHAKES)
async def test_handshakes_that_fail_are_unreachable_in_time(case: str, programs: ExitStack) -> None:
    steps, words = FAILED_HANDSHAKES[case]
    begin = time.monotonic()
    with pytest.raises(PeerUnreachable, match=words):
        await Sender.connect(peer(scripted(programs, *steps).port), "NODE", CONTEXTS, patience=SHORT)
    assert time.monotonic() - begin < 10


async def test_a_scripted_rejection(programs: ExitStack) -> None:
    acceptor = scripted(programs, "pdu", encode_reject(AssociateReject(1, 1, 7)), "end")
    with pytest.raises(
        PeerRejected, match=r"\(result 1, source 1, reason 7\): it says that DICOMNODE is not its AE title"
    ):
        await Sender.connect(peer(acceptor.port), "NODE", CONTEXTS, patience=SHORT)


LATE: tuple[Step, ...] = ("pdu", ACCEPTED, "pdu", "pdu", 1.0, answer(0), "end")
FAILED_STORES: dict[str, tuple[tuple[Step, ...], str]] = {
    "an answer that is too late": (LATE, "does not answer"),
    "no answer": (("pdu", ACCEPTED, "end"), "does not answer"),
    "a closed connection": (("pdu", ACCEPTED, "pdu", "close"), "closed the connection"),
    "a reset": (("pdu", ACCEPTED, "pdu", "reset"), "closed the connection"),
    "an abort": (("pdu", ACCEPTED, "pdu", "pdu", encode_abort(Abort(0, 0)), "end"), "aborted the association"),
    "a release": (("pdu", ACCEPTED, "pdu", "pdu", RELEASE_RQ, "end"), "released the association"),
    "another message's answer": (("pdu", ACCEPTED, "pdu", "pdu", answer(0, 9), "end"), "answered something else"),
    "another instance's answer": (
        ("pdu", ACCEPTED, "pdu", "pdu", answer(0, 1, "1.2.9"), "end"),
        "answered something else",
    ),
    "an answer that is none": (
        (
            "pdu",
            ACCEPTED,
            "pdu",
            "pdu",
            joined(p_data(1, encode_command({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101}), None, 0)),
            "end",
        ),
        "broke the protocol",
    ),
    "a request": (
        ("pdu", ACCEPTED, "pdu", "pdu", joined(p_data(1, store_request(1, STORAGE, "1.2"), None, 0)), "end"),
        "answered something else",
    ),
    "a flood": (("pdu", ACCEPTED, "pdu", "pdu", answer(0, 9) * 100, "end"), "answered something else|nobody asked"),
}


@pytest.mark.parametrize("case", FAILED_STORES)
async def test_stores_without_an_answer_are_unreachable_in_time(case: str, programs: ExitStack) -> None:
    steps, words = FAILED_STORES[case]
    sender = await Sender.connect(peer(scripted(programs, *steps).port), "NODE", CONTEXTS, patience=SHORT)
    begin = time.monotonic()
    with pytest.raises(PeerUnreachable, match=words):
        await send(sender, 1, bytes(1000))
    assert time.monotonic() - begin < 10
    with pytest.raises(PeerUnreachable):
        await send(sender, 2, b"more")
    await sender.release()


async def test_a_peer_that_stops_reading_is_left_in_time(programs: ExitStack) -> None:
    acceptor = scripted(programs, "pdu", ACCEPTED, 3.0)
    sender = await Sender.connect(peer(acceptor.port), "NODE", CONTEXTS, patience=SHORT)
    begin = time.monotonic()
    with pytest.raises(PeerUnreachable, match="stopped reading"):
        await send(sender, 1, bytes(64 << 20))
    assert time.monotonic() - begin < 2


async def test_a_peer_that_answers_before_it_has_read_all(programs: ExitStack) -> None:
    acceptor = scripted(programs, "pdu", ACCEPTED, "pdu", answer(0xA700), "end")
    sender = await Sender.connect(peer(acceptor.port), "NODE", CONTEXTS)
    assert await send(sender, 1, bytes(8 << 20)) == 0xA700
    sender.abort()
    await until(lambda: acceptor.read and len(acceptor.read[0]) == 3)
    assert acceptor.read[0][2].endswith(encode_abort(Abort(0, 0)))


async def test_an_answer_need_not_name_the_instance(programs: ExitStack) -> None:
    bare = encode_command({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0})
    acceptor = scripted(programs, "pdu", ACCEPTED, "pdu", "pdu", joined(p_data(1, bare, None, 0)), "end")
    sender = await Sender.connect(peer(acceptor.port), "NODE", CONTEXTS)
    assert await send(sender, 1, bytes(1000)) == 0
    sender.abort()


async def test_a_peer_of_tiny_pdus_keeps_nobody_else(programs: ExitStack) -> None:
    """It announces 8 bytes at most: 14 bytes are sent for every two of the data set."""
    tiny = encode_accept(AssociateAccept("DICOMNODE", "NODE", (AnsweredContext(1, 0, EXPLICIT),), 8))
    acceptor = scripted(programs, "pdu", tiny, answer(0), "end")
    sender = await Sender.connect(peer(acceptor.port), "NODE", CONTEXTS)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    assert await send(sender, 1, bytes(200_000)) == 0
    task.cancel()
    assert turns > 300, "there are 390 batches"
    await sender.release()


async def test_a_cancelled_store_closes_the_connection(programs: ExitStack) -> None:
    acceptor = scripted(programs, "pdu", ACCEPTED, "end")
    sender = await Sender.connect(peer(acceptor.port), "NODE", CONTEXTS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await send(sender, 1, bytes(1000))
    await until(lambda: acceptor.read and len(acceptor.read[0]) == 2)


async def test_a_release_that_is_not_answered_ends_in_time(programs: ExitStack) -> None:
    acceptor = scripted(programs, "pdu", ACCEPTED, "end")
    sender = await Sender.connect(peer(acceptor.port), "NODE", CONTEXTS, patience=SHORT)
    async with asyncio.timeout(10):
        await sender.release()
    await until(lambda: acceptor.read and acceptor.read[0][-1] == RELEASE_RQ)


async def test_a_release_answered_with_other_things_ends_in_time(programs: ExitStack) -> None:
    chatter: list[Step] = [step for _ in range(12) for step in (0.2, answer(0))]
    acceptor = scripted(programs, "pdu", ACCEPTED, "pdu", *chatter, "end")
    sender = await Sender.connect(peer(acceptor.port), "NODE", CONTEXTS, patience=SHORT)
    async with asyncio.timeout(2):
        await sender.release()


async def test_message_ids_start_again_after_the_last() -> None:
    keeper = Keeper()
    async with serving(keeper) as (_, port):
        sender = await Sender.connect(peer(port), "NODE", CONTEXTS)
        sender._message_id = 0xFFFE
        assert [await send(sender, n, b"data") for n in range(3)] == [0, 0, 0]
        assert sender._message_id == 2
        await sender.release()
        await until(lambda: keeper.ends == ["released"])


async def test_more_than_128_contexts_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="128"):
        await Sender.connect(peer(1), "NODE", CONTEXTS * 129)


def test_no_socket_is_left_open_when_the_host_is_unknown() -> None:
    unknown = peer(1)
    unknown = type(unknown)("research", "X", "host.invalid", 104, ())
    with pytest.raises(PeerUnreachable, match="cannot be reached"):
        asyncio.run(echo(unknown, "NODE"))
    assert socket.getdefaulttimeout() is None


async def test_names_that_nobody_resolves_keep_no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are threads anywhere."""
    back, getaddrinfo = threading.Event(), socket.getaddrinfo

    def late(*arguments: Any, **named: Any) -> Any:
        back.wait(20)
        return getaddrinfo(*arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", late)
    try:
        calls = [Sender.connect(peer(1), "NODE", CONTEXTS, patience=Patience(connect=0.2)) for _ in range(40)]
        for failed in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failed, PeerUnreachable)
        async with asyncio.timeout(5):
            await asyncio.to_thread(int)
    finally:
        back.set()
