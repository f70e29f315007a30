"""Series of which instances are changed at random, as somebody would who wants a name to pass with its siblings."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from struct import pack

import images
import pytest
from compare import BASIC, ORIGIN, plan_of
from pydicom import config
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from synthetic import Person, ct
from test_series import BUSY, MAKING, USED, compare, counted

from dicomnode.model import Received

__all__ = ["counted"]

OWN = """attributes:
  StationName: {hash: 10}
  InstitutionName: {replace: '{project} {StudyDescription} {patient} {FilterType}'}
  StudyDescription: {substitute: {'(?i)(thorax).*': '\\1', 'CT (.*)': '\\1'}}
  SeriesDescription: {vocabulary: [Thorax, Thorax 1.0 Br38]}
  ClinicalTrialSiteID: {set: 'site {Modality}'}
  ContentTime: {round: hour}
  ContrastBolusAgent: keep
  VR:PN: {replace: Nobody}
"""
ASKED = """accept_if: {Modality: {in: [CT]}, Rows: {at_most: 4}}
withhold_if: [{FilterType: {substring: PORTABLE}}, {ContrastBolusAgent: {matches: [Zwetsch]}}]
options: [retain_uids, retain_device_identity, clean_graphics]
"""
OPTIONS = "options: [clean_descriptors, clean_graphics, retain_safe_private, retain_longitudinal_modified_dates]\n"
RULES = {"basic": BASIC, "busy": BUSY, "making": MAKING, "own": BASIC + OWN, "asked": BASIC + ASKED}
RULES["options"] = BASIC + OPTIONS
OTHER = Person(
    name="Br38f^Ultravist",
    patient_id="P-4711",
    birth_date="19410506",
    accession="FLAT",
    study_id="LUNG",
    referring="Thorax^Mediastinum",
    institution="Scanner",
)
NAMES = (
    "Zwetschgenbaum", "Ottokar Zwetschgenbaum", "Wurzelsepp", "ZWETSCHGENBAUM^OTTOKAR", "PID-73918264", "PID 7391 8264",
    "73918264", "14.02.1937", "February 14th, 1937", "19370214", "HEAD", "Li", "ID 4711", "Br38f", "Müller", "CHEST",
    "CHEST\nHFS", "MEDIASTINUM", "Ultravist", "FLAT", "1.2.3.4.5", "Z\0w\0e\0t\0s\0c\0h\0g\0e\0n\0", "\x1b$B;3ED", "",
    "Klinik Hinterwaldkirchen", "Mirabellenweg 17", "HFS", "Thorax", "ACME", "Siemens", "SIEMENS MED NM",
)  # fmt: skip
TEXTS = ("CS", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "UT", "UC", "UI", "DA", "TM", "DT", "AS", "AE")
INSERTED = (
    0x00080008, 0x00080201, 0x00081030, 0x0008103E, 0x00082111, 0x00100040, 0x00101001, 0x00102000, 0x00104000,
    0x0018000A, 0x00180015, 0x00180022, 0x00181250, 0x00181400, 0x00189004, 0x0020000D, 0x00200011, 0x00204000,
    0x00280301, 0x00281055, 0x00282110, 0x00324000, 0x00380010, 0x00400254, 0x0040A730, 0x00880904, 0x00120063,
    0x00120064, 0x00120062, 0x00280303, 0x00080005, 0x00081140, 0x00081080, 0x00181030, 0x00185100, 0x00540220,
)  # fmt: skip
IDENTIFYING = (
    "PatientName", "PatientID", "AccessionNumber", "OperatorsName", "StudyID", "PatientAddress", "InstitutionName",
    "PatientBirthDate", "OtherPatientNames", "SOPInstanceUID",
)  # fmt: skip
CREATORS = ("SIEMENS MR HEADER", "ACME", "Zwetschgenbaum")
Edit = Callable[[random.Random, Dataset], None]


def instance(number: int, person: Person, implicit: bool) -> Dataset:
    """One of a series: what varies from slice to slice varies, and there is private, hidden and overlaid data."""
    made = ct(1, 1, number, person=person, rows=4, columns=4)
    made.InstanceNumber = number * 9
    made.ImagePositionPatient = [-179.65, -179.65, number / 3]
    made.ContentTime = f"1013{number % 60:02}.25"
    made.Exposure = 90 + 7 * number
    made.ImageComments = "Kontrolle"
    safe = made.private_block(0x0011, "Philips Imaging DD 001", create=True)
    safe.add_new(0x05, "FL", float(number))
    block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0A, "US", 3)
    block.add_new(0x0C, "IS", "1000")
    made.add_new(0x60000010, "US", 2)
    made.add_new(0x60000011, "US", 2)
    made.add_new(0x60000040, "CS", "R")
    made.add_new(0x60000050, "SS", [1, 1])
    made.add_new(0x60000100, "US", 1)
    made.add_new(0x60000102, "US", 0)
    made.add_new(0x60001500, "LO", "Region")
    made.add_new(0x60003000, "OW", b"\1\0")
    if not implicit:
        hidden = pack("<HHI", 0xFFFE, 0xE000, 14) + pack("<HHI", 8, 0x1030, 6) + b"Thorax"
        made[0x00081111] = RawDataElement(Tag(0x00081111), "UN", len(hidden), hidden, 0, False, True)
    return made


def levels(made: Dataset) -> list[Dataset]:
    """The data set and the items of its sequences, deeper ones too."""
    found = [made]
    for element in made:
        if element.VR == "SQ":
            for item in element.value:
                found += levels(item)
    return found


def texts_of(made: Dataset) -> list[DataElement]:
    return [each for each in made if each.VR in TEXTS and each.tag not in (0x00080016, 0x00080018)]


def replaced(chance: random.Random, made: Dataset) -> None:
    """A text says something else, now and then as much as before."""
    found = texts_of(chance.choice(levels(made)) if chance.random() < 0.3 else made)
    if found:
        element, text = chance.choice(found), chance.choice(NAMES)
        length = len(str(element.value))
        element._value = text[:length].ljust(length) if chance.random() < 0.3 else text


def planted(chance: random.Random, made: Dataset) -> None:
    """The patient of this instance bears what all of them say in an attribute that stays."""
    said = chance.choice(texts_of(made))._value
    keyword = chance.choice(IDENTIFYING)
    made[keyword]._value = str(said) if isinstance(said, (str, int, float)) else chance.choice(NAMES)


def deleted(chance: random.Random, made: Dataset) -> None:
    level = chance.choice(levels(made))
    if len(level):
        del level[chance.choice(list(level.keys()))]


def inserted(chance: random.Random, made: Dataset) -> None:
    """An attribute that the siblings do not have, perhaps in a group of its own, perhaps behind the pixel data."""
    level, kind, text = chance.choice([made, made, chance.choice(levels(made))]), chance.random(), chance.choice(NAMES)
    if kind < 0.5:
        tag = chance.choice(INSERTED)
        vr = images.pydicom.datadict.dictionary_VR(tag)
        item = Dataset()
        item.add_new(0x00080104, "LO", text)
        item.add_new(0x00100010, "PN", text)
        level[tag] = DataElement(tag, vr, Sequence([item]) if vr == "SQ" else None)
        if vr != "SQ":
            level[tag]._value = text
    elif kind < 0.7:
        group = chance.choice([0x0009, 0x0011, 0x0019, 0x0029, 0x7FE1, 0x6001, 0x0041])
        level.add_new(group << 16 | chance.randrange(0x10, 0x14), "LO", chance.choice(CREATORS))
        level.add_new(group << 16 | chance.randrange(0x1000, 0x1400), chance.choice(["LO", "OB", "US", "UN"]), None)
    elif kind < 0.8:
        made.add_new(chance.choice([0xFFFCFFFC, 0x7FE10010, 0x7FE11010, 0x7FE20010]), "OB", text.encode("utf-8"))
    else:
        plane = chance.choice([0x6000, 0x6002, 0x5000]) << 16
        made.add_new(plane | chance.choice([0x22, 0x1500, 0x4000, 0x40, 0x3000]), "LO", text)


def exchanged(chance: random.Random, made: Dataset) -> None:
    """Two attributes have each other's value."""
    one, other = chance.sample(texts_of(made), 2)
    one._value, other._value = other._value, one._value


