"""The options of `dicomnode deidentify` that are rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dicomnode.cli import main
from dicomnode.deidentify import load


def real(name: str) -> Path:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path)


def deidentified(tmp_path: Path, *words: str, name: str = "CT_small.dcm", code: int = 0) -> Any:
    out = tmp_path / "out"
    assert main(["deidentify", str(real(name)), str(out), "--key-file", str(key(tmp_path)), *words]) == code
    found = [pydicom.dcmread(path) for path in out.rglob("*.dcm")]
    return found[0] if found else None


def key(tmp_path: Path) -> Path:
    path = tmp_path / "project.key"
    path.write_text("00" * 32)
    path.chmod(0o600)
    return path


def test_without_rules_it_is_the_basic_profile(tmp_path: Path) -> None:
    found = deidentified(tmp_path)
    assert found.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert "StudyDescription" not in found


def test_names_of_a_trial(tmp_path: Path) -> None:
    words = ("--project", "TRIAL", "--site", "Bergen", "--site-id", "07", "--event", "baseline")
    found = deidentified(tmp_path, *words, "--patient-id", "S-001", "--tag-change", "0008,0080=PROJECTNAME")
    assert (found.PatientID, found.PatientName) == ("S-001", "S-001")
    assert (found.ClinicalTrialProtocolID, found.ClinicalTrialProtocolName) == ("TRIAL", "TRIAL")
    assert (found.ClinicalTrialSiteName, found.ClinicalTrialSiteID) == ("Bergen", "07")
    assert found.ClinicalTrialTimePointID == "baseline"
    assert found.InstitutionName == "TRIAL"


def test_dates_move_by_the_days_given(tmp_path: Path) -> None:
    found = deidentified(tmp_path, "--date-increment", "-42")
    assert pydicom.dcmread(real("CT_small.dcm")).StudyDate == "20040119"
    assert found.StudyDate == "20031208"
    assert found.LongitudinalTemporalInformationModified == "MODIFIED"


@pytest.mark.parametrize(
    ("change", "keyword", "value"),
    [
        ("0008,0080=My Trial", "InstitutionName", "My Trial"),
        ("(0008,0080)=SITENAME", "InstitutionName", "Bergen"),
        ("InstitutionName=PATIENTID", "InstitutionName", "S-001"),
        ("0018,1030=keep", "ProtocolName", None),
        ("0008,1090=empty", "ManufacturerModelName", ""),
        ("0018,1120=remove", "GantryDetectorTilt", None),
        ("0008,0020=incrementdate", "StudyDate", "20031208"),
    ],
)
def test_tag_changes(tmp_path: Path, change: str, keyword: str, value: str | None) -> None:
    words = ("--site", "Bergen", "--patient-id", "S-001", "--tag-change", change)
    days = ("--date-increment", "-42") if "incrementdate" in change else ()
    assert deidentified(tmp_path, *words, *days).get(keyword) == value


def test_a_regular_expression_keeps_its_groups(tmp_path: Path) -> None:
    original = pydicom.dcmread(real("CT_small.dcm"))
    assert original.FilterType == "LARGE BOWTIE FIL"
    words = ("--reg-tag-change", r"0018,1160=(L[A-Z]+) .*(FIL)", "--reg-tag-change", r"0018,1210=([0-9]+)")
    found = deidentified(tmp_path, *words)
    assert found.FilterType == "LARGE FIL"
    assert found.get("ConvolutionKernel", "") == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tag-change", "0008=x"), "--tag-change 0008=x is not understood"),
        (("--tag-change", "0008,0080=SITENAME"), "--tag-change 0008,0080=SITENAME: SITENAME is not given"),
        (("--tag-change", "0010,0010=keep"), "--tag-change 0010,0010=keep: 'PatientName: keep' is not possible"),
        (("--tag-change", "0018,0050=thick"), "cannot be a value of VR DS"),
        (("--reg-tag-change", "0008,1030=("), "no regular expression"),
        (("--reg-tag-change", "0008,1030=abc"), "nothing is kept; put what is to stay into parentheses"),
        (("--date-increment", "0"), "--date-increment 0 is no number of days"),
        (("--patient-id", "a\\b"), "--patient-id cannot be a Patient ID"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deidentified(tmp_path, *words, code=2)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_rules_file_holds_below_the_options(tmp_path: Path) -> None:
    rules = tmp_path / "mine.yaml"
    rules.write_text("profile: basic\nattributes: {StationName: keep, InstitutionName: remove}\n")
    found = deidentified(tmp_path, "--rules", str(rules), "--tag-change", "0008,0080=TRIAL")
    assert found.StationName == pydicom.dcmread(real("CT_small.dcm")).StationName
    assert found.InstitutionName == "TRIAL"


def test_rules_are_exported(tmp_path: Path) -> None:
    rules, exported = tmp_path / "mine.yaml", tmp_path / "exported.yaml"
    rules.write_text("profile: basic\nattributes: {StationName: keep}\n")
    options = ("--rules", str(rules), "--date-increment", "-42", "--tag-change", "0008,0080=TRIAL")
    assert main(["deidentify", *options, "--patient-id", "S-001", "--export-rules", str(exported)]) == 0
    assert not (tmp_path / "out").exists()
    assert "--patient-id" in exported.read_text().splitlines()[0]
    load(exported)
    found = deidentified(tmp_path, *options)
    again = deidentified(tmp_path, "--rules", str(exported), "--overwrite")
    assert found.InstitutionName == again.InstitutionName == "TRIAL"
    assert (found.StudyDate, found.StationName) == (again.StudyDate, again.StationName)


def test_a_patient_id_is_for_one_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        (tmp_path / "in" / name).write_bytes(real(name).read_bytes())
    words = ["deidentify", str(tmp_path / "in"), str(tmp_path / "out"), "--patient-id", "S-001"]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert "1 withheld, collision: two patients would get the same pseudonym" in captured.out
    assert [pydicom.dcmread(path).Modality for path in (tmp_path / "out").rglob("*.dcm")] == ["CT"]


def test_a_recipe_goes_with_options_only_as_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "deid.dicom"
    recipe.write_text("FORMAT dicom\n%header\nREMOVE FilterType\n")
    deidentified(tmp_path, "--rules", str(recipe), "--project", "TRIAL", code=2)
    assert "convert it first" in capsys.readouterr().err
