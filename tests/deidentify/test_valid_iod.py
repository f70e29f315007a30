"""The result stays a valid IOD: no error that the input did not have, by dciodvfy and by the standard's Types."""

from __future__ import annotations

import re
import subprocess
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import images
import planted
import pydicom
import pytest
from compare import BASIC, engine_output, plan_of, read
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicomnode.deidentify.standard.dictionary import vr_of
from dicomnode.deidentify.standard.types import Node, iod_of
from dicomnode.model import Doubt

KEEPING = (
    BASIC + "options: [retain_uids, retain_device_identity, retain_institution_identity, "
    "retain_patient_characteristics, retain_longitudinal_full_dates]\n"
)
CLEANING = (
    BASIC + "options: [retain_safe_private, retain_longitudinal_modified_dates, clean_descriptors, "
    "clean_structured_content, clean_graphics, retain_patient_characteristics]\n"
)
RULES = pytest.mark.parametrize(
    "rules", [BASIC, KEEPING, CLEANING], ids=["basic", "everything kept that can be", "everything cleaned that can be"]
)
UNREADABLE = {
    *("SC_rgb_32bit.dcm", "SC_rgb_32bit_2frame.dcm", "SC_rgb_expb_32bit.dcm", "SC_rgb_expb_32bit_2frame.dcm"),
    *("rtdose.dcm", "rtdose_1frame.dcm"),
}
"""Pixels of 32 bits: dciodvfy aborts, before and after."""
STANDARDS_OWN = "</ClinicalTrialProtocolEthicsCommitteeName(0012,0081)> - Attribute present when condition unsatisfied"
"""Table E.1-1 replaces the name (D) and removes the approval number (X) without which there may be no name."""


def errors(path: Path) -> Counter[str] | None:
    """The errors of dciodvfy (Debian package dicom3tools) by place; None when it aborts. UIDs in them are left out."""
    ended = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode < 0:
        return None
    lines = (ended.stdout + ended.stderr).splitlines()
    return Counter(re.sub(r"<[0-9.]+>", "<UID>", line) for line in lines if line.startswith("Error"))


def cleaned(rules: str, syntax: str, data: bytes, sop_class: str, sop_uid: str) -> bytes | None:
    """The output; None when the instance is withheld."""
    try:
        return engine_output(plan_of(rules), data, syntax, sop_class, sop_uid)
    except Doubt:
        return None


