"""What the gate finds and lets pass: values that the plan keeps on purpose, terms of the standard, dates of imaging."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from dicomnode.deidentify.encoded import UN, vr_code
from dicomnode.deidentify.needles import PADDING, squeeze
from dicomnode.deidentify.plan import Needle
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.deidentify.terms import TERMS

MANUFACTURER = (0x00080070, 0x00081090)
NAMED_AFTER = frozenset([0x00080080, 0x00081010, 0x00081040])
"""An institution, station or department may bear the manufacturer's or the model's name: then it is no needle."""
IMAGING = frozenset(
    [0x00080012, 0x00080020, 0x00080021, 0x00080022, 0x00080023, 0x0008002A, 0x00181012, 0x00400244, 0x00404050]
)
"""Dates of the instance, study, series, acquisition, content, capture and procedure step."""
EVENTS = IMAGING | frozenset(
    [
        *(0x00080024, 0x00080025, 0x00181078, 0x00181079, 0x00189074, 0x00189151, 0x00189516, 0x00189517, 0x00189701),
        *(0x0018A002, 0x00203403, 0x00320032, 0x00320034, 0x00321000, 0x00321010, 0x00321040, 0x00321050),
        *(0x00380020, 0x00400002, 0x00400004, 0x00400250, 0x00402004, 0x00404005, 0x00404010, 0x00404011, 0x00404051),
        *(0x0040A030, 0x0040A032, 0x0040A082, 0x00700082, 0x04000105, 0x04000562),
    ]
)
"""Dates of what happens around an examination, by the attributes' definition; values of content items are not."""
UI, CS = vr_code("UI"), vr_code("CS")
WORDS = re.compile(rb"[a-z0-9]+")
NAME_ONLY = re.compile(rb"[a-z][a-z _.&-]*")

KeptValue: TypeAlias = tuple[int, int, bytes, bool]
"""Tag, VR code and value of an element that is kept, and whether it stands in a sequence."""


def is_term(tag: int, vr: int, value: bytes, pattern: bytes) -> bool:
    """Whether a code string has the pattern only in a term that the standard defines."""
    if vr != CS and not (vr == UN and dictionary.vr_of(tag) == "CS"):
        return False
    return all(part.strip(PADDING) in TERMS for part in value.split(b"\\") if pattern in part)


def stays(kind: Needle, tag: int, value: bytes, pattern: bytes, kept: Sequence[KeptValue]) -> bool:
    """Whether the plan lets this very value stay elsewhere on purpose: then it is no needle."""
    whole = value.strip(PADDING).lower()
    if kind is Needle.UID:
        retained = (v for t, vr, v, _ in kept if vr == UI and t not in tables.class_uids())
        return any(pattern == part.strip(PADDING) for v in retained for part in v.split(b"\\"))
    if kind is Needle.BIRTH_DATE:
        return _is_newborn(_day(whole), kept)
    if any(t == tag and v == whole for t, _, v, _ in kept):
        return True
    if tag not in NAMED_AFTER or NAME_ONLY.fullmatch(whole) is None:
        return False
    makers = [v for t, _, v, _ in kept if t in MANUFACTURER]
    return any(squeeze(whole) == squeeze(maker) or whole in WORDS.findall(maker) for maker in makers)


def _is_newborn(day: bytes, kept: Sequence[KeptValue]) -> bool:
    """Whether the patient was examined on this day of birth, which is kept as the date of events alone."""
    places = [(tag, nested) for tag, vr, value, nested in kept if day in _days(tag, vr, value)]
    examined = any(tag in IMAGING and not nested for tag, nested in places)
    return examined and all(tag in EVENTS for tag, _ in places)


def _days(tag: int, vr: int, value: bytes) -> Iterator[bytes]:
    """The days that a DA or DT names."""
    if (dictionary.vr_of(tag) if vr == UN else chr(vr >> 8) + chr(vr & 0xFF)) in ("DA", "DT"):
        yield from map(_day, value.split(b"\\"))


def _day(date: bytes) -> bytes:
    """The first eight digits of a DA or DT; the old YYYY.MM.DD has ten characters."""
    return date.strip(PADDING)[:10].replace(b".", b"")[:8]
