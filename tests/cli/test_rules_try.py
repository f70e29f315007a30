"""`dicomnode rules try`, and `deidentify` under rules that judge whole series: what is told is what happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import images
import pytest
import synthetic

from dicomnode.cli import main

RULES = "profile: basic\naccept_if: {ImageType: {not_substring: SCREEN}}\naggregate: AGGREGATE\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two series of a study, in the first of which an instance fails, another study, and a file that is no DICOM."""
    made = tmp_path / "src"
    made.mkdir()
    for study, series, number in ((1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 2, 1), (2, 1, 1)):
        instance = synthetic.ct(study, series, number, rows=8, columns=8)
        instance.ImageType = ["ORIGINAL", "PRIMARY", "SCREEN" if (study, series, number) == (1, 1, 2) else "AXIAL"]
        (made / f"{study}{series}{number}.dcm").write_bytes(images.written(instance))
    (made / "notes.txt").write_text("no DICOM")
    return made


def rules(folder: Path, aggregate: str) -> Path:
    path = folder.parent / "rules.yaml"
    path.write_text(RULES.replace("AGGREGATE", aggregate))
    return path


def told(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    main([*map(str, words), "--json"])
    return dict(json.loads(capsys.readouterr().out))


WHY = "{}-conditions (0008,0008) not substring"


@pytest.mark.parametrize(
    ("aggregate", "go", "kept_back"), [("instance", [2, 1, 1], 0), ("series", [0, 1, 1], 2), ("study", [0, 0, 1], 3)]
)
def test_try_tells_what_deidentify_does(
    aggregate: str, go: list[int], kept_back: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in folder.parent.iterdir())
    document = told(capsys, "rules", "try", rules(folder, aggregate), folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == sorted([*before, "rules.yaml"])
    *series, rest = document["series"]
    assert [each["go"] for each in series] == go
    assert sum(each["kept_back"] for each in series) == kept_back
    assert series[0]["why"] == {WHY.format(aggregate).replace("instance-", ""): 1}
    assert (rest["first_file"], rest["why"], rest["withheld"]) == ("notes.txt", {"not_dicom": 1}, 0)
    assert [each["withheld"] for each in series] == [1, 0, 0]
    done = told(capsys, "deidentify", folder, folder.parent / "out", "--rules", rules(folder, aggregate))
    assert done["cleaned"] == sum(go) == len(list((folder.parent / "out").rglob("*.dcm")))


def test_deidentify_reports_with_encords_keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = folder.parent / "out", folder.parent / "report.json"
    told(capsys, "deidentify", folder, out, "--rules", rules(folder, "series"), "--report", report)
    assert report.stat().st_mode & 0o777 == 0o600
    found = {each["url"]: each for each in json.loads(report.read_text())}
    assert set(found) == {"111.dcm", "112.dcm", "113.dcm", "121.dcm", "211.dcm"}
    assert [each for each in found if not found[each]["save_condition"]] == ["112.dcm"]
    assert {url for url, each in found.items() if not each["save_condition_series_agg"]} == {
        f"11{n}.dcm" for n in "123"
    }
    assert found["113.dcm"]["save_disabling_urls_series_agg"] == ["112.dcm"]
    assert {each["url_deid"] for each in found.values()} - {None} == {
        str(path.relative_to(out)) for path in out.rglob("*.dcm")
    }
    inside = main(["deidentify", str(folder), str(out), "--report", str(out / "report.json")])
    assert (inside, "--report lies inside DST" in capsys.readouterr().err) == (2, True)


def test_try_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "try", str(rules(folder, "series")), str(folder)]) == 1
    out = capsys.readouterr().out
    assert "series-conditions (0008,0008) not substring, 2 kept back with what fails" in out
    assert "2 files of 6 would go; nothing was written" in out
    assert not any(needle in out for needle in synthetic.PERSON.needles())


def test_try_is_good_when_everything_goes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.txt").unlink()
    (folder.parent / "all.yaml").write_text("profile: basic\nsuspicious_pixels: {off: all}\n")
    assert main(["rules", "try", str(folder.parent / "all.yaml"), str(folder)]) == 0
    assert "5 files of 5 would go" in capsys.readouterr().out


def test_check_tells_what_was_loosened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "loose.yaml"
    path.write_text("profile: basic\nsuspicious_pixels: {off: [ultrasound], accept: [SecondaryCaptureImageStorage]}\n")
    main(["rules", "check", str(path)])
    out = capsys.readouterr().out
    assert "pixels      switched off: ultrasound\npixels      not judged: SecondaryCaptureImageStorage" in out
    path.write_text("profile: basic\nsuspicious_pixels: {off: all}\n")
    for command in ("check", "explain"):
        main(["rules", command, str(path)])
        assert "pixels      no picture is judged: what is burned in goes out" in capsys.readouterr().out
    path.write_text("profile: basic\n")
    main(["rules", "check", str(path)])
    assert "pixels      judged by all rules" in capsys.readouterr().out
