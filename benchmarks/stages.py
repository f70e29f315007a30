"""Where an instance's time goes: CPU and wall time of each stage, one after the other, in this process alone.

The stages are called as the node calls them, on its own rooms, with nothing beside them: no sender, no other thread.
So their sum is what an instance costs, not how long it takes in a node under load. `--write` puts the table into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import page
from rooms import ORIGIN, Rooms, associated, message_of
from synthetic import ct, images, numbered, small

from dicomnode import disk, keep
from dicomnode.deidentify import gate
from dicomnode.model import Buffer, Received
from dicomnode.upper_layer import DataSet, store_request
from dicomnode.ways import Way

KINDS = {"CT 0.53 MB": ct, "small 12 KB": small}
CHUNK = 256 << 10
GATE_BOUND = 0.4  # ms of CPU for a CT instance
STAGES = {
    "socket": "receive: the kernel's part (recv_into)",
    "reader": "receive: PDUs to a data set",
    "clean": "read, plan, treat",
    "gate": "gate",
    "digests": "digests of what came and what goes",
    "record": "describe, seal, compose the record",
    "write": "write",
    "sync": "sync",
    "journal": "journal and identity book, rows and commits",
    "load": "read back for sending, checked",
    "send": "send: PDUs, and the kernel's part (sendmsg)",
}


@dataclass
class Clock:
    """CPU and wall milliseconds of each pass, by stage; without `all_threads` the CPU of the calling thread."""

    spent: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, share: int = 1, all_threads: bool = False) -> Iterator[None]:
        """Add a pass of a stage, which stands for `share` instances."""
        part = Part(time.process_time_ns if all_threads else time.thread_time_ns)
        with part.going():
            yield
        self.add(name, part, share)

    def add(self, name: str, part: Part, share: int = 1) -> None:
        """Add a pass that was measured in parts."""
        self.spent.setdefault(name, []).append((part.cpu / share, part.wall / share))

    def middle(self, name: str) -> tuple[float, float]:
        """The medians of a stage."""
        found = self.spent[name]
        return median(cpu for cpu, _ in found), median(wall for _, wall in found)


@dataclass
class Part:
    """Milliseconds of CPU and wall time, added up over parts."""

    clock: Callable[[], int] = time.thread_time_ns
    cpu: float = 0.0
    wall: float = 0.0

    @contextmanager
    def going(self) -> Iterator[None]:
        """One of the parts."""
        cpu, wall = self.clock(), time.perf_counter_ns()
        try:
            yield
        finally:
            self.cpu += (self.clock() - cpu) / 1e6
            self.wall += (time.perf_counter_ns() - wall) / 1e6


@dataclass
class GateTime:
    """Adds up the CPU that is spent in the gate's searches, by whatever way an instance goes."""

    spent: float = 0.0

    @contextmanager
    def watched(self) -> Iterator[GateTime]:
        """While it is entered."""
        original = gate.Gate.check

        def check(this: gate.Gate) -> None:
            began = time.thread_time_ns()
            try:
                original(this)
            finally:
                self.spent += (time.thread_time_ns() - began) / 1e6

        gate.Gate.check = check  # type: ignore[method-assign]
        try:
            yield self
        finally:
            gate.Gate.check = original  # type: ignore[method-assign]


class Wire:
    """An association between a sender and the node over a TCP connection of this process with itself."""

    def __init__(self, sop_class: str, syntax: str) -> None:
        self.calling, self.called = associated(sop_class, syntax)
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.near = socket.create_connection(server.getsockname())
            self.far = server.accept()[0]
        self._buffer, self._waste = memoryview(bytearray(CHUNK)), bytearray(CHUNK)

    def close(self) -> None:
        """Close both ends."""
        self.near.close()
        self.far.close()

    def receive(self, message: bytes, clock: Clock) -> bytearray:
        """The data set of a message, received as the node does, while another thread sends it."""
        kernel, reader, data, left = Part(), Part(), bytearray(), len(message)
        feeder = threading.Thread(target=self.near.sendall, args=(message,))
        feeder.start()
        while left:
            with kernel.going():
                count = self.far.recv_into(self._buffer)
            left -= count
            with reader.going():
                self.called.receive(self._buffer[:count])
                while (event := self.called.next_event()) is not None:
                    if isinstance(event, DataSet):
                        data += event.data
                self.called.keep()
        feeder.join()
        clock.add("socket", kernel)
        clock.add("reader", reader)
        return data

    def send(self, sop_class: str, sop_uid: str, data_set: Sequence[Buffer], clock: Clock) -> None:
        """A data set in PDUs to the socket, while another thread empties it."""
        part, done = Part(), threading.Event()
        drain = threading.Thread(target=self._drain, args=(done,))
        drain.start()
        with part.going():
            for batch in self.calling.send(1, store_request(1, sop_class, sop_uid), data_set):
                send_all(self.near, batch)
        done.set()
        self.near.send(b"\0")
        drain.join()
        clock.add("send", part)

    def _drain(self, done: threading.Event) -> None:
        while self.far.recv_into(self._waste) and not done.is_set():
            pass


