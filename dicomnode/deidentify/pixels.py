"""Pixel data: how long it must be by the image attributes (PS3.5 section 8), and where it lies."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

from dicomnode.deidentify.encoded import (
    PIXEL_DATA,
    SEQUENCE_END,
    TAG_AND_LENGTH,
    UNDEFINED,
    Element,
    Reader,
    place,
)
from dicomnode.deidentify.syntaxes import Form
from dicomnode.model import Buffer, Doubt, Reason

SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, BITS = (
    0x00280002,
    0x00280004,
    0x00280008,
    0x00280010,
    0x00280011,
    0x00280100,
)
IMAGE_ATTRIBUTES = frozenset([SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, BITS])
"""On these it hangs how long pixel data must be."""
FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
SUBSAMPLED = {"YBR_FULL_422": 16, "YBR_PARTIAL_422": 16, "YBR_PARTIAL_420": 12}
"""Bits per pixel of three samples of 8 bits each (PS3.3 C.7.6.3.1.2)."""
FIRST_OVERLAY, BEHIND_OVERLAYS = 0x60000000, 0x61000000
OVERLAY_BITS, OVERLAY_POSITION, OVERLAY_DATA = 0x0100, 0x0102, 0x3000
MOST_FRAMES = 1 << 22

Elements: TypeAlias = Sequence[Element]


def find(elements: Sequence[Element], tag: int) -> Element | None:
    """The element with this tag at one level."""
    index = bisect_left(elements, (tag,))
    return elements[index] if index < len(elements) and elements[index][0] == tag else None


def value_of(data: Buffer, elements: Sequence[Element], tag: int) -> bytes | None:
    """The bytes of a value at one level; None when the element is not there."""
    element = find(elements, tag)
    return None if element is None else bytes(data[element[3] : element[4]])


def text_of(data: Buffer, elements: Sequence[Element], tag: int) -> str:
    """A value of the default character repertoire without padding; "" when it is not there."""
    return (value_of(data, elements, tag) or b"").strip(b" \0").decode("latin-1")


def frames_of(data: Buffer, elements: Sequence[Element]) -> int:
    """Number of Frames, 1 when it is not there; raises Doubt(PIXEL_LENGTH)."""
    text = text_of(data, elements, FRAMES)
    if not text:
        return 1
    if not (text.isascii() and text.isdigit() and 0 < int(text[:12]) <= MOST_FRAMES):
        raise Doubt(Reason.PIXEL_LENGTH, place((FRAMES,)))
    return int(text)


def _number(data: Buffer, elements: Sequence[Element], tag: int) -> int:
    value = value_of(data, elements, tag)
    if value is None or len(value) != 2:
        raise Doubt(Reason.PIXEL_LENGTH, place((tag,)))
    return int.from_bytes(value, "little")


def frame_bits(data: Buffer, elements: Sequence[Element], tag: int = PIXEL_DATA) -> int:
    """Bits of one native frame; raises Doubt(PIXEL_LENGTH)."""
    pixels = _number(data, elements, ROWS) * _number(data, elements, COLUMNS)
    if tag in FLOAT_BITS:
        return pixels * FLOAT_BITS[tag]
    samples, allocated = _number(data, elements, SAMPLES), _number(data, elements, BITS)
    if samples == 3 and allocated == 8:
        return pixels * SUBSAMPLED.get(text_of(data, elements, PHOTOMETRIC), 24)
    return pixels * samples * allocated


def check_native(data: Buffer, elements: Sequence[Element], tag: int, length: int) -> None:
    """Raises Doubt(PIXEL_LENGTH) unless the value is as long as the image attributes say, padded to even length."""
    expected = (frame_bits(data, elements, tag) * frames_of(data, elements) + 7) // 8
    if not expected or length != expected + expected % 2:
        raise Doubt(Reason.PIXEL_LENGTH, place((tag,)))


def planes(data: Buffer, elements: Sequence[Element]) -> tuple[int, int]:
    """Bytes of one byte plane of a frame, and how many planes it has (PS3.5 G.2); raises Doubt(PIXEL_LENGTH)."""
    pixels = _number(data, elements, ROWS) * _number(data, elements, COLUMNS)
    samples, allocated = _number(data, elements, SAMPLES), _number(data, elements, BITS)
    if allocated == 1:
        return (pixels + 7) // 8, samples
    return pixels, samples * ((allocated + 7) // 8)


def refuse_embedded_overlays(data: Buffer, elements: Sequence[Element]) -> None:
    """Raises Doubt(SUSPICIOUS_PIXELS) when overlay planes lie in unused bits of the pixels (retired, PS3.3 C.9.2)."""
    first = bisect_left(elements, (FIRST_OVERLAY,))
    for tag, _, _, value, stop, _ in elements[first : bisect_left(elements, (BEHIND_OVERLAYS,))]:
        told = {OVERLAY_BITS: 1, OVERLAY_POSITION: 0}.get(tag & 0xFFFF)
        if told is None or bytes(data[value:stop]) == told.to_bytes(2, "little"):
            continue
        if find(elements, tag & 0xFFFF0000 | OVERLAY_DATA) is None:
            raise Doubt(Reason.SUSPICIOUS_PIXELS, place((tag,)))


def split_pixels(data: Buffer, form: Form) -> tuple[int, int]:
    """Where the pixel value of a whole data set begins and ends; its end twice when it has none. Raises Doubt."""
    reader = Reader(data, form.implicit)
    elements: list[Element] = []
    position = reader.top_level(0, elements)
    if position == reader.size:
        return position, position
    _, _, value, length = reader.pixel_header(position)
    if length != UNDEFINED:
        return value, value + length
    position = value
    while True:
        tag, size = TAG_AND_LENGTH(data, position)
        position += 8
        if tag == SEQUENCE_END:
            return value, position
        position += size
