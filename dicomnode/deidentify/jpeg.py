"""The segments of compressed frames: JPEG, JPEG-LS and JPEG 2000, and the boxes around them and JPEG XL.

A walker goes through the fragments as they come. Every segment that is read whole is handed out before a byte of it
counts as judged: those for people as `texts`, those for decoders as `coding`. Entropy-coded data, packed packet
headers and naked JPEG XL are passed over: for them there is only the search of the raw bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from dicomnode.deidentify import icc
from dicomnode.model import Doubt, Reason

MOST_TEXT = 1 << 16
PIXEL_DATA = "(7FE0,0010)"
MORE = -1
JPEG_CODING = frozenset([*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xF7, 0xF8])
"""Segments that decoders need (ITU-T T.81 Table B.1, T.87): frames, tables, scans. All others are texts."""
JPEG_RESERVED = 0xC8
JPEG_FRAMES = frozenset([*range(0xC0, 0xD0), 0xDE, 0xF7]) - {0xC4, 0xCC}
JPEG_LENGTHS = {0xDC: (4,), 0xDD: (4, 5, 6), 0xDF: (3,)}
"""DNL, DRI (longer in T.87) and EXP have these lengths only."""
JPEG_ALONE = frozenset([0x01, *range(0xD0, 0xD8)])
J2K_CODING = frozenset([*range(0x50, 0x64), *range(0x74, 0x79)])
"""Segments that decoders need (ITU-T T.800 Table A.2, T.801, T.814); COM is 64."""
J2K_PACKED = frozenset([0x60, 0x61])
"""Packed packet headers: PPM and PPT."""
USUAL_CODES = (
    b"%&'()*456789:CDEFGHIJSTUVWXYZcdefghijstuvwxyz",
    b"&'()*56789:CDEFGHIJSTUVWXYZcdefghijstuvwxyz",
)
"""Parts of the Huffman tables that nearly every JPEG frame has (T.81 Annex K.3) and that read like text."""
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
JPEG_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
J2K_END = re.compile(rb"\xff\xd9")
CODE_BOXES = (b"jxlc", b"jxlp")
FORM_BOXES = (b"jP  ", b"JXL ", b"ftyp", b"rreq", b"jp2h", b"jpch", b"jplh", b"jxll", b"jxli")
"""What kind of file it is, how to decode it and in which colours (T.800 Annex I, T.801 Annex M, ISO/IEC 18181-2)."""

State: TypeAlias = Callable[[memoryview, int, bool], int]


def malformed() -> Doubt:
    """The frame is not what its first bytes say."""
    return Doubt(Reason.PIXEL_STREAM, PIXEL_DATA)


class Codestream:
    """Walks through the fragments of all frames; `texts` and `coding` collect what the gate must see.

    `images` counts the images that began.
    """

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.coding: list[bytes] = []
        self.images = 0
        self._state: State = self._start
        self._next: State = self._start
        self._skip = 0
        self._tile = self._used = 0
        self._in_tile = self._boxed = False
        self._dangling = False
        self._entropy_end = JPEG_MARKER
        self._profile = icc.Profile()

    def begin(self, length: int) -> None:
        """A fragment of this length comes next."""

    def advance(self, view: memoryview, first: bool, final: bool) -> int:
        """Judge bytes of one fragment, from its start (`first`) or to its end (`final`); returns how many were judged.

        The rest must be given again with more behind it. Raises Doubt(PIXEL_STREAM).
        """
        position = 0
        if first:
            if len(view) < 4 and not final:
                return 0
            position = self._begin(view)
        while position < len(view):
            moved = self._state(view, position, final)
            if moved == MORE:
                if final:
                    raise malformed()
                return position
            position = moved
        return position

    def end(self) -> None:
        """All fragments were seen; raises Doubt(PIXEL_STREAM) when a frame is not complete."""
        if self._state not in (self._after, self._boxes, self._opaque):
            raise malformed()

    def _begin(self, view: memoryview) -> int:
        """A new fragment begins a new frame, or continues one."""
        head = bytes(view[:4])
        continued = self._dangling
        self._dangling = False
        if self._state in (self._after, self._boxes, self._opaque):
            self._state, self._boxed = self._start, False
        elif self._state != self._start and (head[:3] == b"\xff\xd8\xff" or head == b"\xff\x4f\xff\x51"):
            raise malformed()
        elif continued and head[:1] == b"\xd9":
            self._state = self._after
            return 1
        elif continued and self._entropy_end.match(b"\xff" + head[:1]):
            raise malformed()
        return 0

    def _start(self, view: memoryview, position: int, final: bool) -> int:
        head = bytes(view[position : position + 8])
        if head[:2] in (b"\xff\xd8", b"\xff\x4f", b"\xff\x0a"):
            self.images += not self._boxed
            self._boxed = False
        if head[:2] == b"\xff\xd8":
            self._state, self._entropy_end = self._jpeg, JPEG_MARKER
            self._profile = icc.Profile()
            return position + 2
        if head[:2] == b"\xff\x4f":
            self._state, self._in_tile = self._jpeg_2000, False
            return position + 2
        if head[:2] == b"\xff\x0a":
            self._state = self._opaque
            return position + 2
        if head in (b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL "):
            self._state, self._boxed = self._boxes, True
            self.images += 1
            return position
        if len(head) < 8 and not final:
            return MORE
        raise malformed()

    def _jpeg(self, view: memoryview, position: int, final: bool) -> int:
        if len(view) - position < 2:
            return MORE
        marker = view[position + 1]
        if view[position] != 0xFF or marker in (0x00, 0xD8):
            raise malformed()
        if marker == 0xFF:
            return position + 1
        if marker == 0xD9:
            self._state = self._after
            return position + 2
        if marker in JPEG_ALONE:
            return position + 2
        if marker == 0xF7:
            self._entropy_end = JPEG_LS_MARKER
        stop = self._segment(view, position, self.coding if marker in JPEG_CODING else self.texts)
        if stop != MORE:
            check_segment(marker, view[position + 4 : stop])
            if marker == 0xC4:
                self.coding[-1] = without_usual_codes(self.coding[-1])
            elif marker == icc.MARKER and self._profile.takes(self.texts[-1]):
                self.coding.append(self.texts.pop())
            self._state = self._entropy if marker == 0xDA else self._jpeg
        return stop

    def _segment(self, view: memoryview, position: int, into: list[bytes] | None) -> int:
        """A marker segment: its content is handed out, or passed over where `into` is None."""
        if len(view) - position < 4:
            return MORE
        length = int.from_bytes(view[position + 2 : position + 4], "big")
        stop = position + 2 + length
        if length < 2:
            raise malformed()
        if into is None:
            self._used += 2 + length
            return self._pass_over(position, 2 + length, self._state)
        if stop > len(view):
            return MORE
        self._used += 2 + length
        into.append(bytes(view[position + 4 : stop]))
        return stop

    def _pass_over(self, position: int, length: int, behind: State) -> int:
        self._skip, self._next, self._state = length, behind, self._skipping
        return position

    def _skipping(self, view: memoryview, position: int, final: bool) -> int:
        step = min(self._skip, len(view) - position)
        self._skip -= step
        if not self._skip:
            self._state = self._next
        return position + step

    def _entropy(self, view: memoryview, position: int, final: bool) -> int:
        found = self._entropy_end.search(view, position)
        if found:
            self._state = self._jpeg
            return found.start()
        return self._dangle(view, position, final)

    def _dangle(self, view: memoryview, position: int, final: bool) -> int:
        """No marker; an FF at the very end may be the first half of one."""
        if view[-1] != 0xFF:
            return len(view)
        if final:
            self._dangling = True
            return len(view)
        return len(view) - 1 if len(view) - 1 > position else MORE

    def _jpeg_2000(self, view: memoryview, position: int, final: bool) -> int:
        if len(view) - position < 2:
            return MORE
        marker = view[position + 1]
        if view[position] != 0xFF:
            raise malformed()
        if marker == 0xD9:
            self._state = self._after
            return position + 2
        if marker == 0x93:
            return self._tile_data(position + 2)
        if marker == 0x90:
            return self._tile_part(view, position)
        if 0x30 <= marker <= 0x3F:
            self._used += 2
            return position + 2
        if marker in J2K_PACKED:
            return self._segment(view, position, None)
        return self._segment(view, position, self.coding if marker in J2K_CODING else self.texts)

    def _tile_part(self, view: memoryview, position: int) -> int:
        if len(view) - position < 12:
            return MORE
        if self._in_tile or bytes(view[position + 2 : position + 4]) != b"\0\x0a":
            raise malformed()
        self._in_tile = True
        self._tile, self._used = int.from_bytes(view[position + 6 : position + 10], "big"), 12
        return position + 12

    def _tile_data(self, position: int) -> int:
        """Start of data: passed over by the length of the tile part; 0 means up to the end (T.800 A.4.2)."""
        left = self._tile - self._used - 2
        if not self._in_tile or (self._tile and left < 0):
            raise malformed()
        self._in_tile = False
        if not self._tile:
            self._state, self._entropy_end = self._last_tile, J2K_END
            return position
        return self._pass_over(position, left, self._jpeg_2000) if left else position

    def _last_tile(self, view: memoryview, position: int, final: bool) -> int:
        found = J2K_END.search(view, position)
        if found:
            self._state = self._after
            return found.end()
        return self._dangle(view, position, final)

    def _boxes(self, view: memoryview, position: int, final: bool) -> int:
        if len(view) - position < 16 and not final:
            return MORE
        length = int.from_bytes(view[position : position + 4], "big")
        kind = bytes(view[position + 4 : position + 8])
        if kind == b"jp2c":
            self._state = self._start
            return position + (16 if length == 1 else 8)
        if kind in CODE_BOXES and length >= 8:
            return self._pass_over(position, length, self._boxes)
        if kind in CODE_BOXES and length == 0:
            self._state = self._opaque
            return position + 8
        if not 8 <= length <= MOST_TEXT or kind == b"brob":
            raise malformed()
        if position + length > len(view):
            return MORE
        into = self.coding if kind in FORM_BOXES else self.texts
        into.append(bytes(view[position + 8 : position + length]))
        return position + length

    def _opaque(self, view: memoryview, position: int, final: bool) -> int:
        return len(view)

    def _after(self, view: memoryview, position: int, final: bool) -> int:
        """Behind the end of the image there is padding only."""
        if bytes(view[position:]).strip(b"\0\xff"):
            raise malformed()
        return len(view)


def check_segment(marker: int, content: memoryview) -> None:
    """Raises Doubt(PIXEL_STREAM) for a reserved marker and for a length that its marker cannot have (T.81 B.2)."""
    length = len(content) + 2
    fits = marker != JPEG_RESERVED and length in JPEG_LENGTHS.get(marker, (length,))
    if marker in JPEG_FRAMES:
        fits = fits and length >= 8 and length == 8 + 3 * content[5]
    elif marker == 0xDA:
        fits = fits and length >= 6 and length == 6 + 2 * content[0]
    if not fits:
        raise malformed()


def without_usual_codes(tables: bytes) -> bytes:
    """Huffman tables without what the usual ones have in common."""
    for codes in USUAL_CODES:
        tables = tables.replace(codes, b"")
    return tables
