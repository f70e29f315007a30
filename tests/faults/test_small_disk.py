"""A full disk, a file that may not grow, a directory that is none: really, where this machine allows it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import synthetic
from chain import Way
from machine import OUT_OF_RESOURCES, Machine, four
from peers import dcmtk
from peers.process import until
from structlog.testing import capture_logs

SIZE = 24 << 20


def used(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def _mounted(place: Path) -> bool:
    """Whether a small file system could be mounted there."""
    arguments = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Path]]:
    """A directory on a file system of 24 MiB; where nothing may be mounted, one whose free space is made up."""
    place = tmp_path / "disk"
    place.mkdir()
    if _mounted(place):
        yield lambda: place
        subprocess.run(["umount", "-l", place], check=True)
        return

    def statvfs(path: object) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=(SIZE - used(place)) // 4096, f_frsize=4096, f_files=0, f_favail=0)

    monkeypatch.setattr(os, "statvfs", statvfs)
    yield lambda: place


async def test_below_the_mark_it_refuses_and_goes_on_when_there_is_room(machine, small_disk, free_port, storescp):
    port = free_port()
    node: Machine = await machine("disk", research=port, storage="min_free: 12MiB")
    sent = list(synthetic.series(40, 1))
    with capture_logs() as lines:
        statuses = []
        for part10 in sent:
            statuses += await node.send([part10])
            if statuses[-1]:
                break
            node.node._space.look()
    assert statuses[-1] == OUT_OF_RESOURCES
    assert 10 < len(statuses) < 35
    assert used(small_disk()) < SIZE - (10 << 20)
    assert [line["event"] for line in lines if line["event"].startswith("storage")] == ["storage-low"]
    assert not [line for line in lines if line["event"] == "instance-refused-storage" and line["log_level"] == "error"]
    kept = sent[: len(statuses) - 1]
    research = storescp(port=port)
    await node.settled(1)
    assert research.data_sets() == Way(node, research).expect(kept)
    with capture_logs() as lines:
        await node.until(lambda: not node.node._space.low)
    assert [line["event"] for line in lines if line["event"].startswith("storage")] == ["storage-enough"]
    assert await node.send(sent[len(kept) : len(kept) + 2]) == [0, 0]
    await node.until(lambda: len(research.files()) == len(kept) + 2)


async def test_a_full_disk_refuses_and_recovers(machine, small_disk, storescp):
    """No mark protects it: the file system itself says no in the middle of a record (real where it can be mounted)."""
    research = storescp()
    node: Machine = await machine("disk", research=research.port, storage="min_free: 1B, keep: segments")
    sent = list(synthetic.series(4, 1))
    assert await node.send(sent[:2]) == [0, 0]
    filler = small_disk() / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while used(small_disk()) < SIZE:
                file.write(bytes(1 << 16))
        except OSError:
            pass
        node.node._space.look()
        statuses = await node.send(sent[2:])
        assert statuses == [OUT_OF_RESOURCES] * 2
    filler.unlink()
    node.node._space.look()
    assert await node.send(sent) == [0] * 4
    await node.settled(1)
    assert research.data_sets() == Way(node, research).expect(sent)


def test_files_that_may_not_grow(way, write_files):
    """EFBIG for segments, quarantine and databases alike, by a limit on the running process; needs no rights."""
    chain = way(quiet="1s", settings={"storage": {"keep": "segments"}})
    first, later = list(synthetic.series(3, 1)), list(synthetic.series(3, 2))
    assert dcmtk.storescu(chain.port, write_files(first, "first")).statuses == [0] * 3
    resource.prlimit(chain.node.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    result = dcmtk.storescu(chain.port, write_files(later, "later"))
    assert result.statuses[0] == OUT_OF_RESOURCES
    assert OUT_OF_RESOURCES in result.statuses
    (refusal, *_) = chain.node.events("instance-refused-storage")
    assert refusal["error"].startswith("cannot write a file of the storage directory: File too large; free space")
    resource.prlimit(chain.node.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    until(lambda: dcmtk.storescu(chain.port, write_files(later, "again")).statuses == [0] * 3, 20, "taking them")
    chain.node.wait_settled(2)
    assert chain.research.data_sets() == chain.expect([*first, *later])


def test_a_storage_directory_that_cannot_be_one(node, free_port):
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())})
    made.storage.rmdir()
    made.storage.write_text("a file is no directory")
    told = made.command("serve")
    assert told.returncode == 1
    (line,) = told.stdout.strip().splitlines()
    assert line.startswith(f"dicomnode: cannot create directory {made.storage}: File exists"), line


@pytest.mark.parametrize("replaced", ["gone", "another", "same names"])
async def test_a_storage_directory_that_is_another_takes_and_loses_nothing(machine, storescp, free_port, replaced):
    """As when its disk is unmounted: what would be written to the empty place is hidden when the disk is back."""
    port = free_port()
    node: Machine = await machine(research=port)
    files = four(1)
    assert await node.send([*files["clean"], *files["bad"]]) == [0] * 4
    await node.until(lambda: node.states() == {"forwarding": 1})
    away = node.storage.with_name("away")
    node.storage.rename(away)
    if replaced != "gone":
        node.storage.mkdir()
    if replaced == "same names":
        for name in ("lock", "outbox/default", "quarantine/default"):
            (node.storage / name).mkdir(parents=True)
    before = sorted(node.storage.rglob("*"))
    other = four(2)
    with capture_logs() as lines:
        statuses = await node.send([*other["clean"], *other["bad"]])
    assert statuses == [OUT_OF_RESOURCES] * 4
    assert sorted(node.storage.rglob("*")) == before
    refused = [line for line in lines if line["event"] == "instance-refused-storage" and line["log_level"] == "error"]
    (told,) = {line["error"] for line in refused}
    assert told.endswith("stop the node, put the directory or its disk back, and start it again")
    with capture_logs() as lines:
        research = storescp(port=port)
        await node.until(lambda: [line for line in lines if "in segment" in str(line.get("error"))])
    assert not [line for line in lines if line["event"] == "instance-lost"]
    if node.storage.exists():
        shutil.rmtree(node.storage)
    away.rename(node.storage)
    await node.stop()
    await node.start()
    everything = [*files["clean"], *other["clean"]]
    assert await node.send([*other["clean"], *other["bad"]]) == [0] * 4
    await node.settled(2)
    assert research.data_sets() == Way(node, research).expect(everything)


@pytest.mark.parametrize("whole", ["64MiB", "4KiB"])
async def test_nothing_is_acknowledged_into_a_segment_that_was_removed(machine, free_port, whole):
    """It is open and could be written; what is written there would be gone with the process."""
    node: Machine = await machine(research=free_port(), node=f"whole: {whole}")
    clean = four(1)["clean"]
    assert await node.send(clean[:1]) == [0]
    (segment,) = (node.storage / "outbox").rglob("*.seg")
    segment.unlink()
    assert await node.send(clean[1:]) == [OUT_OF_RESOURCES, *[0] * (len(clean) - 2)]
    assert await node.send(clean[1:]) == [0] * (len(clean) - 1)
    (other,) = (node.storage / "outbox").rglob("*.seg")
    assert other.name != segment.name
