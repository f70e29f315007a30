"""Folder runs in several processes: the same output, nothing replaced, and a kill at any moment loses nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest
from synthetic import numbered, small

from dicomnode.cli import main
from dicomnode.errors import CannotKeep
from dicomnode.folders import run as running
from dicomnode.folders.job import Job, keys_of
from dicomnode.folders.progress import duration, line
from dicomnode.folders.run import run
from dicomnode.folders.tally import Fate, Outcome, Tally
from dicomnode.folders.targets import FolderTarget, sweep
from dicomnode.keys import ProjectKeys
from dicomnode.model import Reason

KEYS = ProjectKeys.derive(bytes(32))
COUNT = 300


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 small instances of one series and a letter."""
    folder = tmp_path_factory.mktemp("source") / "Doe_Jane"
    folder.mkdir()
    for number, content in enumerate(numbered(small(), COUNT)):
        (folder / f"{number:04}.dcm").write_bytes(content)
    (folder / "letter.txt").write_text("Dear Mrs Doe")
    return folder


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text("profile: basic\n")
    return path


def silent(tally: Tally, total: int, seconds: float) -> None:
    pass


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_several_processes_write_what_one_writes(source: Path, tmp_path: Path, rules: Path) -> None:
    told: list[tuple[int, int]] = []
    for workers in (1, 3):
        job = Job(str(source), str(tmp_path / f"{workers}"), rules, KEYS)
        result = run(job, workers, lambda tally, total, seconds: told.append((tally.done, total)))
        assert result.tally.fates == {Fate.CLEANED: COUNT, Fate.NOT_DICOM: 1}
    assert told[-1] == (COUNT + 1, COUNT + 1)
    assert len(contents(tmp_path / "1")) == COUNT
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_parts_of_a_study_merge(source: Path, tmp_path: Path, rules: Path) -> None:
    run(Job(str(source), str(tmp_path / "whole"), rules, KEYS), 1, silent)
    for part in ("first", "second"):
        (tmp_path / part).mkdir()
    for number, path in enumerate(sorted(source.iterdir())):
        (tmp_path / ("first" if number % 2 else "second") / path.name).write_bytes(path.read_bytes())
    for part in ("first", "second"):
        run(Job(str(tmp_path / part), str(tmp_path / "merged"), rules, KEYS), 1, silent)
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_each_project_has_a_copy_of_its_own(source: Path, tmp_path: Path, rules: Path) -> None:
    for project in ("", "A", "B", "A"):
        run(Job(str(source / "0000.dcm"), str(tmp_path / "out"), rules, keys_of(KEYS, project)), 1, silent)
    found = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert len(found) == 3
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID"):
        assert len({each[keyword].value for each in found}) == 3
    assert len({keys_of(KEYS, project).key_id for project in ("", "A", "B")}) == 3


