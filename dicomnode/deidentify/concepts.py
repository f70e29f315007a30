"""What happens to a content item by its concept name and value type (PS3.15 E.3.4, Table E.3.4-1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache, lru_cache

from dicomnode.deidentify.ages import capped
from dicomnode.deidentify.encoded import vr_code
from dicomnode.deidentify.plan import Action, Needle, Step, Steps
from dicomnode.deidentify.standard import replacements, tables

TEXT_VALUE, UID_VALUE, DATE_VALUE, CODE_SEQUENCE = 0x0040A160, 0x0040A124, 0x0040A121, 0x0040A168
REFERENCED_ITEM = 0x0040DB73
BIRTH_DATE = ("121031", "dcm")


class Value(Enum):
    """How the value of a content item is treated; what is not named here is treated as everywhere."""

    AS_EVERYWHERE = "as everywhere"
    IDENTIFIER = "a dummy; the gate looks for the original"
    BIRTH_DATE = "a dummy; the gate looks for the original date"
    KEPT_TEXT = "a text that is kept"
    KEPT_UID = "a UID that is kept"
    CODE = "a code that says nothing"
    OLD = "an age of 90 years"


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether the content item goes, with all below it, and how its value is treated."""

    removed: bool = False
    value: Value = Value.AS_EVERYWHERE


PLAIN = Ruling()


class Concepts:
    """Table E.3.4-1 under the options that were chosen (their long names)."""

    def __init__(self, options: frozenset[str]) -> None:
        short = {tables.OPTIONS[option] for option in options}
        self._rulings: dict[tuple[str, str, str], Ruling] = {}
        self._identifying: set[tuple[str, str]] = set()
        for row in tables.read("sr_concepts.csv"):
            name = row["value"], row["scheme"].lower()
            chosen = dict(pair.split("=") for pair in row["options"].split())
            self._rulings[*name, row["value_type"]] = _ruling(name, row["value_type"], row["basic"], chosen, short)
            if row["value_type"] in ("TEXT", "PNAME") and "descriptors" not in chosen:
                self._identifying.add(name)

    def ruling(self, value: str, scheme: str, value_type: str) -> Ruling:
        """The ruling for a concept name (code value and scheme) and a Value Type."""
        name = value, scheme.lower()
        found = self._rulings.get((*name, value_type))
        if found is None and value_type in ("CODE", "NUM") and name in self._identifying:
            return Ruling(removed=True)
        return found or PLAIN


def _ruling(name: tuple[str, str], value_type: str, basic: str, codes: dict[str, str], chosen: set[str]) -> Ruling:
    """One row: C before K before the Basic Profile's code; X/D keeps the item, as a template may ask for it."""
    given = {codes[option] for option in codes if option in chosen}
    letter = "C" if "C" in given else "K" if "K" in given else basic
    if value_type == "UIDREF":
        return Ruling(letter == "X", Value.KEPT_UID if letter == "K" else Value.AS_EVERYWHERE)
    if name == BIRTH_DATE:
        return Ruling(letter == "X", Value.BIRTH_DATE)
    if value_type != "TEXT":
        return Ruling(letter == "X")
    if letter in "CK":
        return PLAIN if letter == "C" else Ruling(value=Value.KEPT_TEXT)
    return Ruling(letter == "X", Value.AS_EVERYWHERE if "descriptors" in codes else Value.IDENTIFIER)


@lru_cache(maxsize=64)
def concepts(options: frozenset[str]) -> Concepts:
    """The concepts under these options (long names)."""
    return Concepts(options)


@cache
def public_schemes() -> frozenset[str]:
    """Coding schemes whose codes are made by somebody who knows no patient (PS3.16 section 8)."""
    return frozenset(row["designator"] for row in tables.read("coding_schemes.csv"))


def vary(base: Steps, value: Value, identifier: bytes | None) -> Steps:
    """The steps inside one content item; `identifier` is the new Referenced Content Item Identifier, if it changes."""
    if identifier is not None:
        step = Step(Action.DUMMY, dummy=identifier, implicit=identifier, reason="items in front of it went")
        return _override(vary(base, value, None), {REFERENCED_ITEM: lambda _, vr: step})
    if value is Value.AS_EVERYWHERE:
        return base
    known = base.variants.get(value.name)
    if known is None and value is Value.OLD:
        known = base.variants[value.name] = capped(base)
    if known is None:
        tag, change = CHANGES[value]
        known = base.variants[value.name] = _override(base, {tag: change})
    return known


Change = Callable[[Step, str], Step]


def _override(base: Steps, changes: dict[int, Change]) -> Steps:
    def resolve(tag: int, vr: str) -> Step:
        step = base[tag << 16 | ord(vr[0]) << 8 | ord(vr[1])]
        return changes[tag](step, vr) if tag in changes else step

    return Steps(resolve, base.inside)


def _kept(said: str, form: str) -> Change:
    """Kept where the VR is the dictionary's, and under UN what has its form; otherwise as everywhere."""

    def change(step: Step, vr: str) -> Step:
        kept = replace(step, action=Action.KEEP, needle=Needle.NONE, dummy=None, implicit=None)
        if vr == "UN":
            return replace(kept, action=Action.FORM, form=form, searched=vr_code(said))
        return kept if vr == said else step

    return change


def _coded(step: Step, vr: str) -> Step:
    if vr not in ("SQ", "UN"):
        return step
    records = replacements.items_for(CODE_SEQUENCE, "")
    assert isinstance(records, list)
    implicit = replacements.items(records, implicit=True)
    explicit = replacements.items(records, implicit=False)
    return replace(step, action=Action.DUMMY, dummy=explicit if vr == "SQ" else implicit, implicit=implicit)


def _needle(needle: Needle) -> Change:
    return lambda step, _: replace(step, needle=needle)


def _identifier(step: Step, _: str) -> Step:
    """Never a description that could be cleaned."""
    return replace(step, action=Action.DUMMY if step.action is Action.CLEAN else step.action, needle=Needle.IDENTIFIER)


CHANGES: dict[Value, tuple[int, Change]] = {
    Value.IDENTIFIER: (TEXT_VALUE, _identifier),
    Value.BIRTH_DATE: (DATE_VALUE, _needle(Needle.BIRTH_DATE)),
    Value.CODE: (CODE_SEQUENCE, _coded),
    Value.KEPT_TEXT: (TEXT_VALUE, _kept("UT", "TEXT")),
    Value.KEPT_UID: (UID_VALUE, _kept("UI", "UI")),
}
