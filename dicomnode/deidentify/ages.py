"""Ages in content items: more than 89 years become 90 (PS3.15 E.3.7 keeps patient characteristics, not who is oldest).

A NUM item tells years by its units: a of UCUM, the mean, Julian, Gregorian or tropical year. Of the item that is named
Subject Age months and less are read too, and units that are not known are taken for years.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from dicomnode.deidentify.encoded import Element
from dicomnode.deidentify.pixels import find, text_of
from dicomnode.deidentify.plan import Action, Step, Steps
from dicomnode.deidentify.values import OLDEST

MEASURED, UNITS = 0x0040A300, 0x004008EA
NUMERIC, FLOATING, NUMERATOR, DENOMINATOR = 0x0040A30A, 0x0040A161, 0x0040A162, 0x0040A163
CODE_VALUE, SCHEME, CODE_MEANING = 0x00080100, 0x00080102, 0x00080104
SUBJECT_AGE = ("121033", "DCM")
YEARS = {"a": 1.0, "a_j": 1.0, "a_g": 1.0, "a_t": 1.0}
DAY = 365.25
PARTS = {"mo": 12.0, "wk": DAY / 7, "d": DAY, "h": DAY * 24, "min": DAY * 1440, "s": DAY * 86400}
CAP = OLDEST + 1


def is_old(data: bytes, elements: Sequence[Element], name: tuple[str, str]) -> bool:
    """Whether a NUM item with this concept name tells an age of more than 89 years, or one that cannot be read."""
    measured = find(elements, MEASURED)
    return any(_is_old(data, item[3], name) for item in (measured[5] or () if measured is not None else ()))


def _is_old(data: bytes, elements: list[Element], name: tuple[str, str]) -> bool:
    units = find(elements, UNITS)
    code = units[5][0][3] if units is not None and units[5] else []
    unit = text_of(data, code, CODE_VALUE) if text_of(data, code, SCHEME).upper() == "UCUM" else ""
    in_a_year = YEARS.get(unit) or (PARTS.get(unit, 1.0) if name == SUBJECT_AGE else None)
    if in_a_year is None:
        return False
    try:
        numbers = [float(text) for text in text_of(data, elements, NUMERIC).split("\\") if text.strip()]
    except ValueError:
        return True
    if not numbers and (find(elements, FLOATING) is not None or find(elements, NUMERATOR) is not None):
        return True
    return any(not number / in_a_year < CAP for number in numbers)


def capped(base: Steps) -> Steps:
    """The steps inside such an item: a Measured Value of 90 years, however it is written."""
    return Steps(base.step, lambda tag: _written(base.inside(tag)) if tag == MEASURED else base.inside(tag))


def _written(base: Steps) -> Steps:
    def resolve(tag: int, vr: str) -> Step:
        return WRITTEN.get(tag) or base.step(tag, vr)

    return Steps(resolve, lambda tag: _years(base.inside(tag)) if tag == UNITS else base.inside(tag))


def _years(base: Steps) -> Steps:
    return Steps(lambda tag, vr: UNIT.get(tag) or base.step(tag, vr), base.inside)


def _dummy(value: bytes) -> Step:
    return Step(Action.DUMMY, dummy=value, implicit=value, reason="an age of more than 89 years")


UNIT = {CODE_VALUE: _dummy(b"a "), CODE_MEANING: _dummy(b"year")}
WRITTEN = {
    NUMERIC: _dummy(str(CAP).encode()),
    FLOATING: _dummy(pack("<d", CAP)),
    NUMERATOR: _dummy(pack("<i", CAP)),
    DENOMINATOR: _dummy(pack("<I", 1)),
}
