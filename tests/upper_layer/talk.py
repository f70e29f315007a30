"""Bytes of associations for the upper layer's tests, and a way to run a connection over them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from dicomnode.upper_layer import (
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    Connection,
    DataSet,
    Event,
    ProposedContext,
    Release,
    Role,
    store_request,
)
from dicomnode.upper_layer.messages import p_data
from dicomnode.upper_layer.pdus import RELEASE_RQ, encode_request

STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
REQUEST = AssociateRequest("CALLED", "CALLER", (ProposedContext(1, STORAGE, (EXPLICIT,)),), 16384)
ACCEPT = AssociateAccept("CALLED", "CALLER", (AnsweredContext(1, 0, EXPLICIT),), 65536)


def joined(batches: Iterable[Sequence[bytes | bytearray | memoryview]]) -> bytes:
    return b"".join(bytes(buffer) for batch in batches for buffer in batch)


def store(number: int, data: bytes, max_pdu: int = 16384, context_id: int = 1) -> bytes:
    return joined(p_data(context_id, store_request(number, STORAGE, f"1.2.{number}"), [data], max_pdu))


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def p_data_pdu(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


def established(max_pdu: int = 65536) -> Connection:
    """An acceptor whose association is open."""
    connection = Connection(Role.ACCEPTOR, max_pdu)
    events, _ = run(connection, [encode_request(REQUEST)])
    assert events == [REQUEST]
    return connection


def run(connection: Connection, chunks: Iterable[bytes]) -> tuple[list[object], bytes]:
    """Feed chunks as an acceptor that accepts everything; the events, pieces of data sets joined, and what was sent.

    Each chunk lies in a buffer that is overwritten afterwards, as the server's is.
    """
    events: list[object] = []
    data = bytearray()
    sent = bytearray()
    for chunk in chunks:
        buffer = bytearray(chunk)
        connection.receive(memoryview(buffer))
        while (event := connection.next_event()) is not None:
            if isinstance(event, DataSet):
                data += event.data
                if event.last:
                    events.append(bytes(data))
                    data.clear()
            else:
                _answer(connection, event)
                events.append(event)
        connection.keep()
        buffer[:] = b"\xaa" * len(buffer)
        sent += b"".join(connection.output())
    return events, bytes(sent)


def _answer(connection: Connection, event: Event) -> None:
    if isinstance(event, AssociateRequest):
        connection.accept(ACCEPT)
    elif event is Release.REQUESTED:
        connection.confirm_release()


CONVERSATION = (
    encode_request(REQUEST) + store(1, b"first " * 50, 100) + store(2, b"") + store(3, b"x" * 3001, 1000) + RELEASE_RQ
)
