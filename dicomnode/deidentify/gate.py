"""The gate: what is about to be written is searched for the identifying values that were taken out of the instance.

All values that come from the received instance are searched, and the segments of compressed frames; what the node
made itself (pseudonyms, dummies) holds nothing of it. Free text is also searched without punctuation, and decoded and
folded where it is not plain ASCII. Words (OW) are also searched with their bytes swapped. In the bytes of compressed
frames there is only a search for needles of 6 characters and more, in runs of what texts are written with.

Token boundaries: a letter at the edge of a needle may not continue in a letter (of a needle of 3 characters: nor in a
digit), a digit not in a digit (zeros in front aside), a UID of less than 12 characters not in a further component in
front. Needles of 8 letters and more are found inside words too. In binary values a needle of less than 5 characters
also may not touch bytes above 7F.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from dicomnode.deidentify import values
from dicomnode.deidentify.encoded import OB, OW, UN, place, vr_code
from dicomnode.deidentify.folding import folded, is_ideographic, spelt_out
from dicomnode.deidentify.needles import PADDING, Original, Patterns, patterns_of, squeeze
from dicomnode.deidentify.plan import Needle
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.deidentify.terms import TERMS
from dicomnode.model import Doubt, Reason

MOST_SEGMENTS = 16 << 20
INSIDE_WORDS = 8
ALONE = 3
SHORT_UID = 12
SHORT_IN_BINARY = 5
LEAST_IN_FRAMES = 6
BEHIND = 256
"""So many bytes of a chunk are searched once more with the next."""
MOST_CODING = 4096
SEPARATOR = b"\n"
LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b"0123456789")
ALPHANUMERIC = LETTERS | DIGITS
DOT = 0x2E
FREE_TEXT = tuple(map(vr_code, ("LO", "LT", "PN", "SH", "ST", "UC", "UT")))
TEXT = tuple(map(vr_code, ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI")))
BINARY = (
    OB,
    UN,
    *map(vr_code, ("AT", "FD", "FL", "OD", "OF", "OL", "OV", "SL", "SQ", "SS", "SV", "UL", "US", "UV")),
)
MANUFACTURER = (0x00080070, 0x00081090)
NAMED_AFTER = frozenset([0x00080080, 0x00081010, 0x00081040])
"""An institution, station or department may bear the manufacturer's or the model's name: then it is no needle."""
DATES = (vr_code("DA"), vr_code("DT"))
UI, CS, UR = vr_code("UI"), vr_code("CS"), vr_code("UR")
WORDS = re.compile(rb"[a-z0-9]+")
NAME_ONLY = re.compile(rb"[a-z][a-z _.&-]*")
WRITTEN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz .,-_/^=")
RUNS = bytes(0x61 if code in WRITTEN else 0 for code in range(256))
SHORTEST_RUN = b"a" * LEAST_IN_FRAMES
USUAL_CODES = b"456789"
"""Part of the Huffman tables that nearly every JPEG frame has: between * and :."""
UTF_16 = bytes(0x61 if chr(byte).isalnum() and byte < 0x80 else min(byte, 1) for byte in range(256))

Kept: TypeAlias = Callable[[], Iterable[tuple[int, int, bytes]]]
"""Tag, VR code and value of every element that is kept; asked for only when something was found."""


class Gate:
    """One instance's gate. `keep[vr]` takes a value that is passed on, `original` one that is not."""

    __slots__ = (
        "_behind",
        "_blobs",
        "_character_sets",
        "_coding",
        "_free",
        "_in_segment",
        "_kept",
        "_segment_bytes",
        "_segments",
        "_texts",
        "_urls",
        "_words",
        "keep",
        "originals",
    )

    def __init__(self, kept: Kept) -> None:
        self.originals: dict[Original, None] = {}
        self._character_sets: dict[bytes, None] = {}
        self._free: list[bytes] = []
        self._texts: list[bytes] = []
        self._urls: list[bytes] = []
        self._blobs: list[bytes] = []
        self._words: list[bytes] = []
        self._segments: dict[bytes, None] = {}
        self._coding: dict[bytes, None] = {}
        self._behind = b""
        self._in_segment = False
        self._segment_bytes = 0
        self._kept = kept
        self.keep: dict[int, Callable[[bytes], None]] = {
            **dict.fromkeys(FREE_TEXT, self._free.append),
            **dict.fromkeys(TEXT, self._texts.append),
            **dict.fromkeys(BINARY, self._blobs.append),
            UR: self._urls.append,
            OW: self._words.append,
        }

    def original(self, kind: Needle, tag: int, value: bytes, character_set: bytes) -> None:
        """An identifying value that was taken out, as it was encoded."""
        self.originals[kind, tag, value, character_set] = None

    def character_set(self, value: bytes) -> None:
        """A Specific Character Set (0008,0005) of the instance, or of an item in it."""
        self._character_sets[value] = None

    def check(self) -> None:
        """Search everything kept so far for every original so far; raises Doubt(RESIDUE)."""
        free = SEPARATOR.join([*self._free, *self._urls, *map(unquote_to_bytes, self._urls)]).lower()
        found = self._patterns()
        self._check_whole(found)
        self._search(SEPARATOR.join([free, *self._texts]).lower(), False, found)
        self._check_squeezed(squeeze(free), found)
        if not free.isascii() or b"\x1b" in free:
            self._check_decoded(found)
        self._search(SEPARATOR.join([*self._blobs, *self._words]).lower(), True, found)
        if self._words:
            self._search(SEPARATOR.join(map(_swapped, self._words)).lower(), True, found)
        self._search_segments(list(self._segments), found)

    def check_segments(self, texts: list[bytes]) -> None:
        """Search text out of compressed frames, which is taken out of the list; raises Doubt(RESIDUE)."""
        new = {folded: None for text in texts if (folded := text.lower()) not in self._segments}
        self._segments.update(new)
        self._segment_bytes += sum(map(len, new))
        texts.clear()
        if self._segment_bytes > MOST_SEGMENTS:
            raise Doubt(Reason.HEADER_TOO_LARGE, place((0x7FE00010,)))
        self._search_segments(list(new), self._patterns())

    def check_coding(self, segments: list[bytes]) -> None:
        """Search segments for decoders, which are taken out of the list; raises Doubt(RESIDUE).

        Unlike texts they are not searched again when needles come behind the pixel data.
        """
        new = {segment: None for segment in segments if segment not in self._coding}
        segments.clear()
        if new:
            if len(self._coding) < MOST_CODING:
                self._coding.update(new)
            self._search_segments([segment.lower() for segment in new], self._patterns())

    def check_raw(self, parts: list[memoryview]) -> None:
        """Search bytes of compressed frames, one part behind the other; raises Doubt(RESIDUE). Empties the list."""
        if not parts:
            return
        data = b"".join([self._behind, *parts])
        self._behind = data[-BEHIND:]
        runs = _runs(data)
        if runs:
            self._in_segment = True
            self._search(SEPARATOR.join(runs).lower(), True, self._patterns(), LEAST_IN_FRAMES)
            self._in_segment = False
        parts.clear()

    def _patterns(self) -> list[tuple[Original, Patterns]]:
        character_sets = tuple(self._character_sets)
        return [(original, patterns_of(original, character_sets)) for original in self.originals]

    def _search_segments(self, segments: list[bytes], found: list[tuple[Original, Patterns]]) -> None:
        self._in_segment = True
        self._search(SEPARATOR.join(segments), True, found)
        self._in_segment = False

    def _check_whole(self, found: list[tuple[Original, Patterns]]) -> None:
        """Short values: nothing but whole values are compared with them."""
        whole = {value.strip(PADDING).lower() for value in self._free}
        whole.update(part.strip(PADDING) for value in tuple(whole) if b"\\" in value for part in value.split(b"\\"))
        for original, patterns in found:
            if not whole.isdisjoint(patterns.short):
                self._hit(original, min(patterns.short & whole), whole_value=True)

    def _check_squeezed(self, hay: bytes, found: list[tuple[Original, Patterns]]) -> None:
        """Identifiers, however they are punctuated."""
        for original, patterns in found:
            for pattern in patterns.squeezed:
                if pattern in hay and any(_is_number(hay, at, pattern) for at in _all(hay, pattern)):
                    for value in self._free:
                        if pattern in squeeze(value.lower()):
                            self._hit(original, value.strip(PADDING).lower(), whole_value=True)

    def _check_decoded(self, found: list[tuple[Original, Patterns]]) -> None:
        """Names in text that is not plain ASCII, read in every character set of the instance."""
        odd = [value for value in [*self._free, *map(unquote_to_bytes, self._urls)] if _is_odd(value)]
        for value in odd:
            for hay in _readings(value, tuple(self._character_sets)):
                for original, patterns in found:
                    if any(_is_word(hay, at, text) for text in patterns.text for at in _all(hay, text)):
                        self._hit(original, value.strip(PADDING).lower(), whole_value=True)

    def _search(self, hay: bytes, binary: bool, found: list[tuple[Original, Patterns]], least: int = 0) -> None:
        if not hay:
            return
        wide = UTF_16_TEXT in hay.translate(UTF_16)
        for original, patterns in found:
            for plain in (patterns.plain, patterns.dated if patterns.year in hay else ()):
                for pattern in plain:
                    if (
                        pattern in hay
                        and len(pattern) >= least
                        and any(_is_token(hay, at, pattern, original[0], binary) for at in _all(hay, pattern))
                    ):
                        self._hit(original, pattern)
            for pattern in patterns.wide:
                if pattern in hay:
                    self._hit(original, pattern)
            if wide:
                self._search_wide(hay, original, patterns)

    def _search_wide(self, hay: bytes, original: Original, patterns: Patterns) -> None:
        """ASCII as UTF-16 of either byte order: the characters with zeros between them."""
        for pattern in (*patterns.plain, *patterns.dated):
            if not pattern.isascii():
                continue
            spread = b"\0".join(pattern[at : at + 1] for at in range(len(pattern)))
            for at in _all(hay, spread):
                before = hay[at - 2 : at - 1] if hay[at - 1 : at] == b"\0" and at >= 2 else b""
                end = at + len(spread)
                behind = hay[end + 1 : end + 2] if hay[end : end + 1] == b"\0" else b""
                if _is_token(before + pattern + behind, len(before), pattern, original[0], False):
                    self._hit(original, pattern)

    def _hit(self, original: Original, pattern: bytes, whole_value: bool = False) -> None:
        """Something was found: withheld, unless it is a value that the plan lets stay."""
        kind, tag, value, _ = original
        kept = [(t, vr, v.strip(PADDING).lower()) for t, vr, v in self._kept() if v]
        found = [(t, vr, v) for t, vr, v in kept if (v == pattern if whole_value else pattern in v)]
        if _stays(kind, tag, value, pattern, kept):
            return
        if (
            kind is Needle.NAME
            and found
            and not self._in_segment
            and all(_is_term(*kept_one, pattern) for kept_one in found)
        ):
            return
        where = f" repeated in {place((min(t for t, _, _ in found),))}" if found else ""
        raise Doubt(Reason.RESIDUE, place((tag,)) + where)


