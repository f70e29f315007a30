"""The files of deleted segments are written over: only the records of the new segment are there, at every cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from boxes import CASES, as_recovered, outbox, read, recover
from kept import FRONT, KEYS, clean
from powercut import Recorder

from dicomnode import disk, records
from dicomnode.errors import CannotKeep, StoreDamaged
from dicomnode.model import Location
from dicomnode.outbox import Outbox, Segment
from dicomnode.runs import steps

MIB = 1 << 20


@pytest.fixture(autouse=True)
def ample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the tests has room."""
    monkeypatch.setattr(disk, "free", lambda path: 1 << 40)


def failing(*_: object) -> None:
    raise CannotKeep("cannot: I/O error")


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def delivered(box: Outbox, study: str = "studya", cases: int = len(CASES)) -> int:
    """Write a study and delete it; the inode of its file."""
    segment = box.lease("trial", study)
    for case in CASES[:cases]:
        case.append_to(segment)
    inode = (box.directory / segment.name).stat().st_ino
    box.give_back(segment)
    assert box.delete_study("trial", study, {segment.name: segment.end}) == [segment.name]
    assert not (box.directory / "trial" / study).exists()
    return inode


def written_over(box: Outbox, inode: int, study: str = "studyb") -> Segment:
    """A new segment in the file of the former one."""
    segment = box.lease("trial", study)
    status = (box.directory / segment.name).stat()
    assert status.st_ino == inode
    assert status.st_size > 100_000
    assert segment.end == 0
    return segment


@pytest.mark.usefixtures("way_of_reading")
def test_only_new_records_are_there(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=MIB)
    segment = written_over(box, delivered(box))
    cases = [clean(number, pixels=500, study="studyb") for number in (10, 11, 12)]
    locations = [case.append_to(segment) for case in cases]
    assert [read(box, location) for location in locations] == [case.data for case in cases]
    assert (tmp_path / segment.name).stat().st_size > segment.end, "what was there before is still there"
    assert recover(tmp_path) == [as_recovered(*pair) for pair in zip(cases, locations, strict=True)]
    assert (tmp_path / segment.name).stat().st_size == segment.end, "recovery cuts it off"


def test_nothing_of_a_former_study_is_recovered_before_the_first_record(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=MIB)
    written_over(box, delivered(box))
    assert recover(tmp_path) == []


def test_half_a_record_counts_at_no_byte(tmp_path: Path) -> None:
    """Behind it are the rest of a record and whole ones of the former study."""
    box = outbox(tmp_path / "a", spare=MIB)
    segment = written_over(box, delivered(box))
    former = (tmp_path / "a" / segment.name).read_bytes()
    first, second = clean(1, pixels=30, study="studyb"), clean(2, pixels=30, study="studyb")
    kept = first.append_to(segment)
    second.append_to(segment)
    content = (tmp_path / "a" / segment.name).read_bytes()
    torn = tmp_path / "torn" / segment.name
    torn.parent.mkdir(parents=True)
    for length in range(kept.length, segment.end):
        torn.write_bytes(content[:length] + former[length:])
        box = outbox(tmp_path / "torn")
        assert list(box.recover({})) == [as_recovered(first, kept)]
        assert not box.damaged


def test_a_damaged_record_is_seen_and_the_next_found(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=MIB)
    segment = written_over(box, delivered(box))
    cases = [clean(number, pixels=500, study="studyb") for number in (10, 11)]
    locations = [case.append_to(segment) for case in cases]
    path = tmp_path / segment.name
    content = bytearray(path.read_bytes())
    content[locations[0].data_offset + 20] ^= 1
    path.write_bytes(content)
    again = outbox(tmp_path)
    assert list(again.recover({})) == [as_recovered(cases[1], locations[1])]
    assert again.damaged == {segment.name: [(0, locations[1].offset)]}


@pytest.mark.parametrize("streamed", [False, True])
def test_every_cut_leaves_what_was_promised(tmp_path: Path, streamed: bool) -> None:
    promises: list[tuple[int, Location]] = []
    root = tmp_path / "disk"
    root.mkdir()
    with Recorder(root) as recorder:
        box = outbox(root / "outbox", spare=MIB)
        segment = box.lease("trial", "studya")
        former = [case.append_to(segment) for case in CASES[:3]]
        box.give_back(segment)
        kept_until = recorder.now()
        box.delete_study("trial", "studya", {segment.name: segment.end})
        deleted = recorder.now()
        segment = box.lease("trial", "studyb")
        for number in range(4):
            case = clean(20 + number, pixels=300, study="studyb")
            if streamed:
                writer = segment.begin()
                writer.write([case.data[:200]])
                writer.write([case.data[200:]])
                if number == 1:
                    writer.void()
                    continue
                place = writer.finish(case.instance, case.identity, len(FRONT), case.pixel_offset, case.pixel_length)
            else:
                place = case.append_to(segment)
            promises.append((recorder.now(), place))
        box.give_back(segment)
        assert (box.directory / segment.name).stat().st_size == segment.end
        place = clean(30, pixels=300, study="studyb").append_to(box.lease("trial", "studyb"))
        promises.append((recorder.now(), place))
    for point in range(recorder.now() + 1):
        for seed in (None, *range(6)):
            rebuilt = recorder.rebuild(point, tmp_path / f"{point}-{seed}", seed) / "outbox"
            box = outbox(rebuilt)
            found = {each.location for each in box.recover({})}
            new = {place for made, place in promises if made <= point}
            assert new <= found
            old = {place for place in found if place.segment == former[0].segment}
            assert found - old <= {place for _, place in promises}
            assert old <= set(former)
            if point >= deleted:
                assert not old, "its file may be written over"
            elif point == kept_until:
                assert old == set(former)
            for place in found:
                read(box, place)
            assert seed is not None or not box.damaged
            assert not list(rebuilt.rglob("*.spare"))


