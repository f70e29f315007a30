"""Killed anywhere: what was answered with 0x0000 arrives at research with identical bytes, or is withheld and listed.

DICOMNODE_KILL_POINTS and DICOMNODE_KILLS say at how many points and random moments; 'all' and 200 were run by hand.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import images
import pytest
import synthetic
from chain import Arrived, cleaned
from forked import ForkedNode
from killpoint import Point, names, sample
from peers import dcmtk
from peers.dcmtk import Storescp
from peers.node import Node
from peers.process import until

POINTS = os.environ.get("DICOMNODE_KILL_POINTS", "12")
KILLS = int(os.environ.get("DICOMNODE_KILLS", "12"))
KEY = bytes(range(32))
SETTINGS = {"node": {"whole": "64KiB"}, "forward": {"first": "100ms", "most": "300ms"}}


class Course:
    """One life of a node that is killed and started again, with its sender and its receiver."""

    def __init__(self, folder: Path, research: Storescp, key: bytes | None = KEY) -> None:
        peers = {"staging": ("STAGING", 4242), "research": (research.ae_title, research.port)}
        self.node = ForkedNode(folder, peers, quiet="250ms", settings=SETTINGS, key=key)
        self.research = research
        self.acknowledged: set[str] = set()

    def send(self, files: list[Path]) -> None:
        """Send everything in one association; note what was answered with 0x0000."""
        result = dcmtk.storescu(self.node.port, files)
        self.acknowledged |= set(result.acknowledged)

    def check(self, sent: dict[str, bytes], bad: dict[str, bytes]) -> None:
        """After a start: everything acknowledged gets where it belongs, and nothing else."""
        until(self.node.settled, 20, f"everything settled: {self.node.folder}")
        arrived = self.research.data_sets()
        expected: Arrived = {}
        for uid, part10 in sent.items():
            name, contents = cleaned(self.node, part10)
            expected[name] = contents
            if uid in self.acknowledged:
                assert arrived.get(name) == contents, f"lost or changed: {self.node.folder}"
        assert arrived.items() <= expected.items()
        withheld = self.node.column("SELECT length FROM withheld")
        for uid, part10 in bad.items():
            if uid in self.acknowledged:
                assert len(images.split(part10)[1]) in withheld, f"lost: {self.node.folder}"
        sealed = {path.stem for path in self.node.storage.glob("quarantine/*/*")}
        assert sealed == set(self.node.column("SELECT quarantine FROM withheld"))


def _material(study: int, small: int = 2) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Original SOP Instance UID to file, clean ones and ones to be withheld; a stream of either kind among them."""
    clean = [synthetic.small(study, 1, n) for n in range(1, small + 1)]
    clean.append(synthetic.ct(study, 2, 1, rows=256, columns=256))
    bad = [synthetic.small(study, 3, 1), synthetic.ct(study, 4, 1, rows=256, columns=200 + study % 50)]
    for data_set in bad:
        data_set.PixelData = data_set.PixelData[: -512 - 2 * study]
    named = [{str(each.SOPInstanceUID): images.written(each) for each in kind} for kind in (clean, bad)]
    return named[0], named[1]


def _mixed(clean: dict[str, bytes], bad: dict[str, bytes]) -> list[bytes]:
    files = [*clean.values(), *bad.values()]
    return [files[number] for number in (0, 3, 2, 4, 1, *range(5, len(files)))]


@pytest.fixture
def killed_at(tmp_path, forge, storescp, write_files):
    """A function: run the course with a kill at that point of the node's first life; the points that were passed."""
    research = storescp()
    clean, bad = _material(1)
    files = write_files(_mixed(clean, bad))

    def run(at: Point) -> list[str]:
        for path in research.files():
            path.unlink()
        name = f"{at[0].replace(' ', '-')}-{at[1]}"
        course = Course(tmp_path / name, research, key=None)
        trace = tmp_path / f"{name}.trace"
        course.node.start_to_die(at, trace)
        if course.node.running:
            course.send(files)
            ends = time.monotonic() + 20
            while course.node.running and not (course.node.settled() and _no_segments(course.node)):
                assert time.monotonic() < ends, course.node.output()[-2000:]
                time.sleep(0.02)
        course.node.stop()
        assert identified(course.node) == []
        course.node.start()
        course.check(clean, bad)
        course.node.stop()
        return names(trace)

    return run


