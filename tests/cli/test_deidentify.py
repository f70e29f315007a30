"""`dicomnode deidentify`: the engine on files and folders, and what it never does to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from dicomnode.cli import main
from dicomnode.folders.part10 import read_meta
from dicomnode.model import Doubt, Reason

RULES = Path(__file__).parents[2] / "rules" / "basic.yaml"


def real(name: str) -> Path:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with two images in subfolders, a damaged one, a text file and a DICOMDIR."""
    folder = tmp_path / "Doe_Jane"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "ct").write_bytes(real("CT_small.dcm").read_bytes())
    (folder / "a" / "b" / "mr.dcm").write_bytes(real("MR_small.dcm").read_bytes())
    (folder / "broken.dcm").write_bytes(real("CT_small.dcm").read_bytes()[:-1000])
    (folder / "letter.txt").write_text("Dear Mrs Doe")
    (folder / "empty.dcm").touch()
    (folder / "link.dcm").symlink_to(folder / "a" / "ct")
    cd = FileSet()
    cd.add(real("CT_small.dcm"))
    cd.write(tmp_path / "cd")
    (folder / "DICOMDIR").write_bytes((tmp_path / "cd" / "DICOMDIR").read_bytes())
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["deidentify", *map(str, words), "--rules", str(RULES)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def outputs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_folder(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in outputs(source)}
    code, out, err = run(capsys, source, tmp_path / "out")
    assert code == 1
    assert out.splitlines()[0] == f"2 files de-identified into {tmp_path / 'out'}"
    assert "2 files not DICOM" in out
    assert "1 file DICOMDIR" in out
    assert "1 withheld, truncated" in out or "1 withheld, pixel-length" in out
    assert "broken" not in out
    assert f"made the key {tmp_path / 'out.key'}" in err
    assert (tmp_path / "out.key").stat().st_mode & 0o777 == 0o600
    assert {path: path.read_bytes() for path in outputs(source)} == before
    found = [pydicom.dcmread(path) for path in outputs(tmp_path / "out")]
    assert sorted(each.Modality for each in found) == ["CT", "MR"]
    for path, each in zip(outputs(tmp_path / "out"), found, strict=True):
        assert path.name == f"{each.SOPInstanceUID}.dcm"
        assert path.parent.name == each.SeriesInstanceUID
        assert path.parent.parent.name == each.StudyInstanceUID
        assert each.PatientIdentityRemoved == "YES"
        assert each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID
    originals = {
        each.Modality: each for each in map(pydicom.dcmread, (source / "a" / "ct", source / "a" / "b" / "mr.dcm"))
    }
    for each in found:
        assert each.PixelData == originals[each.Modality].PixelData
        assert each.PatientName != originals[each.Modality].PatientName


def test_a_single_file_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, real("CT_small.dcm"), tmp_path / "out", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["cleaned"], told["withheld"]) == (1, {})
    assert told["key_file"] == str(tmp_path / "out.key")


def test_the_same_key_gives_the_same_bytes(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, source, tmp_path / "one")
    run(capsys, source, tmp_path / "two", "--key-file", tmp_path / "one.key")
    run(capsys, source, tmp_path / "three")
    first, second, third = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in outputs(tmp_path / name)}
        for name in ("one", "two", "three")
    )
    assert first == second
    assert not set(first) & set(third)


def test_a_second_run_keeps_what_is_there(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, source, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in outputs(tmp_path / "out")}
    _, out, err = run(capsys, source, tmp_path / "out")
    assert "2 files already there, with the same content" in out
    assert "made the key" not in err
    assert {path: path.stat().st_mtime_ns for path in outputs(tmp_path / "out")} == times


