"""What options write never takes the place of an input, an original, another output or a file that is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from dicomnode.cli import main

MAPPING = '{"StudyInstanceUID": {}, "SeriesInstanceUID": {}}'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image, a key, rules, values of variables and a mapping."""
    (tmp_path / "src").mkdir()
    shutil.copy(str(get_testdata_file("CT_small.dcm")), tmp_path / "src" / "IM0")
    (tmp_path / "project.key").write_text("00" * 32)
    (tmp_path / "project.key").chmod(0o600)
    (tmp_path / "rules.yaml").write_text("profile: basic\n")
    (tmp_path / "rules.new").write_text("profile: basic\n")
    (tmp_path / "ids.csv").write_text("entity,item,id\n1CT1,,S-001\n")
    (tmp_path / "mapping.json").write_text(MAPPING)
    (tmp_path / "report.json").write_text("[]\n")
    (tmp_path / "list.json").write_text('[{"save_condition": true}, 1]\n')
    (tmp_path / "link.json").symlink_to("report.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


KEY = ("--key-file", "project.key")


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("--report", "project.key"), "--report project.key is there already; name a new file", 1),
        (("--report", "src/IM0"), "--report src/IM0 is there already", 1),
        (("--report", "list.json"), "--report list.json is there already", 1),
        (("--report", "link.json"), "--report link.json is there already", 1),
        (("--report", "src/new"), "--report lies inside SRC", 2),
        (("--report", "out/new"), "--report lies inside DST", 2),
        (("--report", "out"), "--report lies inside DST", 2),
        (("--rules", "rules.new", "--report", "rules"), "would replace what --rules names", 2),
        (("--report", "new.json", "--store-mapping", "src/../new.json"), "would replace what --store-mapping names", 2),
        (("--report", "new", "--store-mapping", "new.new"), "would replace what --store-mapping names", 2),
        (("--export-rules", "new", "--report", "new"), "would replace what --export-rules names", 2),
        (("--export-rules", "project.key"), "--export-rules project.key is there already", 1),
        (("--export-rules", "rules.yaml", "--rules", "rules.yaml"), "--export-rules rules.yaml is there already", 1),
        (("--store-mapping", "project.key"), "would replace what --key-file names", 2),
        (("--store-mapping", "ids.csv", "--ids", "ids.csv"), "would replace what --ids names", 2),
        (("--store-mapping", "src/mapping.json"), "--store-mapping lies inside SRC", 2),
        (("--store-mapping", "rules.yaml"), "rules.yaml is no mapping of a former run", 2),
    ],
)
def test_an_output_is_refused_before_anything_is_done(
    here: Path, words: tuple[str, ...], said: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(here)
    assert main(["deidentify", "src", "out", *KEY, *words]) == code
    assert said in capsys.readouterr().err
    assert contents(here) == before


def test_the_key_that_is_to_be_made_is_no_output(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    assert main(["deidentify", "src", "out", "--report", "out.key"]) == 2
    assert "would replace what --key-file names" in capsys.readouterr().err
    assert contents(here) == before


def test_outputs_are_written_and_the_mapping_is_extended(here: Path) -> None:
    words = ("--report", "new.json", "--export-rules", "new.yaml", "--store-mapping", "mapping.json")
    assert main(["deidentify", "src", "out", *KEY, *words]) == 0
    assert (here / "new.json").read_text() == "[]\n"
    assert "profile: basic" in (here / "new.yaml").read_text()
    assert (here / "mapping.json").read_text() != MAPPING


def test_a_report_of_a_former_run_is_replaced(here: Path) -> None:
    (here / "rules.yaml").write_text("profile: basic\nwithhold_if: [{Modality: {in: [MR]}}]\n")
    for _ in range(2):
        assert main(["deidentify", "src", "out", *KEY, "--rules", "rules.yaml", "--report", "report.json"]) == 0
        (told,) = json.loads((here / "report.json").read_text())
        assert told["save_condition"] is True


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("identifiers", "src", "--output", "project.key"), 1),
        (("identifiers", "src", "--output", "src/IM0"), 1),
        (("identifiers", "src", "--output", "src/new"), 2),
        (("deidentify", "--project", "TRIAL", "--export-rules", "project.key"), 1),
        (("rules", "convert", "recipe.dicom", "--output", "project.key"), 1),
    ],
)
def test_other_commands_write_new_files_alone(
    here: Path, words: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "recipe.dicom").write_text("FORMAT dicom\n%header\nREMOVE FilterType\n")
    before = contents(here)
    assert main(list(words)) == code
    assert ("is there already" if code == 1 else "lies inside SRC") in capsys.readouterr().err
    assert contents(here) == before
