"""The gate: what is about to be written is searched for the identifying values that were taken out of the instance.

All values that come from the received instance are searched, and the text segments of compressed frames; what the
node made itself (pseudonyms, dummies, the declared methods) holds nothing of it.

Token boundaries: a letter at the edge of a needle may not continue in a letter (of a needle of 3 characters: nor in a
digit), a digit not in a digit (zeros in front aside), a UID of less than 12 characters not in a further component in
front. Needles of 8 letters and more are found inside words too. In binary values a needle of less than 5 characters
also may not touch bytes above 7F.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from dicomnode.deidentify.encoded import OB, OW, UN, place, vr_code
from dicomnode.deidentify.needles import PADDING, Original, Patterns, patterns_of
from dicomnode.deidentify.plan import Needle
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.deidentify.terms import TERMS
from dicomnode.model import Doubt, Reason

MOST_SEGMENTS = 16 << 20
INSIDE_WORDS = 8
ALONE = 3
SHORT_UID = 12
SHORT_IN_BINARY = 5
SEPARATOR = b"\n"
LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b"0123456789")
ALPHANUMERIC = LETTERS | DIGITS
DOT = 0x2E
FREE_TEXT = tuple(map(vr_code, ("LO", "LT", "PN", "SH", "ST", "UC", "UN", "UT")))
TEXT = tuple(map(vr_code, ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR")))
BINARY = (
    OB,
    OW,
    UN,
    *map(vr_code, ("AT", "FD", "FL", "OD", "OF", "OL", "OV", "SL", "SQ", "SS", "SV", "UL", "US", "UV")),
)
MANUFACTURER = (0x00080070, 0x00081090)
"""An institution or station may bear the manufacturer's or the model's name: then it is no needle."""
PATIENT_TAGS = frozenset([0x00080050, 0x00200010])
DATES = (vr_code("DA"), vr_code("DT"))
UI, CS = vr_code("UI"), vr_code("CS")
WORDS = re.compile(rb"[a-z0-9]+")
UTF_16 = bytes(0x61 if chr(byte).isalnum() and byte < 0x80 else min(byte, 1) for byte in range(256))

Kept: TypeAlias = Callable[[], Iterable[tuple[int, int, bytes]]]
"""Tag, VR code and value of every element that is kept; asked for only when something was found."""


class Gate:
    """One instance's gate. `keep[vr]` takes a value that is passed on, `original` one that is not."""

    __slots__ = (
        "_blobs",
        "_free",
        "_in_segment",
        "_kept",
        "_segment_bytes",
        "_segments",
        "_texts",
        "keep",
        "originals",
    )

    def __init__(self, kept: Kept) -> None:
        self.originals: dict[Original, None] = {}
        self._free: list[bytes] = []
        self._texts: list[bytes] = []
        self._blobs: list[bytes] = []
        self._segments: dict[bytes, None] = {}
        self._in_segment = False
        self._segment_bytes = 0
        self._kept = kept
        self.keep: dict[int, Callable[[bytes], None]] = {
            **dict.fromkeys(FREE_TEXT, self._free.append),
            **dict.fromkeys(TEXT, self._texts.append),
            **dict.fromkeys(BINARY, self._blobs.append),
        }

    def original(self, kind: Needle, tag: int, value: bytes, character_set: bytes) -> None:
        """An identifying value that was taken out, as it was encoded."""
        self.originals[kind, tag, value, character_set] = None

    def check(self) -> None:
        """Search everything kept so far for every original so far; raises Doubt(RESIDUE)."""
        texts = SEPARATOR.join([*self._free, *self._texts]).lower()
        blobs = SEPARATOR.join(self._blobs).lower()
        whole = self._whole_values() if self._free else frozenset()
        for original in self.originals:
            patterns = patterns_of(original)
            if whole and not whole.isdisjoint(patterns.short):
                self._hit(original, min(patterns.short & whole), whole_value=True)
        self._search(texts, False)
        self._search(blobs, True)
        for segment in self._segments:
            self._search_segment(segment)

    def check_segments(self, texts: list[bytes]) -> None:
        """Search text out of compressed frames, which is taken out of the list; raises Doubt(RESIDUE)."""
        for text in texts:
            folded = text.lower()
            if folded not in self._segments:
                self._segments[folded] = None
                self._segment_bytes += len(folded)
                if self._segment_bytes > MOST_SEGMENTS:
                    raise Doubt(Reason.HEADER_TOO_LARGE, place((0x7FE00010,)))
                self._search_segment(folded)
        texts.clear()

    def _search_segment(self, segment: bytes) -> None:
        self._in_segment = True
        self._search(segment, True)
        self._in_segment = False

    def _whole_values(self) -> frozenset[bytes]:
        whole = {value.strip(PADDING).lower() for value in self._free}
        whole.update(part.strip(PADDING) for value in tuple(whole) if b"\\" in value for part in value.split(b"\\"))
        return frozenset(whole)

    def _search(self, hay: bytes, binary: bool) -> None:
        if not hay:
            return
        wide = UTF_16_TEXT in hay.translate(UTF_16)
        for original in self.originals:
            patterns = patterns_of(original)
            for pattern in patterns.plain:
                if pattern in hay and any(
                    _is_token(hay, at, pattern, original[0], binary) for at in _all(hay, pattern)
                ):
                    self._hit(original, pattern)
            for pattern in patterns.wide:
                if pattern in hay:
                    self._hit(original, pattern)
            if wide:
                self._search_wide(hay, original, patterns)

    def _search_wide(self, hay: bytes, original: Original, patterns: Patterns) -> None:
        """ASCII as UTF-16 of either byte order: the characters with zeros between them."""
        for pattern in patterns.plain:
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


def _all(hay: bytes, pattern: bytes) -> Iterator[int]:
    at = hay.find(pattern)
    while at >= 0:
        yield at
        at = hay.find(pattern, at + 1)


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
    """Whether the plan lets this very value stay elsewhere on purpose (DESIGN promise 4)."""
    whole = value.strip(PADDING).lower()
    if kind is Needle.UID:
        retained = (v for t, vr, v in kept if vr == UI and t not in tables.class_uids())
        return any(pattern == part.strip(PADDING) for v in retained for part in v.split(b"\\"))
    if kind is Needle.BIRTH_DATE:
        return any(vr in DATES and v[:8] == whole[:8] for _, vr, v in kept)
    if any(t == tag and v == whole for t, _, v in kept):
        return True
    if kind is not Needle.IDENTIFIER or tag >> 16 == 0x0010 or tag in PATIENT_TAGS:
        return False
    makers = [v for t, _, v in kept if t in MANUFACTURER]
    return any(whole == maker or whole in WORDS.findall(maker) for maker in makers)
