"""The oracle's dates and ages: calendars counted day by day, written apart from the engine."""

from __future__ import annotations

import calendar
import hashlib
import hmac

DATES = ("DA", "DT", "TM")
TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT")


FIXED = ("00080106", "00080107", "00181204", "00181205", "0040DB06", "0040DB07")
NO_DATES = ("0001-01-01", "1601-01-01", "1753-01-01", "1858-11-17", "1899-12-30", "1899-12-31", "1900-01-01")
NO_DATES += ("1904-01-01", "1969-12-31", "1970-01-01", "1980-01-01", "9999-12-31")


def days(key: bytes, patient_id: str, study: str, unit: str, most: int) -> int:
    """How many days the dates of the patient go back."""
    said = f"date shift\0{patient_id}" if patient_id else f"date shift of study\0{study}"
    number = int(hmac.new(key, said.encode(), hashlib.sha256).hexdigest(), 16)
    return 7 * (number % (most // 7) + 1) if unit == "weeks" else number % most + 1


def movable(digits: str, vr: str, said: str) -> bool:
    """Whether the element is a date where it stands: VR and dictionary agree, or the dictionary knows a text."""
    if digits in FIXED:
        return False
    if digits == "00080201":
        return vr in ("SH", "UN")
    if vr in ("UN", said):
        return said in DATES
    return vr in DATES and said in TEXT and said not in DATES


def moved(value: str, vr: str, back: int) -> str:
    """The values, each as many days earlier; a time of day and an offset stay."""
    if vr not in ("DA", "DT") or not value.strip(" \0\\"):
        return value
    return "\\".join(_one(text.strip(" \0"), back) for text in value.split("\\"))


def _one(text: str, back: int) -> str:
    if not text:
        return ""
    if text[4:5] == ".":
        text = text.replace(".", "")
    length = 4
    while length < 8 and text[length : length + 2].isdigit():
        length += 2
    if f"{text[:4]}-{text[4:6]}-{text[6:length]}" in NO_DATES:
        return "19000101" + text[length:]
    year = int(text[:4])
    month = int(text[4:6]) if length > 4 else 7
    day = int(text[6:8]) if length > 6 else 15 if length > 4 else 1
    for _ in range(back):
        day -= 1
        if not day:
            year, month = (year, month - 1) if month > 1 else (year - 1, 12)
            day = calendar.monthrange(year, month)[1]
    return f"{year:04}{month:02}{day:02}"[:length] + text[length:]


def age(value: str) -> str:
    """Ages, those above 89 years as 90 years."""
    return "\\".join(_age(text.strip(" \0")) for text in value.split("\\"))


def _age(text: str) -> str:
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and len(number) <= 3 and unit in tuple("DWMY")):
        return ""
    return "090Y" if unit == "Y" and int(number) >= 90 else text
