"""One instance between the association that brings it and the service that keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import structlog

from dicomnode.dimse.service import InstanceStream, Room, Service
from dicomnode.dimse.status import OUT_OF_RESOURCES
from dicomnode.model import Received

CHUNK = 128 << 10  # bytes that a stream gets at once; twice as many when that spares it a second time
FIRST = 128 << 10  # the room taken for an instance when it begins; it doubles as the instance grows

_T = TypeVar("_T")
_log = structlog.get_logger()


class Incoming:
    """Collects a data set: whole up to `whole` bytes, else passed on in chunks. No method raises what went wrong.

    What it holds is taken from `room`: it waits with almost nothing, and streams when there is no room to grow, so
    nobody waits for room while holding some. Once something failed, or `expired` was set and the task cancelled, the
    rest is dropped and the answer is 0xA700.
    """

    def __init__(self, service: Service, received: Received, whole: int, room: Room) -> None:
        self.expired = False
        self._service = service
        self._received = received
        self._whole = whole
        self._room = room
        self._taken = 0
        self._data = bytearray()
        self._stream: InstanceStream | None = None
        self._failed = False

    def add(self, data: memoryview) -> bool:
        """Take the next bytes; True when `pass_on` has to run before more may come."""
        if self._failed:
            return False
        self._data += data
        if self._stream is not None:
            return len(self._data) > self._taken
        return len(self._data) > self._whole or not self._grow()

    def _grow(self) -> bool:
        """Take room for what is held; False when there is none."""
        while self._taken < len(self._data):
            taken = self._room.grow(self._taken) if self._taken else self._room.take(FIRST)
            if not taken:
                return False
            self._taken += self._taken or FIRST
        return True

    @property
    def is_whole(self) -> bool:
        """Whether all that came is held, for the service's `store`."""
        return self._stream is None and len(self._data) <= self._whole

    async def pass_on(self) -> None:
        """Wait for the first room, or give the stream what has come so far."""
        await self._guard(self._begin() if not self._taken else self._write())

    async def _begin(self) -> None:
        await self._room.wait(FIRST)
        self._taken = FIRST
        if len(self._data) > self._whole or not self._grow():
            await self._write()

    async def finish(self) -> int:
        """Nothing more comes; the C-STORE status."""
        if not self._failed:
            code = await self._guard(self._keep())
            if code is not None:
                self._give(self._taken)
                return code
        await self.abandon()
        return OUT_OF_RESOURCES

    async def abandon(self) -> None:
        """The rest never comes, or is not wanted."""
        self._failed = True
        self._data = bytearray()
        stream, self._stream = self._stream, None
        if stream is not None:
            await self._guard(stream.abandon())
        self._give(self._taken)

    def _give(self, count: int) -> None:
        self._taken -= count
        if count:
            self._room.give(count)

    async def _write(self) -> None:
        if self._stream is None:
            self._stream = await self._service.stream(self._received)
        data, self._data = self._data, bytearray()
        while len(data) > 2 * CHUNK:
            chunk = data[:CHUNK]
            del data[:CHUNK]
            self._give(min(CHUNK, self._taken - CHUNK))  # before the stream takes room for what it will hold of it
            await self._stream.write(chunk)
        self._give(max(0, self._taken - CHUNK))
        if data:
            await self._stream.write(data)

    async def _keep(self) -> int:
        if not self._taken:
            await self._room.wait(FIRST)
            self._taken = FIRST
        if self.is_whole:
            data, self._data = self._data, bytearray()
            return await self._service.store(self._received, data)
        await self._write()
        assert self._stream is not None
        code = await self._stream.finish()
        self._stream = None
        return code

    async def _guard(self, work: Awaitable[_T]) -> _T | None:
        """What `work` returns; None when it failed, which is logged without what it said."""
        try:
            return await work
        except asyncio.CancelledError:
            if not self.expired:
                raise
            why = "no answer in time"
        except Exception as error:  # noqa: BLE001 - whatever the service raises, the sender gets an answer
            why = type(error).__name__
        self._failed = True
        _log.error("store-failed", association=self._received.origin.association, why=why)
        return None
