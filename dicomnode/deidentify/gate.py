"""The gate: what is about to be written is searched for the identifying values that were taken out of the instance.

All values that come from the received instance are searched, and the segments of compressed frames; what the node
made itself (pseudonyms, dummies) holds nothing of it. Free text is also searched without punctuation, and decoded and
folded where it is not plain ASCII. Words (OW) are also searched with their bytes swapped. In the bytes of compressed
frames there is only a search for needles of 6 characters and more, in runs of what texts are written with.
Where a needle counts, `tokens` says; what is found and passes nevertheless, `stays`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from dicomnode.deidentify.encoded import place
from dicomnode.deidentify.hay import (
    LEAST_IN_FRAMES,
    SEPARATOR,
    Hay,
    Searched,
    decoded,
    has_utf_16,
    is_odd,
    readings,
    runs,
)
from dicomnode.deidentify.needles import PADDING, Original, Patterns, patterns_of, squeeze
from dicomnode.deidentify.plan import Needle
from dicomnode.deidentify.stays import KeptValue, is_term, stays
from dicomnode.deidentify.tokens import is_number, is_token, is_word, places
from dicomnode.deidentify.written import is_alone, is_announced, is_whole, names_day
from dicomnode.model import Doubt, Reason

MOST_SEGMENTS = 16 << 20
BEHIND = 256
"""So many bytes of a chunk are searched once more with the next."""
MOST_CODING = 4096

Kept: TypeAlias = Callable[[], Iterable[KeptValue]]
"""Every element that is kept; asked for only when something was found."""
Found: TypeAlias = "list[tuple[Original, Patterns]]"


def nothing() -> Iterable[KeptValue]:
    """For a gate at which every find is a doubt, also of what the plan lets stay."""
    return ()


class Settled:
    """The needles of parts of a header, and all that is kept in them: raises Doubt when there is one in it."""

    def __init__(self, gate: Gate) -> None:
        gate.check()
        self.found = gate.patterns()
        self.searched = gate.hay.searched()
        self.character_sets = gate.character_sets
        every = (p for _, one in self.found for p in (*one.plain, *one.dated, *one.wide))
        self._every = tuple(dict.fromkeys(every))
        self._short = frozenset[bytes]().union(*(one.short for _, one in self.found))
        if any(crosses(one) for _, one in self.found):
            raise Doubt(Reason.RESIDUE)

    def may_be_in(self, other: Searched) -> bool:
        """Whether a needle may be found; False means that none is."""
        if other.odd or other.squeezed or any(other.wide) or not self._short.isdisjoint(other.whole):
            return True
        hay = SEPARATOR.join((other.text, other.binary, other.swapped))
        return any(map(hay.__contains__, self._every))


class Gate:
    """One instance's gate. `keep[vr]` takes a value that is passed on, `original` one that is not.

    With `settled` it judges the rest of an instance of which parts are settled, all together.
    """

    __slots__ = (
        "_behind",
        "_coding",
        "_kept",
        "_segment_bytes",
        "_segments",
        "_settled",
        "character_sets",
        "hay",
        "keep",
        "originals",
    )

    def __init__(self, kept: Kept, settled: Settled | None = None) -> None:
        self.originals: dict[Original, None] = {}
        self.character_sets: dict[bytes, None] = {}
        self.hay = Hay()
        self.keep = self.hay.keep
        self._segments: dict[bytes, None] = {}
        self._coding: dict[bytes, None] = {}
        self._behind = b""
        self._segment_bytes = 0
        self._kept = kept
        self._settled = settled

    def original(self, kind: Needle, tag: int, value: bytes, character_set: bytes) -> None:
        """An identifying value that was taken out, as it was encoded."""
        self.originals[kind, tag, value, character_set] = None

    def character_set(self, value: bytes) -> None:
        """A Specific Character Set (0008,0005) of the instance, or of an item in it."""
        self.character_sets[value] = None

    def check(self) -> None:
        """Search everything kept so far for every original so far; raises Doubt(RESIDUE)."""
        found, searched = self.patterns(), self.hay.searched()
        if self._settled is None:
            self._search_values(searched, found)
        else:
            self._check_beside(self._settled, searched, found)
        self._search_segments(list(self._segments), self._all_patterns())

    def new_since(self, count: int) -> int | None:
        """The tag of an original behind the first `count` that has a needle which those have not."""
        found = self.patterns()
        known = {p for _, one in found[:count] for p in (*one.plain, *one.dated, *one.wide)}
        for (_, tag, _, _), one in found[count:]:
            if not known.issuperset((*one.plain, *one.dated, *one.wide)):
                return tag
        return None

    def patterns(self) -> Found:
        """What to look for, by original; with what is settled that is not all, see `_all_patterns`."""
        character_sets = self._all_character_sets()
        return [(original, patterns_of(original, character_sets)) for original in self.originals]

    def _all_character_sets(self) -> tuple[bytes, ...]:
        return tuple(self.character_sets if self._settled is None else self._settled.character_sets)

    def _all_patterns(self) -> Found:
        return self.patterns() if self._settled is None else [*self._settled.found, *self.patterns()]

    def _check_beside(self, settled: Settled, searched: Searched, found: Found) -> None:
        """What is not settled: own needles in all values, those that are settled in own values."""
        if self.character_sets.keys() - settled.character_sets.keys() or any(crosses(one) for _, one in found):
            raise Doubt(Reason.RESIDUE)
        if any(own and not theirs for own, theirs in zip(searched.wide, settled.searched.wide, strict=True)):
            raise Doubt(Reason.RESIDUE)  # then what is settled would have to be searched for UTF-16, too
        wide = settled.searched.wide
        if any(wide) or settled.may_be_in(searched):
            self._search_values(searched, [*settled.found, *found], wide)
        else:
            self._search_values(searched, found)
        self._search_values(settled.searched, found, wide)

    def _search_values(self, searched: Searched, found: Found, wide: Sequence[bool] | None = None) -> None:
        wide = wide or searched.wide
        self._check_whole(searched, found)
        self._search(searched.text, False, found, wide[0])
        self._check_squeezed(searched, found)
        self._check_written(searched, found)
        self._check_decoded(searched, found)
        self._search(searched.binary, True, found, wide[1])
        self._search(searched.swapped, True, found, wide[2], terms=False)

    def check_segments(self, texts: list[bytes]) -> None:
        """Search text out of compressed frames, which is taken out of the list; raises Doubt(RESIDUE)."""
        new = {folded: None for text in texts if (folded := text.lower()) not in self._segments}
        self._segments.update(new)
        self._segment_bytes += sum(map(len, new))
        texts.clear()
        if self._segment_bytes > MOST_SEGMENTS:
            raise Doubt(Reason.HEADER_TOO_LARGE, place((0x7FE00010,)))
        self._search_segments(list(new), self._all_patterns())

    def check_coding(self, segments: list[bytes]) -> None:
        """Search segments for decoders, which are taken out of the list; raises Doubt(RESIDUE).

        Unlike texts they are not searched again when needles come behind the pixel data.
        """
        new = {segment: None for segment in segments if segment not in self._coding}
        segments.clear()
        if new:
            if len(self._coding) < MOST_CODING:
                self._coding.update(new)
            self._search_segments([segment.lower() for segment in new], self._all_patterns())

    def check_raw(self, parts: list[memoryview]) -> None:
        """Search bytes of compressed frames, one part behind the other; raises Doubt(RESIDUE). Empties the list."""
        if not parts:
            return
        data = b"".join([self._behind, *parts])
        self._behind = data[-BEHIND:]
        found = runs(data)
        if found:
            hay = SEPARATOR.join(found).lower()
            self._search(hay, True, self._all_patterns(), has_utf_16(hay), LEAST_IN_FRAMES, terms=False)
        parts.clear()

    def _search_segments(self, segments: list[bytes], found: Found) -> None:
        if segments:
            hay = SEPARATOR.join(segments)
            self._search(hay, True, found, has_utf_16(hay), terms=False)

    def _check_whole(self, searched: Searched, found: Found) -> None:
        """Short values: nothing but whole values are compared with them."""
        for original, patterns in found:
            if not searched.whole.isdisjoint(patterns.short):
                self._hit(original, min(patterns.short & searched.whole), whole_value=True)

    def _check_squeezed(self, searched: Searched, found: Found) -> None:
        """Identifiers, however they are punctuated."""
        hay = searched.squeezed
        for original, patterns in found if hay else ():
            for pattern in patterns.squeezed:
                if pattern in hay and any(is_number(hay, at, pattern) for at in places(hay, pattern)):
                    for value in searched.values:
                        if pattern in squeeze(value.lower()):
                            self._hit(original, value.strip(PADDING).lower(), whole_value=True)

    def _check_written(self, searched: Searched, found: Found, encoding: str = "latin-1") -> None:
        """What counts in running text only: short values that are announced, dates in words and short forms."""
        hay = searched.free
        for original, patterns in found if hay else ():
            for value in patterns.short:
                if value in hay and is_announced(hay, value, original[0]):
                    self._hit(original, value)
            for form in patterns.loose:
                if form in hay and any(is_alone(hay, at, form) for at in places(hay, form)):
                    self._hit(original, form)
            for guard, forms in patterns.guarded.items():
                if guard in hay and any(is_whole(hay, at, form) for form in forms for at in places(hay, form)):
                    self._hit(original, guard)
            if patterns.day and names_day(hay.decode(encoding, "replace"), *patterns.day):
                self._hit(original, patterns.year)

    def _check_decoded(self, searched: Searched, found: Found) -> None:
        """Text that is not plain ASCII, read in every character set of the instance."""
        if not searched.odd:
            return
        if searched.decoded is None:
            searched.decoded = decoded(searched.odd, self._all_character_sets())
        hay = searched.decoded
        self._check_whole(hay, found)
        self._search(hay.text, False, found, False)
        self._check_squeezed(hay, found)
        self._check_written(hay, found, "utf-8")
        spoken = hay.free.decode("utf-8", "replace")
        for original, patterns in found:
            for text in patterns.text:
                if any(is_word(spoken, at, text) for at in places(spoken, text)):
                    self._hit(original, text.encode())

    def _search(self, hay: bytes, binary: bool, found: Found, wide: bool, least: int = 0, terms: bool = True) -> None:
        """Search values; `terms` says that there may be code strings among them, which may have names as terms."""
        for original, patterns in found if hay else ():
            for plain in (patterns.plain, patterns.dated if patterns.year in hay else ()):
                for pattern in plain:
                    if (
                        pattern in hay
                        and len(pattern) >= least
                        and any(is_token(hay, at, pattern, original[0], binary) for at in places(hay, pattern))
                    ):
                        self._hit(original, pattern, times=hay.count(pattern) if terms else 0)
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
            for at in places(hay, spread):
                before = hay[at - 2 : at - 1] if hay[at - 1 : at] == b"\0" and at >= 2 else b""
                end = at + len(spread)
                behind = hay[end + 1 : end + 2] if hay[end : end + 1] == b"\0" else b""
                if is_token(before + pattern + behind, len(before), pattern, original[0], False):
                    self._hit(original, pattern)

    def _hit(self, original: Original, pattern: bytes, whole_value: bool = False, times: int = 0) -> None:
        """Something was found: withheld, unless it is a value that the plan lets stay.

        `times` is how often it stands where code strings are; 0 when it was found where none is.
        """
        kind, tag, value, _ = original
        kept = [(t, vr, v.strip(PADDING).lower(), nested) for t, vr, v, nested in self._kept() if v]
        found = [(t, vr, v) for t, vr, v, _ in kept if (v == pattern if whole_value else pattern in v)]
        if stays(kind, tag, value, pattern, kept):
            return
        terms = all(is_term(*kept_one, pattern) for kept_one in found)
        if kind is Needle.NAME and terms and 0 < times <= sum(v.count(pattern) for _, _, v in found):
            return
        tags = [t for t, _, _ in found] or [t for t, _, v, _ in self._kept() if self._reads(v, pattern)]
        where = f" repeated in {place((min(tags),))}" if tags else ""
        raise Doubt(Reason.RESIDUE, place((tag,)) + where)

    def _reads(self, value: bytes, pattern: bytes) -> bool:
        """Whether a value that is kept says it when it is decoded."""
        return is_odd(value) and any(pattern in text for text in readings(value, self._all_character_sets()))


def crosses(patterns: Patterns) -> bool:
    """Whether a pattern has what stands between values, so that it may be found across two of them."""
    every = (patterns.plain, patterns.dated, patterns.wide, patterns.short, patterns.squeezed, patterns.loose)
    return any(SEPARATOR in pattern for each in every for pattern in each)
