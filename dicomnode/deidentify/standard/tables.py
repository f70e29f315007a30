"""PS3.15 Annex E as data (edition 2026d), read once: Table E.1-1, the lists beside it, and this project's additions."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

EDITION = "PS3.15 2026d"
HERE = Path(__file__).parent

OPTIONS = {
    "retain_safe_private": "private",
    "retain_uids": "uids",
    "retain_device_identity": "device",
    "retain_institution_identity": "institution",
    "retain_patient_characteristics": "patient",
    "retain_longitudinal_full_dates": "full",
    "retain_longitudinal_modified_dates": "modified",
    "clean_descriptors": "descriptors",
    "clean_structured_content": "structured",
    "clean_graphics": "graphics",
}
"""The ten options of the Basic Profile, and how the data files call their columns."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of Table E.1-1: the code of the Basic Profile and the codes of the options that say anything."""

    tag: str
    keyword: str
    vr: str
    basic: str
    options: dict[str, str]
    name: str
    reason: str


def read(name: str) -> list[dict[str, str]]:
    """The records of one data file."""
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _options(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


@cache
def rows() -> dict[str, Row]:
    """Table E.1-1 by tag: eight hexadecimal digits, x for any, or the word private."""
    found = {}
    for record in read("table.csv"):
        options = _options(record["options"])
        tag = record["tag"]
        found[tag] = Row(tag, record["keyword"], record["vr"], record["basic"], options, record["name"], "Table E.1-1")
    return found


@cache
def additions() -> dict[str, Row]:
    """What is treated beyond the table, in the table's form."""
    return {
        record["tag"]: Row(
            record["tag"], record["keyword"], "", record["code"], _options(record["options"]), "", record["reason"]
        )
        for record in read("additions.csv")
    }


def row_of(tag: int) -> Row | None:
    """The row that rules an attribute of an even group, repeating groups included."""
    digits = f"{tag:08X}"
    found = rows().get(digits) or additions().get(digits)
    if found is None and digits[:2] == "7F" and digits[2:4] != "E0":
        return additions()["7Fxxxxxx"]
    if found is None and digits[0] in "56" and digits[1] == "0":
        wide = f"{digits[:2]}xx"
        by_element, others = wide + digits[4:], wide + "xxxx"
        found = rows().get(by_element) or additions().get(by_element) or rows().get(others) or additions().get(others)
    return found


@cache
def needles() -> dict[int, str]:
    """Attributes whose values the gate searches for, and what they are: IDENTIFIER, NAME or BIRTH_DATE."""
    return {int(record["tag"], 16): record["kind"] for record in read("needles.csv")}


@cache
def class_uids() -> frozenset[int]:
    """Attributes of VR UI whose values are SOP classes, transfer syntaxes or coding schemes."""
    return frozenset(int(record["tag"], 16) for record in read("class_uids.csv"))


@cache
def kept_text() -> frozenset[int]:
    """Attributes of a VR for free text that no person fills, and that stay."""
    return frozenset(int(record["tag"], 16) for record in read("kept_text.csv"))


@cache
def withheld_classes() -> dict[str, str]:
    """SOP classes that are withheld unless the rules accept them, with the reason."""
    return {record["sop_class"]: record["reason"] for record in read("withheld_classes.csv")}


@cache
def retired_classes() -> dict[str, str]:
    """Retired storage SOP classes that are understood, and the class each is treated like."""
    return {record["sop_class"]: record["like"] for record in read("retired_classes.csv")}


@cache
def clinical_words() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Words that may stay in a cleaned description, by kind; `also-a-name` marks those of them that people bear."""
    return tuple((record["kind"], tuple(record["words"].split())) for record in read("clinical_words.csv"))


@cache
def digest() -> str:
    """Hex SHA-256 over every data file."""
    hasher = hashlib.sha256()
    for path in sorted(HERE.iterdir()):
        if path.suffix in (".csv", ".json"):
            hasher.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return hasher.hexdigest()