UTF_16_TEXT = b"a\0a\0a"


def _all(hay: Any, pattern: Any) -> Iterator[int]:
    """Where bytes or text stand in bytes or text."""
    at = hay.find(pattern)
    while at >= 0:
        yield at
        at = hay.find(pattern, at + 1)


def _swapped(words: bytes) -> bytes:
    """16 bit words in the other byte order."""
    swapped = bytearray(words)
    swapped[0::2], swapped[1::2] = words[1::2], words[0::2]
    return bytes(swapped)


def _runs(data: bytes) -> list[bytes]:
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


def _is_odd(value: bytes) -> bool:
    return not value.isascii() or b"\x1b" in value


def _readings(value: bytes, character_sets: Sequence[bytes]) -> set[str]:
    """A value decoded and folded, in every way that is possible."""
    found = set()
    for character_set in (*character_sets, b"ISO_IR 192"):
        try:
            text = values.decode(value, values.encodings_of(character_set.decode("latin-1")), "UT")
        except Doubt:
            continue
        found |= {folded(text), spelt_out(text)}
    return found


def _is_word(hay: str, at: int, text: str) -> bool:
    """The same as `_is_token` for decoded text; in scripts without spaces every place counts."""
    if is_ideographic(text) or len(text) >= INSIDE_WORDS:
        return True
    before, behind = hay[at - 1 : at] if at else "", hay[at + len(text) : at + len(text) + 1]
    return not (before.isalpha() or behind.isalpha())


