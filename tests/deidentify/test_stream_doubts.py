"""Whatever goes wrong, and whenever: the original can be put together again from what was held and what was written."""

from __future__ import annotations

import zlib

import pytest
from building import (
    BASELINE,
    BIG_ENDIAN,
    DEFLATED,
    ENGINE,
    EXPLICIT,
    JPEG_2000,
    data_set,
    element,
    fragments,
    image,
    item,
    received,
    sequence,
)

from dicomnode.deidentify import CleanStream, Limits
from dicomnode.model import Doubt, Originals, Reason

PIXELS = element(0x7FE00010, "OB", bytes(range(16)))
PADDING = element(0xFFFCFFFC, "OB", bytes(8))


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def jpeg(*segments: bytes, entropy: bytes = b"\x12\xff\x00\x34\xff\xd0\x56") -> bytes:
    tables = segment(0xDB, bytes(65)) + segment(0xC0, bytes(5) + b"\3" + bytes(9)) + segment(0xC4, bytes(20))
    return b"\xff\xd8" + b"".join(segments) + tables + segment(0xDA, b"\3" + bytes(9)) + entropy + b"\xff\xd9"


NAMED = jpeg(segment(0xFE, b"patient Quittenbaum, W."))


def together(cleaner: CleanStream, out: bytes) -> bytes:
    written = out[cleaner.pixels_at : cleaner.pixels_at + cleaner.pixels_written]
    return bytes(cleaner.original_head) + written + b"".join(bytes(part) for part in cleaner.original_rest)


def run(data: bytes, syntax: str, size: int, limits: Limits | None = None) -> Doubt | None:
    """Feed it all, checking at every step that nothing is lost; the doubt that came."""
    cleaner = ENGINE.stream(received(syntax), limits)
    out = bytearray()
    for at in range(0, len(data), size):
        chunk = bytearray(data[at : at + size])
        try:
            for part in cleaner.feed(chunk):
                out += part
        except Doubt as doubt:
            chunk[:] = b"\xee" * len(chunk)
            assert together(cleaner, bytes(out)) == data[: at + size]
            assert b"Quittenbaum" not in out
            return doubt
        chunk[:] = b"\xee" * len(chunk)
        assert together(cleaner, bytes(out)) == data[: at + size]
    try:
        cleaner.finish()
    except Doubt as doubt:
        assert together(cleaner, bytes(out)) == data
        return doubt
    assert together(cleaner, bytes(out)) == data
    return None


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CASES = {
    "sound": (data_set(*image(), PIXELS, PADDING), EXPLICIT, None),
    "header": (data_set(element(0x00280006, "XX", "ab"), PIXELS), EXPLICIT, Reason.UNKNOWN_VR),
    "descending tags": (data_set() + element(0x00100040, "CS", "M") + PIXELS, EXPLICIT, Reason.UNREADABLE),
    "gate in the header": (
        data_set(*image(), element(0x00181020, "LO", "for Quittenbaum"), PIXELS),
        EXPLICIT,
        Reason.RESIDUE,
    ),
    "pixel length": (data_set(*image(), element(0x7FE00010, "OB", bytes(20))), EXPLICIT, Reason.PIXEL_LENGTH),
    "truncated pixels": (data_set(*image(), PIXELS)[:-3], EXPLICIT, Reason.TRUNCATED),
    "bad element behind the pixels": (data_set(*image(), PIXELS, PADDING)[:-1], EXPLICIT, Reason.TRUNCATED),
    "garbage behind the pixels": (data_set(*image(), PIXELS) + b"\xff" * 21, EXPLICIT, Reason.UNKNOWN_VR),
    "sound frames": (data_set(*image(frames=2), fragments(jpeg(), jpeg())), BASELINE, None),
    "a comment in the last frame": (data_set(*image(frames=2), fragments(jpeg(), NAMED)), BASELINE, Reason.RESIDUE),
    "a name behind the last frame": (
        data_set(*image(), fragments(jpeg() + b"Quittenbaum")),
        BASELINE,
        Reason.PIXEL_STREAM,
    ),
    "no delimiter": (data_set(*image(), fragments(jpeg(), end=b"")), BASELINE, Reason.TRUNCATED),
    "no frame": (data_set(*image(), fragments(b"no image at all!")), JPEG_2000, Reason.PIXEL_STREAM),
    "too few fragments": (data_set(*image(frames=3), fragments(jpeg(), jpeg())), BASELINE, Reason.PIXEL_STREAM),
    "deflated": (deflated(data_set(*image(), PIXELS, PADDING)), DEFLATED, None),
    "deflated and truncated": (deflated(data_set(*image(), PIXELS, PADDING))[:-2], DEFLATED, Reason.TRUNCATED),
    "deflated short pixels": (deflated(data_set(*image(), PIXELS)[:-1]), DEFLATED, Reason.TRUNCATED),
    "big endian that is none": (data_set(*image(), PIXELS), BIG_ENDIAN, Reason.TRUNCATED),
    "unknown syntax": (data_set(), "1.2.3", Reason.TRANSFER_SYNTAX),
    "nothing": (b"", EXPLICIT, Reason.MISSING_UID),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1, 3, 16, 50, 10_000])
def test_nothing_is_lost(case: str, size: int) -> None:
    data, syntax, reason = CASES[case]
    doubt = run(data, syntax, size)
    assert (doubt and doubt.reason) == reason


def test_uids_come_with_the_doubt() -> None:
    doubt = run(CASES["truncated pixels"][0], EXPLICIT, 10)
    assert doubt is not None and isinstance(doubt.originals, Originals)


def test_header_and_tail_are_capped() -> None:
    large = element(0x00281201, "OW", bytes(5000))
    limits = Limits(header=4000)
    assert run(data_set(large, PIXELS), EXPLICIT, 100, limits).reason is Reason.HEADER_TOO_LARGE
    padding = element(0xFFFCFFFC, "OB", bytes(5000))
    assert run(data_set(*image(), PIXELS, padding), EXPLICIT, 100, limits).reason is Reason.HEADER_TOO_LARGE
    assert run(deflated(data_set(large)), DEFLATED, 100, Limits(inflated=3000)).reason is Reason.INFLATE_LIMIT


def test_a_long_undefined_sequence_is_not_read_again_for_every_chunk() -> None:
    items = [item(element(0x00080100, "SH", f"T{number:05}")) for number in range(3000)]
    data = data_set(*image(), sequence(0x00082218, *items, defined=False), PIXELS)
    cleaner = ENGINE.stream(received())
    tries = 0
    find = cleaner._find_pixels

    def counted():
        nonlocal tries
        tries += 1
        return find()

    cleaner._find_pixels = counted
    for at in range(0, len(data), 32):
        cleaner.feed(data[at : at + 32])
    assert 10 < tries < 150


def test_memory_is_a_chunk_not_the_pixels() -> None:
    rows = [part for part in image() if part[:4] not in (b"\x28\0\x10\0", b"\x28\0\x11\0")]
    rows += [element(tag, "US", (4000).to_bytes(2, "little")) for tag in (0x00280010, 0x00280011)]
    cleaner = ENGINE.stream(received())
    cleaner.feed(data_set(*rows, element(0x7FE00010, "OB", b"", length=16_000_000)))
    chunk = bytes(1 << 20)
    for at in range(0, 16_000_000, len(chunk)):
        piece = chunk[: 16_000_000 - at]
        assert sum(map(len, cleaner.feed(piece))) == len(piece)
        assert len(cleaner.original_head) < 2000 and not any(cleaner.original_rest)
    assert cleaner.finish()[0] == []
