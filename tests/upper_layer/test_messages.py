"""Command sets against pynetdicom, and P-DATA for every kind of peer."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF
from talk import STORAGE, established, joined, run

from dicomnode.upper_layer import Command, echo_request, response_to, store_request
from dicomnode.upper_layer.commands import decode_command, encode_command
from dicomnode.upper_layer.messages import p_data
from dicomnode.upper_layer.pdus import Malformed


def theirs(kind: type[DIMSEMessage], primitive: C_STORE | C_ECHO) -> bytes:
    message = kind()
    message.primitive_to_message(primitive)
    encoded = encode(message.command_set, True, True)
    assert encoded is not None
    return encoded


def store_primitive() -> C_STORE:
    primitive = C_STORE()
    primitive.MessageID = 77
    primitive.AffectedSOPClassUID = STORAGE
    primitive.AffectedSOPInstanceUID = "1.2.3"
    primitive.Priority = 0
    primitive.DataSet = BytesIO(b"data")
    return primitive


def test_we_read_pynetdicoms_commands() -> None:
    request = decode_command(1, theirs(C_STORE_RQ, store_primitive()))
    assert (request.field, request.message_id, request.has_data_set) == (1, 77, True)
    assert (request.sop_class, request.sop_instance) == (STORAGE, "1.2.3")
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo = 77
    answer.Status = 0xA700
    response = decode_command(1, theirs(C_STORE_RSP, answer))
    assert (response.responds_to, response.status, response.is_response) == (77, 0xA700, True)
    ping = C_ECHO()
    ping.MessageID = 3
    ping.AffectedSOPClassUID = "1.2.840.10008.1.1"
    assert decode_command(1, theirs(C_ECHO_RQ, ping)).elements == decode_command(1, echo_request(3)).elements


def test_pynetdicom_reads_our_commands() -> None:
    read = decode(BytesIO(store_request(77, STORAGE, "1.2.3")), True, True)
    assert (read.MessageID, read.AffectedSOPInstanceUID, read.CommandField) == (77, "1.2.3", 1)
    request = decode_command(1, store_request(77, STORAGE, "1.2.3"))
    read = decode(BytesIO(response_to(request, 0xB000)), True, True)
    assert (read.CommandField, read.MessageIDBeingRespondedTo, read.Status) == (0x8001, 77, 0xB000)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (STORAGE, "1.2.3")


def test_a_uid_that_is_none_comes_through_as_text_and_goes_back_as_it_came() -> None:
    odd = b"1.2." + b"9" * 90 + b"\xff?"
    raw = encode_command({0x0002: STORAGE.encode(), 0x0100: 1, 0x0110: 1, 0x0800: 1, 0x1000: odd})
    request = decode_command(1, raw)
    assert request.sop_instance == odd.decode("latin-1")
    assert odd in response_to(request, 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0\0\1\2\0\0\0",
        b"\0\0\0\1\2\0\0\0\1\0",
        encode_command({0x0100: 1, 0x0800: 0x0101}),
        encode_command({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101}),
        encode_command({0x0100: b"\1\0\0\0", 0x0110: 1, 0x0800: 1}),
        encode_command({0x0100: 1, 0x0110: 1, 0x0800: 1}) + b"\0\0\x10\1\2\0\0\0\1\0",
        encode_command({0x0100: 1, 0x0110: 1, 0x0800: 1}) + b"\x10\0\x10\0\2\0\0\0ab",
        b"\0\0\0\1\xff\xff\xff\xff",
    ],
)
def test_commands_that_do_not_add_up_are_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        decode_command(1, raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_malformed(junk: bytes) -> None:
    for raw in (junk, echo_request(1) + junk):
        try:
            decode_command(1, raw)
        except Malformed as error:
            assert error.what


def pdus(encoded: bytes) -> list[P_DATA_TF]:
    found = []
    while encoded:
        length = 6 + int.from_bytes(encoded[2:6], "big")
        pdu = P_DATA_TF()
        pdu.decode(encoded[:length])
        found.append(pdu)
        encoded = encoded[length:]
    return found


@given(st.lists(st.binary(max_size=500), max_size=5), st.sampled_from([0, 8, 9, 50, 51, 128, 4096]))
@settings(max_examples=100, deadline=None)
def test_fragments_fit_the_peer_and_are_even_and_add_up(parts: list[bytes], max_pdu: int) -> None:
    command = store_request(1, STORAGE, "1.2.3")
    sent = pdus(joined(p_data(1, command, parts, max_pdu)))
    values = [
        (item.context_id, item.presentation_data_value) for pdu in sent for item in pdu.presentation_data_value_items
    ]
    assert all(len(pdu) - 6 <= (max_pdu or 1 << 20) for pdu in sent)
    for bit, whole in ((1, command), (0, b"".join(parts))):
        mine = [value for _, value in values if value[0] & 1 == bit]
        assert b"".join(value[1:] for value in mine) == whole
        assert [bool(value[0] & 2) for value in mine] == [False] * (len(mine) - 1) + [True]
        assert all(len(value) % 2 == 1 for value in mine[:-1])


def test_big_messages_come_in_batches_and_are_not_copied() -> None:
    pixels = bytes(5 << 20)
    batches = list(p_data(1, store_request(1, STORAGE, "1.2"), [b"head", pixels], 16384))
    assert len(batches) >= 5
    assert all(len(batch) <= 514 for batch in batches)
    views = [buffer for batch in batches for buffer in batch if isinstance(buffer, memoryview) and buffer.obj is pixels]
    assert sum(map(len, views)) == len(pixels)


def test_what_we_send_we_read() -> None:
    pixels = bytes(range(256)) * 1000
    events, sent = run(established(), [joined(p_data(1, store_request(9, STORAGE, "1.2"), [b"head", pixels], 1000))])
    assert isinstance(events[0], Command)
    assert events[1:] == [b"head" + pixels]
    assert sent == b""
