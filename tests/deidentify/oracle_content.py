"""The oracle's structured content: Table E.3.4-1 read row by row, the tree of content items as pydicom shows it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydicom.dataset import Dataset

import dicomnode.deidentify

FACTS = Path(next(iter(dicomnode.deidentify.__path__)), "standard")
CONTENT, TEXT, UID, CODE, REFERENCE = "0040A730", "0040A160", "0040A124", "0040A168", "0040DB73"
COLUMNS = {
    "retain_uids": "uids",
    "retain_device_identity": "device",
    "retain_institution_identity": "institution",
    "retain_patient_characteristics": "patient",
    "retain_longitudinal_full_dates": "full",
    "retain_longitudinal_modified_dates": "modified",
    "clean_descriptors": "descriptors",
}
NOT_ITEMS = ["00400610", "0040B020"]
CURVES = ["0005", "0010", "0020", "0103", "0104", "0105", "0110", "0112", "0114", "3000"]
PLANES = ["0010", "0011", "0015", "0040", "0050", "0051", "0100", "0102", "3000"]


def verdict(digits: str, vr: str, said: str, options: tuple[str, ...], codes: str) -> str | None:
    """What a C of the two options is: content, items, overlay or K; None where it is nothing."""
    structured = "clean_structured_content" in options and "structured=C" in codes.split()
    graphics = "clean_graphics" in options and "graphics=C" in codes.split()
    if not structured and not graphics:
        return None
    if digits.startswith("60"):
        return "overlay" if digits[4:] in PLANES and vr not in ("SQ", "PN") else None
    if digits.startswith("50"):
        return "K" if digits[4:] in CURVES and vr == said else None
    if vr not in ("SQ", "UN"):
        return None
    if digits == "00700008":
        return "items" if "clean_descriptors" in options else None
    return "items" if digits in NOT_ITEMS else "content"


@cache
def _rows() -> list[dict[str, str]]:
    with (FACTS / "sr_concepts.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def _public() -> list[str]:
    with (FACTS / "coding_schemes.csv").open(encoding="utf-8", newline="") as file:
        return [row["designator"] for row in csv.DictReader(file)]


@dataclass
class Item:
    """A content item; `how` is what happens to its value, "" for what happens everywhere."""

    data_set: Dataset
    path: list[int]
    items: list[Item] = field(default_factory=list)
    gone: bool = False
    how: str = ""

    def text(self, keyword: str) -> str:
        value = self.data_set.get(keyword)
        text = "\\".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value or "")
        return text.strip(" \0")

    @property
    def target(self) -> list[int] | None:
        value = self.data_set.get("ReferencedContentItemIdentifier")
        if value is None:
            return None
        if isinstance(value, bytes):
            return [int.from_bytes(value[at : at + 4], "little") for at in range(0, len(value), 4)]
        return [value] if isinstance(value, int) else list(value)


def tree(sequence: list[Dataset], items_of: Callable[[Dataset], list[Dataset]], options: tuple[str, ...]) -> list[Item]:
    """The outermost items of a sequence, with all that is decided about them and those below them."""
    roots = _items(sequence, items_of, [1])
    everything = _all(roots)
    for item in everything:
        item.gone, item.how = _decide(item, options)
    while any(_follows(item, everything) for item in everything):
        pass
    return roots


def _items(sequence: list[Dataset], items_of: Callable[[Dataset], list[Dataset]], path: list[int]) -> list[Item]:
    made = []
    for number, data_set in enumerate(sequence, 1):
        here = [*path, number]
        below = items_of(data_set) if 0x0040A730 in data_set else []
        made.append(Item(data_set, here, _items(below, items_of, here)))
    return made


def _all(items: list[Item]) -> list[Item]:
    return [each for item in items for each in (item, *_all(item.items))]


def _code(data_set: Dataset, keyword: str) -> tuple[str, str]:
    items = data_set.get(keyword)
    if (not isinstance(items, list) and not hasattr(items, "__len__")) or isinstance(items, str | bytes):
        return "", ""
    if not items or len(items) != 1:
        return "", ""
    code = Item(items[0], [])
    value = code.text("CodeValue") or code.text("LongCodeValue") or code.text("URNCodeValue")
    return value, code.text("CodingSchemeDesignator")


def _decide(item: Item, options: tuple[str, ...]) -> tuple[bool, str]:
    kind = item.text("ValueType")
    value, scheme = _code(item.data_set, "ConceptNameCodeSequence")
    same = [row for row in _rows() if row["value"] == value and row["scheme"].lower() == scheme.lower()]
    rows = [row for row in same if row["value_type"] == kind]
    if rows:
        letter = _letter(rows[0], options)
        kept = {"TEXT": "text", "UIDREF": "uid"}.get(kind, "") if letter == "K" else ""
        if kind == "TEXT" and letter == "D":
            kept = "identifier"
        return letter == "X", kept
    secret = any(row["value_type"] in ("TEXT", "PNAME") and "descriptors" not in row["options"] for row in same)
    if kind in ("CODE", "NUM") and secret:
        return True, ""
    return False, ""


def _letter(row: dict[str, str], options: tuple[str, ...]) -> str:
    codes = dict(pair.split("=") for pair in row["options"].split())
    found = [codes[COLUMNS[option]] for option in options if option in COLUMNS and COLUMNS[option] in codes]
    if "C" in found:
        return "C"
    return "K" if found else row["basic"].replace("X/D", "D")


def _follows(item: Item, everything: list[Item]) -> bool:
    """Whether the item goes because another one did; marks it."""
    if item.gone:
        staying = [below for below in item.items if not below.gone]
        for below in staying:
            below.gone = True
        return bool(staying)
    target = item.target
    if target is not None and target != [1]:
        item.gone = not any(other.path == target and not other.gone for other in everything)
    selected = [below for below in item.items if below.text("RelationshipType") == "SELECTED FROM"]
    if item.text("ValueType") in ("SCOORD", "TCOORD") and selected and all(below.gone for below in selected):
        item.gone = True
    return item.gone


def moved(target: list[int], roots: list[Item]) -> list[int]:
    """The position that an item has when those that go are gone."""
    items, new = roots, target[:1]
    for number in target[1:]:
        new.append(sum(not item.gone for item in items[:number]))
        items = items[number - 1].items
    return new


def special(item: Item, digits: str, vr: str, roots: list[Item]) -> str | list[int] | None:
    """What happens to an attribute of a content item that does not happen elsewhere: K, code or a new position."""
    if digits == REFERENCE and item.target is not None:
        new = moved(item.target, roots)
        return new if new != item.target else None
    if (item.how == "text" and digits == TEXT) or (item.how == "uid" and digits == UID):
        return "K" if vr in ("UT", "UI", "UN") else None
    local = _code(item.data_set, "ConceptCodeSequence")[1] not in _public()
    return "code" if digits == CODE and vr in ("SQ", "UN") and local else None
