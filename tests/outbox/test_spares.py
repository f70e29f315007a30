"""The files of deleted segments are written over: only the records of the new segment are there, at every cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from boxes import CASES, as_recovered, outbox, read, recover
from kept import FRONT, KEYS, clean
from powercut import Recorder

from dicomnode import disk, records
from dicomnode.errors import CannotKeep
from dicomnode.model import Location
from dicomnode.outbox import Outbox, Segment

MIB = 1 << 20


@pytest.fixture(autouse=True)
def ample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the tests has room."""
    monkeypatch.setattr(disk, "free", lambda path: 1 << 40)


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


def test_what_cannot_be_written_over_is_refused_and_tried_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = outbox(tmp_path, spare=MIB)
    delivered(box)
    for path in tmp_path.rglob("*.spare"):
        path.unlink()
    with pytest.raises(CannotKeep, match="cannot rename"):
        box.lease("trial", "studyb")
    assert CASES[0].append_to(box.lease("trial", "studyb")).offset == 0


def test_projects_do_not_share_them(tmp_path: Path) -> None:
    box = Outbox(tmp_path, {"trial": KEYS, "other": KEYS}, spare=MIB)
    inode = delivered(box)
    segment = box.lease("other", "studyb")
    assert (tmp_path / segment.name).stat().st_size == 0
    written_over(box, inode)
