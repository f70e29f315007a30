"""What the gate searches: every value that is passed on, by the way in which it is searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from dicomnode.deidentify import values
from dicomnode.deidentify.encoded import OB, OW, UN, vr_code
from dicomnode.deidentify.folding import APOSTROPHE, folded, spelt_out
from dicomnode.deidentify.needles import PADDING, squeeze
from dicomnode.model import Doubt

SEPARATOR = b"\n"
"""Between values: no needle stands across it."""
FREE_TEXT = tuple(map(vr_code, ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT")))
TEXT = tuple(map(vr_code, ("AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI")))
BINARY = (
    OB,
    *map(vr_code, ("AT", "FD", "FL", "OD", "OF", "OL", "OV", "SL", "SQ", "SS", "SV", "UL", "US", "UV")),
)
UR = vr_code("UR")
WORDS = re.compile(rb"(?=[^A-Za-z\x80-\xff]*[A-Za-z\x80-\xff])[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]+\0*")
"""A value under UN in which there are letters, and nothing that is not written."""
ESCAPE = re.compile(rb"\x1b[ -/]*[0-~]?")
"""An escape sequence (ISO 2022); its last byte may be that of a letter."""
LEAST_IN_FRAMES = 6
WRITTEN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz .,-_/^=")
RUNS = bytes(0x61 if code in WRITTEN else 0 for code in range(256))
SHORTEST_RUN = b"a" * LEAST_IN_FRAMES
USUAL_CODES = b"456789"
"""Part of the Huffman tables that nearly every JPEG frame has: between * and :."""
UTF_16 = bytes(0x61 if chr(byte).isalnum() and byte < 0x80 else min(byte, 1) for byte in range(256))
UTF_16_TEXT = b"a\0a\0a"


@dataclass(slots=True)
class Searched:
    """Values in the forms in which they are searched; `free` and `values` are the free texts, joined and one by one.

    `wide` tells of text, binary and swapped ones whether there is UTF-16 in them.
    """

    text: bytes
    binary: bytes
    swapped: bytes
    squeezed: bytes
    free: bytes
    values: list[bytes]
    whole: set[bytes]
    odd: list[bytes]
    wide: tuple[bool, bool, bool]
    decoded: Searched | None = None
    """What the odd values say, when somebody has asked (`Gate`)."""


class Hay:
    """The values that are passed on; `keep[vr]` takes one."""

    __slots__ = ("_blobs", "_free", "_texts", "_unknown", "_urls", "_words", "keep")

    def __init__(self) -> None:
        self._free: list[bytes] = []
        self._texts: list[bytes] = []
        self._urls: list[bytes] = []
        self._unknown: list[bytes] = []
        self._blobs: list[bytes] = []
        self._words: list[bytes] = []
        self.keep: dict[int, Callable[[bytes], None]] = {
            **dict.fromkeys(FREE_TEXT, self._free.append),
            **dict.fromkeys(TEXT, self._texts.append),
            **dict.fromkeys(BINARY, self._blobs.append),
            UR: self._urls.append,
            UN: self._unknown.append,
            OW: self._words.append,
        }

    def searched(self) -> Searched:
        """All of it, as it is searched."""
        written = [*self._free, *self._urls, *map(unquote_to_bytes, self._urls)]
        written += filter(WORDS.fullmatch, self._unknown)
        free = SEPARATOR.join(written).lower()
        text = SEPARATOR.join([free, *self._texts]).lower()
        binary = SEPARATOR.join([*self._blobs, *self._unknown, *self._words]).lower()
        swapped = SEPARATOR.join(map(_swapped, self._words)).lower()
        odd = list(dict.fromkeys(filter(is_odd, written))) if is_odd(free) else []
        wide = has_utf_16(text), has_utf_16(binary), has_utf_16(swapped)
        return Searched(text, binary, swapped, squeeze(free), free, written, _whole(written), odd, wide)


def decoded(odd: Iterable[bytes], character_sets: Sequence[bytes]) -> Searched:
    """What these values say, as it is searched."""
    hay = Hay()
    for value in odd:
        for reading in sorted(readings(value, character_sets)):
            hay.keep[FREE_TEXT[0]](reading)
    return hay.searched()


def readings(value: bytes, character_sets: Sequence[bytes]) -> set[bytes]:
    """A value decoded and folded in every way that is possible, in UTF-8.

    Where there is none, without escape sequences, and as Latin-1.
    """
    found: set[bytes] = set()
    for character_set in (*character_sets, b"ISO_IR 192"):
        try:
            text = values.decode(value, values.encodings_of(character_set.decode("latin-1")), "UT")
        except Doubt:
            continue
        found |= _folded(text)
    return found or {ESCAPE.sub(b" ", value)}.union(*map(_folded, values.western(value)))


def _folded(text: str) -> set[bytes]:
    """An apostrophe joins what it stands between, or parts it: O'Brien, Müller's."""
    spelled = {text, APOSTROPHE.sub(" ", text)}
    return {form(each).encode() for each in spelled for form in (folded, spelt_out)}


def has_utf_16(hay: bytes) -> bool:
    """Whether there is ASCII with zeros between the characters."""
    return bool(hay) and UTF_16_TEXT in hay.translate(UTF_16)


def runs(data: bytes) -> list[bytes]:
    """The runs of what texts are written with."""
    found = []
    written = data.translate(RUNS)
    at = written.find(SHORTEST_RUN)
    while at >= 0:
        end = written.find(0, at)
        end = len(data) if end < 0 else end
        run = data[at:end]
        if run != USUAL_CODES or data[at - 1 : end + 1] != b"*" + run + b":":
            found.append(run)
        at = written.find(SHORTEST_RUN, end)
    return found


def _whole(values: Iterable[bytes]) -> set[bytes]:
    """Values as short needles are compared with them."""
    whole = {value.strip(PADDING).lower() for value in values}
    whole.update(part.strip(PADDING) for value in tuple(whole) if b"\\" in value for part in value.split(b"\\"))
    return whole


def _swapped(words: bytes) -> bytes:
    """16 bit words in the other byte order."""
    swapped = bytearray(words)
    swapped[0::2], swapped[1::2] = words[1::2], words[0::2]
    return bytes(swapped)


def is_odd(value: bytes) -> bool:
    """Whether a text needs decoding or folding to be read: O'Brien may be the Obrien of the name."""
    return not value.isascii() or b"\x1b" in value or b"'" in value or b"`" in value
