"""A storage service that keeps everything in memory, and a server around it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from dicomnode.dimse.scp import Limits, Rejection, Server
from dicomnode.model import Buffer, Origin, Peer, Received

STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
WHOLE = Limits()
QUICK = Limits(handshake=0.4, idle=0.4, stall=0.4, answer=0.4)


class Stream:
    """Collects chunks; `trouble` is raised by the write that passes `at` bytes."""

    def __init__(self, keeper: Keeper, received: Received) -> None:
        self.keeper = keeper
        self.received = received
        self.chunks: list[bytes] = []
        self.end = ""
        keeper.streams.append(self)

    async def write(self, chunk: Buffer) -> None:
        self.chunks.append(bytes(chunk))
        await self.keeper.pause()

    async def finish(self) -> int:
        self.end = "finished"
        self.keeper.stored.append((self.received, b"".join(self.chunks)))
        return self.keeper.status

    async def abandon(self) -> None:
        self.end = "abandoned"


@dataclass
class Keeper:
    """Admits the calling AE title STAGING to DICOMNODE; `pause` is awaited by every store and write."""

    status: int = 0
    pause: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
    refused: dict[str, Rejection] = field(default_factory=dict)
    stored: list[tuple[Received, bytes]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    count: int = 0
    certificates: list[bytes | None] = field(default_factory=list)

    def admit(self, calling: str, called: str, address: str, certificate: bytes | None = None) -> Origin | Rejection:
        self.certificates.append(certificate)
        if calling in self.refused:
            return self.refused[calling]
        self.count += 1
        return Origin("project", "peer", calling, called, address, self.count)

    def opened(self, origin: Origin) -> None:
        self.open.append(origin.association)

    async def store(self, received: Received, data: bytearray) -> int:
        await self.pause()
        self.stored.append((received, bytes(data)))
        return self.status

    async def stream(self, received: Received) -> Stream:
        return Stream(self, received)

    def echoed(self, origin: Origin) -> None:
        pass

    def closed(self, origin: Origin, how: str) -> None:
        self.open.remove(origin.association)
        self.ends.append(how)

    @property
    def data_sets(self) -> dict[str, tuple[str, bytes]]:
        """SOP Instance UID to transfer syntax and data set."""
        return {received.sop_uid: (received.transfer_syntax, data) for received, data in self.stored}


@asynccontextmanager
async def serving(
    keeper: Keeper, limits: Limits = WHOLE, *, tls: ssl.SSLContext | None = None, **arguments: Any
) -> AsyncIterator[tuple[Server, int]]:
    """A server on a free loopback port; aborted in the end."""
    server = Server("DICOMNODE", keeper, limits, **arguments)
    port = await server.listen("127.0.0.1", 0, tls)
    try:
        yield server, port
    finally:
        server.abort()
        await asyncio.sleep(0)


def peer(port: int, ae_title: str = "DICOMNODE") -> Peer:
    return Peer("research", ae_title, "127.0.0.1", port, ())


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """Wait for a condition of the event loop's own objects."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - whatever is awaited has no event
            await asyncio.sleep(0.01)
