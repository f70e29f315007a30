"""Peers that come and go, for `soak.py`, which starts this as a program of its own, with tests/ in its path.

Arguments: the node's port, a file for what was answered. Until standard input ends, lanes send studies of CT, small
and JPEG instances on associations of their own, some of which end in the middle of a message; one lane sends a
multi-frame of 150 MB now and then; one makes connections and associations for nothing. The file gets a line for each
answer: kind, seconds from the first byte to the answer, status (hexadecimal; "none" when there was no answer).
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import pack

import giant
import images
from kinds import prepare
from synthetic import ROOT as UID_ROOT
from synthetic import ct, small

from dicomnode.dimse.sender import Sender, echo
from dicomnode.errors import DicomnodeError
from dicomnode.model import Buffer, Peer

UIDS = re.compile(re.escape(UID_ROOT.encode()) + rb"\.(\d{9})(?:\.\d{9}\.(\d{9}))?")
LANES = ("ct", "small", "jpeg", "small", "ct", "small")
PAUSE = 1.5  # seconds between two studies of a lane, at most
LARGE_EVERY = 45.0
ABORTED = 0.1  # part of the studies of which an association ends in the middle of a message
Message = tuple[str, str, str, list[Buffer]]


class Template:
    """One instance, of which others are made by writing numbers into its UIDs; the pixels are shared."""

    def __init__(self, sop_class: str, sop_uid: str, syntax: str, head: bytes, rest: list[Buffer]) -> None:
        self.sop_class, self.syntax = sop_class, syntax
        self._uid, self._head, self._rest = sop_uid, head, rest

    def numbered(self, study: int, number: int) -> Message:
        """The instance of that number in a study."""

        def anew(match: re.Match[bytes]) -> bytes:
            value = bytearray(match[0])
            at = match.start(1) - match.start()
            value[at : at + 9] = b"%09d" % (100_000_000 + study)
            if match[2] and match[0].decode() == self._uid:
                value[-9:] = b"%09d" % (100_000_000 + number)
            return bytes(value)

        head = UIDS.sub(anew, self._head).replace(b"PID-73918264", b"PID-%08d" % study)
        uid = UIDS.sub(anew, self._uid.encode()).decode()
        return self.sop_class, uid, self.syntax, [head, *self._rest]


def templates() -> dict[str, Template]:
    """One of each kind."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        picture = next(prepare(Path(folder), "jpeg").iterdir()).read_bytes()
    for kind, content in (("ct", images.written(ct())), ("small", images.written(small())), ("jpeg", picture)):
        syntax, data = images.split(content)
        header = images.header(content)
        at = bytes(data).find(b"\xe0\x7f\x10\x00")
        found[kind] = Template(str(header.SOPClassUID), str(header.SOPInstanceUID), syntax, data[:at], [data[at:]])
    large = giant.native(150)
    head, *frames = large.pieces
    found["large"] = Template(large.sop_class, large.sop_uid, large.syntax, head, frames)
    return found


class Lanes:
    """All that goes on at once."""

    def __init__(self, port: int, answers: Path) -> None:
        self._peer = Peer("node", "DICOMNODE", "127.0.0.1", port, ())
        self._answers = answers.open("w", buffering=1)
        self._templates = templates()
        self._studies = iter(range(1, 100_000_000))
        self._draw = random.Random(5)
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        """Until `stopped`; then every lane ends its study."""
        async with asyncio.TaskGroup() as group:
            for kind in LANES:
                group.create_task(self._lane(kind))
            group.create_task(self._large())
            group.create_task(self._for_nothing())

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)

    async def _lane(self, kind: str) -> None:
        while not self.stopped.is_set():
            study, count = next(self._studies), self._draw.randint(5, 60)
            broken = self._draw.randrange(count) if self._draw.random() < ABORTED else None
            sender = await self._connect(kind)
            for number in range(count):
                if number == broken:
                    await self._break(sender, kind, study, number)
                    sender = await self._connect(kind)
                await self._store(sender, kind, study, number)
            await sender.release()
            await self._pause(self._draw.random() * PAUSE)

    async def _connect(self, kind: str) -> Sender:
        template = self._templates[kind]
        return await Sender.connect(self._peer, "STAGING", [(template.sop_class, template.syntax)])

    async def _store(self, sender: Sender, kind: str, study: int, number: int) -> None:
        message = self._templates[kind].numbered(study, number)
        began = time.perf_counter()
        try:
            status = f"{await sender.store(*message):04x}"
        except DicomnodeError:
            status = "none"
        self._answers.write(f"{kind} {time.perf_counter() - began:.6f} {status}\n")

    async def _break(self, sender: Sender, kind: str, study: int, number: int) -> None:
        """Send half of an instance, then cut the connection."""
        message = self._templates[kind].numbered(study, number)
        parts = message[3]
        length = sum(map(len, parts))

        def half() -> Iterator[Buffer]:
            left = length // 2
            for part in parts:
                yield memoryview(part)[:left]
                left -= len(part)
                if left <= 0:
                    raise ConnectionError("the peer goes away")

        with suppress(DicomnodeError, ConnectionError):
            await sender.store(*message[:3], half(), length)

    async def _large(self) -> None:
        while not self.stopped.is_set():
            sender = await self._connect("large")
            await self._store(sender, "large", next(self._studies), 1)
            await sender.release()
            await self._pause(LARGE_EVERY)

    async def _for_nothing(self) -> None:
        """A connection that is closed, an echo, a caller that nobody knows, a PDU that is none."""
        host, port = self._peer.host, self._peer.port
        while not self.stopped.is_set():
            _, writer = await asyncio.open_connection(host, port)
            writer.write(self._draw.choice((b"", b"\x01\x00", pack(">BBI", 9, 0, 4) + b"what")))
            writer.close()
            for calling in ("STAGING", "NOBODY"):
                with suppress(DicomnodeError):
                    await echo(self._peer, calling)
            await self._pause(2)


async def main(port: int, answers: Path) -> None:
    """Send until standard input ends."""
    lanes = Lanes(port, answers)
    work = asyncio.create_task(lanes.run())
    reading = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait((work, reading), return_when=asyncio.FIRST_COMPLETED)
    lanes.stopped.set()
    await work


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