def test_a_killed_run_goes_on_where_it_was(source: Path, tmp_path: Path, rules: Path) -> None:
    command = [sys.executable, "-m", "dicomnode", "deidentify", source, tmp_path / "out", "--rules", rules]
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "out").rglob("*/*/*.dcm")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*/*/*.dcm")}
    assert before
    finished = subprocess.run([*command, "--workers", "2", "--json"], capture_output=True, check=True)
    told = json.loads(finished.stdout)
    assert told["cleaned"] + told["already_there"] == COUNT
    assert told["already_there"] >= len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    whole = run(Job(str(source), str(tmp_path / "whole"), rules, _keys(tmp_path)), 1, silent)
    assert whole.tally.fates[Fate.CLEANED] == COUNT
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def _keys(tmp_path: Path) -> ProjectKeys:
    return ProjectKeys.derive(bytes.fromhex((tmp_path / "out.key").read_text().strip()))


def test_workers_end_with_the_run_that_is_killed(source: Path, tmp_path: Path, rules: Path) -> None:
    command = [sys.executable, "-m", "dicomnode", "deidentify", source, tmp_path / "out", "--rules", rules]
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    children: list[int] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(children) < 2:
        time.sleep(0.01)
        children = _children(process.pid)
    while time.monotonic() < deadline and not (tmp_path / "out").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    while time.monotonic() < deadline and any(Path(f"/proc/{child}").exists() for child in children):
        time.sleep(0.01)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def _children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_a_worker_that_dies_is_told(source: Path, tmp_path: Path, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_take", _die)
    with pytest.raises(CannotKeep, match="a worker process died"):
        run(Job(str(source), str(tmp_path / "out"), rules, KEYS), 2, silent)


def _die(names: list[str]) -> None:
    os._exit(1)


def test_twins_with_other_content_are_a_conflict(tmp_path: Path, rules: Path) -> None:
    (content,) = numbered(small(), 1)
    other = content.replace(b"ISO_IR 100", b"ISO_IR 192", 1)
    assert other != content
    (tmp_path / "in").mkdir()
    for name, each in (("a", content), ("b", content), ("c", other)):
        (tmp_path / "in" / name).write_bytes(each)
    tally = run(Job(str(tmp_path / "in"), str(tmp_path / "out"), rules, KEYS), 1, silent).tally
    assert tally.fates == {Fate.CLEANED: 1, Fate.THERE: 1, Fate.WITHHELD: 1}
    assert tally.names[Fate.WITHHELD] == [Outcome("c", Fate.WITHHELD, Reason.CONFLICT)]


def test_the_data_set_says_which_instance_it_is(tmp_path: Path, rules: Path) -> None:
    """File meta of another SOP Instance UID is common in RT; of another SOP class it is a doubt."""
    (tmp_path / "source").mkdir()
    content = next(numbered(small(), 1))
    uid = str(small().SOPInstanceUID).encode()
    assert content.count(uid) == 2
    (tmp_path / "source" / "other.dcm").write_bytes(content.replace(uid, uid[:-1] + b"7", 1))
    sop_class = str(small().SOPClassUID).encode()
    (tmp_path / "source" / "wrong.dcm").write_bytes(content.replace(sop_class, sop_class[:-1] + b"2", 1))
    result = run(Job(str(tmp_path / "source"), str(tmp_path / "out"), rules, KEYS), 1, silent)
    assert result.tally.fates == {Fate.CLEANED: 1, Fate.WITHHELD: 1}
    (tmp_path / "source" / "other.dcm").write_bytes(content)
    run(Job(str(tmp_path / "source"), str(tmp_path / "same"), rules, KEYS), 1, silent)
    assert contents(tmp_path / "out") == contents(tmp_path / "same")


def test_a_file_that_cannot_be_read_is_counted(source: Path, tmp_path: Path, rules: Path) -> None:
    class Broken:
        def names(self) -> list[str]:
            return ["a"]

        def read(self, name: str) -> bytes:
            raise PermissionError(13, "Permission denied", "/Doe")

    worker = Job(str(source), str(tmp_path / "out"), rules, KEYS).worker()
    worker._source = Broken()  # type: ignore[assignment]
    assert worker.take(["a"]).outcomes == [Outcome("a", Fate.UNREADABLE, where="Permission denied")]


def test_a_sync_that_fails_gives_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise CannotKeep("cannot sync")

    target = FolderTarget(tmp_path / "out", overwrite=False)
    assert target.put("a/b/c.dcm", [b"abc"]) is None
    monkeypatch.setattr("dicomnode.folders.targets.sync_all", fail)
    with pytest.raises(CannotKeep):
        target.commit()
    assert not (tmp_path / "out" / "a").exists()


def test_what_a_dead_run_left_unfinished_is_swept(tmp_path: Path) -> None:
    left = tmp_path / ".unfinished-elsewhere-1"
    mine = FolderTarget(tmp_path, overwrite=False)
    mine.put("a.dcm", [b"abc"])
    left.mkdir()
    (left / "0.dcm").write_bytes(b"half")
    sweep(str(tmp_path))
    assert not left.exists()
    assert mine.commit() == [Fate.CLEANED]
    assert (tmp_path / "a.dcm").read_bytes() == b"abc"
    mine.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dcm"]


def test_the_mapping_keeps_former_runs(source: Path, tmp_path: Path, rules: Path) -> None:
    words = ["--rules", str(rules), "--store-mapping", str(tmp_path / "mapping.json")]
    assert main(["deidentify", str(source / "0000.dcm"), str(tmp_path / "out"), *words]) == 0
    path = tmp_path / "mapping.json"
    assert path.stat().st_mode & 0o777 == 0o600
    told = json.loads(path.read_text())
    original = pydicom.dcmread(source / "0000.dcm")
    (written,) = (pydicom.dcmread(each) for each in (tmp_path / "out").rglob("*.dcm"))
    assert told == {
        "StudyInstanceUID": {original.StudyInstanceUID: written.StudyInstanceUID},
        "SeriesInstanceUID": {original.SeriesInstanceUID: written.SeriesInstanceUID},
    }
    told["StudyInstanceUID"]["1.2.3"] = "2.25.4"
    path.write_text(json.dumps(told))
    assert main(["deidentify", str(source / "0001.dcm"), str(tmp_path / "out"), *words]) == 0
    assert json.loads(path.read_text())["StudyInstanceUID"]["1.2.3"] == "2.25.4"


def test_the_mapping_may_not_lie_in_the_output(
    source: Path, tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--rules", str(rules), "--store-mapping", str(tmp_path / "out" / "mapping.json")]
    assert main(["deidentify", str(source), str(tmp_path / "out"), *words]) == 2
    assert "lies inside DST" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_mapping_is_refused(
    source: Path, tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mapping.json").write_text('{"StudyInstanceUID": 1}')
    words = ["--rules", str(rules), "--store-mapping", str(tmp_path / "mapping.json")]
    assert main(["deidentify", str(source), str(tmp_path / "out"), *words]) == 2
    assert "is no mapping of a former run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_by_series_leaves_out_the_study(source: Path, tmp_path: Path, rules: Path) -> None:
    words = ["--rules", str(rules), "--by-series"]
    assert main(["deidentify", str(source / "0000.dcm"), str(tmp_path / "out"), *words]) == 0
    (path,) = (tmp_path / "out").rglob("*.dcm")
    written = pydicom.dcmread(path)
    assert path == tmp_path / "out" / written.SeriesInstanceUID / f"{written.SOPInstanceUID}.dcm"


def test_progress_tells_rate_and_remaining_time() -> None:
    tally = Tally()
    for number in range(100):
        tally.add(Outcome(f"{number}", Fate.CLEANED))
    tally.add(Outcome("x", Fate.WITHHELD, Reason.RESIDUE, "(0010,0010)"))
    assert line(tally, 1010, 0.5) == "101 of 1010 files, 1 withheld"
    assert line(tally, 1010, 10.1) == "101 of 1010 files, 10/s, 2 min left, 1 withheld"
    assert [duration(seconds) for seconds in (0.2, 45, 600, 12000)] == ["0 s", "45 s", "10 min", "3 h 20 min"]


def test_a_full_target_names_itself_and_the_remedy(
    source: Path, tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    words = ["--rules", str(rules), "--key-file", str(_key(tmp_path))]
    monkeypatch.setattr(os, "pwritev", full)
    assert main(["deidentify", str(source), str(tmp_path / "out"), *words]) == 1
    remedy = "No space left on device; free space or repair the disk, and run it again: what is there stays and counts"
    assert capsys.readouterr().err == f"dicomnode: cannot write {tmp_path / 'out'}: {remedy}\n"
    assert main(["identifiers", str(source), "--output", str(tmp_path / "ids.json")]) == 1
    assert f"cannot write {tmp_path / 'ids.json'}: {remedy}" in capsys.readouterr().err


def test_an_interrupted_run_tells_how_far_it_came(
    source: Path, tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, told = FolderTarget.commit, []

    def interrupted(target: FolderTarget) -> list[Fate]:
        if len(told) == 2:
            raise KeyboardInterrupt
        told.append(target)
        return commit(target)

    monkeypatch.setattr(FolderTarget, "commit", interrupted)
    words = ["--rules", str(rules), "--key-file", str(_key(tmp_path)), "--workers", "1"]
    assert main(["deidentify", str(source), str(tmp_path / "out"), *words]) == 130
    first, last = filter(None, capsys.readouterr().err.splitlines())
    assert first == f"64 of {COUNT + 1} files; what is in DST stays there, and the same command goes on"
    assert last == "dicomnode: interrupted"
    assert len(contents(tmp_path / "out")) == 64


def _key(folder: Path) -> Path:
    path = folder / "project.key"
    path.write_text("00" * 32)
    path.chmod(0o600)
    return path
