"""clean, filter and summary: old runs, folders of files."""

from __future__ import annotations

import json
from pathlib import Path

import images
import pytest
import synthetic

from dicomnode.cli import main


def _run(folder: Path, at: int) -> Path:
    run = folder / f"run_at_{at}"
    for name in ("quarantine", "to_production", "from_staging"):
        (run / name / "deep").mkdir(parents=True)
        (run / name / "deep" / "file").write_text("x")
    (run / "overview.txt").write_text("Starting\n")
    return run


def test_old_runs_lose_their_images_and_keep_their_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = _run(tmp_path, 1_600_000_000), _run(tmp_path, 1_700_000_000)
    (tmp_path / "other").mkdir()
    assert main(["clean", "--before", "2023-01-01", "--data", str(tmp_path)]) == 0
    assert [path.name for path in old.iterdir()] == ["overview.txt"]
    assert len(list(new.iterdir())) == 4
    assert (tmp_path / "other").is_dir()
    assert "1 run cleaned" in capsys.readouterr().out
    assert main(["clean", "--before", "soon", "--data", str(tmp_path)]) == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for study in (1, 2):
        for series in (1, 2):
            place = tmp_path / "in" / str(study)
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{series}.dcm").write_bytes(images.written(synthetic.small(study, series, 1)))
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    return tmp_path / "in"


def test_instances_of_a_study_or_series_are_moved(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    arguments = ["--study", synthetic.uid(1), "--series", synthetic.uid(2, 2)]
    assert main(["filter", str(folder), "--to", str(target), *arguments]) == 0
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*.dcm")) == ["1/1.dcm", "1/2.dcm", "2/2.dcm"]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.dcm")) == ["2/1.dcm"]
    assert main(["filter", str(folder), "--to", str(target), *arguments]) == 1
    assert main(["filter", str(folder), "--to", str(folder / "in"), *arguments]) == 2
    assert main(["filter", str(folder), "--to", str(target)]) == 2
    (target / "1").rename(folder / "1b")
    assert main(["filter", str(folder), "--to", str(target), *arguments]) == 0
    assert (target / "1b" / "1.dcm").exists()


def test_nothing_in_the_target_is_replaced(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "1").mkdir(parents=True)
    (target / "1" / "1.dcm").write_text("here first")
    assert main(["filter", str(folder), "--to", str(target), "--study", synthetic.uid(1)]) == 2
    assert (target / "1" / "1.dcm").read_text() == "here first"


def test_a_folder_is_summed_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == 4
    assert told["patient names"] == [synthetic.PERSON.name]
    assert told["study descriptions"] == [str(synthetic.small(1, 1, 1).StudyDescription)]
    assert main(["summary", str(folder)]) == 0
    assert "4 DICOM files" in capsys.readouterr().out
