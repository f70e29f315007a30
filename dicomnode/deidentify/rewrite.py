"""How changed elements are written: headers with new lengths, in the VR and encoding of the original."""

from __future__ import annotations

import re
from collections.abc import Sequence
from struct import Struct

from dicomnode.deidentify import values
from dicomnode.deidentify.encoded import IMPLICIT_VRS, UN, Element, Item, Reader, is_undefined, place, vr_code
from dicomnode.deidentify.pixels import find, text_of
from dicomnode.model import Doubt, Reason

CODE_VALUE, CODING_SCHEME = 0x00080100, 0x00080102
UI = vr_code("UI")
KEY_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")
SHORT_LENGTH = Struct("<H").pack
LONG_LENGTH = Struct("<I").pack
SHORT_HEADER = Struct("<HH2sH").pack
LONG_HEADER = Struct("<HH2sHI").pack
IMPLICIT_HEADER = Struct("<HHI").pack
ITEM = b"\xfe\xff\x00\xe0"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
MOST_SHORT = 0xFFFE
LONG_VRS = frozenset([b"SQ", b"UC", b"UR", b"UT"])
"""Of the VRs that are written anew, those with a length of four bytes (PS3.5 section 7.1.2)."""


def key_uid(data: bytes, elements: Sequence[Element], tag: int) -> str:
    """A UID that an instance must have (PS3.5 section 9); raises Doubt(MISSING_UID, BAD_UID)."""
    element = find(elements, tag)
    text = text_of(data, elements, tag)
    if element is None or not text:
        raise Doubt(Reason.MISSING_UID, place((tag,)))
    if element[1] not in (UI, UN) or KEY_UID.fullmatch(text) is None:
        raise Doubt(Reason.BAD_UID, place((tag,)))
    return text


def text(value: bytes, vr: str, character_set: bytes, path: tuple[int, ...]) -> str:
    """A text value decoded; raises Doubt(CHARACTER_SET)."""
    try:
        if value.isascii() and b"\x1b" not in value:
            return values.decode(value, (), vr)
        return values.decode(value, values.encodings_of(character_set.decode("latin-1")), vr)
    except Doubt as doubt:
        raise Doubt(doubt.reason, place(path)) from None


def dcm_codes(data: bytes, elements: list[Element], tag: int) -> list[str]:
    """The code values under scheme DCM in the items of a code sequence."""
    sequence = find(elements, tag)
    if sequence is None or sequence[5] is None:
        return []
    items = [item[3] for item in sequence[5]]
    return [text_of(data, item, CODE_VALUE) for item in items if text_of(data, item, CODING_SCHEME) == "DCM"]


def hidden_items(data: bytes, element: Element, path: tuple[int, ...]) -> list[Item]:
    """The items of a sequence that is stored as UN with a defined length; raises Doubt when it is none."""
    _, vr, _, value, stop, _ = element
    if vr != UN:
        raise Doubt(Reason.UNREADABLE, place(path))
    return Reader(data, True).items(value, stop, False, True, path)[0]


def new(tag: int, vr: bytes, value: bytes, implicit: bool) -> bytes:
    """A whole element that was not there."""
    value += b" " * (len(value) % 2)
    group, number = tag >> 16, tag & 0xFFFF
    if implicit:
        return IMPLICIT_HEADER(group, number, len(value)) + value
    if vr in LONG_VRS:
        return LONG_HEADER(group, number, vr, 0, len(value)) + value
    return SHORT_HEADER(group, number, vr, len(value)) + value


def header(data: bytes, element: Element, implicit: bool, length: int) -> bytes:
    """The header of an element with another length."""
    _, _, start, value, _, _ = element
    if implicit or value - start == 12:
        return data[start : value - 4] + LONG_LENGTH(length)
    if length > MOST_SHORT:
        raise Doubt(Reason.UNREADABLE, place((element[0],)))
    return data[start : value - 2] + SHORT_LENGTH(length)


def value(data: bytes, element: Element, implicit: bool, new_value: bytes) -> list[bytes]:
    """An element with another value, padded to even length (PS3.5 section 6.2)."""
    if len(new_value) % 2:
        new_value += b"\0" if UI in (element[1], IMPLICIT_VRS[element[0]]) else b" "
    return [header(data, element, implicit, len(new_value)), new_value]


def item(data: bytes, start: int, begin: int, end: int, parts: list[bytes], changed: bool) -> list[bytes]:
    """An item of a sequence, its elements replaced by `parts` when they changed."""
    undefined = is_undefined(data, begin)
    if not changed:
        return [data[start : end + 8 if undefined else end]]
    if undefined:
        return [data[start:begin], *parts, ITEM_END]
    return [ITEM, LONG_LENGTH(sum(map(len, parts))), *parts]
