"""Pixel data: how long native pixels must be, and the item structure of encapsulated ones (PS3.5 section 8, A.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

from dicomnode.deidentify.encoded import (
    ITEM,
    PIXEL_DATA,
    SEQUENCE_END,
    TAG_AND_LENGTH,
    UNDEFINED,
    Element,
    Reader,
    place,
)
from dicomnode.deidentify.jpeg import Codestream
from dicomnode.deidentify.syntaxes import Form, Pixels
from dicomnode.model import Buffer, Doubt, Reason

SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, BITS = (
    0x00280002,
    0x00280004,
    0x00280008,
    0x00280010,
    0x00280011,
    0x00280100,
)
FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
SUBSAMPLED = {"YBR_FULL_422": 16, "YBR_PARTIAL_422": 16, "YBR_PARTIAL_420": 12}
"""Bits per pixel of three samples of 8 bits each (PS3.3 C.7.6.3.1.2)."""
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


def check_native(data: Buffer, elements: Sequence[Element], tag: int, length: int) -> None:
    """Raises Doubt(PIXEL_LENGTH) unless the value is as long as the image attributes say, padded to even length."""
    pixels = _number(data, elements, ROWS) * _number(data, elements, COLUMNS) * frames_of(data, elements)
    if tag in FLOAT_BITS:
        bits = pixels * FLOAT_BITS[tag]
    else:
        samples, allocated = _number(data, elements, SAMPLES), _number(data, elements, BITS)
        bits = pixels * samples * allocated
        if samples == 3 and allocated == 8:
            bits = pixels * SUBSAMPLED.get(text_of(data, elements, PHOTOMETRIC), 24)
    expected = (bits + 7) // 8
    if not expected or length != expected + expected % 2:
        raise Doubt(Reason.PIXEL_LENGTH, place((tag,)))


class Fragments:
    """Walks through an encapsulated pixel value, delimiter included; `done` when it was there."""

    def __init__(self, pixels: Pixels, frames: int) -> None:
        self.done = False
        self._frames = frames
        self._count = -1
        self._left = 0
        self._first = False
        self._codestream = Codestream() if pixels is Pixels.CODESTREAM else None
        self._least = 1 if pixels is Pixels.VIDEO else frames

    @property
    def texts(self) -> list[bytes]:
        """What the gate must see; the caller takes it out."""
        return self._codestream.texts if self._codestream else []

    def advance(self, view: memoryview) -> int:
        """Judge bytes; returns how many of them. The rest must be given again with more behind it.

        Raises Doubt(PIXEL_STREAM).
        """
        position = 0
        while not self.done:
            moved = self._fragment(view, position) if self._left else self._item(view, position)
            if moved == position:
                break
            position = moved
        return position

    def _item(self, view: memoryview, position: int) -> int:
        if len(view) - position < 8:
            return position
        tag, length = TAG_AND_LENGTH(view, position)
        if tag == SEQUENCE_END:
            self._end(length)
            return position + 8
        if tag != ITEM or length == UNDEFINED or length % 2:
            raise Doubt(Reason.PIXEL_STREAM, place((PIXEL_DATA,)))
        if self._count < 0:
            return self._offsets(view, position, length)
        self._count += 1
        self._left, self._first = length, True
        return position + 8

    def _end(self, length: int) -> None:
        if length or self._count < max(self._least, 1):
            raise Doubt(Reason.PIXEL_STREAM, place((PIXEL_DATA,)))
        if self._codestream:
            self._codestream.end()
        self.done = True

    def _offsets(self, view: memoryview, position: int, length: int) -> int:
        """The basic offset table: empty, or ascending from 0 with one offset per frame."""
        if length not in (0, 4 * self._frames):
            raise Doubt(Reason.PIXEL_STREAM, place((PIXEL_DATA,)))
        stop = position + 8 + length
        if stop > len(view):
            return position
        offsets = [int.from_bytes(view[at : at + 4], "little") for at in range(position + 8, stop, 4)]
        ascending = all(one < other for one, other in pairwise(offsets))
        if offsets and (offsets[0] or not ascending):
            raise Doubt(Reason.PIXEL_STREAM, place((PIXEL_DATA,)))
        self._count = 0
        return stop

    def _fragment(self, view: memoryview, position: int) -> int:
        step = min(self._left, len(view) - position)
        if self._codestream and step:
            portion = view[position : position + step]
            step = self._codestream.advance(portion, self._first, step == self._left)
            self._first = self._first and not step
        self._left -= step
        return position + step


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
