"""The strict reader: what a data set may be, and what it may not be."""

from __future__ import annotations

import pytest
from building import (
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    data_set,
    doubt_of,
    element,
    image,
    item,
    sequence,
)
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.deidentify import encoded
from dicomnode.deidentify.encoded import Element, Reader
from dicomnode.model import Doubt, Reason

CODES = 0x00081140  # Referenced Image Sequence
TEXT = element(0x00080100, "SH", "T-1")


def read(data: bytes, implicit: bool = False) -> list[Element]:
    elements: list[Element] = []
    assert Reader(data, implicit).top_level(0, elements) == len(data)
    return elements


def tags(elements: list[Element]) -> list[object]:
    return [(tag, [tags(part[3]) for part in items]) if items is not None else tag for tag, *_, items in elements]


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("defined_item", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
def test_sequences_of_both_kinds_of_length(implicit: bool, defined: bool, defined_item: bool) -> None:
    inner = element(0x00080100, "SH", "T-1", implicit=implicit)
    data = sequence(CODES, item(inner, defined=defined_item), item(b""), implicit=implicit, defined=defined)
    data += element(0x00081150, "UI", "1.2", implicit=implicit)
    assert tags(read(data, implicit)) == [(CODES, [[0x00080100], []]), 0x00081150]


def test_unknown_of_undefined_length_is_an_implicit_sequence() -> None:
    inner = element(0x00080100, "SH", "T-1", implicit=True)
    data = sequence(0x00091001, item(inner), vr="UN", defined=False)
    assert tags(read(data)) == [(0x00091001, [[0x00080100]])]


def test_unknown_of_what_is_a_sequence_in_the_dictionary() -> None:
    inner = element(0x00100010, "PN", "A^B", implicit=True)
    assert tags(read(sequence(CODES, item(inner), vr="UN"))) == [(CODES, [[0x00100010]])]


def test_private_sequence_in_implicit_vr() -> None:
    inner = element(0x00100010, "PN", "A^B", implicit=True)
    data = sequence(0x00091001, item(inner), implicit=True, defined=False)
    assert tags(read(data, implicit=True)) == [(0x00091001, [[0x00100010]])]


MALFORMED = {
    "truncated value": (element(0x00100020, "LO", "ABCD", length=6), Reason.TRUNCATED, "(0010,0020)"),
    "truncated header": (element(0x00100020, "LO", "ABCD") + b"\x10\0\x30\0", Reason.TRAILING_BYTES, ""),
    "trailing zeros": (element(0x00100020, "LO", "ABCD") + bytes(16), Reason.TRAILING_BYTES, "(0000,0000)"),
    "unknown VR": (element(0x00100020, "XX", "AB"), Reason.UNKNOWN_VR, "(0010,0020)"),
    "reserved bytes": (b"\x10\0\x20\0UT\1\0\0\0\0\0", Reason.UNREADABLE, "(0010,0020)"),
    "twice": (TEXT + TEXT, Reason.UNREADABLE, "(0008,0100)"),
    "descending": (element(0x00100020, "LO") + TEXT, Reason.UNREADABLE, "(0008,0100)"),
    "command group": (element(0x00000100, "US", b"\1\0"), Reason.UNREADABLE, "(0000,0100)"),
    "file meta group": (element(0x00020010, "UI", "1.2"), Reason.UNREADABLE, "(0002,0010)"),
    "nested file meta": (
        sequence(CODES, item(element(0x00020010, "UI", "1.2"))),
        Reason.UNREADABLE,
        "(0008,1140)>(0002,0010)",
    ),
    "no item": (sequence(CODES, TEXT), Reason.UNREADABLE, "(0008,1140)"),
    "item beyond the sequence": (
        element(CODES, "SQ", item(TEXT)[:-2]) + element(0x00100020, "LO", "ABCD"),
        Reason.UNREADABLE,
        "(0008,1140)",
    ),
    "element beyond the item": (
        sequence(CODES, item(element(0x00080100, "SH", "AB", length=40)), item(bytes(60))),
        Reason.UNREADABLE,
        "(0008,1140)>(0008,0100)",
    ),
    "no sequence delimiter": (element(CODES, "SQ", item(TEXT), length=UNDEFINED), Reason.TRUNCATED, "(0008,1140)"),
    "no item delimiter": (
        sequence(CODES, item(TEXT, defined=False)[: -len(ITEM_END)], defined=False),
        Reason.UNREADABLE,
        "(0008,1140)>(FFFE,E0DD)",
    ),
    "stray delimiter": (TEXT + SEQUENCE_END, Reason.UNREADABLE, "(FFFE,E0DD)"),
    "undefined length of a text": (element(0x00100020, "UT", "AB", length=UNDEFINED), Reason.UNREADABLE, "(0010,0020)"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_does_not_add_up(case: str) -> None:
    data, reason, where = MALFORMED[case]
    with pytest.raises(Doubt) as raised:
        read(data)
    assert (raised.value.reason, raised.value.where) == (reason, where)


@pytest.mark.parametrize("defined", [True, False])
def test_deep_nesting(defined: bool) -> None:
    def nested(depth: int) -> bytes:
        data = TEXT
        for _ in range(depth):
            data = sequence(CODES, item(data, defined=defined), defined=defined)
        return data

    read(nested(32))
    with pytest.raises(Doubt) as raised:
        read(nested(33))
    assert raised.value.reason is Reason.TOO_DEEP
    with pytest.raises(Doubt) as raised:
        read(nested(3000))
    assert raised.value.reason is Reason.TOO_DEEP


def test_elements_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "MOST_ELEMENTS", 50)
    for data in (
        b"".join(element(0x00091000 + number, "SH") for number in range(60)),
        sequence(CODES, *(item(TEXT) for _ in range(30))),
    ):
        with pytest.raises(Doubt) as raised:
            read(data)
        assert raised.value.reason is Reason.HEADER_TOO_LARGE


def test_pixel_element_ends_the_head_but_not_an_icon() -> None:
    icon = element(0x7FE00010, "OW", bytes(4))
    data = sequence(0x00880200, item(icon)) + element(0x7FE00010, "OW", bytes(8))
    elements: list[Element] = []
    position = Reader(data, False).top_level(0, elements)
    assert tags(elements) == [(0x00880200, [[0x7FE00010]])]
    assert data[position : position + 4] == b"\xe0\x7f\x10\0"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_doubted(data: bytes) -> None:
    for implicit in (True, False):
        try:
            elements: list[Element] = []
            Reader(data, implicit).top_level(0, elements)
        except Doubt:
            continue
        assert all(start <= value <= stop <= len(data) for _, _, start, value, stop, _ in elements)


WHOLE = data_set(
    *image(),
    sequence(CODES, item(TEXT), item(element(0x00100010, "PN", "A^B"), defined=False), defined=False),
    element(0x7FE00010, "OB", bytes(16)),
    element(0xFFFCFFFC, "OB", bytes(4)),
)


def test_a_prefix_passes_only_where_an_element_ends() -> None:
    elements: list[Element] = []
    pixels = Reader(WHOLE, False).top_level(0, elements)
    series = next(stop for tag, _, _, _, stop, _ in elements if tag == 0x0020000E)
    whole = {stop for _, _, _, _, stop, _ in elements if stop >= series} | {pixels + 12 + 16, len(WHOLE)}
    for length in range(len(WHOLE) + 1):
        doubt = doubt_of(WHOLE[:length])
        assert (doubt is None) == (length in whole), length
        assert doubt is None or doubt.reason is not Reason.INTERNAL


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_one_changed_byte_never_crashes(at: int, byte: int) -> None:
    changed = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    for syntax in (EXPLICIT, IMPLICIT):
        doubt = doubt_of(changed, syntax)
        assert doubt is None or doubt.reason is not Reason.INTERNAL


def test_one_syntax_labelled_as_another() -> None:
    implicit = data_set(implicit=True)
    assert doubt_of(implicit, IMPLICIT) is None
    assert doubt_of(implicit, EXPLICIT) is not None
    assert doubt_of(data_set(), IMPLICIT) is not None
