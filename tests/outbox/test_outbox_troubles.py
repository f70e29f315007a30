"""Segments on a disk that fails: what was appended before stays, what was not leaves nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from boxes import CASES, as_recovered, outbox, read, recover
from kept import FRONT

from dicomnode.errors import CannotKeep


def failing(error: int, after: int = 0) -> Callable[..., int]:
    def fail(fd: int, parts: list[bytes], offset: int) -> int:
        if after:
            os.pwrite(fd, b"".join(parts)[:after], offset)
        raise OSError(error, os.strerror(error))

    return fail


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_write_error_leaves_the_records_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    kept = CASES[0].append_to(segment)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", failing(error, after=100))
        with pytest.raises(CannotKeep, match=os.strerror(error)):
            CASES[1].append_to(segment)
    assert (tmp_path / segment.name).stat().st_size == kept.length
    assert segment.usable
    later = CASES[2].append_to(segment)
    assert recover(tmp_path) == [as_recovered(CASES[0], kept), as_recovered(CASES[2], later)]


def test_a_failed_sync_gives_the_segment_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    kept = CASES[0].append_to(segment)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(CannotKeep):
            CASES[1].append_to(segment)
    assert not segment.usable
    with pytest.raises(CannotKeep, match="lease another"):
        CASES[1].append_to(segment)
    box.give_back(segment)
    other = box.lease("trial", "studya")
    assert other is not segment
    later = CASES[1].append_to(other)
    assert read(box, kept) == CASES[0].data
    found = recover(tmp_path)
    assert len(found) == 2
    assert {record.location for record in found} == {kept, later}


def test_when_the_cut_fails_too_the_segment_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    kept = CASES[0].append_to(segment)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", failing(errno.EIO, after=50))
        patch.setattr(os, "ftruncate", fail)
        with pytest.raises(CannotKeep):
            CASES[1].append_to(segment)
    assert not segment.usable
    assert recover(tmp_path) == [as_recovered(CASES[0], kept)]


def test_a_stream_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = outbox(tmp_path).lease("trial", "studya")
    case = CASES[3]
    writer = segment.begin()
    writer.write([case.data])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", failing(errno.ENOSPC))
        with pytest.raises(CannotKeep):
            writer.finish(case.instance, case.identity, len(FRONT), case.pixel_offset, case.pixel_length)
    assert segment.end == 0
    location = case.append_to(segment)
    assert recover(tmp_path) == [as_recovered(case, location)]


def test_no_segment_when_its_directory_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = outbox(tmp_path)
    box.give_back(box.lease("trial", "studya"))
    box.lease("trial", "studya")

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(CannotKeep):
            box.lease("trial", "studya")
    assert len(list((tmp_path / "trial" / "studya").iterdir())) == 1


def test_a_disk_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = outbox(tmp_path)
    segment = box.lease("trial", "studya")
    location = CASES[0].append_to(segment)
    writer = segment.begin()
    writer.write([b"x" * 100])

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        patch.setattr(os, "preadv", fail)
        for attempt in (lambda: read(box, location), lambda: recover(tmp_path), lambda: writer.read(0, 10)):
            with pytest.raises(CannotKeep, match="cannot read"):
                attempt()
        patch.setattr(os, "open", fail)
        with pytest.raises(CannotKeep, match="cannot open"):
            read(box, location)
    assert read(box, location) == CASES[0].data
