"""The wrong user, or the wrong place: said in one line, with what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode import disk
from dicomnode.cli import main
from dicomnode.errors import CannotKeep

CONFIGURATION = """
node: {ae_title: DICOMNODE, bind: 127.0.0.1, port: 11112}
storage: {directory: storage}
peers:
  staging: {ae_title: STAGING, host: 127.0.0.1, port: 4242}
projects:
  default: {rules: rules.yaml, destinations: [staging]}
"""


NAMELESS = "a file of the storage directory, or one that the configuration names,"


@pytest.mark.parametrize(
    ("number", "place", "said"),
    [
        (
            errno.EACCES,
            "/somewhere/Quittenbaum",
            f"{NAMELESS} cannot be read or written: Permission denied; run it",
        ),
        (errno.EACCES, "{config}", "{config}, or something in it, cannot be read or written: Permission denied; run"),
        (errno.EACCES, "{folder}/Quittenbaum", "{folder}, or something in it, cannot be read or written: Permission"),
        (errno.ENOSPC, None, f"{NAMELESS} cannot be read or written: No space left on device; make room there, or"),
        (errno.EROFS, None, f"{NAMELESS} cannot be read or written: Read-only file system; make room there, or"),
    ],
)
def test_what_the_system_refuses_names_what_was_typed_and_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number, place, said
) -> None:
    config = tmp_path / "dicomnode.yaml"
    config.write_text(CONFIGURATION)
    places = {"config": config, "folder": tmp_path / "out"}

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), place and place.format(**places))

    monkeypatch.setattr("dicomnode.cli.studies.open_journal", refused)
    arguments = ["studies", "export", "x", "--to", str(tmp_path / "out"), "--config", str(config)]
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dicomnode: {said.format(**places)}")
    assert "Quittenbaum" not in line


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_an_output_that_takes_nothing_is_said_in_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            [sys.executable, "-m", "dicomnode", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert told.returncode == 1
    assert told.stderr == (
        "dicomnode: the output cannot be written: No space left on device; "
        "make room where it goes, or send it elsewhere\n"
    )


@pytest.mark.parametrize("words", [["studies"], ["jobs"], ["check", "--running"], ["retrieve", "--study", "1.2"]])
def test_the_owner_of_the_storage_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    config, storage = tmp_path / "dicomnode.yaml", tmp_path / "storage"
    config.write_text(CONFIGURATION)
    storage.mkdir()
    monkeypatch.setattr("dicomnode.cli.options.os.access", lambda path, _: Path(path) != storage)
    assert main([*words, "--config", str(config)]) == 1
    owner = storage.owner()
    assert capsys.readouterr().err == (
        f"dicomnode: this user may not use {storage}; run it as {owner}, who owns it (sudo -u {owner})\n"
    )


def test_a_check_by_another_user_says_so_among_its_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, storage = tmp_path / "dicomnode.yaml", tmp_path / "storage"
    config.write_text(CONFIGURATION)
    storage.mkdir()
    monkeypatch.setattr("dicomnode.cli.options.os.access", lambda path, _: Path(path) != storage)
    assert main(["check", "--config", str(config)]) == 1
    told = capsys.readouterr()
    assert [line.split()[:2] for line in told.out.splitlines()] == [["ok", "configuration"], ["wrong", "storage"]]
    assert not told.err


def test_a_directory_below_a_file_names_the_place_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotKeep) as caught:
        disk.make_directory(tmp_path / "file" / "storage")
    assert str(caught.value) == (
        f"cannot create directory {tmp_path / 'file'}: File exists; "
        "give the directory to the user that runs dicomnode, or name another"
    )
