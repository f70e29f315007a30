"""What a run passes over or cannot read is counted and named: nothing of a folder goes without a word."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from synthetic import numbered, small

from dicomnode.cli import main
from dicomnode.folders.part10 import is_bare
from dicomnode.folders.sources import source

BARE = ("rtstruct.dcm", "ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm")
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def real(name: str) -> bytes:
    return Path(str(get_testdata_file(name))).read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image."""
    made = tmp_path / "in"
    made.mkdir()
    (made / "0.dcm").write_bytes(next(numbered(small(), 1)))
    return made


def told(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["deidentify", str(folder), str(folder.parent / "out"), *words])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("name", BARE)
def test_a_data_set_without_preamble_is_told_and_left(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_bytes(real(name))
    code, out = told(capsys, folder, "--names")
    assert code == 1
    assert "1 file DICOM without preamble or file meta" in out
    assert f"    {name}" in out.splitlines()
    code, out = told(capsys, folder, "--names", "--json")
    document = json.loads(out)
    assert (code, document["no_preamble"], document["not_dicom"]) == (1, 1, 0)
    assert document["names"]["no_preamble"] == [name]
    assert main(["identifiers", str(folder)]) == 1
    assert "1 file DICOM without preamble" in capsys.readouterr().err


def test_file_meta_without_preamble_is_told_too() -> None:
    assert is_bare(real("CT_small.dcm")[132:])


@pytest.mark.parametrize(
    "content", [b"", b"\x08\0", b"\x08\0\x05\0CS", b"Dear Mrs Doe", b"%PDF-1.4", b"\x08\0" * 500, bytes(500)]
)
def test_other_files_begin_in_other_ways(content: bytes) -> None:
    assert not is_bare(content)


def test_links_and_pipes_are_counted_and_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "0.dcm").write_bytes(real("CT_small.dcm"))
    (folder / "study").symlink_to(tmp_path / "study")
    (folder / "gone").symlink_to("nowhere")
    (folder / "loop").symlink_to(".")
    (folder / "one.dcm").symlink_to("0.dcm")
    os.mkfifo(folder / "pipe")
    left = ["gone", "loop", "one.dcm", "pipe", "study"]
    code, out = told(capsys, folder, "--names")
    assert code == 0
    lines = out.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("5 files passed over: a symbolic link"))
    assert [line.strip() for line in lines[at + 1 : at + 6]] == left
    document = json.loads(told(capsys, folder, "--names", "--json")[1])
    assert (document["already_there"], document["no_file"], document["names"]["no_file"]) == (1, 5, left)
    assert main(["identifiers", str(folder)]) == 0
    assert "5 files passed over" in capsys.readouterr().err


def test_a_link_that_is_named_itself_is_followed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder / "0.dcm")
    assert told(capsys, link)[0] == 0
    link.unlink()
    link.symlink_to(folder)
    assert told(capsys, link)[0] == 0


def bound_by_rights(*words: object) -> subprocess.CompletedProcess[str]:
    """A command that may read what the rights of files allow, run by root too."""
    command = [sys.executable, "-m", "dicomnode", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_bind)


def _bind() -> None:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH) if os.geteuid() == 0 else ():
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)


@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_folder_that_cannot_be_entered_is_told(mode: int, folder: Path) -> None:
    (folder / "locked").mkdir()
    (folder / "locked" / "1.dcm").write_bytes(real("CT_small.dcm"))
    (folder / "locked").chmod(mode)
    name = "locked/1.dcm" if mode else "locked"
    try:
        done = bound_by_rights("deidentify", folder, folder.parent / "out", "--names")
        tried = bound_by_rights("rules", "try", Path(__file__).parents[2] / "rules" / "basic.yaml", folder, "--json")
        listed = bound_by_rights("identifiers", folder)
    finally:
        (folder / "locked").chmod(0o700)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"1 file not readable\n    {name}" in done.stdout
    assert (tried.returncode, json.loads(tried.stdout)["series"][-1]["why"]) == (1, {"unreadable": 1})
    assert (listed.returncode, "1 file not readable" in listed.stderr) == (1, True)


def test_a_folder_is_never_read_as_a_file(folder: Path) -> None:
    """One that could not be listed stays unreadable when it can be opened meanwhile."""
    (folder / "locked").mkdir()
    with pytest.raises(IsADirectoryError):
        source(str(folder)).read("locked")
