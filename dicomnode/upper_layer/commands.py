"""DIMSE command sets (PS3.7 section 6.3 and Annex E): group 0000, Implicit VR Little Endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from dicomnode.model import Buffer
from dicomnode.upper_layer.pdus import AbortReason, Malformed

MAX_COMMAND_SET = 64 * 1024
NO_DATA_SET = 0x0101

_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")


class Field(IntEnum):
    """Values of Command Field (PS3.7 Table E.1-1); a response is its request with the highest bit set."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    C_CANCEL_RQ = 0x0FFF


RESPONSE = 0x8000


class Element(IntEnum):
    """Element numbers in group 0000 (PS3.7 Table E.1-1)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS = 0x0002
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE = 0x1000
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


@dataclass(frozen=True, slots=True)
class Command:
    """A command set that arrived: element number to value as sent; identified."""

    context_id: int
    field: int
    has_data_set: bool
    elements: Mapping[int, bytes]

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.field & RESPONSE)

    @property
    def message_id(self) -> int:
        """Message ID (0000,0110). Raises Malformed when it is not there."""
        return _number(self.elements, Element.MESSAGE_ID)

    @property
    def responds_to(self) -> int:
        """Message ID Being Responded To (0000,0120). Raises Malformed when it is not there."""
        return _number(self.elements, Element.MESSAGE_ID_RESPONDED_TO)

    @property
    def status(self) -> int:
        """Status (0000,0900). Raises Malformed when it is not there."""
        return _number(self.elements, Element.STATUS)

    @property
    def sop_class(self) -> str:
        """Affected SOP Class UID as text, whatever was sent; empty when it is not there."""
        return _text(self.elements.get(Element.AFFECTED_SOP_CLASS, b""))

    @property
    def sop_instance(self) -> str:
        """Affected SOP Instance UID as text, whatever was sent; empty when it is not there."""
        return _text(self.elements.get(Element.AFFECTED_SOP_INSTANCE, b""))


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\0 ")


def _number(elements: Mapping[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise Malformed(AbortReason.INVALID_PARAMETER, f"command element (0000,{element:04X}) is not one number")
    number: int = _US.unpack(value)[0]
    return number


def decode_command(context_id: int, raw: Buffer) -> Command:
    """Read a whole command set; values point at nothing. Raises Malformed."""
    elements: dict[int, bytes] = {}
    at, end = 0, len(raw)
    while at < end:
        if end - at < 8:
            raise Malformed(AbortReason.INVALID_PARAMETER, "a command element is cut off")
        group, element, length = _ELEMENT.unpack_from(raw, at)
        at += 8
        if group != 0 or element in elements or length > end - at:
            raise Malformed(AbortReason.INVALID_PARAMETER, "the command set does not add up")
        elements[element] = bytes(raw[at : at + length])
        at += length
    field = _number(elements, Element.COMMAND_FIELD)
    with_data = _number(elements, Element.DATA_SET_TYPE) != NO_DATA_SET
    if field & RESPONSE:
        _number(elements, Element.MESSAGE_ID_RESPONDED_TO)
        _number(elements, Element.STATUS)
    elif field != Field.C_CANCEL_RQ:
        _number(elements, Element.MESSAGE_ID)
    return Command(context_id, field, with_data, elements)


def encode_command(elements: Mapping[int, int | bytes]) -> bytes:
    """A command set with its group length; numbers become US, bytes are padded to even length with NUL."""
    parts = []
    for element in sorted(elements):
        value = elements[element]
        raw = _US.pack(value) if isinstance(value, int) else value + b"\0" * (len(value) % 2)
        parts.append(_ELEMENT.pack(0, element, len(raw)) + raw)
    body = b"".join(parts)
    return _ELEMENT.pack(0, Element.GROUP_LENGTH, 4) + len(body).to_bytes(4, "little") + body


def response_to(request: Command, status: int) -> bytes:
    """The encoded response without a data set; SOP Class and Instance UID are repeated as they came."""
    elements: dict[int, int | bytes] = {
        Element.COMMAND_FIELD: request.field | RESPONSE,
        Element.MESSAGE_ID_RESPONDED_TO: request.message_id,
        Element.DATA_SET_TYPE: NO_DATA_SET,
        Element.STATUS: status,
    }
    for element in (Element.AFFECTED_SOP_CLASS, Element.AFFECTED_SOP_INSTANCE):
        if element in request.elements:
            elements[element] = request.elements[element]
    return encode_command(elements)


def store_request(message_id: int, sop_class: str, sop_instance: str) -> bytes:
    """An encoded C-STORE-RQ of medium priority (PS3.7 9.3.1.1)."""
    return encode_command(
        {
            Element.AFFECTED_SOP_CLASS: sop_class.encode("latin-1"),
            Element.COMMAND_FIELD: Field.C_STORE_RQ,
            Element.MESSAGE_ID: message_id,
            Element.PRIORITY: 0,
            Element.DATA_SET_TYPE: 1,
            Element.AFFECTED_SOP_INSTANCE: sop_instance.encode("latin-1"),
        }
    )


def echo_request(message_id: int) -> bytes:
    """An encoded C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return encode_command(
        {
            Element.AFFECTED_SOP_CLASS: b"1.2.840.10008.1.1",
            Element.COMMAND_FIELD: Field.C_ECHO_RQ,
            Element.MESSAGE_ID: message_id,
            Element.DATA_SET_TYPE: NO_DATA_SET,
        }
    )