def _is_number(hay: bytes, at: int, pattern: bytes) -> bool:
    """Whether digits at the edges do not go on."""
    end = at + len(pattern)
    before, behind = hay[at - 1 : at] if at else b"", hay[end : end + 1]
    return not (pattern[:1].isdigit() and before.isdigit()) and not (pattern[-1:].isdigit() and behind.isdigit())


def _is_token(hay: bytes, at: int, pattern: bytes, kind: Needle, binary: bool) -> bool:
    """Whether what was found stands for itself, and is not part of a longer word or number."""
    end = at + len(pattern)
    before = hay[at - 1] if at else 0
    behind = hay[end] if end < len(hay) else 0
    first, last = pattern[0], pattern[-1]
    if kind is Needle.UID and len(pattern) < SHORT_UID and before == DOT and at > 1 and hay[at - 2] in DIGITS:
        return False
    if first in DIGITS and before in DIGITS and not _zeros_only(hay, at):
        return False
    if last in DIGITS and behind in DIGITS:
        return False
    closed = LETTERS if len(pattern) > ALONE else ALPHANUMERIC
    if len(pattern) < INSIDE_WORDS and (
        (first in LETTERS and before in closed) or (last in LETTERS and behind in closed)
    ):
        return False
    return not (binary and len(pattern) < SHORT_IN_BINARY and (before > 0x7F or behind > 0x7F))