def send_all(connection: socket.socket, parts: list[Buffer]) -> None:
    """Gathered writes until everything is written."""
    while parts:
        count = connection.sendmsg(parts)
        while parts and count >= len(parts[0]):
            count -= len(parts.pop(0))
        if count:
            parts[0] = memoryview(parts[0])[count:]


def passes(kind: str, count: int, folder: Path) -> tuple[Clock, float, float]:
    """All stages for `count` instances of a series; and the gate's ms for the first one, and for a new series each."""
    files = list(numbered(KINDS[kind](), count))
    syntax, _ = images.split(files[0])
    sop_class = str(images.header(files[0]).SOPClassUID)
    rooms, clock, wire = Rooms(folder), Clock(), Wire(sop_class, syntax)
    way, done = rooms.way(), []
    try:
        for number, file in enumerate(files):
            uid = str(images.header(file).SOPInstanceUID)
            data = wire.receive(message_of(wire.calling, sop_class, uid, images.split(file)[1]), clock)
            done.append(one(rooms, way, Received(ORIGIN, sop_class, uid, syntax, float(number)), data, clock))
        with clock.stage("journal", count, all_threads=True):
            for kept in done:
                rooms.book.put(kept.instance.project, kept.identity, kept.instance.study_key)
                rooms.journal.stored(kept.instance, kept.location)
            rooms.journal.flush().result()
        for kept in done:
            with clock.stage("load"):
                whole = memoryview(next(rooms.outbox.pieces(kept.location)))
            wire.send(sop_class, kept.instance.sop_uid, [whole[kept.location.data_set_offset :]], clock)
        return clock, *gate_alone(rooms, files, sop_class, syntax)
    finally:
        wire.close()
        rooms.close()


def one(rooms: Rooms, way: Way, received: Received, data: bytearray, clock: Clock) -> keep.Kept:
    """De-identify and keep one instance."""
    with GateTime().watched() as gated:
        part = Part()
        with part.going():
            cleaned = way.deidentifier.clean(received, data)
    part.cpu -= gated.spent
    part.wall -= gated.spent
    clock.add("clean", part)
    clock.add("gate", Part(cpu=gated.spent, wall=gated.spent))
    digest, whole = Part(), Part()
    with digest.going():
        keep.digests(way, cleaned)
    with whole.going():
        record = keep.record(way, received, cleaned, 0.0)
    clock.add("digests", digest)
    clock.add("record", Part(cpu=max(0.0, whole.cpu - digest.cpu), wall=max(0.0, whole.wall - digest.wall)))
    with disk_watched(clock):
        return keep.keep(rooms.leases, 1, record)


@contextmanager
def disk_watched(clock: Clock) -> Iterator[None]:
    """While it is entered, what is written and synced through dicomnode.disk is measured; a new segment is not."""
    write, sync = disk.write, disk.sync

    def writing(fd: int, parts: Sequence[Buffer], offset: int) -> int:
        with clock.stage("write"):
            return write(fd, parts, offset)

    def syncing(fd: int) -> None:
        with clock.stage("sync"):
            sync(fd)

    disk.write, disk.sync = writing, syncing
    try:
        yield
    finally:
        disk.write, disk.sync = write, sync


def gate_alone(rooms: Rooms, files: list[bytes], sop_class: str, syntax: str) -> tuple[float, float]:
    """The gate's ms of CPU for an instance whose series is not known: of the very first one, and in the middle."""
    found = []
    for file in files:
        uid, data = str(images.header(file).SOPInstanceUID), bytearray(images.split(file)[1])
        with GateTime().watched() as gated:
            rooms.way().deidentifier.clean(Received(ORIGIN, sop_class, uid, syntax, 0.0), data)
        found.append(gated.spent)
    return found[0], median(found)


def report(found: dict[str, tuple[Clock, float, float]]) -> str:
    """Markdown: ms of CPU and of wall time by stage and kind, and what the gate costs."""
    head, rows = ["stage"], []
    for kind in found:
        head += [f"{kind}: CPU ms", "wall ms"]
    for stage, said in STAGES.items():
        cells = [f"{value:.3f}" for clock, _, _ in found.values() for value in clock.middle(stage)]
        rows.append([said, *cells])
    sums = [sum(clock.middle(stage)[column] for stage in STAGES) for clock, _, _ in found.values() for column in (0, 1)]
    rows.append(["**together**", *(f"**{value:.2f}**" for value in sums)])
    lines = [page.table(head, rows), ""]
    for kind, (clock, first, alone) in found.items():
        lines.append(
            f"- the gate, {kind}: {clock.middle('gate')[0]:.3f} ms for an instance of a known series, {alone:.3f} "
            f"for one of a new series (the very first one, with nothing remembered: {first:.3f})"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure and print; exit 1 when the gate takes longer than its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100, help="of each kind, all of one series (default 100)")
    parser.add_argument("--directory", type=Path, help="where the node's files lie")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    found = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="dicomnode-bench-", dir=options.directory) as folder:
            found[kind] = passes(kind, options.instances, Path(folder))
    text = report(found)
    print(text)
    if options.write:
        page.write("stages", text, {})
    return int(any(alone > GATE_BOUND for _, _, alone in found.values()))


if __name__ == "__main__":
    sys.exit(main())
