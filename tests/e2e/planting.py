"""Instances that carry a value to be found again in every attribute of Table E.1-1, at the top and four levels deep."""

from __future__ import annotations

import csv
import re
from datetime import date, timedelta
from pathlib import Path

import synthetic
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

import dicomnode.deidentify

NEST = (
    "AnatomicRegionSequence",
    "AnatomicRegionModifierSequence",
    "DerivationCodeSequence",
    "PurposeOfReferenceCodeSequence",
)
OWN = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PixelData", "SpecificCharacterSet"}
HEXADECIMAL = re.compile("[0-9A-F]{8}")
NUMBERS = ("US", "SS", "UL", "SL", "FL", "FD", "AT", "UV", "SV")


def rows() -> list[tuple[Tag, str]]:
    """Tag and VR of every attribute of the table that a data set can have."""
    table = Path(next(iter(dicomnode.deidentify.__path__)), "standard", "table.csv")
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if HEXADECIMAL.fullmatch(row["tag"])]
    found = [row for row in rows if row["keyword"] not in OWN]
    return [(Tag(int(row["tag"], 16)), row["vr"] or "UN") for row in found if int(row["tag"][:4], 16) > 4]


def _text(vr: str, number: int) -> str | None:
    if vr == "PN":
        return f"Planted{number:05}^Buried{number:05}"
    if vr == "UI":
        return f"{synthetic.ROOT}.4711.{100_000 + number}"
    if vr == "DA":
        return f"{date(1901, 1, 1) + timedelta(days=number):%Y%m%d}"
    if vr == "TM":
        return f"0{number % 10}1122.{300_000 + number}"
    if vr == "DT":
        return f"19370214112233.{300_000 + number}"
    if vr == "DS":
        return f"4711.{300_000 + number}"
    if vr == "IS":
        return f"4711{30_000 + number}"
    if vr in ("CS", "AE"):
        return f"PLANTED{number:05}"
    if vr == "UR":
        return f"http://planted{number:05}.example"
    if vr in ("LO", "SH", "LT", "ST", "UT", "UC"):
        return f"Planted {number:05} x"
    return None


class Planting:
    """Fills data sets and remembers the values to be searched for."""

    def __init__(self) -> None:
        self.needles: list[bytes] = []
        self._number = 0

    def fill(self, data_set: Dataset, *, sequences: bool = True) -> None:
        """Plant one value in every attribute of the table; a sequence gets an item with a few of them."""
        for tag, vr in rows():
            value = self._sequence() if vr == "SQ" and sequences else self._value(vr)
            if value is not None:
                data_set[tag] = DataElement(tag, vr, value)

    def _value(self, vr: str) -> object:
        if vr == "SQ":
            return None
        self._number += 1
        text = _text(vr, self._number)
        if text is not None:
            self.needles.append(text.encode())
            return text
        if vr == "AS":
            return "042Y"
        if vr in NUMBERS:
            return 1
        planted = f"PLANTED BYTES {self._number:06}".encode()
        self.needles.append(planted)
        return planted

    def _sequence(self) -> Sequence:
        item = Dataset()
        item.PatientName = self._value("PN")
        item.PatientID = self._value("LO")
        item.CodeMeaning = self._value("LO")
        item.ReferencedSOPInstanceUID = self._value("UI")
        item.StudyDate = self._value("DA")
        return Sequence([item])


def planted(number: int) -> tuple[Dataset, list[bytes]]:
    """A CT instance, planted at the top level and in the innermost item of NEST; with the values."""
    data_set = synthetic.ct(number=number, rows=16, columns=16)
    planting = Planting()
    planting.fill(data_set)
    inner = Dataset()
    planting.fill(inner)
    inner.CodeValue = "T-A0100"
    for keyword in reversed(NEST):
        outer = Dataset()
        setattr(outer, keyword, Sequence([inner]))
        inner = outer
    data_set.update(inner)
    return data_set, [*planting.needles, b"Zwetschgenbaum"]


def innermost(data_set: Dataset) -> Dataset:
    """The item at the bottom of NEST."""
    for keyword in NEST:
        (data_set,) = data_set[keyword].value
    return data_set
