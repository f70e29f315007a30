"""The item structure of encapsulated pixel data (PS3.5 A.4), its offset tables included."""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack

from dicomnode.deidentify.encoded import ITEM, SEQUENCE_END, TAG_AND_LENGTH, UNDEFINED, Element, place
from dicomnode.deidentify.frames import Deflated, Frames, Opaque, RunLengths, Uncompressed
from dicomnode.deidentify.jpeg import Codestream, malformed
from dicomnode.deidentify.pixels import find, frame_bits, frames_of, planes, value_of
from dicomnode.deidentify.syntaxes import Pixels
from dicomnode.model import Buffer, Doubt, Reason

OFFSETS, LENGTHS = 0x7FE00001, 0x7FE00002
"""Extended Offset Table and its lengths (PS3.3 C.7.6.3.1.8): 64 bits for each frame."""


class Fragments:
    """Walks through an encapsulated pixel value, delimiter included; `done` when it was there.

    What the gate must see collects in `texts`, `coding` and `raw` (all bytes of the fragments, one behind the other);
    the caller takes it out.
    """

    def __init__(self, walker: Frames, frames: int, video: bool, extended: tuple[tuple[int, ...], ...] = ()) -> None:
        self.done = False
        self.raw: list[memoryview] = []
        self._walker = walker
        self._frames = frames
        self._video = video
        self._extended = extended
        self._offsets: tuple[int, ...] | None = None
        self._starts: list[int] = []
        self._lengths: list[int] = []
        self._at = self._length = self._left = 0
        self._first = False

    @property
    def texts(self) -> list[bytes]:
        """Segments that hold text."""
        return self._walker.texts

    @property
    def coding(self) -> list[bytes]:
        """Segments for decoders."""
        return self._walker.coding

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
            raise malformed()
        if self._offsets is None:
            return self._offset_table(view, position, length)
        self._walker.begin(length)
        self._at += self._length
        self._length = 8 + length
        self._left, self._first = length, True
        self._enter()
        return position + 8

    def _enter(self) -> None:
        """A frame that began, with the fragment in which it did."""
        if self._walker.images > len(self._starts):
            self._starts.append(self._at)
            self._lengths.append(self._length - 8)

    def _end(self, length: int) -> None:
        """The delimiter: as many frames as the image says, each where the tables say."""
        self._walker.end()
        count = len(self._starts)
        if length or self._walker.images != count or not (count >= 1 if self._video else count == self._frames):
            raise malformed()
        starts = tuple(self._starts)
        if self._offsets and self._offsets != (starts[:1] if self._video else starts):
            raise malformed()
        if self._extended:
            offsets, lengths = self._extended
            pairs = zip(self._lengths, lengths, strict=False)
            if offsets != starts or len(lengths) != count or any(one - other not in (0, 1) for one, other in pairs):
                raise malformed()
        self.done = True

    def _offset_table(self, view: memoryview, position: int, length: int) -> int:
        """The basic offset table: empty, or one offset per frame; it is compared when all frames were seen."""
        if length not in (0, 4 if self._video else 4 * self._frames) or (length and self._extended):
            raise malformed()
        stop = position + 8 + length
        if stop > len(view):
            return position
        self._offsets = unpack(f"<{length // 4}I", view[position + 8 : stop])
        return stop

    def _fragment(self, view: memoryview, position: int) -> int:
        portion = view[position : position + min(self._left, len(view) - position)]
        if not portion:
            return position
        step = self._walker.advance(portion, self._first, len(portion) == self._left)
        self._first = self._first and not step
        self._left -= step
        self._enter()
        if step:
            self.raw.append(portion[:step])
        return position + step


def fragments_of(data: Buffer, elements: Sequence[Element], pixels: Pixels) -> Fragments:
    """The walker for a pixel value behind these elements; raises Doubt(PIXEL_LENGTH, PIXEL_STREAM)."""
    frames = frames_of(data, elements)
    return Fragments(_walker(data, elements, pixels), frames, pixels is Pixels.VIDEO, extended(data, elements, frames))


def _walker(data: Buffer, elements: Sequence[Element], pixels: Pixels) -> Frames:
    if pixels is Pixels.CODESTREAM:
        return Codestream()
    if pixels is Pixels.VIDEO:
        return Opaque()
    if pixels is Pixels.RUN_LENGTHS:
        return RunLengths(*planes(data, elements))
    length = (frame_bits(data, elements) + 7) // 8
    return Uncompressed(length) if pixels is Pixels.UNCOMPRESSED else Deflated(length)


def extended(data: Buffer, elements: Sequence[Element], frames: int) -> tuple[tuple[int, ...], ...]:
    """The Extended Offset Table and its lengths, () when there is none; raises Doubt(PIXEL_STREAM)."""
    tables = [value_of(data, elements, tag) for tag in (OFFSETS, LENGTHS)]
    if tables == [None, None]:
        return ()
    if any(table is None or len(table) != 8 * frames for table in tables):
        raise Doubt(Reason.PIXEL_STREAM, place((OFFSETS,)))
    return tuple(unpack(f"<{frames}Q", table) for table in tables if table is not None)


def refuse_tables(elements: Sequence[Element]) -> None:
    """Raises Doubt(PIXEL_STREAM) when there are offset tables without fragments that they could be of."""
    if any(find(elements, tag) for tag in (OFFSETS, LENGTHS)):
        raise Doubt(Reason.PIXEL_STREAM, place((OFFSETS,)))