def test_records_of_former_versions_are_read_and_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their magic numbers were the same in all segments."""
    segment = outbox(tmp_path).lease("trial", "studya")
    with monkeypatch.context() as patch:
        patch.setattr(records, "marked", lambda parts, segment: list(parts))
        locations = [case.append_to(segment) for case in CASES]
    assert (tmp_path / segment.name).read_bytes()[:8] == b"DCMNODE\x01"
    box = outbox(tmp_path)
    assert [read(box, location) for location in locations] == [case.data for case in CASES]
    found = [as_recovered(*pair) for pair in zip(CASES, locations, strict=True)]
    assert recover(tmp_path) == found
    content = bytearray((tmp_path / segment.name).read_bytes())
    content[3] ^= 1
    (tmp_path / segment.name).write_bytes(content)
    assert recover(tmp_path) == found[1:]


def test_a_segment_with_more_than_the_journal_knows_stays(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=MIB)
    segment = written_over(box, delivered(box))
    first = clean(1, study="studyb").append_to(segment)
    clean(2, study="studyb").append_to(segment)
    box.give_back(segment)
    assert box.delete_study("trial", "studyb", {segment.name: first.length}) is None
    assert box.delete_study("trial", "studyb", {segment.name: segment.end}) == [segment.name]


def test_spares_have_a_bound(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=250_000)
    for study in ("a", "b", "c"):
        segment = box.lease("trial", study)
        for case in CASES:
            case.append_to(segment)
        box.give_back(segment)
    for study in ("a", "b", "c"):
        box.delete_study("trial", study)
    assert len(list(tmp_path.rglob("*.spare"))) == 1
    box.drop_spares()
    assert not list(tmp_path.rglob("*.spare"))
    assert box.lease("trial", "d").end == 0


def test_without_room_or_wish_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delivered(outbox(tmp_path))
    monkeypatch.setattr(disk, "free", lambda path: 8 * MIB - 1)
    delivered(outbox(tmp_path, spare=MIB))
    assert not list(tmp_path.rglob("*.spare"))


def test_a_start_deletes_those_of_the_run_before(tmp_path: Path) -> None:
    delivered(outbox(tmp_path, spare=MIB))
    assert list(tmp_path.rglob("*.spare"))
    assert recover(tmp_path) == []
    assert not list(tmp_path.rglob("*.spare"))


def test_recovery_leaves_those_of_this_run(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=MIB)
    inode = delivered(box)
    assert list(box.recover({})) == []
    written_over(box, inode)


def test_a_spare_that_is_gone_keeps_nobody_from_writing(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=MIB)
    delivered(box)
    for path in tmp_path.rglob("*.spare"):
        path.unlink()
    assert CASES[0].append_to(box.lease("trial", "studyb")).offset == 0


@pytest.mark.parametrize("call", ["reopen", "rename"])
def test_a_spare_that_cannot_be_had_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    box = outbox(tmp_path, spare=MIB)
    delivered(box)
    with monkeypatch.context() as patch:
        patch.setattr(disk, call, failing)
        segment = box.lease("trial", "studyb")
    assert files(tmp_path) == [tmp_path / segment.name]
    location = CASES[0].append_to(segment)
    assert read(box, location) == CASES[0].data
    box.give_back(segment)
    assert box.delete_study("trial", "studyb", {segment.name: segment.end}) == [segment.name]


@pytest.mark.parametrize("call", ["reopen", "rename"])
def test_no_file_to_be_had_at_all_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """As where no descriptor is left: a file with a former content would keep its study from being deleted."""
    box = outbox(tmp_path, spare=MIB)
    delivered(box)
    with monkeypatch.context() as patch:
        patch.setattr(disk, call, failing)
        patch.setattr(disk, "create", failing)
        with pytest.raises(CannotKeep):
            box.lease("trial", "studyb")
    assert files(tmp_path) == []
    assert box.delete_study("trial", "studyb", {}) == []


def test_a_study_that_waits_keeps_its_own_bytes_alone(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=MIB)
    for number in range(5):
        segment = written_over(box, delivered(box), f"waits{number}")
        clean(1, study=f"waits{number}").append_to(segment)
        box.give_back(segment)
        assert (tmp_path / segment.name).stat().st_size == segment.end
        location = clean(2, study=f"waits{number}").append_to(box.lease("trial", f"waits{number}"))
        assert read(box, location)
    assert sum(path.stat().st_size for path in files(tmp_path)) < 100_000


@pytest.mark.parametrize("beforehand", [0, 3 * MIB])
def test_who_still_reads_a_deleted_study_gets_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beforehand: int
) -> None:
    """A long record is read piece by piece, and its file is written over meanwhile: no file is left of it."""
    box = outbox(tmp_path / "outbox", spare=64 * MIB)
    segment = box.lease("trial", "studya")
    case = clean(1, pixels=9 * MIB)
    location = case.append_to(segment)
    box.give_back(segment)

    def overtaken(self: Outbox, place: Location) -> Iterator[memoryview]:
        given = 0
        for piece in pieces(self, place):
            if given == beforehand:
                inode = (box.directory / segment.name).stat().st_ino
                box.delete_study("trial", "studya")
                clean(2, pixels=9 * MIB, study="studyb").append_to(written_over(box, inode))
            given += len(piece)
            yield piece

    pieces = Outbox.pieces
    monkeypatch.setattr(Outbox, "pieces", overtaken)
    journal = SimpleNamespace(instances=lambda *_: [(case.instance, location)])
    storage = SimpleNamespace(storage=SimpleNamespace(directory=tmp_path))
    study = SimpleNamespace(project="trial", study_key="studya")
    run = SimpleNamespace(path=tmp_path / "run")
    with pytest.raises(StoreDamaged, match="not as it was written"):
        steps.export(cast(Any, run), cast(Any, [study]), cast(Any, journal), cast(Any, storage))
    assert files(tmp_path / "run") == []


def test_what_is_not_yet_written_over_counts(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=250_000)
    inode = delivered(box)
    for study in ("x", "y"):
        segment = box.lease("trial", study)
        for case in CASES:
            case.append_to(segment)
        if study == "x":
            box.give_back(segment)
    box.give_back(segment)
    box.delete_study("trial", "x")
    leased = box.lease("trial", "z")
    assert leased.surplus > 100_000, inode
    box.delete_study("trial", "y")
    assert not list(tmp_path.rglob("*.spare"))
    for case in CASES:
        case.append_to(leased)
    assert leased.surplus == 0


def test_the_bound_holds_for_segments_of_one_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnode.outbox.MOST_SPARES", 2)
    box = outbox(tmp_path, spare=250_000)
    for number, cases in (("a", CASES), ("b", CASES[:1])):
        segments = [box.lease("trial", number) for _ in range(3)]
        for segment in segments:
            for case in cases:
                case.append_to(segment)
        for segment in segments:
            box.give_back(segment)
    box.delete_study("trial", "a")
    spares = list(tmp_path.rglob("*.spare"))
    assert len(spares) == 1
    box.delete_study("trial", "b")
    assert len(list(tmp_path.rglob("*.spare"))) == 2


def test_a_study_is_deleted_where_nothing_can_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in another directory may need space that is not there."""
    monkeypatch.setattr(disk, "rename", failing)
    delivered(outbox(tmp_path, spare=MIB))
    assert files(tmp_path) == []


