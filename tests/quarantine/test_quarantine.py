"""Sealed originals: whole on return, unreadable without the key, and no half of one is ever reported."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kept import KEYS, OTHER_KEYS, received, withheld

from dicomnode import disk
from dicomnode.errors import CannotKeep, KeyFileError, SealBroken
from dicomnode.keys import ProjectKeys
from dicomnode.quarantine import Quarantine
from dicomnode.sealing import CHUNK_BYTES, in_chunks

SECRET = b"Doe^Jane 1.2.3.4.5.6.7.8.9"


def quarantine(directory: Path) -> Quarantine:
    return Quarantine(directory, {"trial": KEYS})


def content(box: Quarantine, name: str) -> bytes:
    return b"".join(box.read("trial", name)[2])


@pytest.mark.parametrize("length", [0, 1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_an_original_is_read_back(tmp_path: Path, length: int) -> None:
    data = random.Random(length).randbytes(length)
    box = quarantine(tmp_path / "quarantine")
    sealed = box.seal(withheld(), received(), [data[:100], bytearray(data[100:500]), memoryview(data)[500:]])
    assert sealed == replace(withheld(), length=length)
    told, command, chunks = quarantine(tmp_path / "quarantine").read("trial", "quarantine0")
    assert (told, command) == (sealed, received())
    assert b"".join(chunks) == data
    assert list(quarantine(tmp_path / "quarantine").recover()) == [sealed]


def test_chunks_are_full_but_for_the_last() -> None:
    parts = [b"ab", b"", b"cdefg", b"hij"]
    assert [(bytes(chunk), last) for chunk, last in in_chunks(parts, 4)] == [
        (b"abcd", False),
        (b"efgh", False),
        (b"ij", True),
    ]
    assert [(bytes(chunk), last) for chunk, last in in_chunks([b"abcd"], 4)] == [(b"abcd", True)]


def test_a_stream_is_sealed_in_flat_memory(tmp_path: Path) -> None:
    taken = 0

    def parts() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(40):
            taken += 1
            assert sum(path.stat().st_size for path in (tmp_path / "trial").iterdir()) > (taken - 12) * 100_000
            yield bytes(100_000)

    assert quarantine(tmp_path).seal(withheld(), received(), parts()).length == 4_000_000


def test_nothing_of_the_original_stands_in_the_clear(tmp_path: Path) -> None:
    quarantine(tmp_path).seal(withheld(), received(), [SECRET])
    (path,) = (tmp_path / "trial").iterdir()
    stored = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert SECRET not in stored
    assert received().sop_uid.encode() not in stored
    assert b"quarantine0" in stored


def test_twins_share_one_file(tmp_path: Path) -> None:
    box = quarantine(tmp_path)
    box.seal(withheld(), received(), [SECRET])
    before = (tmp_path / "trial" / "quarantine0.sealed").stat()
    assert box.seal(withheld(), received(), [SECRET]).length == len(SECRET)
    after = (tmp_path / "trial" / "quarantine0.sealed").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(list(box.recover())) == 1


@pytest.mark.parametrize("at", [0, 20, 200, -5, CHUNK_BYTES // 2])
def test_a_damaged_file_is_sealed_anew_when_the_original_comes_again(tmp_path: Path, at: int) -> None:
    data = random.Random(1).randbytes(2 * CHUNK_BYTES)
    box = quarantine(tmp_path)
    box.seal(withheld(), received(), [data])
    path = tmp_path / "trial" / "quarantine0.sealed"
    spoilt = bytearray(path.read_bytes())
    spoilt[at] ^= 1
    for content_now in (spoilt, spoilt[:-100], b""):
        path.write_bytes(content_now)
        assert not box.holds("trial", "quarantine0")
        assert box.seal(withheld(), received(), [data[:10], data[10:]]).length == len(data)
        assert content(quarantine(tmp_path), "quarantine0") == data
        assert box.holds("trial", "quarantine0")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_under_a_lost_key_is_sealed_anew(tmp_path: Path) -> None:
    quarantine(tmp_path).seal(withheld(), received(), [SECRET])
    other = Quarantine(tmp_path, {"trial": OTHER_KEYS})
    other.seal(withheld(), received(), [SECRET])
    assert content(other, "quarantine0") == SECRET


def test_what_could_not_be_deleted_is_not_taken_for_what_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery deletes the old file, for its fate is in the journal; the row of the new one may not be there yet."""
    box = quarantine(tmp_path)
    box.seal(withheld(), received(), [SECRET])
    ended = {"quarantine0": withheld().received_at}

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        with pytest.raises(CannotKeep):
            box.delete("trial", "quarantine0")
    again = replace(withheld(), received_at=2000.0)
    box.seal(again, received(), [SECRET])
    assert [w.received_at for w in quarantine(tmp_path).recover((), ended)] == [2000.0]
    before = (tmp_path / "trial" / "quarantine0.sealed").stat().st_ino
    box.seal(again, received(), [SECRET])
    assert (tmp_path / "trial" / "quarantine0.sealed").stat().st_ino == before, "it is trusted again"


