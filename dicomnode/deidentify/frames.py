"""Frames that are not codestreams: run lengths (PS3.5 Annex G), deflated and uncompressed ones, and video.

A walker for each judges the fragments as they come, like `jpeg.Codestream`: `begin` for each fragment, `advance` for
its bytes, `end` behind the last one. What is longer than its frame, or is no frame, raises Doubt(PIXEL_STREAM).
"""

from __future__ import annotations

import zlib
from itertools import pairwise
from struct import Struct
from typing import Protocol

from dicomnode.deidentify.jpeg import malformed

RLE_HEADER = 64
MOST_SEGMENTS = 15
OFFSETS = Struct("<16I").unpack
DECODED = (*range(1, 129), 0, *range(128, 1, -1))
ENCODED = (*range(2, 130), 1, *[2] * 127)
"""Bytes of a run when decoded and with its code, by the code (PS3.5 G.3.1)."""
FILLING = b"\0\x80"
"""What an encoder may fill an RLE segment up with: nothing, and the code for nothing."""


class Frames(Protocol):
    """Walks through fragments; `texts` and `coding` are for the gate, `images` counts the frames that began."""

    texts: list[bytes]
    coding: list[bytes]
    images: int

    def begin(self, length: int) -> None:
        """A fragment of this length comes next."""

    def advance(self, view: memoryview, first: bool, final: bool) -> int:
        """Judge bytes of one fragment; returns how many. The rest must be given again with more behind it."""

    def end(self) -> None:
        """All fragments were seen."""


class Opaque:
    """Fragments that hold one frame each and no segments; `images` counts them."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.coding: list[bytes] = []
        self.images = 0

    def begin(self, length: int) -> None:
        self.images += 1

    def advance(self, view: memoryview, first: bool, final: bool) -> int:
        return len(view)

    def end(self) -> None:
        pass


class Uncompressed(Opaque):
    """Frames of `length` bytes, padded to even length."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length

    def begin(self, length: int) -> None:
        super().begin(length)
        if length != self._length + self._length % 2:
            raise malformed()


class Deflated(Opaque):
    """Frames of `length` bytes, each deflated on its own (RFC 1951, PS3.5 A.4.14)."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length
        self._left = 0
        self._raw = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def begin(self, length: int) -> None:
        super().begin(length)
        self._raw = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._left = self._length + self._length % 2
        if not length:
            raise malformed()

    def advance(self, view: memoryview, first: bool, final: bool) -> int:
        try:
            self._left -= len(self._raw.decompress(view, self._left + 1))
        except zlib.error:
            raise malformed() from None
        over = self._left < 0 or self._raw.unconsumed_tail or self._raw.unused_data not in (b"", b"\0")
        if over or (final and (not self._raw.eof or self._left > self._length % 2)):
            raise malformed()
        return len(view)


class RunLengths(Opaque):
    """Frames of `segments` segments, each of `length` bytes when decoded, nothing in front, between or behind."""

    def __init__(self, length: int, segments: int) -> None:
        super().__init__()
        if not 1 <= segments <= MOST_SEGMENTS:
            raise malformed()
        self._length = length
        self._segments = segments
        self._size = self._at = self._left = self._skip = 0
        self._ends: list[int] = []

    def begin(self, length: int) -> None:
        super().begin(length)
        self._size = length
        if length < RLE_HEADER:
            raise malformed()

    def advance(self, view: memoryview, first: bool, final: bool) -> int:
        position = 0
        if first:
            if len(view) < RLE_HEADER:
                return 0
            self._header(*OFFSETS(view[:RLE_HEADER]))
            position = RLE_HEADER
        while position < len(view):
            end = position + self._ends[0] - self._at
            stop = min(end, len(view))
            self._at += stop - position
            self._segment(bytes(view[position:stop]))
            if stop == end:
                self._next()
            position = stop
        return position

    def _header(self, count: int, *offsets: int) -> None:
        """Where the segments lie: the first behind the header, ascending, inside the fragment."""
        used = [*offsets[:count], self._size]
        ascending = all(one < other for one, other in pairwise(used))
        if count != self._segments or used[0] != RLE_HEADER or not ascending or any(offsets[count:]):
            raise malformed()
        self._at, self._ends = RLE_HEADER, used[1:]
        self._left, self._skip = self._length, 0

    def _segment(self, data: bytes) -> None:
        """Bytes of one segment: how long they become, and nothing but filling behind that."""
        at, left, size = self._skip, self._left, len(data)
        lengths, steps = DECODED, ENCODED
        try:
            while left > 0:
                code = data[at]
                left -= lengths[code]
                at += steps[code]
        except IndexError:
            pass  # the next bytes go on, or `_next` finds that the frame is not complete
        if left < 0 or data[at:].strip(FILLING):
            raise malformed()
        self._left, self._skip = left, max(at - size, 0)

    def _next(self) -> None:
        """The end of a segment: it must have come to a frame."""
        if self._left or self._skip:
            raise malformed()
        del self._ends[0]
        self._left = self._length
