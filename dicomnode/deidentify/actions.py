"""Values that the rules make themselves: hashes, templates, substitutions, vocabularies, rounding, tables of codes.

A value is decoded, made anew value by value, checked against its VR and encoded in the character set of its place.
What cannot be made so is in doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import TypeAlias

from dicomnode.deidentify import dates, rewrite, values
from dicomnode.deidentify.conditions import folded
from dicomnode.deidentify.encoded import UN, Element, place, vr_code
from dicomnode.deidentify.gate import Gate
from dicomnode.deidentify.level import Level
from dicomnode.deidentify.patterns import TooLong, Trying
from dicomnode.deidentify.pixels import find
from dicomnode.deidentify.plan import Action, Made, Needle, Step
from dicomnode.deidentify.pseudonyms import Pseudonyms
from dicomnode.deidentify.standard import dictionary
from dicomnode.deidentify.subject import Subject
from dicomnode.deidentify.taken import note
from dicomnode.model import Doubt, Reason

PADDING = " \0"
ONE_VALUE = frozenset(["ST", "LT", "UT", "UR"])
"""VRs of which a value may hold backslashes (PS3.5 section 6.2)."""
LONGEST = {"AE": 16, "AS": 4, "CS": 16, "DS": 16, "IS": 12, "LO": 64, "PN": 64, "SH": 16, "ST": 1024, "LT": 10240}
"""Characters of a value (of PN: of a component group)."""
PARTS_STAY = frozenset([Action.SUBSTITUTE, Action.VOCABULARY, Action.ROUND])
"""What these write comes from the instance: the gate searches it."""
CODE_STRING = re.compile("[A-Z0-9_ ]*")
PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*")
TEXTUAL = re.compile(r"[^\x00-\x08\x0b\x0e-\x1f\x7f]*")
AGE = re.compile("([0-9]{1,3})([DWMY])")
HASH_LENGTH = 10
PATIENT_NAME = 0x00100010

Maker: TypeAlias = Callable[[Made, str, int, "Facts"], str]


@dataclass(frozen=True, slots=True)
class Facts:
    """What templates and hashes may ask of an instance: its top level, and what was made of it."""

    project: str
    subject: Subject
    pseudonyms: Pseudonyms
    data: bytes
    elements: Sequence[Element]
    given: bool = False
    """Whether what the rules write may come from the instance after all."""
    trying: Trying = field(default_factory=Trying, compare=False)
    _known: dict[int, str] = field(default_factory=dict, compare=False)

    def sent(self, tag: int) -> str:
        """The value of an attribute of the top level as it is sent; "" where it does not stay."""
        if tag not in self._known:
            element = find(self.elements, tag)
            self._known[tag] = "" if element is None else self._sent(element)
        return self._known[tag]

    def _sent(self, element: Element) -> str:
        tag, vr, _, value, stop, items = element
        step, raw = self.subject.steps[tag << 16 | vr], self.data[value:stop]
        kind = kind_of(vr, tag)
        if items is not None or kind not in dictionary.TEXT:
            return ""
        if step.action is Action.SHIFT:
            moved = dates.moved(raw, kind, shifted_by(step, self.subject.days))
            return "" if moved is None else moved.decode("ascii")
        if step.action is Action.AGE:
            return values.capped_ages(raw).decode("ascii")
        text = rewrite.text(raw, kind, self.subject.character_set, (tag,))
        if step.action is Action.FORM:
            return values.well_formed(raw, step.form).decode("latin-1").strip(PADDING)
        if step.action in (Action.KEEP, Action.CHECK):
            return text
        if step.action is Action.UID:
            return self.pseudonyms.uid(text)
        if step.action is Action.PSEUDONYM and step.attribute is not None:
            return self.pseudonyms.render(step.attribute, text, self.subject.patient_hash)
        return ""


def shifted_by(step: Step, days: int) -> int:
    """By how many days a date moves: as the rules say of the attribute, or as the patient's do."""
    return days if step.made is None else int(step.made.argument[0])


