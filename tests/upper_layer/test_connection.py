"""The connection as a whole: any chunking, both roles, and an A-ABORT for everything that breaks the protocol."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talk import (
    ACCEPT,
    CONVERSATION,
    EXPLICIT,
    REQUEST,
    STORAGE,
    established,
    joined,
    p_data_pdu,
    pdv,
    run,
    store,
)

from dicomnode.errors import ProtocolError
from dicomnode.upper_layer import (
    Abort,
    AbortReason,
    AssociateReject,
    AssociateRequest,
    Command,
    Connection,
    Context,
    Failure,
    Lost,
    Release,
    Role,
    State,
    echo_request,
    response_to,
    store_request,
)
from dicomnode.upper_layer.commands import encode_command
from dicomnode.upper_layer.pdus import (
    RELEASE_RP,
    RELEASE_RQ,
    encode_abort,
    encode_accept,
    encode_reject,
    encode_request,
)

WHOLE = run(Connection(Role.ACCEPTOR, 65536), [CONVERSATION])


def test_a_conversation_in_one_piece() -> None:
    events, sent = WHOLE
    assert events[0] == REQUEST
    assert [event for event in events if isinstance(event, bytes)] == [b"first " * 50, b"", b"x" * 3001]
    commands = [event for event in events if isinstance(event, Command)]
    assert [command.message_id for command in commands] == [1, 2, 3]
    assert commands[0].sop_class == STORAGE
    assert commands[0].sop_instance == "1.2.1"
    assert events[-1] is Release.REQUESTED
    assert sent == encode_accept(ACCEPT) + RELEASE_RP


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=40).map(sorted))
@settings(max_examples=150, deadline=None)
def test_any_chunking_gives_the_same(cuts: list[int]) -> None:
    edges = [0, *cuts, len(CONVERSATION)]
    chunks = [CONVERSATION[a:b] for a, b in pairwise(edges)]
    assert run(Connection(Role.ACCEPTOR, 65536), chunks) == WHOLE


def test_byte_by_byte_gives_the_same() -> None:
    assert run(Connection(Role.ACCEPTOR, 65536), [bytes((byte,)) for byte in CONVERSATION]) == WHOLE


def test_events_can_be_left_for_later() -> None:
    """A consumer that stops after each event, as the server does while it stores, loses nothing."""
    connection = established()
    connection.receive(memoryview(store(1, b"one") + store(2, b"two") + store(3, b"three")))
    seen: list[bytes] = []
    for _ in range(6):
        event = connection.next_event()
        assert event is not None
        if not isinstance(event, Command):
            seen.append(bytes(event.data))  # type: ignore[union-attr]
        connection.keep()
    assert seen == [b"one", b"two", b"three"]
    assert not connection.pending


def test_several_values_in_one_pdu_and_splits_inside_the_command() -> None:
    command = store_request(7, STORAGE, "1.2.3")
    pdu = p_data_pdu(
        pdv(1, 1, command[:5]), pdv(1, 1, b""), pdv(1, 3, command[5:]), pdv(1, 0, b"ab"), pdv(1, 0, b""), pdv(1, 2, b"")
    )
    events, sent = run(established(), [pdu])
    assert isinstance(events[0], Command)
    assert events[1:] == [b"ab"]
    assert sent == b""


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=300, deadline=None)
def test_random_bytes_never_raise(junk: bytes, open_first: bool) -> None:
    connection = established() if open_first else Connection(Role.ACCEPTOR, 65536)
    before = connection.state
    events, sent = run(connection, [junk])
    if any(isinstance(event, Failure) for event in events):
        assert connection.state is State.AWAITING_CLOSE
        assert sent.endswith(encode_abort(Abort(0, 0))) or sent[-10:-2] == encode_abort(Abort(2, 0))[:-2]
    elif not events:
        assert connection.state in (before, State.AWAITING_CLOSE)


@given(st.integers(0, len(CONVERSATION) - 1), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_never_raises(place: int, byte: int) -> None:
    changed = bytearray(CONVERSATION)
    changed[place] = byte
    run(Connection(Role.ACCEPTOR, 65536), [bytes(changed)])
    requestor = Connection(Role.REQUESTOR, 65536)
    requestor.request(REQUEST)
    run(requestor, [bytes(changed)])


BAD_COMMAND = p_data_pdu(pdv(1, 3, b"\0\0\0\1\x02\0\0\0\1"))
BREACHES = {
    "unknown PDU type": (b"\x09\0\0\0\0\4" + bytes(4), AbortReason.UNRECOGNIZED_PDU),
    "unknown PDU type with a giant length": (b"GET / HTTP/1.1\r\n", AbortReason.UNRECOGNIZED_PDU),
    "giant P-DATA": (b"\4\0\xff\xff\xff\xff", AbortReason.INVALID_PARAMETER),
    "P-DATA beyond the maximum": (b"\4\0" + struct.pack(">I", 65537), AbortReason.INVALID_PARAMETER),
    "giant A-ASSOCIATE": (b"\1\0\xff\xff\xff\xff", AbortReason.INVALID_PARAMETER),
    "giant release": (b"\5\0\xff\xff\xff\xff", AbortReason.INVALID_PARAMETER),
    "empty P-DATA": (b"\4\0\0\0\0\0", AbortReason.INVALID_PARAMETER),
    "PDV longer than its PDU": (p_data_pdu(struct.pack(">IBB", 100, 1, 3)), AbortReason.INVALID_PARAMETER),
    "PDV shorter than its header": (p_data_pdu(struct.pack(">IBB", 1, 1, 3)), AbortReason.INVALID_PARAMETER),
    "bytes left over in the PDU": (p_data_pdu(pdv(1, 1, b""), b"abc"), AbortReason.INVALID_PARAMETER),
    "context not accepted": (store(1, b"x", context_id=3), AbortReason.INVALID_PARAMETER),
    "data set without command": (p_data_pdu(pdv(1, 2, b"data")), AbortReason.UNEXPECTED_PARAMETER),
    "command inside a data set": (
        p_data_pdu(pdv(1, 3, store_request(1, STORAGE, "1.2")), pdv(1, 3, store_request(2, STORAGE, "1.2"))),
        AbortReason.UNEXPECTED_PARAMETER,
    ),
    "command that does not add up": (BAD_COMMAND, AbortReason.INVALID_PARAMETER),
    "command without end": (p_data_pdu(pdv(1, 1, bytes(40000))) * 2, AbortReason.INVALID_PARAMETER),
    "command without message ID": (
        p_data_pdu(pdv(1, 3, encode_command({0x0100: 1, 0x0800: 0x0101}))),
        AbortReason.INVALID_PARAMETER,
    ),
    "second request": (encode_request(REQUEST), AbortReason.UNEXPECTED_PDU),
    "accept from a requestor": (encode_accept(ACCEPT), AbortReason.UNEXPECTED_PDU),
    "reject from a requestor": (encode_reject(AssociateReject(1, 1, 1)), AbortReason.UNEXPECTED_PDU),
    "release response out of the blue": (RELEASE_RP, AbortReason.UNEXPECTED_PDU),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_answered_with_the_providers_abort(breach: str) -> None:
    data, reason = BREACHES[breach]
    connection = established()
    events, sent = run(connection, [data, b"more of it" * 100])
    failure = events[-1]
    assert isinstance(failure, Failure)
    assert failure.reason is reason
    assert sent == encode_abort(Abort(2, reason))
    assert connection.state is State.AWAITING_CLOSE
    assert connection.transport_closed() is None
    assert connection.state is State.IDLE


@pytest.mark.parametrize("junk", [b"SSH-2.0-OpenSSH_9.2p1\r\n", RELEASE_RQ, store(1, b"x"), encode_accept(ACCEPT)])
def test_before_the_association_the_abort_is_the_users(junk: bytes) -> None:
    connection = Connection(Role.ACCEPTOR, 65536)
    events, sent = run(connection, [junk])
    assert isinstance(events[0], Failure)
    assert sent == encode_abort(Abort(0, 0))
    assert connection.state is State.AWAITING_CLOSE


def test_giant_lengths_store_nothing() -> None:
    connection = Connection(Role.ACCEPTOR, 65536)
    run(connection, [b"\1\0\0\4\0\0" + bytes(1000)])
    assert connection.state is State.TRANSPORT_OPEN
    assert not connection.between_messages
    _, sent = run(Connection(Role.ACCEPTOR, 65536), [b"\1\0\0\4\0\1"])
    assert sent == encode_abort(Abort(0, 0))


def test_an_unknown_protocol_version_is_rejected_by_the_provider() -> None:
    connection = Connection(Role.ACCEPTOR, 65536)
    request = AssociateRequest("CALLED", "CALLER", REQUEST.contexts, 16384, protocol_version=2)
    events, sent = run(connection, [encode_request(request)])
    assert events == []
    assert sent == encode_reject(AssociateReject(1, 2, 2))
    assert connection.state is State.AWAITING_CLOSE


def exchange(requestor: Connection, acceptor: Connection) -> tuple[list[object], list[object]]:
    """Carry bytes to and fro until both are silent; the events on both sides."""
    left: list[object] = []
    right: list[object] = []
    while True:
        out = b"".join(requestor.output())
        if out:
            right += run_silently(acceptor, out)
        back = b"".join(acceptor.output())
        if back:
            left += run_silently(requestor, back)
        if not out and not back:
            return left, right


def run_silently(connection: Connection, data: bytes) -> list[object]:
    connection.receive(memoryview(data))
    events: list[object] = []
    while (event := connection.next_event()) is not None:
        events.append(event)
    connection.keep()
    return events


def pair() -> tuple[Connection, Connection]:
    requestor, acceptor = Connection(Role.REQUESTOR, 16384), Connection(Role.ACCEPTOR, 65536)
    requestor.request(REQUEST)
    assert exchange(requestor, acceptor) == ([], [REQUEST])
    acceptor.accept(ACCEPT)
    assert exchange(requestor, acceptor) == ([ACCEPT], [])
    assert requestor.contexts == acceptor.contexts == {1: Context(STORAGE, EXPLICIT)}
    assert (requestor.peer_max_pdu, acceptor.peer_max_pdu) == (65536, 16384)
    return requestor, acceptor


def test_both_roles_from_request_to_release() -> None:
    requestor, acceptor = pair()
    sent = joined(requestor.send(1, echo_request(5)))
    (command,) = run_silently(acceptor, sent)
    assert isinstance(command, Command)
    (answer,) = run_silently(requestor, joined(acceptor.send(1, response_to(command, 0x0000))))
    assert isinstance(answer, Command)
    assert (answer.field, answer.responds_to, answer.status) == (0x8030, 5, 0)
    requestor.release()
    assert exchange(requestor, acceptor) == ([], [Release.REQUESTED])
    acceptor.confirm_release()
    assert exchange(requestor, acceptor) == ([Release.CONFIRMED], [])
    assert (requestor.state, acceptor.state) == (State.IDLE, State.AWAITING_CLOSE)
    acceptor.expire()
    assert acceptor.state is State.IDLE


def test_a_release_collision_ends_in_peace() -> None:
    requestor, acceptor = pair()
    requestor.release()
    acceptor.release()
    from_requestor, from_acceptor = b"".join(requestor.output()), b"".join(acceptor.output())
    assert run_silently(requestor, from_acceptor) == [Release.REQUESTED]
    assert run_silently(acceptor, from_requestor) == [Release.REQUESTED]
    assert (requestor.state, acceptor.state) == (State.COLLISION_REQUESTOR_LOCAL, State.COLLISION_ACCEPTOR_RP)
    requestor.confirm_release()
    assert exchange(requestor, acceptor) == ([], [Release.CONFIRMED])
    acceptor.confirm_release()
    assert exchange(requestor, acceptor) == ([Release.CONFIRMED], [])
    assert (requestor.state, acceptor.state) == (State.IDLE, State.AWAITING_CLOSE)


def test_data_after_our_request_for_release_still_arrives() -> None:
    requestor, acceptor = pair()
    acceptor.release()
    assert b"".join(acceptor.output()) == RELEASE_RQ
    events, _ = run(acceptor, [joined(requestor.send(1, store_request(1, STORAGE, "1.2"), [b"late"]))])
    assert events[1] == b"late"


def test_rejection_abort_and_loss_reach_the_other_side() -> None:
    requestor, acceptor = Connection(Role.REQUESTOR, 16384), Connection(Role.ACCEPTOR, 65536)
    requestor.request(REQUEST)
    exchange(requestor, acceptor)
    acceptor.reject(AssociateReject(1, 1, 3))
    assert exchange(requestor, acceptor) == ([AssociateReject(1, 1, 3)], [])
    assert requestor.state is State.IDLE
    requestor, acceptor = pair()
    acceptor.abort()
    assert exchange(requestor, acceptor) == ([Abort(0, 0)], [])
    assert requestor.state is State.IDLE
    requestor, _ = pair()
    assert requestor.transport_closed() is Lost.TRANSPORT
    assert requestor.transport_closed() is None


def test_a_local_request_at_the_wrong_time_is_an_error_and_abort_never_is() -> None:
    connection = Connection(Role.ACCEPTOR, 65536)
    for call in (connection.release, connection.confirm_release, lambda: connection.accept(ACCEPT)):
        with pytest.raises(ProtocolError):
            call()
    connection.abort()
    assert connection.output() == []


def test_a_syntax_that_was_not_proposed_is_not_accepted() -> None:
    requestor = Connection(Role.REQUESTOR, 16384)
    requestor.request(REQUEST)
    run(requestor, [encode_accept(ACCEPT).replace(EXPLICIT.encode(), b"1.2.840.10008.1.2.5")])
    assert requestor.state is State.ESTABLISHED
    assert requestor.contexts == {}
