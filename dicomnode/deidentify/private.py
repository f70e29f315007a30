"""Private attributes that stay: those of the standard's list of safe ones (PS3.15 Table E.3.10-1), block by block.

The rules may name others, by creator; what they say of an attribute goes before the list.

A private data element (gggg,xxee) belongs to the private creator at (gggg,00xx) of its own level (PS3.5 section 7.8).
The list names group, ee and creator. In Explicit VR the file's VR must be the list's; a value of VR UN is read in the
list's VR, and must fit it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

from dicomnode.deidentify.encoded import SQ, UN, Element, vr_code
from dicomnode.deidentify.exceptions import Line
from dicomnode.deidentify.plan import MEMO, Action, Needle, Step
from dicomnode.deidentify.standard import dictionary, tables

FIRST_BLOCK = 0x10
BLOCK = 0x100
REASON = "Table E.3.10-1 lists it as safe, or the rules keep it"
CREATOR = Step(Action.KEEP, reason="the creator of a block of which something stays")
LO, UI = vr_code("LO"), vr_code("UI")
WIDTHS = {vr_code(vr): width for vr, width in dictionary.WIDTHS.items()}
NUMBER = re.compile(rb"[0-9+\-.eE \\\0]*")
TEXT = re.compile(rb"[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]*\0?")
FORMS = {
    **{vr_code(vr): TEXT for vr in ("LO", "SH", "ST", "LT")},
    **{vr_code(vr): NUMBER for vr in ("DS", "IS")},
    vr_code("CS"): re.compile(rb"[A-Z0-9_ \\\0]*"),
    vr_code("UI"): re.compile(rb"[0-9.\\ \0]*"),
}
"""What values can consist of: items or numbers that are hidden in a text are not what the list means."""
NUMERIC = ("US", "SS", "UL", "SL", "FL", "FD", "DS", "IS")
"""What may stay of an attribute for which the list gives no VR, in Explicit VR."""


@cache
def listed() -> dict[tuple[int, int, bytes], tuple[str, ...]]:
    """The list: by group, last two digits of the element and creator, the VRs that the value may have."""
    return {
        (int(row["group"], 16), int(row["element"], 16), row["creator"].encode("ascii")): (
            tuple(row["vr"].split("/")) if row["vr"] else NUMERIC
        )
        for row in tables.read("safe_private.csv")
    }


class SafePrivate:
    """Says which private elements stay; pure, and the same at every place of a data set."""

    def __init__(self, retain_uids: bool, by_list: bool = True, chosen: Sequence[Line] = ()) -> None:
        self._retain_uids = retain_uids
        self._listed = listed() if by_list else {}
        self._chosen = chosen
        self._groups = {group for group, _, _ in self._listed} | {each.tag >> 16 for each, _ in chosen}
        self._any_group = any(not each.tag >> 16 for each, _ in chosen)
        self._known: dict[tuple[int, int, bytes], tuple[Step, int] | None] = {}

    def step(self, data: bytes, elements: Sequence[Element], element: Element) -> tuple[Step, int] | None:
        """What happens to a private element among those of its level, and its VR; None when it does not stay."""
        tag, vr = element[0], element[1]
        number = tag & 0xFFFF
        if tag >> 16 not in self._groups and not self._any_group:
            return None
        if FIRST_BLOCK <= number < BLOCK:
            return (CREATOR, LO) if self._has_kept(data, elements, element) else None
        creator = _find(elements, tag & 0xFFFF0000 | number >> 8) if number >> 8 >= FIRST_BLOCK else None
        if creator is None or creator[1] not in (LO, UN):
            return None
        return self._data(tag, vr, _creator(data, creator), data, element)

    def _data(self, tag: int, vr: int, creator: bytes, data: bytes, element: Element) -> tuple[Step, int] | None:
        key = tag & 0xFFFF00FF, vr, creator
        try:
            found = self._known[key]
        except KeyError:
            found = self._judged(*key)
            if len(self._known) < MEMO:
                self._known[key] = found
        return found if found is not None and _fits(data, element, found[1]) else None

    def _judged(self, tag: int, vr: int, creator: bytes) -> tuple[Step, int] | None:
        """What the rules and the list say of an element, whatever its value."""
        said = self._said(tag, creator)
        if said is not None:
            return self._kept(vr) if said is Action.KEEP else None
        allowed = self._listed.get((tag >> 16, tag & 0xFF, creator), ())
        if vr == UN and allowed != NUMERIC and allowed:
            vr = vr_code(allowed[0])
        if vr not in [vr_code(each) for each in allowed]:
            return None
        return self._kept(vr)

    def _said(self, tag: int, creator: bytes) -> Action | None:
        """What the rules say of an element; the line that names most of it holds."""
        name = creator.decode("latin-1").upper()
        found = [line for line in self._chosen if line[0].text == name and tag & line[0].digits == line[0].tag]
        return max(found, key=lambda line: line[0].digits.bit_count())[1].action if found else None

    def _kept(self, vr: int) -> tuple[Step, int]:
        if vr == SQ:
            return Step(Action.RECURSE, reason=REASON), vr
        if vr == UI and not self._retain_uids:
            return Step(Action.UID, Needle.UID, reason=REASON), vr
        return Step(Action.KEEP, reason=REASON), vr

    def _has_kept(self, data: bytes, elements: Sequence[Element], creator: Element) -> bool:
        """Whether something stays of the block that the creator reserves."""
        tag = creator[0]
        name = _creator(data, creator)
        first = tag & 0xFFFF0000 | (tag & 0xFF) << 8
        if creator[1] not in (LO, UN) or creator[5] is not None:
            return False
        inside = elements[bisect_left(elements, (first,)) : bisect_left(elements, (first + BLOCK,))]
        return any(self._data(each[0], each[1], name, data, each) is not None for each in inside)


def _find(elements: Sequence[Element], tag: int) -> Element | None:
    index = bisect_left(elements, (tag,))
    return elements[index] if index < len(elements) and elements[index][0] == tag else None


def _creator(data: bytes, element: Element) -> bytes:
    return data[element[3] : element[4]].strip(b" \0")


def _fits(data: bytes, element: Element, vr: int) -> bool:
    """Whether the value can be one of this VR."""
    value, stop, items = element[3:]
    if items is not None or (stop - value) % 2:
        return vr == SQ and items is not None
    form = FORMS.get(vr)
    return form.fullmatch(data, value, stop) is not None if form else (stop - value) % WIDTHS.get(vr, 1) == 0
