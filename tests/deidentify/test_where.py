"""The place of a doubt holds tags of the standard, never bytes of a value that were read as a tag."""

from __future__ import annotations

import re
from struct import pack

import pytest
from building import (
    BIG_ENDIAN,
    EXPLICIT,
    HEAD,
    IMPLICIT,
    data_set,
    doubt_of,
    element,
    image,
    item,
    received,
    sequence,
    stream,
)
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.deidentify.encoded import only_standard, place
from dicomnode.deidentify.standard import dictionary
from dicomnode.model import Doubt

NAMES = (b"DOE^", b"LI^WU^", b"MUELLER^ANNA", b"QUITTENBAUM^WALP")
CODES = 0x00081140
TAGS = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)")


def misread(name: bytes, syntax: str = EXPLICIT) -> bytes:
    """An instance of which the name begins where a tag is expected: the length of its element is too short."""
    whole = data_set(implicit=syntax == IMPLICIT, without=(0x00100010,))
    at = whole.find(pack("<HH", 0x0010, 0x0020))
    return whole[:at] + element(0x00100010, "PN", b"", implicit=syntax == IMPLICIT) + name + whole[at:]


def told(doubt: Doubt | None) -> str:
    """Where a doubt is, once each tag in it is seen to be one of the standard's."""
    assert doubt is not None
    assert all(dictionary.is_standard(int(group + number, 16)) for group, number in TAGS.findall(doubt.where))
    return doubt.where


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_read_as_a_tag_is_not_told(name: bytes, syntax: str) -> None:
    where = told(doubt_of(misread(name, syntax), syntax))
    assert where == "(unknown) after (0010,0010)"
    with pytest.raises(Doubt) as caught:
        stream(received(syntax), misread(name, syntax), 50)
    assert caught.value.where == where


@pytest.mark.parametrize("name", NAMES)
def test_nor_in_a_sequence_or_in_big_endian(name: bytes) -> None:
    inner = element(0x00100010, "PN", b"") + name
    nested = told(doubt_of(data_set(sequence(CODES, item(inner)))))
    assert nested.startswith("(0008,1140)>(unknown) after (0010,0010)")
    parts = [_big(*each) for each in HEAD]
    parts[5] = _big(0x00100010, "PN", "") + name
    assert told(doubt_of(b"".join(parts), BIG_ENDIAN)) == "(unknown) after (0010,0010)"


def _big(tag: int, vr: str, value: str) -> bytes:
    padded = value.encode() + b" " * (len(value) % 2)
    return pack(">HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(padded)) + padded


@given(st.binary(min_size=8, max_size=40), st.sampled_from([EXPLICIT, IMPLICIT]))
def test_whatever_is_read_as_a_tag(junk: bytes, syntax: str) -> None:
    for data in (misread(junk, syntax), data_set(sequence(CODES, item(junk)), element(0x00091001, "SQ", junk))):
        doubt = doubt_of(data, syntax)
        if doubt is not None:
            told(doubt)


def test_what_is_after_nothing_is_unknown() -> None:
    assert told(doubt_of(b"DOE^JANE")) == "(unknown)"
    assert told(doubt_of(sequence(CODES, item(b"DOE^JANE")))) == "(0008,1140)>(unknown)"


def test_tags_that_the_standard_names() -> None:
    for tag in (0x00100010, 0x7FE00010, 0x60003000, 0x601E3000, 0x50003000, 0xFFFEE00D, 0x0019109E, 0x70531109):
        assert only_standard(place((tag,))) == place((tag,)) == f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    for tag in (0x4F445E45, 0x00091001, 0x00190010, 0x0019429E, 0x60203000, 0x60013000, 0x10104F44, 0xFFFE5E45):
        assert place((0x00081140, tag)) == "(0008,1140)>(unknown)"
        former = f"(0008,1140)>({tag >> 16:04X},{tag & 0xFFFF:04X}) frame-text"
        assert only_standard(former) == "(0008,1140)>(unknown) frame-text"
    assert place((0x4F445E45,), (0x00091001, 0x00081140, 0x00080005)) == "(unknown) after (0008,1140)"


def test_an_item_inside_a_private_sequence() -> None:
    inner = item(element(0x00080005, "CS", "NOBODY"))
    data = data_set(*image(), element(0x00090010, "LO", "ACME"), sequence(0x00091001, inner, inner[:-2]))
    assert told(doubt_of(data)).startswith("(unknown)")