def kind_of(vr: int, tag: int) -> str:
    """The VR in letters; the dictionary's where the file says UN."""
    return dictionary.vr_of(tag) if vr == UN else chr(vr >> 8) + chr(vr & 0xFF)


def original(level: Level, element: Element) -> str:
    """What the identity book has as the original. Raises Doubt where it cannot be decoded, but for a Patient's Name."""
    tag, vr, _, value, stop, _ = element
    raw = level.data[value:stop]
    try:
        return rewrite.text(raw, kind_of(vr, tag), level.character_set, (*level.path, tag))
    except Doubt:
        if tag != PATIENT_NAME:
            raise
        return raw.strip(b" \0").decode("latin-1")


def made(facts: Facts, gate: Gate, level: Level, element: Element, step: Step) -> list[bytes] | None:
    """What is written instead of an element; None when it stays as it is. Raises Doubt."""
    tag, vr, start, value, stop, items = element
    path, raw = (*level.path, tag), level.data[value:stop]
    if items is not None or step.made is None:
        raise Doubt(Reason.WRONG_VR, place(path))
    kind = kind_of(vr, tag)
    sent = _encoded(_made(facts, step.made, raw, kind, tag, level.character_set, path), level.character_set, path)
    if sent == raw.rstrip(b" \0"):
        if stop - start & 1:
            raise Doubt(Reason.UNREADABLE, place(path))
        gate.keep[vr](raw)
        return None
    if step.needle is not Needle.NONE:
        note(gate, level.data, element, step, level.steps, level.character_set)
    if not sent and step.dummy is not None:
        dummy = (step.implicit if level.implicit else step.dummy) or b""
        return [rewrite.header(level.data, element, level.implicit, len(dummy)), dummy]
    if step.action in PARTS_STAY or step.made.quotes or facts.given:
        gate.keep[vr](sent)
    return rewrite.value(level.data, element, level.implicit, sent)


def added(facts: Facts, gate: Gate, more: Sequence[tuple[int, Made]], implicit: bool) -> list[tuple[int, bytes]]:
    """Attributes that the rules set and the instance does not have, with their tags."""
    found = []
    for tag, template in more:
        if find(facts.elements, tag) is None:
            vr = dictionary.vr_of(tag)
            text = MAKERS[Action.REPLACE](template, "", tag, facts)
            _check(vr, text, (tag,))
            padded = _padded(vr, text)
            if facts.given or template.quotes:
                gate.keep[vr_code(vr)](padded)
            found.append((tag, rewrite.new(tag, vr.encode(), padded, implicit)))
    return found


def _padded(vr: str, text: str) -> bytes:
    encoded = text.encode("ascii")
    return encoded + b"\0" if vr == "UI" and len(encoded) % 2 else encoded


def _made(facts: Facts, how: Made, raw: bytes, kind: str, tag: int, character_set: bytes, path: tuple[int, ...]) -> str:
    make = MAKERS[how.action]
    if how.action is Action.REPLACE and not how.asks_value:
        texts, several = [""], False
    else:
        text = rewrite.text(raw, kind, character_set, path)
        several = kind not in ONE_VALUE
        texts = text.split("\\") if several else [text]
    sent = [make(how, one.strip(PADDING) if several else one, tag, facts) for one in texts]
    for one in sent:
        _check(kind, one, path)
    return "\\".join(sent) if any(sent) else ""


def _encoded(text: str, character_set: bytes, path: tuple[int, ...]) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    encodings = values.encodings_of(character_set.decode("latin-1"))
    try:
        if len(encodings) > 1:
            raise LookupError
        return text.encode("latin_1" if encodings[0] == "iso8859" else encodings[0])
    except (UnicodeEncodeError, LookupError):
        raise Doubt(Reason.CHARACTER_SET, place(path)) from None


