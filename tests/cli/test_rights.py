"""The wrong user, or the wrong place: said in one line, with what to do."""

from __future__ import annotations

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


def test_the_wrong_user_is_told_to_be_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "dicomnode.yaml"
    config.write_text(CONFIGURATION)

    def refused(_: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere/Quittenbaum")

    monkeypatch.setattr("dicomnode.cli.studies.open_journal", refused)
    assert main(["studies", "--config", str(config)]) == 1
    assert capsys.readouterr().err == (
        "dicomnode: this user may not read or write here; run it as the user that owns the storage directory\n"
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
