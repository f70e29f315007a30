"""What append(), finish() and seal() returned survives a power cut at any later moment; nothing half does."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import pytest
from kept import FRONT, KEYS, Clean, clean, received, withheld
from powercut import Recorder

from dicomnode import disk
from dicomnode.keys import create_key, load_key
from dicomnode.model import Location, Withheld
from dicomnode.outbox import Outbox, Recovered
from dicomnode.quarantine import Quarantine

KEYRING = {"trial": KEYS}
Promise = tuple[int, Clean, Location]  # the point at which append() returned


def recover(directory: Path, known: dict[str, int] | None = None) -> dict[Location, Recovered]:
    return {found.location: found for found in Outbox(directory, KEYRING).recover(known or {})}


def check(recorder: Recorder, promises: Sequence[Promise], target: Path, point: int, seed: int | None) -> None:
    """After a cut at `point`: every promise made before is kept, and only whole records are reported."""
    rebuilt = recorder.rebuild(point, target / f"{point}-{seed}", seed) / "outbox"
    found = recover(rebuilt)
    whole = {location: Recovered(case.instance, case.identity, location) for _, case, location in promises}
    assert found.items() <= whole.items()
    assert {location for made, _, location in promises if made <= point} <= found.keys()
    for location in found:
        read = b"".join(Outbox(rebuilt, KEYRING).pieces(location))
        assert read == next(case.data for _, case, place in promises if place == location)
    assert recover(rebuilt) == found


def test_every_record_survives_every_cut_after_its_append(tmp_path: Path) -> None:
    promises: list[Promise] = []
    root = tmp_path / "disk"
    root.mkdir()
    with Recorder(root) as recorder:
        box = Outbox(root / "outbox", KEYRING)
        for number in range(6):
            study = f"study{number % 2}"
            segment = box.lease("trial", study)
            case = clean(number, pixels=700 * number, study=study)
            location = case.append_to(segment)
            promises.append((recorder.now(), case, location))
            if number != 3:
                box.give_back(segment)
    assert recorder.count("sync") == 6, "one sync per record"
    for point in range(recorder.now() + 1):
        for seed in (None, *range(4)):
            check(recorder, promises, tmp_path / "rebuilt", point, seed)


def test_streams_survive_after_finish_and_never_before(tmp_path: Path) -> None:
    promises: list[Promise] = []
    root = tmp_path / "disk"
    root.mkdir()
    with Recorder(root) as recorder:
        segment = Outbox(root / "outbox", KEYRING).lease("trial", "studya")
        for number in range(4):
            case = clean(number, pixels=3000)
            writer = segment.begin()
            for first in range(0, len(case.data), 900):
                writer.write([case.data[first : first + 900]])
            if number % 2:
                writer.void()
                continue
            location = writer.finish(case.instance, case.identity, len(FRONT), case.pixel_offset, case.pixel_length)
            promises.append((recorder.now(), case, location))
    for point in range(recorder.now() + 1):
        for seed in (None, *range(6)):
            check(recorder, promises, tmp_path / "rebuilt", point, seed)


def test_a_record_after_a_failed_write_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promises: list[Promise] = []
    root = tmp_path / "disk"
    root.mkdir()

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "")

    with Recorder(root) as recorder:
        box = Outbox(root / "outbox", KEYRING)
        for number in range(6):
            segment = box.lease("trial", "studya")
            case = clean(number, pixels=900)
            with monkeypatch.context() as patch:
                if number in (1, 4):
                    patch.setattr(os, "fdatasync", fail)
                try:
                    promises.append((0, case, case.append_to(segment)))
                    promises[-1] = (recorder.now(), case, promises[-1][2])
                except disk.CannotKeep:
                    pass
            box.give_back(segment)
    assert len(promises) == 4
    for point in range(recorder.now() + 1):
        rebuilt = recorder.rebuild(point, tmp_path / str(point), seed=point) / "outbox"
        assert {location for made, _, location in promises if made <= point} <= recover(rebuilt).keys()


def test_recovered_records_survive_the_next_cut(tmp_path: Path) -> None:
    """A process killed before its sync leaves records that only the page cache has: recovery syncs what it reports."""
    root = tmp_path / "disk"
    root.mkdir()
    with Recorder(root) as recorder:
        segment = Outbox(root / "outbox", KEYRING).lease("trial", "studya")
        case = clean(1, pixels=900)
        writer = segment.begin()
        writer.write([case.data])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "sync", lambda fd: None)
            patch.setattr(disk, "sync_directory", lambda path: None)
            writer.finish(case.instance, case.identity, len(FRONT), case.pixel_offset, case.pixel_length)
        killed = recorder.now()
        (found,) = Outbox(root / "outbox", KEYRING).recover({})
        reported = recorder.now()
    assert recover(recorder.rebuild(killed, tmp_path / "killed") / "outbox") == {}
    assert recover(recorder.rebuild(reported, tmp_path / "reported") / "outbox") == {found.location: found}


def test_every_original_survives_every_cut_after_its_sealing(tmp_path: Path) -> None:
    promises: list[tuple[int, Withheld, bytes]] = []
    root = tmp_path / "disk"
    root.mkdir()
    with Recorder(root) as recorder:
        box = Quarantine(root / "quarantine", KEYRING)
        for number in range(4):
            data = random.Random(number).randbytes(2000 * number)
            sealed = box.seal(withheld(number), received(), [data])
            promises.append((recorder.now(), sealed, data))
    for point in range(recorder.now() + 1):
        for seed in (None, *range(4)):
            rebuilt = Quarantine(recorder.rebuild(point, tmp_path / f"{point}-{seed}", seed) / "quarantine", KEYRING)
            found = list(rebuilt.recover())
            assert {w.quarantine for w in found} >= {w.quarantine for made, w, _ in promises if made <= point}
            for w in found:
                data = next(data for _, kept, data in promises if kept == w)
                assert b"".join(rebuilt.read("trial", w.quarantine)[2]) == data
            assert not rebuilt.damaged


def test_a_key_is_durable_before_it_is_used(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    with Recorder(root) as recorder:
        keys = create_key(root / "trial.key")
    for point in range(recorder.now() + 1):
        for seed in range(6):
            rebuilt = recorder.rebuild(point, tmp_path / f"{point}-{seed}", seed) / "trial.key"
            if rebuilt.exists():
                assert load_key(rebuilt) == keys
    assert load_key(recorder.rebuild(recorder.now(), tmp_path / "end") / "trial.key") == keys


def test_a_key_that_was_found_is_durable_too(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    with Recorder(root) as recorder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, "sync_directory", lambda path: None)
            create_key(root / "trial.key")
        killed = recorder.now()
        keys = create_key(root / "trial.key")
    assert not (recorder.rebuild(killed, tmp_path / "killed") / "trial.key").exists()
    assert load_key(recorder.rebuild(recorder.now(), tmp_path / "found") / "trial.key") == keys


def test_the_recorder_sees_a_missing_sync(tmp_path: Path) -> None:
    """Each of the three syncs that a record needs is missed when it is left out."""
    for left_out in ("sync", "sync_directory"):
        root = tmp_path / left_out
        root.mkdir()
        with Recorder(root) as recorder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(disk, left_out, lambda _: None)
            clean(1).append_to(Outbox(root / "outbox", KEYRING).lease("trial", "studya"))
        assert recover(recorder.rebuild(recorder.now(), tmp_path / f"{left_out}-rebuilt") / "outbox") == {}


def test_the_recorder_keeps_what_was_there_and_forgets_what_was_deleted(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    (root / "old").mkdir(parents=True)
    (root / "old" / "file").write_bytes(b"there")
    with Recorder(root) as recorder:
        fd = disk.reopen(root / "old" / "file")
        disk.write(fd, [b"T"], 0)
        changed = recorder.now()
        disk.sync(fd)
        synced = recorder.now()
        disk.unlink(root / "old" / "file")
        deleted = recorder.now()
        disk.sync_directory(root / "old")
        disk.remove_directory(root / "old")
        disk.sync_directory(root)
        os.close(fd)

    def after(point: int) -> Path:
        return recorder.rebuild(point, tmp_path / f"after-{point}") / "old"

    assert (after(changed) / "file").read_bytes() == b"there"
    assert (after(synced) / "file").read_bytes() == b"There"
    assert (after(deleted) / "file").read_bytes() == b"There"
    assert list(after(deleted + 1).iterdir()) == []
    assert not after(recorder.now()).exists()


def test_a_sync_does_not_cover_what_came_after_its_call(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    with Recorder(root) as recorder:
        fd = disk.create(root / "file")
        disk.sync_directory(root)
        disk.write(fd, [b"early"], 0)
        with pytest.MonkeyPatch.context() as patch:
            real = os.fdatasync

            def slow(fd: int) -> None:
                thread = Thread(target=disk.write, args=(fd, [b"later"], 5))
                thread.start()
                thread.join()
                real(fd)

            patch.setattr(os, "fdatasync", slow)
            disk.sync(fd)
        os.close(fd)
    assert (recorder.rebuild(recorder.now(), tmp_path / "rebuilt") / "file").read_bytes() == b"early"
    torn = {
        (recorder.rebuild(recorder.now(), tmp_path / f"torn-{seed}", seed) / "file").read_bytes() for seed in range(9)
    }
    assert torn == {b"early", b"earlylater"}
