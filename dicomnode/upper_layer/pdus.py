"""The PDUs of PS3.8 section 9.3 beside P-DATA-TF: what they mean, read strictly and written."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from dicomnode import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
ASSUMED_MAX_PDU = 16384
MAX_CONTEXTS = 128

_HEADER = struct.Struct(">BxI")
_ITEM = struct.Struct(">BxH")
_ASSOCIATE = struct.Struct(">H2x16s16s32x")
_FOUR = struct.Struct(">4B")


class PduType(IntEnum):
    """The PDU types of PS3.8 9.3."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


NAMES = {
    PduType.ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    PduType.ASSOCIATE_AC: "A-ASSOCIATE-AC",
    PduType.ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    PduType.P_DATA: "P-DATA-TF",
    PduType.RELEASE_RQ: "A-RELEASE-RQ",
    PduType.RELEASE_RP: "A-RELEASE-RP",
    PduType.ABORT: "A-ABORT",
}


class AbortReason(IntEnum):
    """The reasons of a provider's A-ABORT (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ContextResult(IntEnum):
    """What the acceptor says to a presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX = 3
    TRANSFER_SYNTAXES = 4


class Malformed(Exception):
    """Bytes that break PS3.7 or PS3.8; answered with A-ABORT. Never leaves this package."""

    def __init__(self, reason: AbortReason, what: str) -> None:
        super().__init__(what)
        self.reason = reason
        self.what = what


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context as proposed; `id` as received, also when it is not odd."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """One presentation context as answered; the transfer syntax means nothing unless accepted."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2); `max_pdu` 0 is unlimited."""

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    max_pdu: int
    application_context: str = APPLICATION_CONTEXT
    implementation_class: str = IMPLEMENTATION_CLASS
    implementation_version: str = IMPLEMENTATION_VERSION
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC (PS3.8 9.3.3); the AE titles repeat those of the request."""

    called: str
    calling: str
    contexts: tuple[AnsweredContext, ...]
    max_pdu: int
    application_context: str = APPLICATION_CONTEXT
    implementation_class: str = IMPLEMENTATION_CLASS
    implementation_version: str = IMPLEMENTATION_VERSION
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 9.3.8); source 0 is the service user, 2 the service provider."""

    source: int
    reason: int


def _text(raw: bytes) -> str:
    """A UID or name as sent, its padding gone; every byte has a character, so nothing raises."""
    return raw.decode("latin-1").strip("\0 ")


