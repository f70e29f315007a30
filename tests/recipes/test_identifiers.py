"""The public functions with deid's shape of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dicomnode.identifiers import DicomField, get_identifiers, replace_identifiers


@pytest.fixture
def image() -> str:
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "project.key"
    path.write_text("00" * 32)
    path.chmod(0o600)
    return path


def recipe(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "recipe.dicom"
    path.write_text("\n".join(["FORMAT dicom", "%header", *lines]) + "\n")
    return path


def test_identifiers_by_file_and_place(image: str) -> None:
    found = get_identifiers([image])
    assert list(found) == [image]
    field = found[image]["(0010,0010)"]
    assert (field.name, field.uid, field.tag, field.stripped_tag) == (
        "PatientName",
        "(0010,0010)",
        "(0010,0010)",
        "00100010",
    )
    assert field.element.value == pydicom.dcmread(image).PatientName
    nested = found[image]["(0010,1002)__0__(0010,0020)"]
    assert nested.name == "OtherPatientIDsSequence__PatientID"
    assert str(nested) == f"{nested.element}  [{nested.name}]"
    assert "(7FE0,0010)" not in found[image]
    assert "(0002,0002)" in found[image]


def test_what_is_left_out(image: str) -> None:
    assert "(7FE0,0010)" in get_identifiers(image, disable_skip=True)[image]
    assert "(0009,1002)" not in get_identifiers(image, remove_private=True)[image]
    assert "(0010,1002)" not in get_identifiers(image, strip_sequences=True)[image]
    assert "(0010,1002)__0__(0010,0020)" not in get_identifiers(image, expand_sequences=False)[image]


def test_values_of_variables(image: str, key: Path, tmp_path: Path) -> None:
    ids: dict[str, dict[str, Any]] = get_identifiers([image])  # type: ignore[assignment]
    ids[image]["id"] = "cookie-1"
    ids[image]["jitter"] = -10
    deid = recipe(tmp_path, "REPLACE PatientID var:id", "JITTER StudyDate var:jitter")
    (found,) = replace_identifiers([image], ids=ids, deid=deid, key_file=key)
    assert found.PatientID == "cookie-1"
    assert found.StudyDate == "20040109"
    assert found.PatientIdentityRemoved == "YES"


def test_a_missing_variable_removes_the_field_and_says_so(image: str, key: Path, tmp_path: Path) -> None:
    deid = recipe(tmp_path, "REPLACE FilterType var:filter")
    with pytest.warns(UserWarning, match="var:filter has no value, so FilterType is removed"):
        (found,) = replace_identifiers(image, deid=deid, key_file=key)
    assert "FilterType" not in found


def test_what_an_instance_must_have_is_emptied_for_want_of_a_value(image: str, key: Path, tmp_path: Path) -> None:
    deid = recipe(tmp_path, "REPLACE AccessionNumber var:number")
    with pytest.warns(UserWarning, match="var:number has no value, so AccessionNumber is emptied"):
        (found,) = replace_identifiers(image, deid=deid, key_file=key)
    assert found.AccessionNumber == ""


def test_functions_are_called_field_by_field(image: str, key: Path, tmp_path: Path) -> None:
    called = []

    def shorten(item: Any, value: str, field: DicomField, dicom: Any) -> str:
        called.append(field.name)
        assert (value, item["shorten"], dicom.PatientID) == ("func:shorten", shorten, "1CT1")
        return str(field.element.value)[:5]

    def is_helical(item: Any, value: str, field: DicomField, dicom: Any) -> bool:
        return "HELICAL" in str(field.element.value)

    deid = recipe(tmp_path, "REPLACE contains:FilterT func:shorten", "REMOVE ALL func:is_helical")
    ids = {image: {"shorten": shorten, "is_helical": is_helical}}
    (found,) = replace_identifiers(image, ids=ids, deid=deid, key_file=key)
    assert called == ["FilterType"]
    assert found.FilterType == "LARGE"
    assert "ScanOptions" not in found
    assert found.ConvolutionKernel == "STANDARD"


def test_files_are_saved_once(image: str, key: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for overwrite in (False, True):
        (name,) = replace_identifiers(image, save=True, output_folder=out, key_file=key, overwrite=overwrite)
        assert name == str(out / "CT_small.dcm")
        assert pydicom.dcmread(name).PatientID != "1CT1"
    with pytest.raises(FileExistsError):
        replace_identifiers(image, save=True, output_folder=out, key_file=key)


def test_a_file_in_doubt_is_left_out(image: str, key: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(Path(image).read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=r"file 1 is left out: truncated: \(7FE0,0010\)"):
        found = replace_identifiers([broken, image], key_file=key)
    assert [each.Modality for each in found] == ["CT"]


def test_rules_do_as_well_as_recipes(image: str, key: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("profile: basic\nattributes: {StationName: keep}\n")
    (found,) = replace_identifiers(image, deid=rules, key_file=key)
    assert found.StationName == pydicom.dcmread(image).StationName


def test_what_is_lost_of_a_recipe_is_no_silent_loss(image: str, key: Path, tmp_path: Path) -> None:
    deid = recipe(tmp_path, "REMOVE ALL contains:[0-9]{7}")
    with pytest.warns(UserWarning, match="file 1 is left out: .* cannot be carried over"):
        assert replace_identifiers(image, deid=deid, key_file=key) == []


def test_originals_that_functions_return_are_found(image: str, key: Path, tmp_path: Path) -> None:
    deid = recipe(tmp_path, "REPLACE StudyDescription func:name")
    ids = {image: {"name": lambda item, value, field, dicom: dicom.PatientName}}
    with pytest.warns(UserWarning, match="file 1 is left out: residue"):
        assert replace_identifiers(image, ids=ids, deid=deid, key_file=key) == []


def test_values_that_cannot_be_are_not_shown(image: str, key: Path, tmp_path: Path) -> None:
    deid = recipe(tmp_path, "REPLACE StudyDate func:name")
    ids = {image: {"name": lambda item, value, field, dicom: dicom.PatientName}}
    with pytest.warns(UserWarning, match="file 1 is left out") as told:
        assert replace_identifiers(image, ids=ids, deid=deid, key_file=key) == []
    assert "CompressedSamples" not in str(told[0].message)


def test_items_cannot_get_values_of_their_own(image: str, key: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(image)
    items = [pydicom.Dataset(), pydicom.Dataset()]
    for number, item in enumerate(items):
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = f"T-{number}", "SRT", f"Place {number}"
    dataset.AnatomicRegionSequence = items
    file = tmp_path / "two.dcm"
    dataset.save_as(file)
    deid = recipe(tmp_path, "REPLACE CodeMeaning func:next")
    ids = {str(file): {"next": lambda item, value, field, dicom: f"{field.element.value}.9"}}
    said = "next gives items of AnatomicRegionSequence > CodeMeaning different values, so it is removed"
    with pytest.warns(UserWarning, match=said):
        (found,) = replace_identifiers(file, ids=ids, deid=deid, key_file=key)
    assert [item.get("CodeMeaning") for item in found.AnatomicRegionSequence] == [None, None]