def another_patient(chance: random.Random, made: Dataset) -> None:
    for keyword in chance.sample(["PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID"], 2):
        made[keyword]._value = instance(1, OTHER, False)[keyword]._value


def another_kind(chance: random.Random, made: Dataset) -> None:
    """Another character set, class, modality or study."""
    keyword, value = chance.choice(
        [("SpecificCharacterSet", "ISO_IR 192"), ("SpecificCharacterSet", ["", "ISO 2022 IR 87"]), ("Modality", "MR"),
         ("SpecificCharacterSet", "GB18030"), ("SpecificCharacterSet", "ISO_IR 144"), ("StudyInstanceUID", "1.2.3.4.5"),
         ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"), ("SeriesInstanceUID", "1.2.3.4.5.6"), ("Rows", 2),
         ("BurnedInAnnotation", "YES"), ("ImageType", "DERIVED\\SECONDARY\\SCREEN SAVE"), ("BitsAllocated", 8)]
    )  # fmt: skip
    setattr(made, keyword, value)


EDITS: tuple[Edit, ...] = (
    replaced, replaced, planted, planted, deleted, inserted, inserted, exchanged, another_patient, another_kind,
)  # fmt: skip


def series(chance: random.Random) -> Iterator[tuple[Received, bytes]]:
    """A few innocent instances, then ones that were changed, and the innocent ones among them again."""
    implicit = chance.random() < 0.3
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    base = instance(1, chance.choice([Person(), Person(), Person(), OTHER]), implicit)
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        _edited(chance, base)
    for number in range(1, 13):
        made = copy.deepcopy(base)
        made.SOPInstanceUID = f"1.2.826.0.1.3680043.10.1337.{chance.choice([1, 77, 100000])}.{number}"
        made["InstanceNumber"] = DataElement(0x00200013, "IS", str(number))
        made["SliceLocation"] = DataElement(0x00201041, "DS", str(number * 1.5))
        if number > 3 and chance.random() < 0.5:
            for _ in range(chance.choice([1, 1, 1, 2, 4])):
                _edited(chance, made)
        data = written(made, syntax)
        if data is None:
            continue
        if number > 3 and chance.random() < 0.15:
            at = chance.randrange(len(data))
            data = data[:at] + chance.choice([b"", b"\0", b"Zwetschgenbaum"]) + data[at + chance.choice([0, 1, 14]) :]
        yield Received(ORIGIN, str(made.get("SOPClassUID", "")), str(made.get("SOPInstanceUID", "")), syntax), data


def written(made: Dataset, syntax: str) -> bytes | None:
    """The data set encoded; None where its values cannot be written at all."""
    try:
        return images.encode(made, syntax)
    except Exception:  # noqa: BLE001 - whatever pydicom raises for values of another type
        return None


def _edited(chance: random.Random, made: Dataset) -> None:
    try:
        chance.choice(EDITS)(chance, made)
    except (KeyError, ValueError, IndexError):
        return  # the attribute is gone, or there are none to choose from


def attack(rules: str, seed: int) -> int:
    """Compare one series, each instance with what an engine makes of it that saw no other; how many there were."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reading, writing = config.settings.reading_validation_mode, config.settings.writing_validation_mode
        config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
        try:
            made = list(series(random.Random(seed)))
        finally:
            config.settings.reading_validation_mode, config.settings.writing_validation_mode = reading, writing
    return len(compare(plan_of(RULES[rules]), made))


@pytest.mark.parametrize("rules", RULES)
def test_random_changes(rules: str) -> None:
    assert sum(attack(rules, seed) for seed in range(20)) > 150
    assert USED["alike"] > 40, USED
