"""`dicomnode identifiers`, and what it wrote given back as variables."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from dicomnode.cli import main
from dicomnode.errors import ConfigError
from dicomnode.folders.entities import load


def real(name: str) -> Path:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A CT, an MR of another patient, and a letter."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        (folder / name).write_bytes(real(name).read_bytes())
    (folder / "letter.txt").write_text("Dear Mrs Doe")
    return folder


def extracted(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main(["identifiers", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def test_by_patient_and_instance(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct, mr = (pydicom.dcmread(source / name) for name in ("CT_small.dcm", "MR_small.dcm"))
    told = extracted(capsys, source)
    assert {entity: list(items) for entity, items in told.items()} == {
        ct.PatientID: [ct.SOPInstanceUID],
        mr.PatientID: [mr.SOPInstanceUID],
    }
    found = told[ct.PatientID][ct.SOPInstanceUID]
    assert found["PatientName"] == str(ct.PatientName)
    assert found["ImageType"] == "ORIGINAL\\PRIMARY\\AXIAL"
    assert found["OtherPatientIDsSequence__0__PatientID"] == "ABCD1234"
    assert "PixelData" not in found
    assert found['(0009,"GEMS_IDEN_01",02)'] == "CT01"


def test_by_attributes_of_ones_own(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct = pydicom.dcmread(source / "CT_small.dcm")
    ct.SOPInstanceUID += ".2"
    ct.InstanceNumber = 2
    ct.save_as(source / "second.dcm")
    told = extracted(capsys, source, "--entity", "Modality", "--item", "StudyInstanceUID")
    assert set(told) == {"CT", "MR"}
    found = told["CT"][ct.StudyInstanceUID]
    assert found["InstanceNumber"] == ["1", "2"]
    assert found["PatientID"] == ct.PatientID


def test_private_attributes_alone(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = extracted(capsys, source, "--private")
    names = {name for items in told.values() for values in items.values() for name in values}
    assert names
    assert all(name.startswith("(") and int(name[1:5], 16) & 1 for name in names)


def test_as_csv_in_a_file_of_ones_own(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ids.csv"
    assert main(["identifiers", str(source), "--format", "csv", "--output", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "1 file not DICOM\n"
    assert path.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    ct = pydicom.dcmread(source / "CT_small.dcm")
    assert [row["entity"] for row in rows] == [ct.PatientID, "4MR1"]
    assert rows[0]["PatientName"] == str(ct.PatientName)


def test_wrong_use(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identifiers", str(source), "--entity", "Patient"]) == 2
    assert "unknown attribute 'Patient'" in capsys.readouterr().err
    assert main(["identifiers", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["identifiers", str(tmp_path / "empty")]) == 1


def content(patient: str, instance: str) -> bytes:
    dataset = Dataset()
    dataset.PatientID, dataset.SOPInstanceUID = patient, instance
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, implicit_vr=False, little_endian=True)
    return bytes(128) + b"DICM" + out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        '{"A": {"1.2": {"id": "S1", "number": 7, "list": [1]}, "site": "OSL"}}',
        "entity,item,id,number,site\nA,1.2,S1,7,\nA,,,,OSL\n",
    ],
)
def test_values_are_given_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ids"
    path.write_text(text)
    ids = load(path)
    assert ids.of(content("A", "1.2")) == {"var:id": "S1", "var:number": "7", "var:site": "OSL"}
    assert ids.of(content("A", "1.3")) == {"var:site": "OSL"}
    assert ids.of(content("B", "1.2")) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("entity,item,id\nA,,S1\nB,,S2\nA,,S3\n", "lines 2 and 4 of the file of identifiers are about the same entity"),
        ("entity,id\nA,S1\nA,S1\n", "lines 2 and 3 of the file"),
        ('{"A": {"id": "S1"}, "B": {"id": "S2"}, "A": {"id": "S3"}}', "a name twice in one object: members 1 and 3"),
        ('{"A": {"id": "S1", "id": "S3"}}', "a name twice in one object: members 1 and 2"),
    ],
)
def test_two_lines_for_one_patient_are_refused(tmp_path: Path, text: str, words: str) -> None:
    """Else the last one would win without a word."""
    path = tmp_path / "ids"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(path)


@pytest.mark.parametrize("text", ["{", '{"A": 1}', "patient,id\nA,1\n", "[]"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ids"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no file of identifiers"):
        load(path)
