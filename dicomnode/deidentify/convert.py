"""Deflated and big endian data sets, brought into Explicit VR Little Endian before they are read strictly."""

from __future__ import annotations

import zlib
from array import array
from struct import Struct, error

from dicomnode.deidentify.encoded import LONG, MOST_NESTING, PIXEL_DATA, SHORT, UNDEFINED, Reader, Short, place, vr_code
from dicomnode.model import Buffer, Doubt, Reason

MOST_INFLATED = 128 << 20
BITS_ALLOCATED = 0x00280100
BIG = Struct(">HHHH").unpack_from
BIG_LENGTH = Struct(">I").unpack_from
LITTLE = Struct("<HHHH").pack_into
LITTLE_LENGTH = Struct("<I").pack_into
LITTLE_PAIR = Struct("<II").pack
MOST_BEHIND = 9
WIDTHS = {
    vr_code(vr): width
    for width, vrs in ((2, "US SS OW AT"), (4, "UL SL FL OF OL"), (8, "FD OD SV UV OV"))
    for vr in vrs.split()
}
"""How many bytes belong together in a binary value; all others are single bytes (PS3.5 section 7.3)."""
TYPECODES = {2: "H", 4: "I", 8: "Q"}
IN_FILE_ORDER = {code: vr for table in (SHORT, LONG) for vr, code in table.items()}
SQ, UN, US = vr_code("SQ"), vr_code("UN"), vr_code("US")
DELIMITERS = 0xFFFE


class Inflater:
    """Inflates a deflated data set (RFC 1951, PS3.5 A.5) as it comes, up to `most` bytes."""

    def __init__(self, most: int = MOST_INFLATED) -> None:
        self._raw = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._left = self._most = most
        self._crc = 0

    def feed(self, chunk: Buffer) -> bytes:
        """What the chunk inflates to; raises Doubt(INFLATE_LIMIT, UNREADABLE)."""
        try:
            inflated = self._raw.decompress(chunk, self._left + 1)
        except zlib.error:
            raise Doubt(Reason.UNREADABLE, "deflated data set") from None
        self._left -= len(inflated)
        self._crc = zlib.crc32(inflated, self._crc)
        if self._left < 0 or (self._raw.unconsumed_tail and not self._raw.eof):
            raise Doubt(Reason.INFLATE_LIMIT)
        if len(self._raw.unused_data) > MOST_BEHIND:
            raise Doubt(Reason.TRAILING_BYTES, "deflated data set")
        return inflated

    def finish(self) -> None:
        """Raises Doubt when the stream is not complete, or more follows than padding or the checks of a gzip member."""
        if not self._raw.eof:
            raise Doubt(Reason.TRUNCATED, "deflated data set")
        checks = LITTLE_PAIR(self._crc, (self._most - self._left) & 0xFFFFFFFF)
        if self._raw.unused_data not in (b"", b"\0", checks, checks + b"\0"):
            raise Doubt(Reason.TRAILING_BYTES, "deflated data set")


def inflate(data: Buffer, most: int = MOST_INFLATED) -> bytes:
    """A whole deflated data set inflated; raises Doubt."""
    inflater = Inflater(most)
    inflated = inflater.feed(data)
    inflater.finish()
    return inflated


def to_little_endian(data: Buffer) -> bytes:
    """A data set in Explicit VR Big Endian (PS3.5 A.3) as Explicit VR Little Endian, of the same length; raises Doubt.

    Pixels of more than 16 bits in OW are in doubt: by the standard the bytes of each 16 bit word are swapped, by
    common practice those of each pixel.
    """
    conversion = _Conversion(data)
    conversion.level(0, len(data), (), False)
    return bytes(conversion.out)


class _Conversion:
    """Rewrites headers and binary values in place: nothing changes its length."""

    def __init__(self, data: Buffer) -> None:
        self.out = bytearray(data)
        self._data = data
        self._bits = 0

    def level(self, position: int, end: int, path: tuple[int, ...], undefined: bool) -> int:
        """Convert the elements of one level; returns the position behind them and an item's delimiter."""
        last = 0
        try:
            while position < end:
                group, number, vr, length = BIG(self._data, position)
                tag = group << 16 | number
                if group == DELIMITERS:
                    if not undefined:
                        raise Doubt(Reason.UNREADABLE, place((*path, tag), (last,)))
                    LITTLE(self.out, position, group, number, length, vr)
                    return position + 8
                position = self._element(position, end, vr, length, (*path, tag), last)
                last = tag
        except error:
            raise Short(Reason.TRUNCATED, place(path)) from None
        if undefined:
            raise Doubt(Reason.TRUNCATED, place(path))
        return position

    def _element(self, position: int, end: int, vr: int, length: int, here: tuple[int, ...], last: int) -> int:
        file_order = IN_FILE_ORDER.get(vr)
        if file_order is None:
            raise Doubt(Reason.UNKNOWN_VR, place(here, (last,)))
        tag = here[-1]
        LITTLE(self.out, position, tag >> 16, tag & 0xFFFF, file_order, length)
        value = position + 8
        if file_order in LONG:
            length = BIG_LENGTH(self._data, value)[0]
            LITTLE_LENGTH(self.out, value, length)
            value += 4
        undefined = length == UNDEFINED
        stop = end if undefined else value + length
        if stop > end:
            raise Doubt(Reason.TRUNCATED, place(here, (last,)))
        if undefined and vr == UN:
            return Reader(self._data, True).items(value, end, True, True, here)[1]
        if vr == SQ:
            return self._items(value, stop, undefined, here)
        if undefined:
            raise Doubt(Reason.UNREADABLE, place(here, (last,)))
        self._value(value, stop, vr, here)
        return stop

    def _items(self, position: int, end: int, undefined: bool, path: tuple[int, ...]) -> int:
        if len(path) > MOST_NESTING:
            raise Doubt(Reason.TOO_DEEP, place(path))
        while undefined or position < end:
            group, number, high, low = BIG(self._data, position)
            length = high << 16 | low
            LITTLE(self.out, position, group, number, low, high)
            position += 8
            if (group, number) == (DELIMITERS, 0xE0DD) and undefined:
                return position
            if (group, number) != (DELIMITERS, 0xE000):
                raise Doubt(Reason.UNREADABLE, place(path))
            stop = end if length == UNDEFINED else position + length
            if stop > end:
                raise Doubt(Reason.TRUNCATED, place(path))
            position = self.level(position, stop, path, length == UNDEFINED)
        return position

    def _value(self, value: int, stop: int, vr: int, here: tuple[int, ...]) -> None:
        width = WIDTHS.get(vr, 1)
        if (stop - value) % width:
            raise Doubt(Reason.UNREADABLE, place(here))
        if width > 1:
            words = array(TYPECODES[width], bytes(self._data[value:stop]))
            words.byteswap()
            self.out[value:stop] = words.tobytes()
        if here == (BITS_ALLOCATED,):  # as whoever reads the result will: the value of a UN was little endian before
            self._bits = int.from_bytes(self.out[value:stop], "little")
        if here == (PIXEL_DATA,) and width == 2 and self._bits > 16:
            raise Doubt(Reason.TRANSFER_SYNTAX, place((BITS_ALLOCATED,)))