@pytest.mark.parametrize("call", ["sync_directory", "remove_directory", "unlink"])
def test_half_a_deletion_is_finished_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """What was to become a spare is none: its former name may come back."""
    box = outbox(tmp_path, spare=150_000 if call == "unlink" else MIB)
    delivered(box, "before", cases=2)
    segments = [box.lease("trial", "studya") for _ in range(2)]
    for segment in segments:
        for case in CASES[:4]:
            case.append_to(segment)
    known = {segment.name: segment.end for segment in segments}
    for segment in segments:
        box.give_back(segment)
    with monkeypatch.context() as patch:
        patch.setattr(disk, call, failing)
        if call == "unlink":
            patch.setattr(disk, "free", lambda path: 0)
        with pytest.raises(CannotKeep):
            box.delete_study("trial", "studya", known)
    assert not [path for path in tmp_path.rglob("*.spare") if path.stat().st_size > 70_000]
    assert box.delete_study("trial", "studya", known) == sorted(known)
    assert not (tmp_path / "trial" / "studya").exists()


def test_all_are_dropped_also_of_a_project_that_is_gone(tmp_path: Path) -> None:
    delivered(Outbox(tmp_path, {"trial": KEYS}, spare=MIB))
    other = Outbox(tmp_path, {"other": KEYS}, spare=MIB)
    assert list(other.recover({})) == []
    assert files(tmp_path) == []
    delivered(Outbox(tmp_path, {"trial": KEYS}, spare=MIB))
    other.drop_spares()
    assert files(tmp_path) == []


def test_none_stay_when_the_node_ends(tmp_path: Path) -> None:
    box = outbox(tmp_path, spare=MIB)
    delivered(box)
    box.close()
    assert files(tmp_path) == []


def test_projects_do_not_share_them(tmp_path: Path) -> None:
    box = Outbox(tmp_path, {"trial": KEYS, "other": KEYS}, spare=MIB)
    inode = delivered(box)
    segment = box.lease("other", "studyb")
    assert (tmp_path / segment.name).stat().st_size == 0
    written_over(box, inode)
