"""Segments: what append() returned is found again, byte for byte; nothing else is."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from boxes import CASES, as_recovered, outbox, read, recover
from kept import FRONT, KEYS, OTHER_KEYS, Clean, clean

from dicomnode import disk
from dicomnode.errors import CannotKeep, KeyFileError, StoreDamaged
from dicomnode.model import Location
from dicomnode.outbox import Outbox, Segment


@pytest.mark.usefixtures("way_of_reading")
def test_records_are_read_back_and_recovered(tmp_path: Path) -> None:
    box = outbox(tmp_path / "outbox")
    segment = box.lease("trial", "studya")
    locations = [case.append_to(segment) for case in CASES]
    for case, location in zip(CASES, locations, strict=True):
        assert read(box, location) == case.data
        assert case.data[location.data_set_offset :] == case.data[len(FRONT) :]
        assert location.segment == segment.name
    assert recover(tmp_path / "outbox") == [as_recovered(*pair) for pair in zip(CASES, locations, strict=True)]


def test_recovery_reads_only_behind_what_is_known(tmp_path: Path) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    locations = [case.append_to(segment) for case in CASES]
    known = {segment.name: locations[2].offset}
    assert [found.location for found in recover(tmp_path, known)] == locations[2:]
    assert recover(tmp_path, {segment.name: segment.end}) == []


def test_nothing_original_stands_in_the_clear(tmp_path: Path) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    CASES[0].append_to(segment)
    content = (tmp_path / segment.name).read_bytes()
    assert b"original-0" not in content
    assert "Müller".encode() not in content
    assert b"instance0" in content


def test_half_a_record_is_cut_off_at_every_byte(tmp_path: Path) -> None:
    segment = outbox(tmp_path / "whole").lease("trial", "studya")
    first, second = clean(1, pixels=30), clean(2, pixels=30)
    kept = first.append_to(segment)
    second.append_to(segment)
    content = (tmp_path / "whole" / segment.name).read_bytes()
    torn = tmp_path / "torn" / segment.name
    torn.parent.mkdir(parents=True)
    for length in range(kept.length, len(content)):
        torn.write_bytes(content[:length])
        assert recover(tmp_path / "torn") == [as_recovered(first, kept)]
        assert torn.stat().st_size == kept.length


def test_a_changed_byte_anywhere_makes_a_record_not_count(tmp_path: Path) -> None:
    segment = outbox(tmp_path / "whole").lease("trial", "studya")
    clean(1, pixels=30).append_to(segment)
    content = (tmp_path / "whole" / segment.name).read_bytes()
    torn = tmp_path / "torn" / segment.name
    torn.parent.mkdir(parents=True)
    for at in range(len(content)):
        torn.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        if at in (8, 9):
            with pytest.raises(StoreDamaged, match="format"):
                recover(tmp_path / "torn")
        else:
            assert recover(tmp_path / "torn") == []


def spoil(path: Path, at: int, mask: int = 0x40) -> bytes:
    content = bytearray(path.read_bytes())
    content[at] ^= mask
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("at", [0, 8, 20, 24, 28, 100, -60, -1], ids=str)
@pytest.mark.parametrize("bad", [0, 2])
def test_a_damaged_record_costs_no_other(tmp_path: Path, bad: int, at: int) -> None:
    """Offsets from the record's start or end: magic, version, lengths, Part 10 bytes, sealed part, trailer."""
    segment = outbox(tmp_path).lease("trial", "studya")
    locations = [case.append_to(segment) for case in CASES]
    hurt = locations[bad]
    spoilt = spoil(tmp_path / segment.name, hurt.offset + (at if at >= 0 else hurt.length + at))
    box = outbox(tmp_path)
    left = [as_recovered(*pair) for pair in zip(CASES, locations, strict=True) if pair[1] is not hurt]
    assert list(box.recover({})) == left
    assert box.damaged == {segment.name: [(hurt.offset, hurt.offset + hurt.length)]}
    assert (tmp_path / segment.name).read_bytes() == spoilt