def before_and_after(rules: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Every real file that is not withheld: name, and the Part 10 bytes of both."""
    for path in images.sendable_files():
        content = path.read_bytes()
        syntax, data = images.split(content)
        source = pydicom.dcmread(path, stop_before_pixels=True)
        output = cleaned(rules, syntax, data, str(source.SOPClassUID), str(source.SOPInstanceUID))
        if output is not None:
            yield path.name, plain(read(content)) if syntax == DeflatedExplicitVRLittleEndian else content, output


def plain(source: Dataset) -> bytes:
    """dciodvfy does not inflate."""
    return images.written(source, str(ExplicitVRLittleEndian))


def new_errors(folder: Path, pairs: list[tuple[str, bytes, bytes]]) -> dict[str, list[str] | None]:
    """By name, the errors that only the second of two has; None where dciodvfy aborts."""

    def look(pair: tuple[str, bytes, bytes]) -> tuple[str, list[str] | None]:
        name, before, after = pair
        found = []
        for content, side in ((before, "before"), (after, "after")):
            path = folder / f"{name}.{side}"
            path.write_bytes(content)
            found.append(errors(path))
            path.unlink()
        first, second = found
        return name, None if first is None or second is None else sorted((second - first).elements())

    with ThreadPoolExecutor(4) as pool:
        return dict(pool.map(look, pairs))


def test_dciodvfy_finds_errors(tmp_path: Path) -> None:
    """The peer of the other tests does look."""
    source = pydicom.dcmread(images.real("CT_small.dcm"))
    whole = images.written(source)
    del source.PatientName, source.Rows
    ((_, found),) = new_errors(tmp_path, [("ct", whole, images.written(source))]).items()
    assert found is not None
    assert any("PatientName" in line for line in found) and any("Rows" in line for line in found)


@RULES
def test_no_real_file_gets_errors(tmp_path: Path, rules: str) -> None:
    found = new_errors(tmp_path, list(before_and_after(rules)))
    assert len(found) > 140
    assert {name for name, lines in found.items() if lines is None} <= UNREADABLE
    assert {name: lines for name, lines in found.items() if lines} == {}


@cache
def planted_instances() -> list[tuple[str, bytes, bytes]]:
    """An instance of every IOD with a value in every row of the table: SOP class and both Part 10 files."""
    return [processed(sop_class, planted.data_set(sop_class, "top level")) for sop_class in planted.iods()]


@cache
def nested_instances() -> list[tuple[str, bytes, bytes]]:
    """An instance of every IOD with a value wherever a Type decides, in all its sequences."""
    made = []
    for sop_class in planted.iods():
        places = [(path, tag, vr_of(tag)) for path, tag in typed(iod_of(sop_class) or Node())]
        name, before, after = processed(sop_class, planted.at(sop_class, places))
        made.append((f"{name} nested", before, after))
    return made


def typed(node: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], int]]:
    yield from ((path, tag) for tag in node.types)
    for tag, below in node.sequences.items():
        yield from typed(below, (*path, tag))


def processed(sop_class: str, source: Dataset) -> tuple[str, bytes, bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data, sop_uid = images.encode(source, ExplicitVRLittleEndian), str(source.SOPInstanceUID)
        output = cleaned(BASIC, ExplicitVRLittleEndian, data, sop_class, sop_uid)
        assert output is not None, sop_class
        return sop_class, images.part10(data, ExplicitVRLittleEndian, sop_class, sop_uid), output


def test_no_iod_with_every_row_gets_errors(tmp_path: Path) -> None:
    found = new_errors(tmp_path, [*planted_instances(), *nested_instances()])
    assert len(found) > 280
    assert sum(lines is None for lines in found.values()) <= 2
    others = {name: [each for each in lines or () if STANDARDS_OWN not in each] for name, lines in found.items()}
    assert {name: lines for name, lines in others.items() if lines} == {}


# by the Types alone, also where dciodvfy aborts


def lost(before: Dataset, after: Dataset, node: Node, path: str = "") -> list[str]:
    """Attributes of Type 1, 2 and 2C that were there and are not, or of Type 1 that have no value any more."""
    found = []
    for tag, type_ in node.types.items():
        if type_ == "1C" or tag not in before:
            continue
        if tag not in after or (type_ == "1" and not empty(before, tag) and empty(after, tag)):
            found.append(f"{path}({tag:08X}) Type {type_}")
    for tag, below in node.sequences.items():
        if tag in before and tag in after and before[tag].VR == after[tag].VR == "SQ":
            for one, other in zip(before[tag].value, after[tag].value, strict=False):
                found += lost(one, other, below, f"{path}({tag:08X})>")
    return found


def empty(data_set: Dataset, tag: int) -> bool:
    element = data_set[tag]
    return len(element.value) == 0 if element.VR == "SQ" else element.is_empty


@RULES
def test_no_real_file_loses_what_its_iod_requires(rules: str) -> None:
    checked = 0
    for name, before, after in before_and_after(rules):
        one, other = read(before), read(after)
        assert lost(one, other, iod_of(str(one.SOPClassUID)) or Node()) == [], name
        checked += 1
    assert checked > 140


def test_no_iod_loses_what_it_requires() -> None:
    for sop_class, before, after in [*planted_instances(), *nested_instances()]:
        assert lost(read(before), read(after), iod_of(sop_class.split()[0]) or Node()) == [], sop_class
