"""The bounded queue before de-identification: how many instances and bytes may wait or be worked on at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Places:
    """First come, first served; an instance larger than all the room there is gets in alone."""

    def __init__(self, instances: int, size: int) -> None:
        self._instances = instances
        self._size = size
        self.taken = 0
        self.bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many instances wait for a place."""
        return len(self._waiting)

    def _fits(self, size: int) -> bool:
        return self.taken < self._instances and (self.bytes + size <= self._size or not self.taken)

    @asynccontextmanager
    async def place(self, size: int) -> AsyncIterator[None]:
        """Hold a place for an instance of `size` bytes."""
        if self._waiting or not self._fits(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            await self._wait(size, turn)
        else:
            self._take(size)
        try:
            yield
        finally:
            self._leave(size)

    async def _wait(self, size: int, turn: asyncio.Future[None]) -> None:
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(size)
            raise

    def _take(self, size: int) -> None:
        self.taken += 1
        self.bytes += size

    def _leave(self, size: int) -> None:
        self.taken -= 1
        self.bytes -= size
        while self._waiting and (self._waiting[0][1].cancelled() or self._fits(self._waiting[0][0])):
            waiting_size, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._take(waiting_size)
                turn.set_result(None)


class Turns:
    """Puts those who want the same key one after the other."""

    def __init__(self) -> None:
        self._tails: dict[Hashable, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the only turn for `key`."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        before = self._tails.get(key)
        self._tails[key] = mine
        try:
            if before is not None:
                await asyncio.shield(before)
            yield
        finally:
            if before is not None and not before.done():
                before.add_done_callback(lambda _: mine.set_result(None))
            else:
                mine.set_result(None)
            if self._tails.get(key) is mine:
                del self._tails[key]
