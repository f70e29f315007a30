"""What the oracle knows: the standard's facts from their CSV files, and what pydicom says of an element."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from pydicom import datadict
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.values import convert_SQ

import dicomnode.deidentify

FACTS = Path(next(iter(dicomnode.deidentify.__path__)), "standard")
STRINGS = ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
TYPES = ["1", "1C", "2", "2C", "3", "?"]
CODES = {
    "X": "DXZZXX",
    "Z": "DDZZZZ",
    "D": "DDDDDD",
    "U": "UUUUUU",
    "K": "KKKKKK",
    "X/Z": "DXZZXZ",
    "X/D": "DDZZXD",
    "Z/D": "DDZZZD",
    "X/Z/D": "DDZZXD",
    "X/Z/U*": "UUUUXU",
}
"""What each code of Table E.1-1 becomes under each of TYPES (?: the SOP class is not known)."""


def under(code: str, type_: str) -> str:
    return CODES[code][TYPES.index(type_)]


@cache
def facts(name: str) -> list[dict[str, str]]:
    with (FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def table() -> dict[str, dict[str, str]]:
    return {row["tag"]: row for row in facts("table.csv")}


@cache
def additions() -> dict[str, dict[str, str]]:
    return {row["tag"]: {"basic": row["code"], "options": row["options"]} for row in facts("additions.csv")}


@cache
def kept_text() -> set[str]:
    return {row["tag"] for row in facts("kept_text.csv")}


@cache
def all_types() -> dict[str, list[tuple[str, str, str]]]:
    """(path, tag, type) of each module."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for row in facts("modules.csv"):
        found.setdefault(row["module"], []).append((row["path"], row["tag"], row["type"]))
    return found


@cache
def types_of(sop_class: str) -> dict[tuple[str, str], str] | None:
    for row in facts("retired_classes.csv"):
        if row["sop_class"] == sop_class:
            sop_class = row["like"]
    for row in facts("classes.csv"):
        if row["sop_class"] == sop_class:
            return _strictest([entry for module in row["modules"].split() for entry in all_types()[module]])
    return None


def _strictest(entries: list[tuple[str, str, str]]) -> dict[tuple[str, str], str]:
    order = ["3", "2C", "2", "1C", "1"]
    types: dict[tuple[str, str], str] = {}
    for path, tag, type_ in entries:
        if order.index(type_) > order.index(types.get((path, tag), "3")):
            types[path, tag] = type_
    return types


def text_of(raw: RawDataElement | DataElement) -> str:
    """The text of a value as it is encoded, several values with backslashes between them."""
    value = raw.value or b""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return "\\".join([value] if isinstance(value, str) else [str(one) for one in value])


def digits(tag: int) -> str:
    return f"{int(tag):08X}"


def find_row(tag: BaseTag) -> dict[str, str] | None:
    """The row of the table or of the project's additions; curves and overlays by their groups."""
    own = additions()
    if digits(tag) in table():
        return table()[digits(tag)]
    if digits(tag) in own:
        return own[digits(tag)]
    if tag.group >> 8 == 0x7F and tag.group != 0x7FE0:
        return own["7Fxxxxxx"]
    if tag.group >> 8 == 0x50:
        return table()["50xxxxxx"]
    if tag.group >> 8 == 0x60:
        wide = f"60xx{tag.element:04X}"
        return table().get(wide) or own.get(wide) or own["60xxxxxx"]
    return None


def in_dictionary(tag: BaseTag) -> bool:
    named = bool(datadict.keyword_for_tag(tag))
    return digits(tag) in table() or named or datadict.repeater_has_tag(int(tag))


def dictionary_vr(tag: BaseTag) -> str:
    try:
        vr = datadict.dictionary_VR(tag)
    except KeyError:
        return table().get(digits(tag), {}).get("vr") or "UN"
    return (
        "UN"
        if vr == "NONE"
        else {"OB or OW": "OW", "US or SS": "US", "US or SS or OW": "US", "US or OW": "US"}.get(vr, vr)
    )


def effective_vr(raw: RawDataElement | DataElement) -> str:
    """The file's VR in Explicit VR, the dictionary's in Implicit VR."""
    if isinstance(raw, DataElement):
        return str(raw.VR)
    return raw.VR or dictionary_vr(Tag(raw.tag))


def items_of(data_set: Dataset, tag: BaseTag) -> list[Dataset]:
    """The items of a sequence, also of one that pydicom's dictionary does not know in Implicit VR."""
    raw = data_set.get_item(tag)
    unknown = isinstance(raw, RawDataElement) and raw.VR in (None, "UN")
    if unknown and not datadict.dictionary_has_tag(tag):
        return list(convert_SQ(raw.value or b"", True, True))
    return list(data_set[tag].value or [])


def is_sequence(tag: BaseTag, vr: str) -> bool:
    return vr == "SQ" or (vr == "UN" and dictionary_vr(tag) == "SQ")
