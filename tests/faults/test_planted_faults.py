"""After every kind of fault: what was planted in each attribute lies nowhere in the clear, but in the identity book."""

from __future__ import annotations

import resource
import signal
import socket
import time
from pathlib import Path

import images
import planting
import synthetic
from chain import Way
from forked import ForkedNode
from peers import dcmtk
from peers.node import Node
from peers.process import until

KEY = bytes(range(32))
SETTINGS = {
    "node": {"whole": "256KiB"},
    "storage": {"keep": "segments"},
    "forward": {"first": "100ms", "most": "300ms"},
    "log": {"level": "debug"},
}


def _material() -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Clean and bad instances, one held whole and one streamed of each; everything planted in them."""
    clean, bad, needles = [], [], []
    for number, rows in enumerate((16, 512), start=1):
        data_set, planted = planting.planted(number)
        needles += planted
        data_set.Rows = data_set.Columns = rows
        data_set.PixelData = bytes(rows * rows * 2)
        clean.append(images.written(data_set))
        data_set.SOPInstanceUID = synthetic.uid(1, 1, 10 + number)
        data_set.PixelData = data_set.PixelData[:-100]
        bad.append(images.written(data_set))
    both = {*needles, *(needle.decode().encode("utf-16-le") for needle in needles)}
    return clean, bad, sorted(both)


def _written(node: Node, told: list[str], research: Path) -> dict[str, bytes]:
    """Everything that the node and its commands wrote, but for the identity book; and what was forwarded."""
    places = {"told": "\n".join(told).encode()}
    for folder in (node.folder, research):
        found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("identity.db")]
        places |= {str(path): path.read_bytes() for path in found}
    return places


def _limit(chain: Way, size: int) -> None:
    resource.prlimit(chain.node.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_nothing_planted_lies_around_after_faults(forge, storescp, write_files, tmp_path):
    clean, bad, needles = _material()
    files = write_files([*clean, *bad])
    research = storescp()
    peers = {"staging": ("STAGING", 4242), "research": ("RESEARCH", research.port)}
    node = ForkedNode(tmp_path / "node", peers, key=KEY, quiet="300ms", settings=SETTINGS)
    node.start()
    chain = Way(node, research)
    told: list[str] = []

    def told_by(*arguments: str) -> str:
        told.append(chain.node.command(*arguments).stdout)
        return told[-1]

    for size in (3_000, 20_000, 300_000):  # the disk says no, earlier and later in a record
        _limit(chain, size)
        told.append(dcmtk.storescu(chain.port, files).output[-1:])
    _limit(chain, resource.RLIM_INFINITY)
    with socket.create_connection(("127.0.0.1", chain.port)) as stranger:
        stranger.sendall(clean[0][:5000])
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGXFSZ):
        sender = dcmtk.storescu(chain.port, files, seconds=60)
        assert sender.code in (0, 1) or sender.statuses
        chain.node._running().signal(number)
        until(lambda: not chain.node.running, 10, f"the end by {number.name}") if number != signal.SIGXFSZ else None
        chain.node.stop()
        chain.node.restart()
    until(lambda: set(dcmtk.storescu(chain.port, files).statuses) == {0}, 20, "all taken")
    chain.node.wait_settled()
    ids = [each["quarantine"] for each in chain.node.quarantine()]
    assert len(ids) == 2
    told_by("quarantine", "list")
    told_by("quarantine", "show", ids[0])
    assert "stays withheld" in told_by("quarantine", "release", ids[0])
    told_by("quarantine", "discard", ids[0], "--yes")
    assert "is there already" in told_by("quarantine", "export", ids[1], "--to", str(chain.node.config))
    told_by("studies", "--json")
    assert chain.node.terminate() == 0
    journal = chain.node.storage / "journal.db"
    journal.write_bytes(journal.read_bytes()[:50] + bytes(1000))
    told_by("serve", "--debug")
    journal.unlink()
    sealed = next(chain.node.storage.glob("quarantine/*/*.sealed"))
    sealed.write_bytes(sealed.read_bytes()[:-20])
    chain.node.restart()
    time.sleep(0.5)
    told_by("quarantine", "release", ids[1], "--debug")
    chain.node.terminate()
    assert chain.research.data_sets() == chain.expect(clean)
    written = _written(chain.node, told, chain.research.folder)
    assert [f"{needle!r} in {name}" for name, data in written.items() for needle in needles if needle in data] == []
    made = {path.name for path in chain.node.folder.iterdir()}
    assert made == {"storage", "tmp", "rules.yaml", "dicomnode.yaml", "node.log", "command.log"}, "a core dump?"
