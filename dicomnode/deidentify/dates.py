"""Dates moved by whole days (PS3.15 E.3.6), in the forms of PS3.5 section 6.2. A time of day stays as it is."""

from __future__ import annotations

import re
from datetime import date, timedelta

from dicomnode.deidentify.values import CHECKS, parse_date

PADDING = " \0"
DATE_OF_DATETIME = re.compile(r"[0-9]{4}(?:[0-9]{2}){0,2}")
ZEROS = frozenset(
    [
        *("00010101", "16010101", "17530101", "18581117", "18991230", "18991231"),
        *("19000101", "19040101", "19691231", "19700101", "19800101", "99991231"),
    ]
)
"""Days with which programs begin to count, and which they write for want of a date. Everybody knows them: moved, they
would tell by how much. Nobody was examined on them either."""
NO_DAY = "19000101"
"""What is written for them, and where an IOD needs a date that goes."""
MIDDLE_MONTH, MIDDLE_DAY = 7, 15
"""A DT of a year is moved as the first of July, one of a month as its 15th, and written as short as it was."""


def moved(value: bytes, vr: str, days: int) -> bytes | None:
    """A DA or DT, several of them one by one, `days` later; without padding. None when one is no date.

    Empty ones stay empty, YYYY.MM.DD comes out as YYYYMMDD; time, fraction and offset of a DT stay. What stands for no
    date (ZEROS) becomes 19000101.
    """
    try:
        texts = [text.strip(PADDING) for text in value.decode("ascii").split("\\")]
        return "\\".join(_moved(text, vr, days) if text else "" for text in texts).encode("ascii")
    except (ValueError, OverflowError):
        return None


def _moved(text: str, vr: str, days: int) -> str:
    if not CHECKS[vr](text):
        raise ValueError("not a date")
    if vr == "DA":
        return _written(text, days)
    match = DATE_OF_DATETIME.match(text)
    assert match is not None
    written = _written(match[0], days)
    return written[: match.end()] + text[match.end() :]


def _written(text: str, days: int) -> str:
    """The day, perhaps the middle of a month or year, `days` later; raises ValueError, OverflowError."""
    if text.replace(".", "") in ZEROS:
        return NO_DAY
    parsed = parse_date(text)
    if parsed is None:
        raise ValueError("not a date")
    year, month, day = parsed
    later = date(year, month or MIDDLE_MONTH, day or (MIDDLE_DAY if month else 1)) + timedelta(days)
    return f"{later.year:04}{later.month:02}{later.day:02}"
