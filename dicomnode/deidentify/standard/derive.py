"""How the data files beside this one were derived; run by hand when the standard has a new edition.

`python -m dicomnode.deidentify.standard.derive PS315 MODULES` reads from PS315 the tables E.1-1, E.3.10-1 and E.3.4-1
of PS3.15 as CSV (table-e1-1.csv, safe-private-e3-10-1.csv, sr-content-items-e3-4-1.csv), and from MODULES the module
tables of PS3.3 as the highdicom wheel carries them (highdicom/_standard: sop_class_iod_map.json, iod_module_map.json,
module_attribute_map.json). Of the module tables only the Types 1, 1C, 2 and 2C are kept, of the attributes whose
treatment depends on a Type. Nothing here is imported at run time.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_dict
from pynetdicom import sop_class

from dicomnode.deidentify.standard.tables import OPTIONS

HERE = Path(__file__).parent
BY_VR = ("PN", "DA", "TM", "DT", "LT", "ST", "UC", "UR", "UT")
"""VRs that are not kept of attributes that neither the table nor this project's files name."""
PRIVATE = "(gggg,eeee) where gggg is odd"

NEW_VRS = {
    **dict.fromkeys(["00081301", "00081302", "00081303", "00081304"], "SQ"),
    **dict.fromkeys(["00100011", "00100014", "00100015", "00100041", "00100043", "00100044", "00100046"], "SQ"),
    **dict.fromkeys(["00100012", "00100013", "00100016", "00100042", "00100045"], "LT"),
    **dict.fromkeys(["00100047", "0040E012"], "UR"),
    "00102162": "UC",
    **dict.fromkeys(["0040A034", "0040A035", "0040B034", "0040B036"], "DT"),
    **dict.fromkeys(["0040B03B", "0040B03F", "3004007F"], "LO"),
}
"""Value representations (PS3.6) of attributes that are younger than pydicom's dictionary."""


def _digits(tag: str) -> str:
    if tag == PRIVATE:
        return "private"
    return re.sub(r"[(),]", "", tag).upper().replace("X", "x")


def _write(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _attribute(tag: str, name: str) -> tuple[str, str]:
    """Keyword and VR."""
    if re.fullmatch("[0-9A-F]{8}", tag) and int(tag, 16) in DicomDictionary:
        entry = DicomDictionary[int(tag, 16)]
        return entry[4], entry[0]
    words = re.sub(r"[^A-Za-z0-9 ]", "", name.replace("'s", "s")).split()
    return "".join(word[0].upper() + word[1:] for word in words), NEW_VRS.get(tag, "")


def _read(name: str) -> list[dict[str, str]]:
    """A file of this project's own."""
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(source: Path) -> dict[int, bool]:
    """Write table.csv; returns the tags, and whether the treatment depends on the Type."""
    rows = []
    dependent = {}
    with source.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            tag = _digits(row["tag"])
            name = re.sub(r" \(see Note \d+\)", "", row["name"])
            keyword, vr = _attribute(tag, name)
            options = " ".join(f"{short}={row[long]}" for long, short in OPTIONS.items() if row[long])
            rows.append((tag, keyword, vr, row["basic"], options, "retired" if row["retired"] == "Y" else "", name))
            if re.fullmatch("[0-9A-F]{8}", tag):
                dependent[int(tag, 16)] = row["basic"] not in ("U", "D")
    _write("table.csv", ("tag", "keyword", "vr", "basic", "options", "retired", "name"), rows)
    own = {row["tag"]: row["code"] for row in _read("additions.csv")} | {
        row["tag"]: "K" for row in _read("kept_text.csv")
    }
    numbers = {int(tag, 16): code not in ("U", "D", "K") for tag, code in own.items() if "x" not in tag}
    return dependent | {tag: needed for tag, needed in numbers.items() if DicomDictionary[tag][0] != "SQ"}


def types(folder: Path, dependent: dict[int, bool]) -> None:
    """Write modules.csv and classes.csv."""

    def read(name: str) -> dict[str, list[dict[str, str]]]:
        return dict(json.loads((folder / name).read_text(encoding="utf-8")))

    modules = read("module_attribute_map.json")
    iods = read("iod_module_map.json")
    iod_of: dict[str, str] = json.loads((folder / "sop_class_iod_map.json").read_text(encoding="utf-8"))
    storage = set(sop_class._STORAGE_CLASSES.values())
    rows = []
    for module, attributes in sorted(modules.items()):
        for attribute in attributes:
            tag = keyword_dict.get(attribute["keyword"])
            if tag is None or attribute["type"] not in ("1", "1C", "2", "2C"):
                continue
            if dependent.get(tag, DicomDictionary[tag][0] in BY_VR):
                path = "/".join(f"{keyword_dict[keyword]:08X}" for keyword in attribute["path"])
                rows.append((module, path, f"{tag:08X}", attribute["type"], attribute["keyword"]))
    used = {row[0] for row in rows}
    _write("modules.csv", ("module", "path", "tag", "type", "keyword"), rows)
    classes = [
        (uid, iod, " ".join(m["key"] for m in iods[iod] if m["key"] in used))
        for uid, iod in sorted(iod_of.items())
        if uid in storage
    ]
    _write("classes.csv", ("sop_class", "iod", "modules"), classes)


def private(source: Path) -> None:
    """Write safe_private.csv: group, low byte of the element, creator, VR, VM."""
    with source.open(encoding="utf-8") as file:
        rows = [
            (_digits(r["tag"])[:4], r["tag"].upper()[-3:-1], r["private_creator"], r["vr"], r["vm"], r["meaning"])
            for r in csv.DictReader(file)
        ]
    _write("safe_private.csv", ("group", "element", "creator", "vr", "vm", "meaning"), rows)


def concepts(source: Path) -> None:
    """Write sr_concepts.csv: code, value type, action and options."""
    short = ("uids", "device", "institution", "patient", "full", "modified", "descriptors")
    rows = []
    with source.open(encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        for meaning, value, scheme, value_type, retired, _, basic, *options in reader:
            chosen = " ".join(f"{name}={code}" for name, code in zip(short, options, strict=True) if code)
            rows.append((value, scheme, value_type, basic, chosen, "retired" if retired == "Y" else "", meaning))
    _write("sr_concepts.csv", ("value", "scheme", "value_type", "basic", "options", "retired", "meaning"), rows)


def main(ps315: str, modules: str) -> None:
    """Write all derived files."""
    source = Path(ps315)
    types(Path(modules), table(source / "table-e1-1.csv"))
    private(source / "safe-private-e3-10-1.csv")
    concepts(source / "sr-content-items-e3-4-1.csv")


if __name__ == "__main__":
    main(*sys.argv[1:])