def test_the_name_of_the_quarantine_is_made_durable_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier start may have made it and failed before its sync."""
    (tmp_path / "quarantine" / "trial").mkdir(parents=True)
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_directory", synced.append)
    quarantine(tmp_path / "quarantine").seal(withheld(), received(), [SECRET])
    assert synced[:2] == [tmp_path, tmp_path / "quarantine"]


def test_recovery_passes_over_what_is_known_and_drops_the_unfinished(tmp_path: Path) -> None:
    box = quarantine(tmp_path)
    for number in range(3):
        box.seal(withheld(number), received(), [SECRET])
    unfinished = tmp_path / "trial" / "quarantine9.sealed.00ff.unfinished"
    unfinished.write_bytes(b"half")
    found = [w.quarantine for w in quarantine(tmp_path).recover({"quarantine1"})]
    assert found == ["quarantine0", "quarantine2"]
    assert not unfinished.exists()


def test_every_change_is_detected(tmp_path: Path) -> None:
    box = quarantine(tmp_path)
    box.seal(withheld(), received(), [SECRET])
    path = tmp_path / "trial" / "quarantine0.sealed"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises((SealBroken, KeyFileError)):
            content(box, "quarantine0")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(SealBroken):
            content(box, "quarantine0")
    path.write_bytes(whole + b"more")
    with pytest.raises(SealBroken):
        content(box, "quarantine0")


def test_chunks_cannot_be_dropped_or_swapped(tmp_path: Path) -> None:
    box = quarantine(tmp_path)
    data = bytes(CHUNK_BYTES) + b"\x01" * CHUNK_BYTES + b"end"
    box.seal(withheld(), received(), [data])
    path = tmp_path / "trial" / "quarantine0.sealed"
    whole = path.read_bytes()
    size = CHUNK_BYTES + 20
    head, first, second, last = (
        whole[: -2 * size - 23],
        whole[-2 * size - 23 :][:size],
        whole[-size - 23 :][:size],
        whole[-23:],
    )
    assert head + first + second + last == whole
    for changed in (head + second + first + last, head + first + last, head + first + second, head + last):
        path.write_bytes(changed)
        with pytest.raises(SealBroken):
            content(box, "quarantine0")
        assert [w.quarantine for w in box.recover()] == ["quarantine0"], "recovery never deletes a named file"


def test_a_damaged_file_is_kept_and_named(tmp_path: Path) -> None:
    box = quarantine(tmp_path)
    box.seal(withheld(), received(), [SECRET])
    (tmp_path / "trial" / "other.sealed").write_bytes(b"rubbish")
    again = quarantine(tmp_path)
    assert [w.quarantine for w in again.recover()] == ["quarantine0"]
    assert again.damaged == ["trial/other.sealed"]
    assert (tmp_path / "trial" / "other.sealed").exists()


def test_a_former_key_still_opens(tmp_path: Path) -> None:
    quarantine(tmp_path).seal(withheld(), received(), [SECRET])
    rotated = Quarantine(tmp_path, {"trial": OTHER_KEYS.sealing_with(OTHER_KEYS, [KEYS])})
    assert content(rotated, "quarantine0") == SECRET
    assert len(list(rotated.recover())) == 1
    lost = Quarantine(tmp_path, {"trial": OTHER_KEYS})
    with pytest.raises(KeyFileError, match=KEYS.key_id):
        content(lost, "quarantine0")
    assert list(lost.recover()) == []
    assert lost.damaged == ["trial/quarantine0.sealed"]


@pytest.mark.parametrize("function", ["pwritev", "fdatasync", "rename", "fsync"])
def test_a_failing_disk_leaves_no_unfinished_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    box = quarantine(tmp_path)
    box.seal(withheld(0), received(), [b"before"])

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "")

    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        if function == "rename":
            patch.setattr(Path, function, fail)
        with pytest.raises(CannotKeep):
            box.seal(withheld(1), received(), [SECRET])
    assert not list((tmp_path / "trial").glob("*.unfinished"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert box.seal(withheld(1), received(), [SECRET]).length == len(SECRET)
    assert content(box, "quarantine1") == SECRET


def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield SECRET
        raise ConnectionError

    with pytest.raises(ConnectionError):
        quarantine(tmp_path).seal(withheld(), received(), parts())
    assert list((tmp_path / "trial").iterdir()) == []


def test_deletion(tmp_path: Path) -> None:
    box = quarantine(tmp_path)
    box.seal(withheld(), received(), [SECRET])
    box.delete("trial", "quarantine0")
    box.delete("trial", "quarantine0")
    with pytest.raises(KeyError):
        box.read("trial", "quarantine0")
    with pytest.raises(ValueError, match="file name"):
        box.read("trial", "../quarantine0")


def test_a_seal_key_of_its_own_replaces_the_projects_and_older_ones_open(tmp_path: Path) -> None:
    first, second = ProjectKeys.derive(b"\x31" * 32), ProjectKeys.derive(b"\x32" * 32)
    generations = [KEYS, KEYS.sealing_with(first), KEYS.sealing_with(second, [first])]
    for number, keys in enumerate(generations):
        Quarantine(tmp_path, {"trial": keys}).seal(withheld(number), received(), [SECRET])
    newest = Quarantine(tmp_path, {"trial": generations[-1]})
    assert [content(newest, f"quarantine{number}") for number in range(3)] == [SECRET] * 3
    assert [newest.sealed_under("trial", f"quarantine{n}") for n in range(3)] == [
        KEYS.key_id, first.key_id, second.key_id,
    ]  # fmt: skip
    assert len({keys.pseudonym for keys in generations}) == 1
    with pytest.raises(KeyFileError, match=f"{first.key_id}.*older_seal_key_files"):
        content(Quarantine(tmp_path, {"trial": KEYS.sealing_with(second)}), "quarantine1")


def test_recovery_finishes_what_was_ended_and_keeps_what_came_again(tmp_path: Path) -> None:
    box = quarantine(tmp_path)
    for number in range(3):
        box.seal(withheld(number), received(), [SECRET])
    ended = {"quarantine0": withheld(0).received_at, "quarantine1": withheld(1).received_at - 5}
    again = quarantine(tmp_path)
    assert [w.quarantine for w in again.recover({"quarantine2"}, ended)] == ["quarantine1"]
    assert sorted(path.stem for path in (tmp_path / "trial").iterdir()) == ["quarantine1", "quarantine2"]


def test_a_place_that_a_former_version_wrote_tells_no_bytes_of_a_value(tmp_path: Path) -> None:
    quarantine(tmp_path).seal(replace(withheld(), where="(4F44,5E45)"), received(), [SECRET])
    assert quarantine(tmp_path).read("trial", "quarantine0")[0].where == "(unknown)"
    assert [each.where for each in quarantine(tmp_path).recover()] == ["(unknown)"]
