"""Deflated and big endian data sets."""

from __future__ import annotations

import struct
import warnings
import zlib

import images
import pydicom
import pytest
from building import BIG_ENDIAN, DEFLATED, EXPLICIT, clean, data_set, doubt_of, element, image, output

from dicomnode.deidentify.convert import inflate, to_little_endian
from dicomnode.model import Doubt, Reason


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


DATA = data_set(*image(), element(0x7FE00010, "OB", bytes(range(16))))


def test_deflated_gives_what_the_plain_data_set_gives() -> None:
    packed = clean(deflated(DATA), DEFLATED)
    plain = clean(DATA)
    assert output(packed) == output(plain)
    assert packed.transfer_syntax == EXPLICIT
    assert bytes(packed.original_head) == deflated(DATA)


@pytest.mark.parametrize("behind", [b"", b"\0", struct.pack("<II", zlib.crc32(DATA), len(DATA))])
def test_what_may_follow_a_deflated_stream(behind: bytes) -> None:
    assert inflate(deflated(DATA) + behind) == DATA


@pytest.mark.parametrize("behind", [b"\1", b"QUITTENBAUM", struct.pack("<II", zlib.crc32(DATA), len(DATA) + 1)])
def test_what_may_not_follow_a_deflated_stream(behind: bytes) -> None:
    doubt = doubt_of(deflated(DATA) + behind, DEFLATED)
    assert doubt is not None and doubt.reason is Reason.TRAILING_BYTES


def test_inflating_is_capped() -> None:
    with pytest.raises(Doubt) as raised:
        inflate(deflated(bytes(1 << 20)), most=1000)
    assert raised.value.reason is Reason.INFLATE_LIMIT


def test_truncated_and_garbled_streams() -> None:
    assert doubt_of(deflated(DATA)[:-3], DEFLATED).reason is Reason.TRUNCATED
    assert doubt_of(b"\xff" * 40, DEFLATED).reason is Reason.UNREADABLE


def _values(data_set_: pydicom.Dataset) -> list[object]:
    return [(e.tag, e.VR, e.value) for e in data_set_.iterall() if e.VR != "SQ" and e.VR != "OW"]


def test_real_big_endian_files_hold_the_same_values() -> None:
    """pydicom reads the same values from the original and from the conversion, and the same pixels."""
    seen = 0
    for path in images.sendable_files():
        syntax, data = images.split(path.read_bytes())
        if syntax != BIG_ENDIAN or path.name.startswith("rtdose"):
            continue
        seen += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = pydicom.dcmread(path)
            after = images.parse(images.part10(to_little_endian(data), EXPLICIT, "1.2", "1.2"))
            assert _values(before) == _values(after), path.name
            assert (before.pixel_array == after.pixel_array).all(), path.name
    assert seen >= 10


def test_pixels_of_32_bits_are_in_doubt_and_tags_are_converted() -> None:
    _, data = images.split(images.real("rtdose_expb.dcm").read_bytes())
    with pytest.raises(Doubt) as raised:
        to_little_endian(data)
    assert raised.value.reason is Reason.TRANSFER_SYNTAX
    pointer = struct.pack(">HH2sH", 0x0028, 0x0009, b"AT", 4) + struct.pack(">HH", 0x0018, 0x1063)
    assert to_little_endian(pointer) == element(0x00280009, "AT", struct.pack("<HH", 0x0018, 0x1063))


def test_big_endian_labelled_little_and_the_other_way() -> None:
    _, big = images.split(images.real("MR_small_bigendian.dcm").read_bytes())
    _, little = images.split(images.real("MR_small.dcm").read_bytes())
    assert doubt_of(big, EXPLICIT) is not None
    assert doubt_of(little, BIG_ENDIAN) is not None


def test_every_prefix_of_a_big_endian_file_is_withheld_or_whole() -> None:
    _, data = images.split(images.real("MR_small_bigendian.dcm").read_bytes())
    for length in range(0, len(data), 37):
        try:
            to_little_endian(data[:length])
        except Doubt:
            continue
        assert data[length : length + 2] != b"", length


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_kind_of_buffer_does_not_matter(kind: type) -> None:
    data = images.split(images.real("ExplVR_BigEnd.dcm").read_bytes())[1]
    assert to_little_endian(kind(data)) == to_little_endian(data)


@pytest.mark.parametrize("vr", ["US", "UN"])
def test_bits_allocated_under_un_count_as_under_us(vr: str) -> None:
    """The value of a UN is little endian in any transfer syntax (PS3.5 section 6.2.2)."""
    pixels = struct.pack(">HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 8) + bytes(range(8))

    def converted(bits: int) -> bytes:
        value = struct.pack(">H", bits) if vr == "US" else struct.pack("<H", bits)
        length = struct.pack(">H", 2) if vr == "US" else struct.pack(">HI", 0, 2)
        return to_little_endian(struct.pack(">HH2s", 0x0028, 0x0100, vr.encode()) + length + value + pixels)

    assert converted(16).endswith(bytes([1, 0, 3, 2, 5, 4, 7, 6]))
    with pytest.raises(Doubt) as raised:
        converted(32)
    assert raised.value.reason is Reason.TRANSFER_SYNTAX
