"""Compressed frames: nothing beside the image has room in them, and names are found in all of their bytes."""

from __future__ import annotations

import zlib
from struct import pack

import pytest
from building import (
    BASELINE,
    JPEG_2000,
    JPEG_LS,
    RLE,
    clean,
    data_set,
    doubt_of,
    element,
    fragments,
    image,
    output,
    received,
    rle,
    stream,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stream_doubts import jpeg, segment

from dicomnode.model import Doubt, Reason

NAME, OTHER = b"Quittenbaum", b"somebody else 99887766"
UNCOMPRESSED, DEFLATED_FRAMES = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
MPEG4, JPEG_XL = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.110"
LITERAL = b"\x0f" + bytes(range(16)) + b"\0"
SOUND_JPEG = jpeg(entropy=b"\1\2")


def deflated(pixels: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(pixels) + packer.flush()


def verdict(syntax: str, *parts: bytes, offsets: bytes = b"", frames: int = 1, more: tuple[bytes, ...] = ()) -> object:
    """The reason, which is the same however the data set comes."""
    whole = data_set(*image(frames), *more, fragments(*parts, offsets=offsets))
    found = doubt_of(whole, syntax)
    reason = found and found.reason
    for size in (1, 7, 64, 100_000):
        try:
            stream(received(syntax), whole, size)
        except Doubt as doubt:
            assert doubt.reason == reason, size
        else:
            assert reason is None, size
    return reason


SOUND = {
    "run lengths": (RLE, [rle()]),
    "run lengths, replicated and filled up": (RLE, [rle(b"\xf1\7\x80\x80")]),
    "run lengths in several runs": (RLE, [rle(b"\x03abcd\xfd\7\x80\x07abcdefgh")]),
    "uncompressed": (UNCOMPRESSED, [bytes(16)]),
    "deflated": (DEFLATED_FRAMES, [deflated(bytes(16))]),
    "JPEG": (BASELINE, [SOUND_JPEG]),
    "JPEG with padding": (BASELINE, [SOUND_JPEG + b"\0\0\xff"]),
    "JPEG XL": (JPEG_XL, [b"\xff\x0a\1\2\3"]),
    "video": (MPEG4, [b"\0\0\1\xb3\1\2\3"]),
    "video in two fragments": (MPEG4, [b"\0\0\1\xb3\1\2\3", b"\1\2"]),
}


@pytest.mark.parametrize("case", SOUND)
def test_sound_frames_pass(case: str) -> None:
    assert verdict(SOUND[case][0], *SOUND[case][1]) is None


NOT_A_FRAME = {
    "no header": (RLE, [b"\1\0\0\0"]),
    "behind the last segment": (RLE, [rle(LITERAL + OTHER)]),
    "between segments": (RLE, [rle(LITERAL + OTHER, LITERAL)]),
    "a header with room": (RLE, [pack("<2I", 1, 64) + OTHER.ljust(56, b"\0") + LITERAL]),
    "a gap behind the header": (RLE, [rle(LITERAL, offsets=(68,))]),
    "too many segments": (RLE, [rle(LITERAL, LITERAL)]),
    "too few pixels": (RLE, [rle(b"\x07abcdefgh\0")]),
    "too many pixels": (RLE, [rle(b"\x10" + bytes(17))]),
    "a run beyond its segment": (RLE, [rle(b"\x0fabcd\0")]),
    "offsets beyond the end": (RLE, [rle(LITERAL, offsets=(6400,))]),
    "more fragments than frames": (RLE, [rle(), rle()]),
    "a JPEG among run lengths": (RLE, [SOUND_JPEG]),
    "longer than the frame": (UNCOMPRESSED, [bytes(16) + OTHER]),
    "two frames in one fragment": (UNCOMPRESSED, [bytes(32)]),
    "behind what is deflated": (DEFLATED_FRAMES, [deflated(bytes(16)) + OTHER]),
    "more inflated than the frame": (DEFLATED_FRAMES, [deflated(bytes(16) + OTHER)]),
    "less inflated than the frame": (DEFLATED_FRAMES, [deflated(bytes(12))]),
    "a deflate bomb": (DEFLATED_FRAMES, [deflated(bytes(10_000_000))]),
    "not deflated": (DEFLATED_FRAMES, [OTHER]),
    "behind the end of a JPEG": (BASELINE, [SOUND_JPEG + OTHER]),
    "a second JPEG behind the first": (BASELINE, [SOUND_JPEG + SOUND_JPEG]),
    "a second JPEG in its own fragment": (BASELINE, [SOUND_JPEG, SOUND_JPEG]),
    "a JPEG that is broken off by another": (BASELINE, [SOUND_JPEG[:-2], SOUND_JPEG]),
    "a reserved segment": (BASELINE, [jpeg(segment(0xC8, OTHER))]),
    "a restart interval with room": (BASELINE, [jpeg(segment(0xDD, OTHER))]),
    "a number of lines with room": (BASELINE, [jpeg(segment(0xDC, OTHER))]),
    "a frame header with room": (BASELINE, [jpeg(segment(0xC1, bytes(5) + b"\1" + bytes(3) + OTHER))]),
    "a scan header with room": (BASELINE, [jpeg()[:-2] + segment(0xDA, b"\1" + bytes(5) + OTHER) + b"\1\xff\xd9"]),
}


@pytest.mark.parametrize("case", NOT_A_FRAME)
def test_what_is_no_frame_is_withheld(case: str) -> None:
    assert verdict(NOT_A_FRAME[case][0], *NOT_A_FRAME[case][1]) is Reason.PIXEL_STREAM


def j2k(*main: bytes, data: bytes = b"ab") -> bytes:
    tile = b"\xff\x90\0\x0a\0\0" + pack(">I", 14 + len(data)) + b"\0\1\xff\x93" + data
    return b"\xff\x4f" + segment(0x51, bytes(38)) + b"".join(main) + tile + b"\xff\xd9"


NAMED = {
    "video": (MPEG4, [b"\0\0\1\xb2" + NAME + b"\0\0\1\xb7"]),
    "video, over two fragments": (MPEG4, [b"\0\0\1\xb2" + NAME[:6], NAME[6:]]),
    "JPEG XL": (JPEG_XL, [b"\xff\x0a\1\2" + NAME]),
    "run lengths": (RLE, [rle(b"\x0f\0\1" + NAME + b"\1\2\3\0")]),
    "entropy-coded data": (BASELINE, [jpeg(entropy=NAME)]),
    "tile data": (JPEG_2000, [j2k(data=NAME)]),
    "packed packet headers": (JPEG_2000, [j2k(segment(0x60, NAME))]),
    "JPEG-LS parameters": (
        JPEG_LS,
        [
            b"\xff\xd8"
            + segment(0xF7, bytes(5) + b"\1" + bytes(3))
            + segment(0xF8, NAME)
            + segment(0xDA, b"\1" + bytes(5))
            + b"\1\xff\xd9"
        ],
    ),
    **{f"JPEG segment {marker:02X}": (BASELINE, [jpeg(segment(marker, NAME))]) for marker in (0xDB, 0xC4, 0xCC)},
    **{
        f"JPEG 2000 segment {marker:02X}": (JPEG_2000, [j2k(segment(marker, NAME))])
        for marker in (0x52, 0x55, 0x57, 0x59, 0x5C, 0x63, 0x78)
    },
}


@pytest.mark.parametrize("case", NAMED)
def test_names_in_frames_are_found(case: str) -> None:
    syntax, parts = NAMED[case]
    assert verdict(syntax, *parts) is Reason.RESIDUE
    assert verdict(syntax, *(part.replace(b"Quitten", b"Unnamed").replace(b"baum", b"tree") for part in parts)) is None


def test_short_names_in_tables_are_found_and_the_usual_tables_are_innocent() -> None:
    usual = bytes(range(0x20, 0x41)) + b"%&'()*456789:CDEFGHIJSTUVWXYZcdefghijstuvwxyz"
    framed = fragments(jpeg(segment(0xC4, usual), segment(0xDB, b"\0\1Graf\2")))
    assert doubt_of(data_set(*image(), framed, t00100010="Graf^X"), BASELINE).reason is Reason.RESIDUE
    for identifier in ("456789", "56789"):
        framed = fragments(jpeg(segment(0xC4, usual)))
        assert doubt_of(data_set(*image(), framed, t00100020=identifier), BASELINE) is None


def test_offset_tables_say_where_the_frames_are() -> None:
    frame = jpeg(entropy=b"\1\2\3\4")
    second = pack("<2I", 0, 8 + len(frame))
    assert verdict(BASELINE, frame, frame, frames=2, offsets=second) is None
    assert verdict(BASELINE, frame, frame, frames=2) is None
    for wrong in (pack("<I", 0) + b"KOWA", pack("<2I", 0, 6 + len(frame)), pack("<I", 0)):
        assert verdict(BASELINE, frame, frame, frames=2, offsets=wrong) is Reason.PIXEL_STREAM
    cut = [frame[:-4], frame[-4:], frame]
    third = pack("<2I", 0, 16 + len(frame))
    assert verdict(BASELINE, *cut, frames=2, offsets=third) is None
    assert verdict(MPEG4, b"\0\0\1\xb3", frames=30, offsets=bytes(4)) is None


def table(tag: int, *numbers: int) -> bytes:
    return element(tag, "OV", pack(f"<{len(numbers)}Q", *numbers))


def test_extended_offset_tables_say_where_the_frames_are() -> None:
    frame = jpeg(entropy=b"\1\2\3\4")
    size = len(frame)
    starts, lengths = table(0x7FE00001, 0, 8 + size), table(0x7FE00002, size, size)
    assert verdict(BASELINE, frame, frame, frames=2, more=(starts, lengths)) is None
    for wrong in (
        (starts,),
        (lengths,),
        (starts, table(0x7FE00002, size, 99)),
        (table(0x7FE00001, 0, 9), lengths),
        (element(0x7FE00001, "OV", b"KOWALSKIKOWALSKI"), lengths),
        (table(0x7FE00001, 0, 8 + size, 1), table(0x7FE00002, size, size, size)),
    ):
        assert verdict(BASELINE, frame, frame, frames=2, more=wrong) is Reason.PIXEL_STREAM
    both = pack("<2I", 0, 8 + size)
    assert verdict(BASELINE, frame, frame, frames=2, more=(starts, lengths), offsets=both) is Reason.PIXEL_STREAM


def test_extended_offset_tables_without_fragments_are_withheld() -> None:
    for more in ([], [*image(), element(0x7FE00010, "OB", bytes(16))]):
        assert doubt_of(data_set(table(0x7FE00001, 0), *more)).reason is Reason.PIXEL_STREAM


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_mangled_frames_are_judged_alike_in_any_chunks(data: st.DataObject) -> None:
    syntax, frame = data.draw(
        st.sampled_from(
            [
                (RLE, rle(b"\x03abcd\xfd\7\x80\x07abcdefgh")),
                (DEFLATED_FRAMES, deflated(bytes(range(16)))),
                (JPEG_2000, j2k(segment(0x64, b"by nobody"))),
                (JPEG_LS, NAMED["JPEG-LS parameters"][1][0].replace(NAME, b"\1\2")),
            ]
        )
    )
    mangled = bytearray(frame)
    for _ in range(data.draw(st.integers(0, 2))):
        mangled[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    whole = data_set(*image(), fragments(bytes(mangled) + data.draw(st.binary(max_size=2))))
    try:
        expected: object = output(clean(whole, syntax))
    except Doubt as doubt:
        assert doubt.reason in (Reason.PIXEL_STREAM, Reason.RESIDUE)
        expected = doubt.reason
    for size in (1, 5, 64):
        try:
            assert stream(received(syntax), whole, size)[1] == expected
        except Doubt as doubt:
            assert doubt.reason == expected