def _zeros_only(hay: bytes, at: int) -> bool:
    """Whether all digits directly in front are zeros that fill a number up."""
    while at and hay[at - 1] in DIGITS:
        at -= 1
        if hay[at] != 0x30:
            return False
    return True


def _is_term(tag: int, vr: int, value: bytes, pattern: bytes) -> bool:
    """Whether a code string has the pattern only in a term that the standard defines."""
    if vr != CS and not (vr == UN and dictionary.vr_of(tag) == "CS"):
        return False
    return all(part.strip(PADDING) in TERMS for part in value.split(b"\\") if pattern in part)


def _stays(kind: Needle, tag: int, value: bytes, pattern: bytes, kept: list[tuple[int, int, bytes]]) -> bool:
    """Whether the plan lets this very value stay elsewhere on purpose: then it is no needle."""
    whole = value.strip(PADDING).lower()
    if kind is Needle.UID:
        retained = (v for t, vr, v in kept if vr == UI and t not in tables.class_uids())
        return any(pattern == part.strip(PADDING) for v in retained for part in v.split(b"\\"))
    if kind is Needle.BIRTH_DATE:
        return any(vr in DATES and v[:8] == whole[:8] for _, vr, v in kept)
    if any(t == tag and v == whole for t, _, v in kept):
        return True
    if tag not in NAMED_AFTER or NAME_ONLY.fullmatch(whole) is None:
        return False
    makers = [v for t, _, v in kept if t in MANUFACTURER]
    return any(squeeze(whole) == squeeze(maker) or whole in WORDS.findall(maker) for maker in makers)