def _items(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The items of `body`: type and value. Raises Malformed when the lengths do not add up."""
    at = 0
    while at < len(body):
        if len(body) - at < 4:
            raise Malformed(AbortReason.INVALID_PARAMETER, "an item header is cut off")
        kind, length = _ITEM.unpack_from(body, at)
        at += 4
        if length > len(body) - at:
            raise Malformed(AbortReason.INVALID_PARAMETER, "an item is longer than what holds it")
        yield kind, body[at : at + length]
        at += length


def _proposed(body: memoryview) -> ProposedContext:
    if len(body) < 4:
        raise Malformed(AbortReason.INVALID_PARAMETER, "a presentation context is cut off")
    abstract, transfer = "", []
    for kind, value in _items(body[4:]):
        if kind == 0x30:
            abstract = abstract or _text(bytes(value))
        elif kind == 0x40:
            transfer.append(_text(bytes(value)))
    return ProposedContext(body[0], abstract, tuple(transfer))


def _answered(body: memoryview) -> AnsweredContext:
    if len(body) < 4:
        raise Malformed(AbortReason.INVALID_PARAMETER, "a presentation context is cut off")
    transfer = ""
    for kind, value in _items(body[4:]):
        if kind == 0x40:
            transfer = transfer or _text(bytes(value))
    return AnsweredContext(body[0], body[2], transfer)


@dataclass(slots=True)
class _User:
    max_pdu: int = ASSUMED_MAX_PDU
    implementation_class: str = ""
    implementation_version: str = ""


def _user(body: memoryview) -> _User:
    """The user information item (PS3.8 9.3.2.3); what we do not use is skipped."""
    user = _User()
    for kind, value in _items(body):
        if kind == 0x51:
            if len(value) != 4:
                raise Malformed(AbortReason.INVALID_PARAMETER, "the maximum length item is not 4 bytes long")
            user.max_pdu = int.from_bytes(value, "big")
        elif kind == 0x52:
            user.implementation_class = _text(bytes(value))
        elif kind == 0x55:
            user.implementation_version = _text(bytes(value))
    if 0 < user.max_pdu < 8:
        raise Malformed(AbortReason.INVALID_PARAMETER, "the maximum length leaves no room for data")
    return user


@dataclass(slots=True)
class _Associate:
    """The fields that A-ASSOCIATE-RQ and -AC share, and their context items unread."""

    version: int
    called: str
    calling: str
    application_context: str
    contexts: list[memoryview]
    user: _User


def _associate(body: memoryview, context_item: int) -> _Associate:
    if len(body) < _ASSOCIATE.size:
        raise Malformed(AbortReason.INVALID_PARAMETER, "an A-ASSOCIATE PDU is cut off")
    version, called, calling = _ASSOCIATE.unpack_from(body)
    read = _Associate(version, _text(called), _text(calling), "", [], _User())
    for kind, value in _items(body[_ASSOCIATE.size :]):
        if kind == 0x10:
            read.application_context = _text(bytes(value))
        elif kind == context_item:
            read.contexts.append(value)
        elif kind == 0x50:
            read.user = _user(value)
    return read


def decode_request(body: memoryview) -> AssociateRequest:
    """Read what follows the header of an A-ASSOCIATE-RQ. Raises Malformed."""
    read = _associate(body, 0x20)
    return AssociateRequest(
        called=read.called,
        calling=read.calling,
        contexts=tuple(_proposed(context) for context in read.contexts),
        max_pdu=read.user.max_pdu,
        application_context=read.application_context,
        implementation_class=read.user.implementation_class,
        implementation_version=read.user.implementation_version,
        protocol_version=read.version,
    )


def decode_accept(body: memoryview) -> AssociateAccept:
    """Read what follows the header of an A-ASSOCIATE-AC. Raises Malformed."""
    read = _associate(body, 0x21)
    return AssociateAccept(
        called=read.called,
        calling=read.calling,
        contexts=tuple(_answered(context) for context in read.contexts),
        max_pdu=read.user.max_pdu,
        application_context=read.application_context,
        implementation_class=read.user.implementation_class,
        implementation_version=read.user.implementation_version,
        protocol_version=read.version,
    )


def decode_reject(body: memoryview) -> AssociateReject:
    """Read what follows the header of an A-ASSOCIATE-RJ."""
    _, result, source, reason = _FOUR.unpack(body)
    return AssociateReject(result, source, reason)


def decode_abort(body: memoryview) -> Abort:
    """Read what follows the header of an A-ABORT."""
    _, _, source, reason = _FOUR.unpack(body)
    return Abort(source, reason)


def _item(kind: int, *values: bytes) -> bytes:
    value = b"".join(values)
    return _ITEM.pack(kind, len(value)) + value


def _uid(kind: int, uid: str) -> bytes:
    return _item(kind, uid.encode("latin-1"))


def _title(title: str) -> bytes:
    return title.encode("latin-1")[:16].ljust(16)


def _user_item(pdu: AssociateRequest | AssociateAccept) -> bytes:
    return _item(
        0x50,
        _item(0x51, pdu.max_pdu.to_bytes(4, "big")),
        _uid(0x52, pdu.implementation_class),
        _uid(0x55, pdu.implementation_version),
    )


def _encode_associate(kind: PduType, pdu: AssociateRequest | AssociateAccept, contexts: Sequence[bytes]) -> bytes:
    body = b"".join(
        (
            _ASSOCIATE.pack(pdu.protocol_version, _title(pdu.called), _title(pdu.calling)),
            _uid(0x10, pdu.application_context),
            *contexts,
            _user_item(pdu),
        )
    )
    return _HEADER.pack(kind, len(body)) + body


def encode_request(pdu: AssociateRequest) -> bytes:
    """The whole A-ASSOCIATE-RQ PDU."""
    contexts = [
        _item(
            0x20,
            bytes((context.id, 0, 0, 0)),
            _uid(0x30, context.abstract_syntax),
            *(_uid(0x40, syntax) for syntax in context.transfer_syntaxes),
        )
        for context in pdu.contexts
    ]
    return _encode_associate(PduType.ASSOCIATE_RQ, pdu, contexts)


def encode_accept(pdu: AssociateAccept) -> bytes:
    """The whole A-ASSOCIATE-AC PDU."""
    contexts = [
        _item(0x21, bytes((context.id, 0, context.result, 0)), _uid(0x40, context.transfer_syntax))
        for context in pdu.contexts
    ]
    return _encode_associate(PduType.ASSOCIATE_AC, pdu, contexts)


def encode_reject(pdu: AssociateReject) -> bytes:
    """The whole A-ASSOCIATE-RJ PDU."""
    return _HEADER.pack(PduType.ASSOCIATE_RJ, 4) + _FOUR.pack(0, pdu.result, pdu.source, pdu.reason)


def encode_abort(pdu: Abort) -> bytes:
    """The whole A-ABORT PDU."""
    return _HEADER.pack(PduType.ABORT, 4) + _FOUR.pack(0, 0, pdu.source, pdu.reason)


RELEASE_RQ = _HEADER.pack(PduType.RELEASE_RQ, 4) + bytes(4)
RELEASE_RP = _HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)