def test_what_the_journal_has_rows_for_is_never_cut(tmp_path: Path) -> None:
    """The identity book is gone, so all is read again; the first half of the last record is garbage."""
    segment = outbox(tmp_path).lease("trial", "studya")
    first, last = CASES[0].append_to(segment), CASES[1].append_to(segment)
    whole = (tmp_path / segment.name).read_bytes()
    (tmp_path / segment.name).write_bytes(whole[: last.offset] + b"?" * last.length)
    box = outbox(tmp_path)
    assert list(box.recover({}, {segment.name: len(whole)})) == [as_recovered(CASES[0], first)]
    assert (tmp_path / segment.name).stat().st_size == len(whole)
    assert box.damaged == {segment.name: [(last.offset, len(whole))]}
    assert list(outbox(tmp_path).recover({})) == [as_recovered(CASES[0], first)]
    assert (tmp_path / segment.name).stat().st_size == first.length, "without a row it is half a record"


def test_a_damaged_last_record_stays_until_its_study_goes(tmp_path: Path) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    first, last = CASES[0].append_to(segment), CASES[1].append_to(segment)
    spoilt = spoil(tmp_path / segment.name, last.offset + 200)
    box = outbox(tmp_path)
    assert list(box.recover({})) == [as_recovered(CASES[0], first)]
    assert (tmp_path / segment.name).read_bytes() == spoilt
    assert box.damaged == {segment.name: [(last.offset, len(spoilt))]}
    assert box.delete_study("trial", "studya", {segment.name: first.length}) == [segment.name]


def test_what_only_looks_like_a_record_is_none(tmp_path: Path) -> None:
    """Pixels that hold a whole record, magics at the border of what is read at once, and a header cut short."""
    inner = outbox(tmp_path / "inner", idle=1).lease("trial", "studya")
    clean(7).append_to(inner)
    record = (tmp_path / "inner" / inner.name).read_bytes()
    fake = record[:-100] + bytes(100)
    segment = outbox(tmp_path / "box").lease("trial", "studya")
    kept = CASES[0].append_to(segment)
    path = tmp_path / "box" / segment.name
    torn = b"DCMNODE\x01" + bytes((1 << 20) - 9) + b"DCMNODE\x01" + bytes(40) + fake + b"DCMNODE\x01"
    path.write_bytes(path.read_bytes() + torn)
    box = outbox(tmp_path / "box")
    assert list(box.recover({})) == [as_recovered(CASES[0], kept)]
    assert not box.damaged
    assert path.stat().st_size == kept.length


