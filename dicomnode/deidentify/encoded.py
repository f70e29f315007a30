"""A strict reader of encoded data sets (PS3.5 section 7): it knows where every element starts and ends.

Elements are plain tuples of offsets into the data set, so that what stays untouched is passed on as a slice.
Whatever does not add up raises Doubt; `where` is the path of tags, see `place`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct, error
from typing import NoReturn, TypeAlias

from dicomnode.deidentify.standard import dictionary
from dicomnode.model import Buffer, Doubt, Reason

MOST_NESTING = 32
MOST_ELEMENTS = 500_000
UNDEFINED = 0xFFFFFFFF
HEADER = Struct("<HHHH").unpack_from
TAG_AND_LENGTH = Struct("<II").unpack_from
LENGTH = Struct("<I").unpack_from
ITEM = 0xE000FFFE  # (FFFE,E000) and its kin as they read in little endian
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xE0DDFFFE
DELIMITERS = 0xFFFE
PIXEL_TAGS = frozenset([0x7FE00008, 0x7FE00009, 0x7FE00010])
PIXEL_DATA = 0x7FE00010
FIRST_PIXEL_TAG = 0x7FE00008

UNKNOWN = "(unknown)"
"""What stands for a tag that is not one of the standard's."""
TAG = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)")

Path: TypeAlias = tuple[int, ...]
Item: TypeAlias = "tuple[int, int, int, list[Element]]"
"""Start of its header, start and end of its elements (the delimiter of an undefined length comes behind)."""
Element: TypeAlias = "tuple[int, int, int, int, int, list[Item] | None]"
"""Tag, VR (two letters as a big-endian number), start of the header, start of the value, end of it all, items."""


def vr_code(vr: str) -> int:
    """Two letters as a number, as in the keys of a plan."""
    return ord(vr[0]) << 8 | ord(vr[1])


def _by_file_order(letters: str) -> dict[int, int]:
    return {ord(vr[1]) << 8 | ord(vr[0]): vr_code(vr) for vr in letters.split()}


SHORT = _by_file_order("AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US")
"""VRs with a 16 bit length in Explicit VR (PS3.5 Table 7.1-2): as read in little endian, and as `vr_code`."""
LONG = _by_file_order("OB OD OF OL OV OW SQ SV UC UN UR UT UV")
"""VRs with two reserved bytes and a 32 bit length (PS3.5 Table 7.1-1)."""
SQ, UN, OB, OW = vr_code("SQ"), vr_code("UN"), vr_code("OB"), vr_code("OW")


class Short(Doubt):
    """The data set ends too early; more bytes could complete it."""


def place(path: Path, before: Iterable[int] = ()) -> str:
    """A path of tags for people. Only tags of the standard are shown: others may be the bytes of a value.

    Where the last one is not, the nearest shown one of the tags `before` it (from there back) tells where that is.
    """
    text = ">".join(map(_shown, path))
    if path and not dictionary.is_standard(path[-1]):
        nearest = next(filter(dictionary.is_standard, before), None)
        return text if nearest is None else f"{text} after {_shown(nearest)}"
    return text


def backwards(elements: Sequence[Element]) -> Iterator[int]:
    """The tags of elements, the last one first."""
    return (element[0] for element in reversed(elements))


def _shown(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})" if dictionary.is_standard(tag) else UNKNOWN


def only_standard(where: str) -> str:
    """The text of a place without tags that `place` would not show, as former versions wrote them."""
    return TAG.sub(lambda match: _shown(int(match[1] + match[2], 16)), where)


def is_undefined(data: Buffer, value: int) -> bool:
    """Whether the sequence or item whose value begins at `value` has an undefined length."""
    return bool(LENGTH(data, value - 4)[0] == UNDEFINED)


class ImplicitVRs(dict[int, int]):
    """The VR codes of tags in Implicit VR, from the dictionary; remembered up to a limit."""

    def __missing__(self, tag: int) -> int:
        code = vr_code(dictionary.vr_of(tag))
        if len(self) < MOST_TAGS:
            self[tag] = code
        return code


MOST_TAGS = 16_384
IMPLICIT_VRS = ImplicitVRs()


