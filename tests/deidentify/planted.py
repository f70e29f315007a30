"""Data sets with a planted value in every attribute of Table E.1-1, generated from the table."""

from __future__ import annotations

from datetime import date, timedelta

from oracle import STRINGS, digits, facts, table
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

ROOT = "1.2.826.0.1.3680043.10.1337"
KEY_UIDS = {"SOPInstanceUID": f"{ROOT}.1.1.1", "StudyInstanceUID": f"{ROOT}.1", "SeriesInstanceUID": f"{ROOT}.1.1"}
CHAIN = (
    "ReferencedSeriesSequence",
    "ReferencedInstanceSequence",
    "PurposeOfReferenceCodeSequence",
    "EquivalentCodeSequence",
)
"""Four sequences, one in the other, that the table does not name."""
TIMEZONE = 0x00080201
WIDE = {"50xxxxxx": ("50003000", "OW"), "60xx3000": ("60003000", "OW"), "60xx4000": ("60024000", "LT")}


def rows() -> list[tuple[int, str]]:
    """Tag and VR of every row that can stand in a data set; repeating groups by one example each."""
    found = []
    for tag, row in table().items():
        if tag == "private" or tag.startswith(("0000", "0002", "0004")):
            continue
        number, vr = WIDE.get(tag, (tag, row["vr"]))
        found.append((int(number, 16), vr))
    return found


def token(number: int) -> str:
    """The text planted in the attribute with this running number; it is in no innocent file."""
    return f"Zwq{number:05}"


def value(vr: str, number: int) -> object:
    """A valid value of a VR; texts have the token, dates and numbers are as odd as they can be."""
    day = (date(1911, 1, 1) + timedelta(days=number)).strftime("%Y%m%d")
    text = token(number)
    if vr in ("DA", "DT", "TM"):
        return {"DA": day, "DT": f"{day}121314.5", "TM": f"{number % 24:02}{number % 60:02}59.{number:05}"}[vr]
    if vr in ("AS", "DS", "IS", "UI", "UR"):
        number_texts = {"AS": f"{number % 90:03}Y", "UI": f"{ROOT}.7.{number}", "UR": f"http://{text}.example"}
        return number_texts.get(vr, str(7_000_000 + number))
    if vr in ("AE", "CS"):
        return text.upper()
    if vr in STRINGS:
        return f"{text}^Pflaume" if vr == "PN" else text
    if vr == "SQ":
        return Sequence([_item(number)])
    if vr in ("US", "SS", "UL", "SL", "FL", "FD", "AT"):
        return number
    return text.encode()


def _item(number: int) -> Dataset:
    item = Dataset()
    item.PatientName = f"{token(number)}^Pflaume"
    item.ReferencedSOPInstanceUID = f"{ROOT}.8.{number}"
    item.AcquisitionDate = "19110101"
    item.Rows = number
    return item


def _plant(data_set: Dataset) -> None:
    for number, (tag, vr) in enumerate(rows(), 1):
        data_set.add_new(tag, vr, "+0130" if tag == TIMEZONE else value(vr, number))
    block = data_set.private_block(0x0099, "ZWQ00000 BLOCK", create=True)
    block.add_new(1, "PN", "Zwq00000^Pflaume")
    block.add_new(2, "SQ", Sequence([_item(0)]))
    for keyword in ("EvaluatorName", "DateOfGainCalibration", "SegmentationTemplateUID"):
        data_set.add_new(keyword, *_beside(keyword))
    data_set.add_new(0x00189999, "LO", "Zwq00000")
    data_set.add_new(0x00189998, "US", 7)


def _beside(keyword: str) -> tuple[str, object]:
    """A value of an attribute that is not in the table, but treated by VR."""
    vr = {"EvaluatorName": "PN", "DateOfGainCalibration": "DA"}.get(keyword, "UI")
    return vr, value(vr, 0)


def data_set(sop_class: str, nested: bool) -> Dataset:
    """An instance with every row planted, at the top level or four sequences deep."""
    made = Dataset()
    if nested:
        inner = Dataset()
        _plant(inner)
        for keyword in reversed(CHAIN):
            outer = Dataset()
            setattr(outer, keyword, Sequence([inner]))
            inner = outer
        made = inner
    else:
        _plant(made)
    made.SOPClassUID = sop_class
    for keyword, uid in KEY_UIDS.items():
        setattr(made, keyword, uid)
    made.Modality = "OT"
    return made


def iods() -> list[str]:
    """One SOP class of every IOD."""
    seen = {row["iod"]: row["sop_class"] for row in facts("classes.csv")}
    refused = {row["sop_class"] for row in facts("withheld_classes.csv")}
    return [sop_class for sop_class in seen.values() if sop_class not in refused]


__all__ = ["data_set", "digits", "iods", "rows", "token"]
