"""The oracle's private attributes: PS3.15 Table E.3.10-1 read row by row, creators looked up through pydicom."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

from pydicom.datadict import add_private_dict_entry
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

import dicomnode.deidentify

SAFE = Path(next(iter(dicomnode.deidentify.__path__)), "standard", "safe_private.csv")
WIDTHS = {"US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "AT": 4, "FD": 8}
NUMBERS = {"US", "SS", "UL", "SL", "FL", "FD", "DS", "IS"}


@cache
def safe() -> dict[str, str]:
    """The VR of each row, by "GGGG EE creator"."""
    with SAFE.open(encoding="utf-8", newline="") as file:
        return {f"{row['group']} {row['element']} {row['creator']}": row["vr"] for row in csv.DictReader(file)}


def read_as_the_standard_says() -> None:
    """Give pydicom the standard's VRs: for some rows it knows others, and reads Implicit VR by them."""
    for key, vr in safe().items():
        group, element, creator = key.split(" ", 2)
        if vr and "/" not in vr:
            add_private_dict_entry(creator, int(f"{group}00{element}", 16), vr, "safe")


read_as_the_standard_says()


def verdict(data_set: Dataset, tag: BaseTag, vr: str, retain_uids: bool) -> tuple[str, str]:
    """X, K, U or items, and the VR in which the element is to be read."""
    if 0x10 <= tag.element <= 0xFF:
        tags = list(data_set.keys())
        block = [each for each in tags if each.group == tag.group and each.element >> 8 == tag.element]
        stays = any(_data(data_set, each, retain_uids)[0] != "X" for each in block)
        return ("K" if stays else "X"), "LO"
    found, listed = _data(data_set, tag, retain_uids)
    return found, vr if found == "U" else listed


def _data(data_set: Dataset, tag: BaseTag, retain_uids: bool) -> tuple[str, str]:
    if tag.element < 0x1000:
        return "X", ""
    creator = _raw(data_set, Tag(tag.group, tag.element >> 8))
    if creator is None or (creator.VR or "LO") not in ("LO", "UN"):
        return "X", ""
    key = f"{tag.group:04X} {tag.element & 0xFF:02X} {_bytes(creator).decode('latin-1').strip(' ' + chr(0))}"
    if key not in safe():
        return "X", ""
    element = _raw(data_set, tag)
    assert element is not None
    guessed = data_set.original_encoding[0]  # in Implicit VR pydicom takes it from a dictionary of its own
    vr = "UN" if guessed else str(element.VR or "UN")
    wanted = set(safe()[key].split("/")) if safe()[key] else NUMBERS
    if vr == "UN" and safe()[key]:
        vr = safe()[key].split("/")[0]
    if vr not in wanted:
        return "X", ""
    if vr == "SQ":
        return "items", vr
    if _sequence(element) or not _fits(_bytes(element), vr):
        return "X", ""
    return ("U" if vr == "UI" and not retain_uids else "K"), vr


def _raw(data_set: Dataset, tag: BaseTag) -> RawDataElement | DataElement | None:
    return data_set.get_item(tag) if tag in data_set else None


def _sequence(element: RawDataElement | DataElement) -> bool:
    return not isinstance(element, RawDataElement) and element.VR == "SQ"


def _bytes(element: RawDataElement | DataElement) -> bytes:
    value = element.value or b""
    return value if isinstance(value, bytes) else str(value).encode()


def _fits(value: bytes, vr: str) -> bool:
    allowed = {"DS": r"[-+.eE0-9]*", "IS": r"[-+.eE0-9]*", "CS": r"[A-Z0-9_ ]*", "UI": r"[0-9.]*"}
    if vr in ("LO", "SH", "ST", "LT"):
        controls = set(value.removesuffix(b"\0")) & {*range(32), 127}
        return controls <= {9, 10, 12, 13, 27}
    if vr in allowed:
        return all(re.fullmatch(allowed[vr], one.strip(" \0")) for one in value.decode("latin-1").split("\\"))
    return len(value) % WIDTHS.get(vr, 1) == 0