class Reader:
    """Reads the elements of one data set in Little Endian; `size` is how far the data goes.

    A top level pixel element ends a call of `top_level`: the caller goes on behind its value.
    """

    __slots__ = ("_count", "_data", "implicit", "size")

    def __init__(self, data: Buffer, implicit: bool) -> None:
        self._data = data
        self._count = 0
        self.implicit = implicit
        self.size = len(data)

    def top_level(self, position: int, elements: list[Element]) -> int:
        """Read elements behind those in `elements` and append them; returns where it stopped.

        That is the end of the data, or the first byte of a pixel element. After Short, a longer buffer can go on.
        """
        read = self._implicit if self.implicit else self._explicit
        last = elements[-1][0] if elements else -1
        begin = len(elements)
        try:
            position = read(position, self.size, elements, last, (), False)
        finally:
            _refuse_groups(elements, begin, ())
        return position

    def between(self, position: int, end: int, last: int, elements: list[Element]) -> int:
        """Append elements of the top level from `position` to `end`, behind the tag `last`; like `top_level`."""
        read = self._implicit if self.implicit else self._explicit
        stop = read(position, end, elements, last, (), False)
        _refuse_groups(elements, 0, ())
        return stop

    def pixel_header(self, position: int) -> tuple[int, int, int, int]:
        """Tag, VR code, start of the value and its length (or UNDEFINED) of the pixel element at `position`."""
        try:
            group, number, vr, length = HEADER(self._data, position)
            tag = group << 16 | number
            if self.implicit:
                return tag, IMPLICIT_VRS[tag], position + 8, vr | length << 16
            code = LONG.get(vr, 0)
            if code not in (OB, OW, UN, vr_code("OF"), vr_code("OD")) or length:
                raise Doubt(Reason.UNKNOWN_VR, place((tag,)))
            return tag, code, position + 12, LENGTH(self._data, position + 8)[0]
        except error:
            raise self._short(position, ()) from None

    def items(self, position: int, end: int, undefined: bool, implicit: bool, path: Path) -> tuple[list[Item], int]:
        """The items of a sequence whose value begins at `position`, and where the sequence ends.

        `end` is the end of the value or, when the length is undefined, of what contains it.
        """
        if len(path) > MOST_NESTING:
            raise Doubt(Reason.TOO_DEEP, place(path))
        found: list[Item] = []
        data, read = self._data, self._implicit if implicit else self._explicit
        try:
            while undefined or position < end:
                start = position
                tag, length = TAG_AND_LENGTH(data, start)
                position += 8
                if tag == SEQUENCE_END and undefined and length == 0 and position <= end:
                    return found, position
                if tag != ITEM:
                    raise Doubt(Reason.UNREADABLE, place(path))
                elements: list[Element] = []
                if length == UNDEFINED:
                    position = read(start + 8, end, elements, -1, path, True)
                    found.append((start, start + 8, position - 8, elements))
                else:
                    position += length
                    if position > end:
                        self._beyond(position, end, path)
                    read(start + 8, position, elements, -1, path, False)
                    found.append((start, start + 8, position, elements))
                if elements and elements[0][0] < 0x00030000:
                    _refuse_groups(elements, 0, path)
                self._count += len(elements) + 1
                if self._count > MOST_ELEMENTS:
                    raise Doubt(Reason.HEADER_TOO_LARGE, place(path))
        except error:
            raise self._short(position, path) from None
        return found, position

    def _explicit(
        self, position: int, end: int, elements: list[Element], last: int, path: Path, undefined: bool
    ) -> int:
        """Read the elements of one level; returns the position behind them, and behind the delimiter of an item."""
        data, append = self._data, elements.append
        try:
            for _ in range(MOST_ELEMENTS):
                if position >= end:
                    break
                group, number, vr, length = HEADER(data, position)
                tag = group << 16 | number
                if tag <= last:
                    self._disorder(position, tag, elements, path)
                if tag >= FIRST_PIXEL_TAG:
                    if group == DELIMITERS:
                        return self._item_end(position, end, tag, vr | length, undefined, elements, path)
                    if tag in PIXEL_TAGS and not path:
                        return position
                last = tag
                code = SHORT.get(vr)
                if code is not None:
                    value = position + 8
                    stop = value + length
                    if stop > end:
                        self._beyond(stop, end, (*path, tag), elements)
                    append((tag, code, position, value, stop, None))
                    position = stop
                    continue
                code = LONG.get(vr)
                if code is None:
                    raise Doubt(Reason.UNKNOWN_VR, place((*path, tag), backwards(elements)))
                if length:
                    raise Doubt(Reason.UNREADABLE, place((*path, tag), backwards(elements)))
                length = LENGTH(data, position + 8)[0]
                value = position + 12
                position = self._long(elements, tag, code, position, value, length, end, path)
            else:
                raise Doubt(Reason.HEADER_TOO_LARGE, place(path))
        except error:
            raise self._short(position, path) from None
        return self._level_end(position, end, path, undefined)

    def _implicit(
        self, position: int, end: int, elements: list[Element], last: int, path: Path, undefined: bool
    ) -> int:
        """The same in Implicit VR: the dictionary says which elements are sequences."""
        data, append, vrs = self._data, elements.append, IMPLICIT_VRS
        try:
            for _ in range(MOST_ELEMENTS):
                if position >= end:
                    break
                group, number, low, high = HEADER(data, position)
                tag = group << 16 | number
                if tag <= last:
                    self._disorder(position, tag, elements, path)
                length = low | high << 16
                if tag >= FIRST_PIXEL_TAG:
                    if group == DELIMITERS:
                        return self._item_end(position, end, tag, length, undefined, elements, path)
                    if tag in PIXEL_TAGS and not path:
                        return position
                last = tag
                code = vrs[tag]
                value = position + 8
                if code != SQ and length != UNDEFINED:
                    stop = value + length
                    if stop > end:
                        self._beyond(stop, end, (*path, tag), elements)
                    append((tag, code, position, value, stop, None))
                    position = stop
                    continue
                position = self._long(elements, tag, code, position, value, length, end, path)
            else:
                raise Doubt(Reason.HEADER_TOO_LARGE, place(path))
        except error:
            raise self._short(position, path) from None
        return self._level_end(position, end, path, undefined)

    def _long(
        self, elements: list[Element], tag: int, code: int, start: int, value: int, length: int, end: int, path: Path
    ) -> int:
        """Append an element with a 32 bit length, with its items if it is a sequence; returns where it ends.

        UN of undefined length, and UN of what the dictionary calls a sequence, is Implicit VR inside (CP-246).
        """
        here = (*path, tag)
        undefined = length == UNDEFINED
        items: list[Item] | None = None
        stop = end if undefined else value + length
        if stop > end:
            self._beyond(stop, end, here, elements)
        if undefined and tag == PIXEL_DATA and code in (OB, OW, UN):
            stop = self._fragments(value, end, here)
        elif undefined and code not in (SQ, UN):
            raise Doubt(Reason.UNREADABLE, place(here, backwards(elements)))
        elif undefined or code == SQ or (code == UN and length and dictionary.vr_of(tag) == "SQ"):
            implicit = value - start == 8 or code == UN
            items, stop = self.items(value, stop, undefined, implicit, here)
        elements.append((tag, code, start, value, stop, items))
        return stop

    def _fragments(self, position: int, end: int, path: Path) -> int:
        """Skip encapsulated pixel data inside an item, an icon for instance; returns where it ends."""
        while True:
            tag, length = TAG_AND_LENGTH(self._data, position)
            position += 8
            if tag == SEQUENCE_END and length == 0 and position <= end:
                return position
            if tag != ITEM or length == UNDEFINED:
                raise Doubt(Reason.PIXEL_STREAM, place(path))
            position += length
            if position > end:
                self._beyond(position, end, path)

    def _item_end(
        self, position: int, end: int, tag: int, length: int, undefined: bool, elements: list[Element], path: Path
    ) -> int:
        if tag != ITEM_END or length or not undefined or position + 8 > end:
            raise Doubt(Reason.UNREADABLE, place((*path, tag), backwards(elements)))
        return position + 8

    def _level_end(self, position: int, end: int, path: Path, undefined: bool) -> int:
        if undefined:
            self._beyond(position + 8, end, path)
        return position

    def _beyond(self, stop: int, end: int, path: Path, elements: Sequence[Element] = ()) -> NoReturn:
        """Something behind these elements reaches beyond what contains it, or beyond the data there is."""
        where = place(path, backwards(elements))
        if stop > self.size and end == self.size:
            raise Short(Reason.TRUNCATED, where)
        raise Doubt(Reason.TRUNCATED if stop > self.size else Reason.UNREADABLE, where)

    def _short(self, position: int, path: Path) -> Short:
        left = self.size - position
        return Short(Reason.TRAILING_BYTES if not path and 0 < left < 8 else Reason.TRUNCATED, place(path))

    def _disorder(self, position: int, tag: int, elements: list[Element], path: Path) -> NoReturn:
        """Elements ascend strictly by tag (PS3.5 7.1): not so, or one is there twice."""
        key_uids = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
        if not path and tag in key_uids:
            raise Doubt(Reason.MISSING_UID, place((tag,)))
        rest = bytes(self._data[position : position + 4096])
        empty = not path and not any(rest)
        reason = Reason.TRAILING_BYTES if empty else Reason.UNREADABLE
        raise Doubt(reason, place((*path, tag), backwards(elements)))


def _refuse_groups(elements: list[Element], begin: int, path: Path) -> None:
    """Command and file meta elements have no place in a data set."""
    for index in range(begin, len(elements)):
        tag = elements[index][0]
        if tag >= 0x00030000:
            return
        if tag >> 16 in (0x0000, 0x0002):
            raise Doubt(Reason.UNREADABLE, place((*path, tag), backwards(elements[:index])))