def identified(node: Node) -> list[str]:
    """Where an identifying value lies in the clear, beside the identity book."""
    needles = [needle.encode() for needle in synthetic.PERSON.needles()]
    places = {"log": node.log.read_bytes(), **node.written_bytes()}
    places |= {str(path): path.read_bytes() for path in node.temporary.rglob("*") if path.is_file()}
    return [f"{needle!r} in {name}" for name, data in places.items() for needle in needles if needle in data]


def _no_segments(node: Node) -> bool:
    return not list(node.storage.glob("outbox/*/*/*.seg"))


def test_killed_at_every_durability_point(killed_at):
    passed = killed_at(("", 0))
    assert len(passed) > 60
    kinds = {"create keys", "half of write outbox", "rename quarantine", "rename outbox", "after commit journal"}
    assert kinds <= set(passed)
    points = sample(passed, len(passed) if POINTS == "all" else int(POINTS))
    died = [name for name, number in points if killed_at((name, number)).count(name) == number]
    print(f"killed at {len(died)} of {len(passed)} points, {len(set(died))} of {len(set(passed))} kinds")
    assert len(died) >= len(points) * 0.8, "some commits come together, most points come each time"


def test_killed_while_a_person_releases_and_discards(tmp_path, forge, storescp, write_files):
    """Wherever it is killed: what was released arrives, what was discarded is gone, commands can be repeated."""
    research = storescp()
    clean, _ = _material(1)
    files = write_files(clean.values())

    def run(at: Point) -> list[str]:
        for path in research.files():
            path.unlink()
        node = Course(tmp_path / f"{at[0].replace(' ', '-')}-{at[1]}", research).node
        node.rules.write_text("profile: basic\nwithhold: [MRImageStorage, CTImageStorage]\n")
        node.start()
        assert dcmtk.storescu(node.port, files).statuses == [0] * 3
        node.stop()
        node.rules.write_text("profile: basic\n")
        trace = node.folder / "trace"
        node.start_to_die(at, trace)
        listed = node.column("SELECT quarantine FROM withheld ORDER BY length")
        assert len(listed) == 3
        orders = [("discard", listed[0], "--yes"), *(("release", each) for each in listed[1:])]
        for order in orders:
            node.command("quarantine", *order)
        until(lambda: not node.running or (node.settled() and _no_segments(node)), 10, "the course or its end")
        node.stop()
        node.start()
        for order in orders:
            if order[1] in node.column("SELECT quarantine FROM withheld WHERE fate = ''"):
                assert node.command("quarantine", *order).returncode == 0
        until(node.settled, 20, f"everything settled: {node.folder}")
        fates = node.column("SELECT fate FROM withheld ORDER BY length")
        assert fates == ["discarded", "released", "released"]
        assert list(node.storage.glob("quarantine/*/*")) == []
        expected = [cleaned(node, part10) for part10 in clean.values()]
        expected.sort(key=lambda each: len(each[1][1]))
        assert len(research.data_sets().items() & dict(expected).items()) == len(research.data_sets()) == 2
        node.stop()
        return names(trace)

    passed = run(("", 0))
    points = sample(passed, len(passed) if POINTS == "all" else int(POINTS) // 2)
    died = [name for name, number in points if run((name, number)).count(name) == number]
    print(f"killed at {len(died)} of {len(passed)} points, {len(set(died))} of {len(set(passed))} kinds")
    assert len(died) >= len(points) * 0.5


def test_killed_at_random_moments(tmp_path, forge, storescp, write_files):
    """Two senders push and earlier studies are forwarded while the node is killed, again and again."""
    course = Course(tmp_path / "node", storescp())
    course.node.start()
    moments = random.Random(4711)
    all_clean: dict[str, bytes] = {}
    all_bad: dict[str, bytes] = {}
    for life in range(1, KILLS + 1):
        senders = []
        for study in (2 * life - 1, 2 * life):
            clean, bad = _material(study, 30)
            all_clean |= clean
            all_bad |= bad
            files = write_files(_mixed(clean, bad), f"sent{study}")
            senders.append(threading.Thread(target=course.send, args=(files,)))
            senders[-1].start()
        time.sleep(0.03 + moments.random() * 0.16)
        course.node.kill()
        for sender in senders:
            sender.join()
        course.node.start()
    course.check(all_clean, all_bad)
    course.node.stop()
    assert identified(course.node) == []
    print(f"{KILLS} kills, {len(course.acknowledged)} of {len(all_clean) + len(all_bad)} instances acknowledged")
    assert course.acknowledged
