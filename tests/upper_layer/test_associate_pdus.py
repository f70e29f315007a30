"""A-ASSOCIATE PDUs against pynetdicom, and what its decoder cannot take."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from dicomnode.upper_layer import pdus
from dicomnode.upper_layer.pdus import (
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    Malformed,
    ProposedContext,
    decode_accept,
    decode_request,
    encode_accept,
    encode_request,
)

UIDS = st.integers(0, 10**30).map(lambda number: f"2.25.{number}")
TITLES = st.text("ABCXYZ_09", min_size=1, max_size=16)
SIZES = st.one_of(st.just(0), st.integers(8, 2**32 - 1))


@st.composite
def requests(draw: st.DrawFn) -> AssociateRequest:
    syntaxes = st.lists(UIDS, min_size=1, max_size=4, unique=True).map(tuple)
    count = draw(st.integers(1, 6))
    contexts = tuple(ProposedContext(2 * number + 1, draw(UIDS), draw(syntaxes)) for number in range(count))
    return AssociateRequest(draw(TITLES), draw(TITLES), contexts, draw(SIZES))


def body(encoded: bytes) -> memoryview:
    assert int.from_bytes(encoded[2:6], "big") == len(encoded) - 6
    return memoryview(encoded)[6:]


@given(requests())
@settings(max_examples=60)
def test_pynetdicom_reads_our_request_as_we_do(request: AssociateRequest) -> None:
    encoded = encode_request(request)
    assert decode_request(body(encoded)) == request
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encoded)
    assert theirs.encode() == encoded
    primitive = theirs.to_primitive()
    assert (primitive.called_ae_title, primitive.calling_ae_title) == (request.called, request.calling)
    assert primitive.maximum_length_received == request.max_pdu
    read = [
        (context.context_id, context.abstract_syntax, tuple(context.transfer_syntax))
        for context in primitive.presentation_context_definition_list
    ]
    assert read == [(c.id, c.abstract_syntax, c.transfer_syntaxes) for c in request.contexts]


@given(requests(), st.data())
@settings(max_examples=60)
def test_pynetdicom_reads_our_accept_as_we_do(request: AssociateRequest, data: st.DataObject) -> None:
    contexts = tuple(
        AnsweredContext(context.id, data.draw(st.integers(0, 4)), context.transfer_syntaxes[0])
        for context in request.contexts
    )
    accept = AssociateAccept(request.called, request.calling, contexts, request.max_pdu)
    encoded = encode_accept(accept)
    assert decode_accept(body(encoded)) == accept
    theirs = A_ASSOCIATE_AC()
    theirs.decode(encoded)
    assert theirs.encode() == encoded
    results = theirs.to_primitive().presentation_context_definition_results_list
    assert [(c.context_id, c.result) for c in results] == [(c.id, c.result) for c in contexts]


def test_we_read_pynetdicoms_request() -> None:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = pdus.APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = "CALLER", "CALLED"
    size, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    size.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.3"  # type: ignore[assignment]
    primitive.user_information = [size, implementation]
    contexts = [build_context("1.2.840.10008.1.1", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]) for _ in range(128)]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    read = decode_request(body(pdu.encode()))
    assert (read.calling, read.called, read.max_pdu, len(read.contexts)) == ("CALLER", "CALLED", 16382, 128)
    assert read.contexts[-1] == ProposedContext(255, "1.2.840.10008.1.1", ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"))


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def raw_request(*items: bytes) -> memoryview:
    return memoryview(struct.pack(">H2x16s16s32x", 1, b"CALLED".ljust(16), b"CALLER".ljust(16)) + b"".join(items))


LONG = "1.2." + "3" * 100


def test_unknown_items_are_skipped_and_long_uids_kept_as_text() -> None:
    context = item(0x20, bytes((1, 0, 0, 0)) + item(0x99, b"?") + item(0x30, LONG.encode()) + item(0x40, b"1.2\0"))
    user = item(0x50, item(0x51, b"\0\0\x40\0") + item(0x59, b"whatever") + item(0x58, b"\1"))
    read = decode_request(raw_request(item(0x77, b"new"), context, user))
    assert read.contexts == (ProposedContext(1, LONG, ("1.2",)),)
    assert read.max_pdu == 16384
    assert read.application_context == ""


@pytest.mark.parametrize(
    "broken",
    [
        memoryview(b"\0\1\0\0"),
        raw_request(b"\x10"),
        raw_request(b"\x10\0\xff\xff1.2"),
        raw_request(item(0x20, b"\1\0")),
        raw_request(item(0x20, bytes((1, 0, 0, 0)) + b"\x30\0\0\x09123")),
        raw_request(item(0x50, item(0x51, b"\0\0\1"))),
        raw_request(item(0x50, item(0x51, b"\0\0\0\5"))),
        raw_request(item(0x50, b"\x51\0")),
    ],
)
def test_lengths_that_do_not_add_up_are_malformed(broken: memoryview) -> None:
    with pytest.raises(Malformed):
        decode_request(broken)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_malformed(junk: bytes) -> None:
    for decode in (decode_request, decode_accept):
        for start in (b"", bytes(raw_request()), bytes(raw_request(item(0x20, bytes((1, 0, 0, 0)) + junk)))):
            try:
                decode(memoryview(start + junk))
            except Malformed as error:
                assert error.what
