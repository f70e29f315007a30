"""A record is given out as it was written or not at all, whatever became of the file meanwhile."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import kept
import pytest
from kept import KEYS, clean

from dicomnode import records
from dicomnode.deidentify import digest
from dicomnode.errors import StoreDamaged
from dicomnode.model import Location
from dicomnode.outbox import Outbox

CASE = clean(3, pixels=5000)


@pytest.fixture(params=["whole", "in pieces"])
def box(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    if request.param == "in pieces":
        monkeypatch.setattr(records, "READ_WHOLE", 0)
        monkeypatch.setattr(records, "READ_BYTES", 500)
    return Outbox(tmp_path, {"trial": KEYS})


def two(box: Outbox) -> tuple[Path, Location, Location]:
    segment = box.lease("trial", "studya")
    return box.directory / segment.name, CASE.append_to(segment), clean(4).append_to(segment)


def test_records_of_former_versions_are_read_by_their_own_digests(
    box: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the same magic numbers in all segments, and SHA-256; under the marks of today only BLAKE3 counts."""
    with monkeypatch.context() as former:
        for module in (records, kept, digest):
            former.setattr(module, "blake3", hashlib.sha256, raising=False)
        former.setattr(records, "marks", lambda _: (records.HEADER_MAGIC, records.TRAILER_MAGIC))
        case = clean(3, pixels=5000)
        segment = box.lease("trial", "studya")
        place = case.append_to(segment)
        former.undo()
    assert b"".join(box.pieces(place)) == case.data
    assert box.wholes([place]) == [case.data]
    (found,) = Outbox(tmp_path, {"trial": KEYS}).recover({})
    assert (found.instance, found.location) == (case.instance, place)
    path = tmp_path / segment.name
    content = bytearray(path.read_bytes())
    first, last = records.marks(segment.name)
    marked = content.copy()
    marked[:8] = first
    end = len(marked) - records.TRAILER.size
    marked[end : end + 8] = last
    path.write_bytes(marked)
    with pytest.raises(StoreDamaged):
        list(box.pieces(place))
    content[place.data_offset + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreDamaged):
        list(box.pieces(place))


def test_any_changed_bit_is_seen(box: Outbox) -> None:
    path, location, other = two(box)
    whole = path.read_bytes()
    header = set(range(8)) | set(range(12, 20)) | set(range(24, 32))  # the rest is for later versions
    for at in (*header, *range(records.HEADER.size, location.length, 37), location.length - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        given = bytearray()
        with pytest.raises(StoreDamaged, match=r"the record at 0 of segment \S+ is not as it was written"):
            for piece in box.pieces(location):
                given += piece
        assert len(given) < location.data_length
        assert b"".join(box.pieces(other)) == clean(4).data
    path.write_bytes(whole)
    assert b"".join(box.pieces(location)) == CASE.data


@pytest.mark.parametrize("left", [0, 1, 31, 32, 33, 2000, -1])
def test_a_file_that_became_shorter_is_seen(box: Outbox, left: int) -> None:
    path, location, _ = two(box)
    os.truncate(path, left if left >= 0 else location.length - 1)
    with pytest.raises(StoreDamaged):
        list(box.pieces(location))


def test_another_place_is_no_record(box: Outbox) -> None:
    _, location, other = two(box)
    with pytest.raises(StoreDamaged):
        list(box.pieces(replace(location, offset=location.offset + 1, data_offset=location.data_offset + 1)))
    with pytest.raises(StoreDamaged):
        list(box.pieces(replace(location, length=other.length)))