def fits(vr: str, text: str) -> bool:
    """Whether a text can be one value of a VR (PS3.5 section 6.2)."""
    if not text:
        return True
    parts = text.split("=") if vr == "PN" else [text]
    if max(map(len, parts)) > LONGEST.get(vr, len(text)):
        return False
    if vr in values.CHECKS and vr in dictionary.DATES:
        return values.CHECKS[vr](text)
    if vr == "AS":
        return re.fullmatch("[0-9]{3}[DWMY]", text) is not None
    if vr == "UI":
        return values.is_uid(text)
    if vr == "CS":
        return CODE_STRING.fullmatch(text) is not None
    if vr in ("DS", "IS"):
        return values.FORMS[vr].fullmatch(text.encode("ascii", "replace")) is not None
    if vr in ONE_VALUE:
        return TEXTUAL.fullmatch(text) is not None
    return PRINTABLE.fullmatch(text) is not None and "\\" not in text


def _check(vr: str, text: str, path: tuple[int, ...]) -> None:
    if not fits(vr, text):
        raise Doubt(Reason.WRONG_VR, place(path))


# how values are made


def _hash(how: Made, text: str, tag: int, facts: Facts) -> str:
    if not text:
        return ""
    digest = facts.pseudonyms.hash_of(tag, text)[: int(how.argument[0])]
    return digest.upper() if dictionary.vr_of(tag) == "CS" else digest


def _template(how: Made, text: str, tag: int, facts: Facts) -> str:
    said = []
    for part in how.argument:
        if isinstance(part, str):
            said.append(part)
        elif isinstance(part, int):
            said.append(facts.sent(part))
        elif part[0] == "hash":
            said.append(_hash(Made(Action.HASH, (part[1],)), text, tag, facts))
        else:
            said.append(facts.project if part[0] == "project" else facts.subject.patient)
    whole = "".join(map(str, said)).strip()
    return whole.upper() if dictionary.vr_of(tag) == "CS" else whole


def _substitute(how: Made, text: str, tag: int, facts: Facts) -> str:
    """The first pattern that matches the whole value; what none matches is emptied."""
    try:
        return facts.trying.substituted(how.argument, text)
    except TooLong:
        raise Doubt(Reason.WRONG_VR, f"{place((tag,))} too long to be matched") from None


def _vocabulary(how: Made, text: str, tag: int, facts: Facts) -> str:
    return text if folded(text) in how.argument else ""


def _code(how: Made, text: str, tag: int, facts: Facts) -> str:
    return next((code for value, code in how.argument if value == folded(text)), "")


def _round(how: Made, text: str, tag: int, facts: Facts) -> str:
    """A date to its month or year, a time to its hour, ages and numbers to the nearest multiple; else empty."""
    vr, unit = dictionary.vr_of(tag), str(how.argument[0])
    if not text:
        return ""
    if vr in dictionary.DATES:
        return _rounded_date(vr, text, unit)
    if vr == "AS":
        age = AGE.fullmatch(text)
        if age is None:
            return ""
        whole = values.capped_ages(_nearest(age[1], unit).zfill(3).encode() + age[2].encode()).decode()
        return whole if whole[:3].isdigit() and len(whole) == 4 else ""
    return _nearest(text, unit)


def _rounded_date(vr: str, text: str, unit: str) -> str:
    if not values.CHECKS[vr](text):
        return ""
    if vr == "TM":
        return text[:2] + "0000"
    plain = text.replace(".", "")[:8] if vr == "DA" else text[:8]
    if unit == "year":
        return plain[:4] + ("0101" if vr == "DA" else "")
    return plain[:6] + ("01" if vr == "DA" else "")


def _nearest(text: str, unit: str) -> str:
    try:
        step = Decimal(unit)
        rounded = (Decimal(text) / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step
    except (InvalidOperation, ValueError):
        return ""
    return f"{rounded:f}" if rounded.is_finite() else ""


MAKERS: dict[Action, Maker] = {
    Action.HASH: _hash,
    Action.REPLACE: _template,
    Action.SUBSTITUTE: _substitute,
    Action.VOCABULARY: _vocabulary,
    Action.CODE: _code,
    Action.ROUND: _round,
}