def test_segments_that_are_gone_are_missed(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    CASES[0].append_to(segment)
    gone = "trial/studya/gone.seg"
    assert box.missing([segment.name, gone, "elsewhere/studya/gone.seg"]) == [gone]


def test_a_study_whose_files_cannot_be_looked_at_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    location = CASES[0].append_to(segment)
    box.give_back(segment)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", fail)
        with pytest.raises(CannotKeep, match="look at"):
            box.delete_study("trial", "studya", {segment.name: location.length})
    assert read(box, location) == CASES[0].data


def test_the_name_of_the_outbox_is_made_durable_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier start may have made it and failed before its sync."""
    (tmp_path / "outbox").mkdir()
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    outbox(tmp_path / "outbox").lease("trial", "studya")
    assert synced[0] == tmp_path


def test_another_key_stops_recovery_and_destroys_nothing(tmp_path: Path) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    CASES[0].append_to(segment)
    before = (tmp_path / segment.name).read_bytes()
    with pytest.raises(KeyFileError, match=OTHER_KEYS.key_id):
        list(Outbox(tmp_path, {"trial": OTHER_KEYS}).recover({}))
    assert list(Outbox(tmp_path, {"other": KEYS}).recover({})) == []
    assert (tmp_path / segment.name).read_bytes() == before


@pytest.mark.usefixtures("way_of_reading")
def test_a_segment_shorter_than_the_journal_says_is_reported(tmp_path: Path) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    location = CASES[0].append_to(segment)
    os.truncate(tmp_path / segment.name, 10)
    box = outbox(tmp_path)
    assert list(box.recover({segment.name: location.length})) == []
    assert box.damaged == {segment.name: [(10, location.length)]}
    assert (tmp_path / segment.name).stat().st_size == 10
    for short in (location, Location(location.segment, 0, 10, 0, 100_000, 0), Location("trial/x/y.seg", 0, 1, 0, 1, 0)):
        with pytest.raises(StoreDamaged):
            read(box, short)


def test_a_lease_is_exclusive_and_a_segment_is_used_again(tmp_path: Path) -> None:
    box = outbox(tmp_path, idle=1)
    first, second = box.lease("trial", "studya"), box.lease("trial", "studya")
    assert first.name != second.name
    CASES[0].append_to(first)
    box.give_back(first)
    again = box.lease("trial", "studya")
    assert again is first
    location = CASES[1].append_to(again)
    assert read(box, location) == CASES[1].data


def test_descriptors_are_bounded_and_reopened(tmp_path: Path) -> None:
    box = outbox(tmp_path, idle=3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    segments = [box.lease("trial", f"study{number}") for number in range(20)]
    for number, segment in enumerate(segments):
        clean(number, study=segment.study_key).append_to(segment)
        box.give_back(segment)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 3
    segment = box.lease("trial", "study0")
    clean(50, study="study0").append_to(segment)
    assert len(recover(tmp_path)) == 21
    box.give_back(segment)
    box.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_this_runs_segments_are_not_recovered(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    CASES[0].append_to(box.lease("trial", "studya"))
    assert list(box.recover({})) == []


@pytest.mark.usefixtures("way_of_reading")
def test_a_study_is_deleted_only_when_nobody_writes_and_all_is_known(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    segment, other = box.lease("trial", "studya"), box.lease("trial", "studyb")
    location = CASES[0].append_to(segment)
    CASES[0].append_to(other)
    assert box.delete_study("trial", "studya") is None
    box.give_back(segment)
    assert box.delete_study("trial", "studya", {segment.name: location.length - 1}) is None
    assert read(box, location) == CASES[0].data
    pieces = box.pieces(location)
    first = next(pieces)
    gone = {segment.name: location.length, "trial/studya/gone.seg": 10}
    assert box.delete_study("trial", "studya", gone) == sorted(gone)
    assert b"".join((first, *pieces)) == CASES[0].data
    assert not (tmp_path / "trial" / "studya").exists()
    assert box.delete_study("trial", "studya") == []
    late = box.lease("trial", "studya")
    assert late.name != segment.name
    CASES[1].append_to(late)
    assert len(recover(tmp_path)) == 2


@pytest.mark.usefixtures("way_of_reading")
@pytest.mark.parametrize("start", [0, 1, len(FRONT), 332, 333, 334, 99_999])
def test_reading_may_begin_anywhere(tmp_path: Path, start: int) -> None:
    box = outbox(tmp_path)
    location = CASES[4].append_to(box.lease("trial", "studya"))
    assert b"".join(box.pieces(location, start)) == CASES[4].data[start:]


def test_a_record_that_comes_bit_by_bit(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    whole = CASES[0].append_to(segment)
    case = CASES[3]
    writer = segment.begin()
    for first in range(0, len(case.data), 999):
        writer.write([case.data[first : first + 500], case.data[first + 500 : first + 999]])
    assert writer.length == len(case.data)
    assert writer.read(100, 1000) == case.data[100:1100]
    assert writer.read(len(case.data) - 5, 100) == case.data[-5:]
    with pytest.raises(RuntimeError):
        CASES[1].append_to(segment)
    assert len(recover(tmp_path, {segment.name: whole.length})) == 0, "it is not finished"


@pytest.mark.usefixtures("way_of_reading")
def test_a_finished_stream_is_a_record_like_any_other(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    case = CASES[3]
    writer = segment.begin()
    writer.write([case.data[:77]])
    writer.void()
    writer.void()
    writer = segment.begin()
    for part in case.parts:
        writer.write([part])
    location = writer.finish(case.instance, case.identity, len(FRONT), case.pixel_offset, case.pixel_length)
    after = CASES[1].append_to(segment)
    assert read(box, location) == case.data
    assert recover(tmp_path) == [as_recovered(case, location), as_recovered(CASES[1], after)]


def test_a_voided_stream_leaves_nothing(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    kept = CASES[0].append_to(segment)
    writer = segment.begin()
    writer.write([b"x" * 5000])
    writer.void()
    assert (tmp_path / segment.name).stat().st_size == kept.length
    abandoned = segment.begin()
    abandoned.write([b"y" * 5000])
    box.give_back(segment)
    assert (tmp_path / segment.name).stat().st_size == kept.length
    assert recover(tmp_path) == [as_recovered(CASES[0], kept)]


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden"])
def test_names_that_leave_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="directory name"):
        outbox(tmp_path).lease("trial", name)


def test_offsets_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    case = CASES[0]
    record = segment.begin()
    record.write(case.parts)
    with pytest.raises(ValueError, match="offsets"):
        record.finish(case.instance, case.identity, len(FRONT), 10, 5)
    record.void()
    assert (tmp_path / segment.name).stat().st_size == 0


def test_many_threads(tmp_path: Path) -> None:
    box = outbox(tmp_path, idle=2)
    gate = threading.Barrier(4)

    def work(worker: int) -> list[tuple[Clean, Location]]:
        gate.wait()
        done = []
        for number in range(worker * 100, worker * 100 + 15):
            study = f"study{number % 3}"
            segment: Segment = box.lease("trial", study)
            case = clean(number, study=study)
            done.append((case, case.append_to(segment)))
            box.give_back(segment)
        return done

    with ThreadPoolExecutor(4) as pool:
        done = [pair for pairs in pool.map(work, range(4)) for pair in pairs]
    found = {record.location: record for record in recover(tmp_path)}
    assert found == {location: as_recovered(case, location) for case, location in done}
    assert all(read(box, location) == case.data for case, location in done)


def test_a_lease_that_goes_on_after_its_end_damages_nothing(tmp_path: Path) -> None:
    """An association dies while a thread still writes for it, and the next one gets the same segment."""
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    writer = segment.begin()
    writer.write([b"x" * 3000])
    box.give_back(segment)
    again = box.lease("trial", "studya")
    assert again is segment
    kept = CASES[0].append_to(again)
    case = CASES[3]
    for late in (
        lambda: writer.write([b"x" * 3000]),
        lambda: writer.read(0, 10),
        lambda: writer.finish(case.instance, case.identity, len(FRONT), 0, 0),
    ):
        with pytest.raises(CannotKeep, match="lease has ended"):
            late()
    writer.void()
    other = again.begin()
    writer.void()
    other.write([case.data])
    last = other.finish(case.instance, case.identity, len(FRONT), case.pixel_offset, case.pixel_length)
    assert recover(tmp_path) == [as_recovered(CASES[0], kept), as_recovered(case, last)]


def test_only_one_record_of_a_segment_is_written_at_a_time(tmp_path: Path) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    case = clean(1, pixels=5000)
    record = segment.begin()
    record.write(case.parts)
    with pytest.raises(RuntimeError, match="still being written"):
        segment.begin()
    location = record.finish(case.instance, case.identity, len(FRONT), case.pixel_offset, case.pixel_length)
    assert [record.location for record in recover(tmp_path)] == [location]
