"""Folder runs from and to object storage, with a local S3 server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pydicom
import pytest
from moto.server import ThreadedMotoServer
from synthetic import numbered, small

from dicomnode.cli import main

COUNT = 280


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on a free port; its address."""
    running = ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def storage(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket `images`, empty."""
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("ENDPOINT_URL", server)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    if files.exists("images"):
        files.rm("images", recursive=True)
    files.mkdir("images")
    return files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number, content in enumerate(numbered(small(), 3)):
        (tmp_path / "in" / "a" / f"{number}.dcm").write_bytes(content)
    (tmp_path / "in" / "letter.txt").write_text("Dear Mrs Doe")
    (tmp_path / "rules.yaml").write_text("profile: basic\n")
    return tmp_path


def deidentify(folder: Path, capsys: pytest.CaptureFixture[str], source: str, target: str, *words: str) -> Any:
    rules = ["--rules", str(folder / "rules.yaml"), "--key-file", str(folder / "out.key"), "--json"]
    code = main(["deidentify", source, target, *rules, *words])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else captured.err


def test_from_a_bucket_to_a_bucket(folder: Path, storage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    main(["deidentify", str(folder / "in"), str(folder / "out"), "--rules", str(folder / "rules.yaml")])
    capsys.readouterr()
    storage.put(str(folder / "in"), "images/arrived", recursive=True)
    code, told = deidentify(folder, capsys, "s3://images/arrived/", "s3://images/clean")
    assert (code, told["cleaned"], told["not_dicom"]) == (0, 3, 1)
    there = {path.removeprefix("images/clean/"): storage.cat_file(path) for path in storage.find("images/clean")}
    local = {str(path.relative_to(folder / "out")): path.read_bytes() for path in (folder / "out").rglob("*.dcm")}
    assert there == local
    code, told = deidentify(folder, capsys, "s3://images/arrived", "s3://images/clean/")
    assert (code, told["cleaned"], told["already_there"]) == (0, 0, 3)


def test_from_one_object_to_a_folder(folder: Path, storage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    storage.put(str(folder / "in" / "a" / "0.dcm"), "images/one.dcm")
    (folder / "out.key").write_text("00" * 32)
    (folder / "out.key").chmod(0o600)
    code, told = deidentify(folder, capsys, "s3://images/one.dcm", str(folder / "out"))
    assert (code, told["cleaned"]) == (0, 1)
    (written,) = (folder / "out").rglob("*.dcm")
    assert pydicom.dcmread(written).PatientIdentityRemoved == "YES"


def test_objects_are_replaced_only_when_asked_for(
    folder: Path, storage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out.key").write_text("00" * 32)
    (folder / "out.key").chmod(0o600)
    source = str(folder / "in" / "a" / "0.dcm")
    assert deidentify(folder, capsys, source, "s3://images/clean")[0] == 0
    (path,) = storage.find("images/clean")
    storage.pipe_file(path, b"other")
    code, told = deidentify(folder, capsys, source, "s3://images/clean")
    assert (code, told["withheld"]) == (1, {"conflict": 1})
    assert storage.cat_file(path) == b"other"
    assert deidentify(folder, capsys, source, "s3://images/clean", "--overwrite")[0] == 0
    assert storage.cat_file(path) != b"other"


def test_several_processes_share_a_bucket(folder: Path, storage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Three instances are there twice. Where they meet both may count as written: moto looks, then puts."""
    for number, content in enumerate(numbered(small(), COUNT)):
        (folder / "in" / f"{number}.dcm").write_bytes(content)
    (folder / "out.key").write_text("00" * 32)
    (folder / "out.key").chmod(0o600)
    code, told = deidentify(folder, capsys, str(folder / "in"), "s3://images/clean", "--workers", "2")
    assert (code, told["cleaned"] + told["already_there"]) == (0, COUNT + 3)
    assert len(storage.find("images/clean")) == COUNT


def test_a_key_must_be_named(folder: Path, storage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["deidentify", str(folder / "in"), "s3://images/clean", "--rules", str(folder / "rules.yaml")])
    assert code == 2
    assert "name one with --key-file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nosuch://images/x", "nosuch:// is no storage that fsspec knows"),
        ("s3://nowhere/x", "there is nothing at s3://nowhere/x"),
    ],
)
def test_a_wrong_address_is_told(
    folder: Path, storage: Any, capsys: pytest.CaptureFixture[str], address: str, said: str
) -> None:
    code = main(["deidentify", address, str(folder / "out"), "--rules", str(folder / "rules.yaml")])
    err = capsys.readouterr().err
    assert code in (1, 2)
    assert said in err
