"""What de-identification changed in one data set: the elements before and after, at every depth. Identified!"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import calcsize, iter_unpack

from dicomnode.deidentify import convert, rewrite, syntaxes
from dicomnode.deidentify.cleaned import Cleaned
from dicomnode.deidentify.concepts import Concepts, concepts
from dicomnode.deidentify.content import NO_TREE, Tree
from dicomnode.deidentify.encoded import PIXEL_DATA, Element, Reader
from dicomnode.deidentify.pixels import split_pixels, value_of
from dicomnode.deidentify.plan import Action, Plan, Step, Steps
from dicomnode.deidentify.standard import dictionary
from dicomnode.model import Buffer, Doubt

CHARACTER_SET = 0x00080005
NUMBERS = {"US": "<H", "SS": "<h", "UL": "<L", "SL": "<l", "FL": "<f", "FD": "<d", "SV": "<q", "UV": "<Q"}
MOST_NUMBERS = 16
SHOWN = 16
WITH_ITS_SEQUENCE = "with its sequence"
WITH_ITS_ITEM = "with its item (Table E.3.4-1, Clean Graphics)"


@dataclass(frozen=True, slots=True)
class Change:
    """One element: `kind` is kept, removed, changed or added; `path` are tags, and numbers of items from 1.

    `before` and `after` are texts of the values, None where there is none; a sequence is described by its items.
    """

    kind: str
    path: tuple[int | str, ...]
    keyword: str
    vr: str
    before: str | None
    after: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Side:
    """One encoded level: the bytes, the elements in them, and how text and numbers are to be read."""

    data: bytes
    elements: Sequence[Element]
    character_set: bytes

    def nested(self, elements: Sequence[Element]) -> Side:
        """The elements of an item; it may have a Specific Character Set of its own."""
        return Side(self.data, elements, value_of(self.data, elements, CHARACTER_SET) or self.character_set)


NOTHING = Side(b"", (), b"")


@dataclass(frozen=True, slots=True)
class Level:
    """The same level before and after, what the plan does there, and where it is.

    `whole` is the reason where the sequence around it goes or is replaced as a whole; `tree` says which content items
    go, by `concepts`.
    """

    before: Side
    after: Side
    steps: Steps
    concepts: Concepts
    path: tuple[int | str, ...] = ()
    whole: str = ""
    tree: Tree = NO_TREE

    def changes(self) -> Iterator[Change]:
        """The elements of both sides in the order of their tags, those of their items behind each."""
        old = {element[0]: element for element in self.before.elements}
        new = {element[0]: element for element in self.after.elements}
        for tag in sorted({*old, *new}):
            yield self._change(old.get(tag), new.get(tag))
            yield from self._items(tag, old.get(tag), new.get(tag))

    def _step(self, element: Element) -> Step:
        return self.steps[element[0] << 16 | element[1]]

    def _change(self, old: Element | None, new: Element | None) -> Change:
        there = old or new
        assert there is not None
        return Change(
            kind=self._kind(old, new),
            path=(*self.path, _written(there[0])),
            keyword=_name(self.before if old else self.after, there[0]),
            vr=_vr(there),
            before=_text(self.before, old),
            after=_text(self.after, new),
            reason=self.whole or self._step(there).reason,
        )

    def _kind(self, old: Element | None, new: Element | None) -> str:
        if old is None or new is None:
            return "removed" if old else "added"
        return "kept" if _raw(self.before, old) == _raw(self.after, new) else "changed"

    def _items(self, tag: int, old: Element | None, new: Element | None) -> Iterator[Change]:
        there = old or new
        assert there is not None
        one, other = ((element[5] if element else None) or [] for element in (old, new))
        whole = self.whole or (WITH_ITS_SEQUENCE if _goes_whole(self._step(there)) else "")
        inside, path, tree = self.steps.inside(tag), (*self.path, _written(tag)), NO_TREE
        if old is not None and not whole and self._step(there).action is Action.CONTENT:
            tree = self.tree.within(self.before.data, old, self.concepts)
        left = iter(other)
        for number, (begin, _, _, elements) in enumerate(one, 1):
            before, gone = self.before.nested(elements), tree.goes(begin)
            match = None if gone else next(left, None)
            after = NOTHING if match is None else self.after.nested(match[3])
            reason = WITH_ITS_ITEM if gone else whole
            steps = tree.steps(begin, inside)
            yield from Level(before, after, steps, self.concepts, (*path, number), reason, tree).changes()
        for number, added in enumerate(left, len(one) + 1):
            after = self.after.nested(added[3])
            yield from Level(NOTHING, after, inside, self.concepts, (*path, number), whole).changes()


def changes(plan: Plan, cleaned: Cleaned, transfer_syntax: str) -> Iterator[Change]:
    """All elements of a cleaned instance in the order of their tags; the pixel value is told as kept, never read."""
    form = syntaxes.form(transfer_syntax)
    steps = plan.for_class(cleaned.sop_class)
    converted = form.deflated or form.big_endian
    original: Buffer = cleaned.original_head
    if converted:
        original = convert.inflate(original) if form.deflated else convert.to_little_endian(original)
    before = _side(original, form.implicit)
    known = concepts(plan.options)
    yield from Level(before, _side(cleaned.before_pixels, form.implicit), steps, known).changes()
    if cleaned.pixels is None:
        return
    size = f"{len(cleaned.pixels)} bytes"
    yield Change("kept", (_written(PIXEL_DATA),), "the pixel value", "", size, size, "passed through as it came")
    rest = b"".join(bytes(part) for part in cleaned.tail)
    tail = split_pixels(original, form)[1] if converted else 0
    behind = memoryview(original)[tail:] if converted else cleaned.original_tail
    old, new = (_side(part, form.implicit, before.character_set) for part in (behind, rest))
    yield from Level(old, new, steps, known).changes()


def _side(data: Buffer, implicit: bool, character_set: bytes = b"") -> Side:
    """The elements before the pixel value, or behind it."""
    elements: list[Element] = []
    Reader(bytes(data), implicit).top_level(0, elements)
    return Side(bytes(data), elements, value_of(data, elements, CHARACTER_SET) or character_set)


def _goes_whole(step: Step) -> bool:
    return step.action in (Action.REMOVE, Action.EMPTY) or (step.action is Action.DUMMY and step.dummy is not None)


def _written(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _vr(element: Element) -> str:
    return chr(element[1] >> 8) + chr(element[1] & 0xFF)


def _raw(side: Side, element: Element) -> bytes:
    return side.data[element[3] : element[4]]


def _name(side: Side, tag: int) -> str:
    """The keyword; of a private element the creator of its block, where there is one."""
    if not tag >> 16 & 1:
        return dictionary.keyword_of(tag)
    block = tag >> 8 & 0xFF
    if not block:
        return "private creator"
    creator = next((each for each in side.elements if each[0] == tag & 0xFFFF0000 | block), None)
    return f"private: {_text(side, creator)}" if creator else "private"


def _text(side: Side, element: Element | None) -> str | None:
    """A value for people; it may hold any character."""
    if element is None:
        return None
    if element[5] is not None:
        return f"{len(element[5])} item{'s' * (len(element[5]) != 1)}"
    raw, vr = _raw(side, element), _vr(element)
    vr = dictionary.vr_of(element[0]) if vr == "UN" else vr
    if vr in dictionary.TEXT:
        return _decoded(raw, vr, side.character_set)
    if vr in NUMBERS and raw and len(raw) % calcsize(NUMBERS[vr]) == 0:
        return _numbers(raw, NUMBERS[vr])
    return f"{len(raw)} bytes" + (f" {raw[:SHOWN].hex()}" if raw else "") + ("…" if len(raw) > SHOWN else "")


def _numbers(raw: bytes, form: str) -> str:
    numbers = [each[0] for each in iter_unpack(form, raw[: calcsize(form) * MOST_NUMBERS])]
    count = len(raw) // calcsize(form)
    texts = [f"{number:.9g}" if isinstance(number, float) else str(number) for number in numbers]
    return "\\".join(texts) + (f"\\… ({count} values)" if count > MOST_NUMBERS else "")


def _decoded(raw: bytes, vr: str, character_set: bytes) -> str:
    try:
        return rewrite.text(raw, vr, character_set, ())
    except Doubt:
        return raw.rstrip(b" \0").decode("latin-1")
