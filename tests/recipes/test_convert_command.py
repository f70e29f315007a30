"""`dicomnode rules convert`, and recipes given to other commands."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dicomnode.cli import main

RECIPE = """FORMAT dicom
%header
ADD PatientIdentityRemoved YES
REPLACE PatientID var:id
REPLACE StudyDescription var:study
REMOVE ALL contains:[0-9]{7}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "deid.dicom"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def image() -> Path:
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    return Path(path)


def test_what_is_lost_is_said_line_by_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "convert", str(recipe)]) == 1
    captured = capsys.readouterr()
    assert "StudyDescription: {replace: '{var:study}'}  # line 5" in captured.out
    assert captured.err.splitlines() == [
        f"{recipe}:3: note: ADD PatientIdentityRemoved YES: it is written without being mentioned",
        f"{recipe}:6: NOT CARRIED OVER: REMOVE ALL contains:[0-9]{{7}}: rules do not remove by value: name the "
        "attributes, or substitute in them",
        "PatientID becomes a pseudonym where var:id has no value; deidentify --ids gives it",
        "StudyDescription is removed where var:study has no value; deidentify --ids gives it",
        "the rules protect less than the deid recipe: 1 line NOT CARRIED OVER",
    ]


def test_as_json_and_into_a_file(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(RECIPE.replace("REMOVE ALL contains:[0-9]{7}\n", ""))
    rules = tmp_path / "rules.yaml"
    assert main(["rules", "convert", str(recipe), "--output", str(rules), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rules"] == rules.read_text()
    assert told["variables"] == ["var:id", "var:study"]
    assert [note["line"] for note in told["notes"]] == [3]
    assert main(["rules", "check", str(rules)]) == 0
    assert main(["rules", "check", str(recipe)]) == 0


def test_the_values_of_variables_are_given_back(
    recipe: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(RECIPE.replace("REMOVE ALL contains:[0-9]{7}\n", ""))
    ids = tmp_path / "ids.json"
    assert main(["identifiers", str(image), "--output", str(ids)]) == 0
    told = json.loads(ids.read_text())
    (values,) = told["1CT1"].values()
    values["id"] = "SUBJECT-1"
    ids.write_text(json.dumps(told))
    words = ["deidentify", str(image), str(tmp_path / "out"), "--rules", str(recipe), "--ids", str(ids)]
    assert main(words) == 0
    assert "1 file without a value for var:study: StudyDescription is removed" in capsys.readouterr().out
    (path,) = (tmp_path / "out").rglob("*.dcm")
    written = pydicom.dcmread(path)
    assert written.PatientID == "SUBJECT-1"
    assert "StudyDescription" not in written


@pytest.mark.parametrize(
    "line",
    [
        "REPLACE StudyDescription var:PatientName",
        "REPLACE PatientName var:PatientName",
        "ADD ClinicalTrialSiteName var:PatientName",
    ],
)
def test_an_original_that_is_given_back_is_withheld(recipe: Path, image: Path, tmp_path: Path, line: str) -> None:
    recipe.write_text(f"FORMAT dicom\n%header\n{line}\n")
    ids = tmp_path / "ids.csv"
    assert main(["identifiers", str(image), "--format", "csv", "--output", str(ids)]) == 0
    words = ["deidentify", str(image), str(tmp_path / "out"), "--rules", str(recipe), "--ids", str(ids)]
    assert main(words) == 1
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_no_recipe_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "letter"
    path.write_bytes(b"\xff\xfe")
    assert main(["rules", "convert", str(path)]) == 2
    assert "cannot be read (UnicodeDecodeError)" in capsys.readouterr().err


def test_a_value_that_cannot_be_one_withholds(
    recipe: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text("FORMAT dicom\n%header\nREPLACE StudyDate var:day\n")
    ids = tmp_path / "ids.csv"
    ids.write_text("entity,day\n1CT1,yesterday\n")
    words = ["deidentify", str(image), str(tmp_path / "out"), "--rules", str(recipe), "--ids", str(ids)]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "1 withheld, not-accepted" in out
    assert "    1 at '{var:day}' cannot be a value of VR DA" in out
    assert "yesterday" not in out