def test_other_content_under_the_same_name_is_a_conflict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = real("CT_small.dcm")
    run(capsys, file, tmp_path / "out")
    (written,) = outputs(tmp_path / "out")
    written.write_bytes(b"other")
    code, out, _ = run(capsys, file, tmp_path / "out")
    assert code == 1
    assert "1 withheld, conflict" in out
    assert written.read_bytes() == b"other"
    code, out, _ = run(capsys, file, tmp_path / "out", "--overwrite")
    assert code == 0
    assert pydicom.dcmread(written).Modality == "CT"


def test_names_are_shown_only_when_asked_for(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, source, tmp_path / "out", "--names")
    lines = out.splitlines()
    assert "    broken.dcm (7FE0,0010)" in lines
    assert lines.index("2 files not DICOM") + 2 == lines.index("    letter.txt")


def test_the_place_of_what_is_withheld_is_told(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, source, tmp_path / "out")
    assert "    1 at (7FE0,0010)" in out.splitlines()


def test_the_output_may_not_lie_in_the_input(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target in (source, source / "out"):
        code, _, err = run(capsys, source, target)
        assert code == 2
        assert "DST lies inside SRC" in err
    assert not (source / "out").exists()


def test_a_lost_key_is_not_replaced(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, source, tmp_path / "out")
    (tmp_path / "out.key").unlink()
    code, _, err = run(capsys, source, tmp_path / "out")
    assert code == 1
    assert "out.key is missing but" in err
    assert not (tmp_path / "out.key").exists()


def test_a_second_key_makes_no_second_copy(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, source, tmp_path / "out")
    before = outputs(tmp_path / "out")
    other = tmp_path / "other.key"
    other.write_text("11" * 32)
    other.chmod(0o600)
    code, _, err = run(capsys, source, tmp_path / "out", "--key-file", other)
    assert code == 1
    assert f"{tmp_path / 'out'} was begun with another key, {tmp_path / 'out.key'}; name that key" in err
    assert outputs(tmp_path / "out") == before
    assert run(capsys, source / "a", tmp_path / "out", "--key-file", tmp_path / "out.key")[0] == 0


def test_a_named_key_must_exist(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, source, tmp_path / "out", "--key-file", tmp_path / "gone.key")
    assert code == 1
    assert "does not exist; restore it" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_dicom_is_a_no(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("x")
    assert run(capsys, tmp_path / "in", tmp_path / "out")[0] == 1


def test_an_engine_that_fails_withholds(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise KeyError("Doe^Jane")

    monkeypatch.setattr("dicomnode.deidentify.Deidentifier.clean", fail)
    code, out, err = run(capsys, source, tmp_path / "out")
    assert code == 1
    assert "3 withheld, internal-error" in out
    assert "Jane" not in out.replace(str(source), "") + err
    assert not (tmp_path / "out").exists()


def meta(*elements: tuple[int, bytes, bytes]) -> bytes:
    body = b"".join(
        b"\x02\x00" + number.to_bytes(2, "little") + vr + len(value).to_bytes(2, "little") + value
        for number, vr, value in elements
    )
    return b"\0" * 128 + b"DICM" + body


def test_file_meta_is_read_up_to_the_data_set() -> None:
    content = meta((0x02, b"UI", b"1.2\0"), (0x03, b"UI", b"1.3\0"), (0x10, b"UI", b"1.2.840.10008.1.2\0"))
    found = read_meta(content + b"\x08\x00\x05\x00")
    assert (found.sop_class, found.sop_uid, found.transfer_syntax) == ("1.2", "1.3", "1.2.840.10008.1.2")
    assert found.data_set == len(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (meta((0x02, b"UI", b"1.2\0")), Reason.TRANSFER_SYNTAX),
        (meta((0x10, b"UI", b"1.2.840.10008.1.2\0"))[:-1], Reason.TRUNCATED),
        (meta() + b"\x02\x00\x01\x00OB\0\0\xff\xff\xff\xff", Reason.TRUNCATED),
    ],
)
def test_damaged_file_meta_is_a_doubt(content: bytes, reason: Reason) -> None:
    with pytest.raises(Doubt) as caught:
        read_meta(content)
    assert caught.value.reason is reason
