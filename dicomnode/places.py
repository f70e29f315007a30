"""How much may be in memory at once: instances waiting for or in de-identification, and their bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Places:
    """So many places; who takes some gives them back. First come, first served: nobody overtakes who waits.

    Who wants more than there are gets in alone.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def _fits(self, count: int) -> bool:
        return self.taken + count <= self.size or not self.taken

    def take(self, count: int) -> bool:
        """Take places if there are any now."""
        if self._waiting or not self._fits(count):
            return False
        self.taken += count
        return True

    def grow(self, count: int) -> bool:
        """Take more places for one who has some, if a quarter of all stays free for those who begin."""
        return self.taken + count <= self.size - self.size // 4 and self.take(count)

    async def wait(self, count: int) -> None:
        """Take places as soon as there are any."""
        if self.take(count):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(count)
            else:
                self._serve()
            raise

    def give(self, count: int) -> None:
        """Give places back."""
        self.taken -= count
        self._serve()

    def _serve(self) -> None:
        while self._waiting and (self._waiting[0][1].cancelled() or self._fits(self._waiting[0][0])):
            count, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.taken += count
                turn.set_result(None)

    @asynccontextmanager
    async def place(self, count: int = 1) -> AsyncIterator[None]:
        """Hold places for a while."""
        await self.wait(count)
        try:
            yield
        finally:
            self.give(count)


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
        mine.add_done_callback(lambda _: self._forget(key, mine))
        try:
            if before is not None:
                await asyncio.shield(before)
            yield
        finally:
            if before is not None and not before.done():
                before.add_done_callback(lambda _: mine.set_result(None))
            else:
                mine.set_result(None)

    def _forget(self, key: Hashable, last: asyncio.Future[None]) -> None:
        """A key is free only when the turn of the last one who wanted it is over, taken or not."""
        if self._tails.get(key) is last:
            del self._tails[key]
