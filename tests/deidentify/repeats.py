"""Repeats of a patient's own identifiers planted into the descriptions of real files, and what becomes of them.

`PYTHONPATH=tests:tests/deidentify python -m repeats` prints the table that test_descriptors.py pins.
"""

from __future__ import annotations

import re
import time
import warnings
from collections import Counter
from collections.abc import Iterator

import images
import pydicom
from compare import BASIC, engine_output, plan_of, read
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.deidentify.standard import tables
from dicomnode.model import Doubt

CLEANING = BASIC + "options: [clean_descriptors]\n"
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PLACES = ("StudyDescription", "SeriesDescription", "PatientComments", "RequestedProcedureDescription", "ImageComments")


def patients() -> Iterator[Dataset]:
    """One real file of every patient, without its pixels; decoded wholly."""
    seen = set()
    for path in images.sendable_files():
        source = pydicom.dcmread(path, stop_before_pixels=True)
        who = str(source.get("PatientName", "")), str(source.get("PatientID", "")), str(source.SOPClassUID)
        if who in seen or path.name in ("SC_rgb_jpeg.dcm", "bad_sequence.dcm", "rtplan_truncated.dcm"):
            continue
        seen.add(who)
        for _ in source.iterall():
            pass
        yield source


def repeats(source: Dataset) -> dict[str, tuple[str, list[str]]]:
    """The ways in which people write their patient into a description: the text, and what may not be left of it."""
    name = source.get("PatientName")
    family, given = (str(name.family_name), str(name.given_name)) if name else ("", "")
    number, birth = str(source.get("PatientID", "")), str(source.get("PatientBirthDate", ""))
    made: dict[str, tuple[str, list[str]]] = {}
    if len(set(family.lower())) >= 3 and family.isalpha():
        made["name and known words"] = f"CT Thorax {family}", [family]
        made["name first, upper case"] = f"{family.upper()} MRT Knie re", [family]
        made["name in brackets"] = f"Chest ({family.lower()}) routine", [family]
        made["name with a mark"] = f"{family}: abdomen", [family]
        made["possessive"] = f"{family}'s head", [family]
        made["inside a word"] = f"xx{family}yy brain", [family]
        if len(set(given.lower())) >= 3 and given.isalpha():
            made["both names"] = f"{given} {family} chest", [given, family]
            made["joined"] = f"t1_tse_{given}_{family}_sag", [given, family]
            made["as one word"] = f"{given}{family} pelvis", [given, family]
            made["initial"] = f"CT {given[0]}. {family}", [family]
    if len(re.sub(r"\W", "", number)) >= 5:
        made["ID"] = f"CT Thorax {number}", [number]
        made["ID without punctuation"] = (
            f"MR {re.sub('[^0-9A-Za-z]', '', number)}",
            [re.sub("[^0-9A-Za-z]", "", number)],
        )
        made["ID with other marks"] = "Chest " + "-".join(re.findall("[0-9A-Za-z]+", number)), [number]
    if re.fullmatch("[0-9]{8}", birth) and len(set(birth)) > 1:
        year, month, day = birth[:4], birth[4:6], birth[6:]
        made["birth date, German"] = f"Thorax * {day}.{month}.{year}", [year]
        made["birth date, two digits"] = f"Thorax {day}.{month}.{year[2:]}", [f"{day}.{month}"]
        made["birth date, ISO"] = f"CT {year}-{month}-{day}", [year]
        made["birth date, US"] = f"CT chest {month}/{day}/{year}", [year]
        made["birth date, compact"] = f"CT {birth}", [birth]
        made["year of birth"] = f"CT chest {year}", [year]
    return made


def planted() -> Iterator[tuple[str, str, str]]:
    """Way, place and what became of it: cleaned, emptied, withheld or missed."""
    plan = plan_of(CLEANING)
    for source in patients():
        for number, (way, (text, forbidden)) in enumerate(repeats(source).items()):
            place = PLACES[number % len(PLACES)]
            before = source[place].value if place in source else None
            setattr(source, place, text[:64])
            try:
                data = images.encode(source, ExplicitVRLittleEndian)
                uid = str(source.SOPInstanceUID)
                sent = read(engine_output(plan, data, ExplicitVRLittleEndian, str(source.SOPClassUID), uid))
            except Doubt as doubt:
                yield way, place, f"withheld: {doubt.reason}"
            else:
                left = str(sent.get(place, ""))
                hit = any(each.lower() in left.lower() for each in forbidden)
                yield way, place, "missed" if hit else "cleaned" if left else "emptied"
            if before is None:
                del source[place]
            else:
                setattr(source, place, before)


def described() -> Iterator[tuple[str, str, bool]]:
    """Keyword and text of every different description of the real files, and whether it stays as it is."""
    plan = plan_of(CLEANING)
    rows = [row for row in (*tables.rows().values(), *tables.additions().values()) if "x" not in row.tag]
    tags = sorted(int(row.tag, 16) for row in rows if row.options.get("descriptors") == "C")
    seen = set()
    for source in patients():
        for tag in tags:
            text = str(source[tag].value).strip() if tag in source and source[tag].VR != "SQ" else ""
            if not text or (tag, text) in seen:
                continue
            seen.add((tag, text))
            data = images.encode(source, ExplicitVRLittleEndian)
            try:
                uid = str(source.SOPInstanceUID)
                sent = read(engine_output(plan, data, ExplicitVRLittleEndian, str(source.SOPClassUID), uid))
            except Doubt:
                continue
            yield source[tag].keyword, text, tag in sent and str(sent[tag].value).strip() == text


def main() -> None:
    warnings.simplefilter("ignore")
    started = time.process_time()
    table: dict[str, Counter[str]] = {}
    for way, _, became in planted():
        table.setdefault(way, Counter())[became] += 1
    for way, counted in table.items():
        print(f"{way:28} {'  '.join(f'{what} {count}' for what, count in sorted(counted.items()))}")
    told = list(described())
    print(f"\n{sum(kept for *_, kept in told)} of {len(told)} different descriptions stay; those that do not:")
    print("\n".join(f"  {keyword}: {text[:70]!r}" for keyword, text, kept in told if not kept))
    print(f"\n{time.process_time() - started:.1f} s of CPU")


if __name__ == "__main__":
    main()
