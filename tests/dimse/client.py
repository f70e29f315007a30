"""A peer that says to the storage SCP exactly what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from keeper import EXPLICIT
from talk import REQUEST

from dicomnode.upper_layer import AssociateRequest, ProposedContext
from dicomnode.upper_layer.commands import decode_command
from dicomnode.upper_layer.pdus import encode_request

CONTEXTS = (*REQUEST.contexts, ProposedContext(3, "1.2.840.10008.1.1", (EXPLICIT,)))
HELLO = replace(REQUEST, called="DICOMNODE", calling="STAGING", contexts=CONTEXTS)


class Client:
    """One connection that says exactly what the test wants; every read has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def pdu(self, seconds: float = 5) -> bytes:
        async with asyncio.timeout(seconds):
            header = await self.reader.readexactly(6)
            return header + await self.reader.readexactly(int.from_bytes(header[2:], "big"))

    async def rest(self, seconds: float = 8) -> bytes:
        """Everything until the other side closes."""
        async with asyncio.timeout(seconds):
            return await self.reader.read()

    async def status(self) -> tuple[int, int]:
        """Message ID and status of the next response."""
        response = decode_command(1, (await self.pdu())[12:])
        return response.responds_to, response.status

    async def open(self, request: AssociateRequest = HELLO) -> None:
        self.say(encode_request(request))
        assert (await self.pdu())[0] == 2


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
