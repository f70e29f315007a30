"""Data sets with a planted value in every attribute of Table E.1-1, generated from the table."""

from __future__ import annotations

from datetime import date, timedelta

from oracle_facts import STRINGS, digits, facts, table
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
    safe = data_set.private_block(0x0019, "GEMS_ACQU_01", create=True)
    safe.add_new(0x9E, "LO", "Zwq90000")
    for keyword in ("EvaluatorName", "DateOfGainCalibration", "SegmentationTemplateUID"):
        data_set.add_new(keyword, *_beside(keyword))
    data_set.add_new(0x00189999, "LO", "Zwq00000")
    data_set.add_new(0x00189998, "US", 7)


def _beside(keyword: str) -> tuple[str, object]:
    """A value of an attribute that is not in the table, but treated by VR."""
    vr = {"EvaluatorName": "PN", "DateOfGainCalibration": "DA"}.get(keyword, "UI")
    return vr, value(vr, 0)


def _wrap(content: Dataset, chain: tuple[str, ...]) -> Dataset:
    """The content inside these sequences, the first one outermost."""
    for keyword in reversed(chain):
        outer = Dataset()
        setattr(outer, keyword, Sequence([content]))
        content = outer
    return content


def _in_private(content: Dataset) -> Dataset:
    """The content in a private sequence that the standard's list calls safe."""
    outer = Dataset()
    outer.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x5F, "SQ", Sequence([content]))
    return outer


def data_set(sop_class: str, place: bool | str) -> Dataset:
    """An instance with every row planted: at the top level, four sequences deep or in a private sequence."""
    made = Dataset()
    _plant(made)
    if place == "private sequence":
        made = _in_private(made)
    elif place not in (False, "top level"):
        made = _wrap(made, CHAIN)
    return instance(made, sop_class)


def at(sop_class: str, places: list[tuple[tuple[int, ...], int, str]]) -> Dataset:
    """An instance with values of these attributes, each at its path of sequences, tag and VR."""
    made = Dataset()
    for number, (path, tag, vr) in enumerate(places, 1):
        level = made
        for sequence in path:
            if sequence not in level or not level[sequence].value:
                level.add_new(sequence, "SQ", Sequence([Dataset()]))
            level = level[sequence].value[0]
        if tag not in level:
            level.add_new(tag, vr, "+0130" if tag == TIMEZONE else value(vr, number))
    return instance(made, sop_class)


def instance(made: Dataset, sop_class: str) -> Dataset:
    """What an instance must have is added."""
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
