"""A node that is sent more than its memory may hold, and what is asked of it afterwards.

Sizes are DICOMNODE_BIG (MB of one instance), DICOMNODE_BIG_MANY (how many of which MB at once); `make test-big` takes
3 GB and 20 x 150 MB. What the node's process ever had resident is what the kernel counts (VmHWM).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import giant
import synthetic
from giant import Giant
from peers.dcmtk import Storescp
from peers.node import Node
from peers.process import HOST, until

from dicomnode.dimse.sender import Patience, Sender
from dicomnode.model import Peer

ONE = float(os.environ.get("DICOMNODE_BIG", "200"))
COUNT, EACH = (float(part) for part in os.environ.get("DICOMNODE_BIG_MANY", "8x40").split("x"))
MOST = 150_000  # kB
LONG = 60 + ONE / 10  # seconds for anything with the large one
PATIENT = Patience(stall=LONG, answer=LONG)
PLANTED = (*synthetic.PERSON.name.encode().split(b"^"), synthetic.PERSON.patient_id.encode())
BAD_TAIL = b"\xfc\xff\xfc\xffZZ\x04\x00what"  # an element of a VR that there is not


@dataclass
class Big:
    """A node that is started before a storescp, and what it may use."""

    node: Node
    research: Storescp
    marks: tuple[bytes, ...] = ()

    def peak(self) -> int:
        """kB that were resident at most."""
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{self.node.pid}/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0])

    async def store(self, instance: Giant) -> int:
        """C-STORE; the pieces are sent as they are."""
        peer = Peer("node", "DICOMNODE", HOST, self.node.port, ())
        contexts = [(instance.sop_class, instance.syntax)]
        sender = await Sender.connect(peer, "STAGING", contexts, patience=PATIENT)
        status = await sender.store(instance.sop_class, instance.sop_uid, instance.syntax, instance.pieces)
        await sender.release()
        return status

    def send(self, *instances: Giant) -> list[int]:
        """All at once, each on an association of its own."""

        async def all_at_once() -> list[int]:
            return list(await asyncio.gather(*(self.store(each) for each in instances)))

        return asyncio.run(all_at_once())

    def in_the_clear(self) -> list[str]:
        """Files of the node that hold pixels, or what identifies, in the clear; by name."""
        marks = (*PLANTED, *self.marks)
        files = [path for path in (*self.node.storage.rglob("*"), *self.node.temporary.rglob("*")) if path.is_file()]
        return [path.name for path in files if path.name[:8] != "identity" and holds(path, marks)]

    def segments(self) -> int:
        """Bytes in the outbox."""
        return sum(path.stat().st_size for path in self.node.storage.glob("outbox/*/*/*.seg"))

    def arrived(self, instances: Sequence[Giant]) -> None:
        """Everything is at research with the pixels that were sent, and the outbox is empty."""
        self.node.wait_settled(len(instances), LONG)
        (length,) = {sum(map(len, each.pieces[each.pixels])) for each in instances}
        files = self.research.files()
        found = [giant.digest(pieces_of(path, path.stat().st_size - length)) for path in files]
        assert sorted(found) == sorted(each.pixel_digest() for each in instances)
        assert not any(holds(path, PLANTED) for path in files)
        until(lambda: not self.segments(), 20, "deletion")


def holds(path: Path, marks: Sequence[bytes]) -> bool:
    """Whether any of these is in a file; it is never read whole."""
    before = b""
    for piece in pieces_of(path):
        window = before + piece
        if any(mark in window for mark in marks):
            return True
        before = window[-64:]
    return False


def pieces_of(path: Path, start: int = 0) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(1 << 20):
            yield piece


def part10_digest(path: Path) -> str:
    """SHA-256 of the data set in a Part 10 file."""
    with path.open("rb") as file:
        head = file.read(144)  # preamble, prefix, File Meta Information Group Length
    return giant.digest(pieces_of(path, 144 + int.from_bytes(head[140:], "little")))
