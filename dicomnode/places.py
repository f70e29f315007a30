"""How much may be in memory at once: instances waiting for or in de-identification, and their bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable


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

    def place(self, count: int = 1) -> Place:
        """Enter it to hold so many places."""
        return Place(self, count)


class Place:
    """Held between its entry and its exit."""

    __slots__ = ("_count", "_places")

    def __init__(self, places: Places, count: int) -> None:
        self._places = places
        self._count = count

    async def __aenter__(self) -> None:
        await self._places.wait(self._count)

    async def __aexit__(self, *error: object) -> None:
        self._places.give(self._count)


class Turns:
    """Puts those who want the same key one after the other, in the order in which they asked."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[asyncio.Future[None]]] = {}  # by key that somebody has: who waits for it

    def turn(self, key: Hashable) -> Turn:
        """Enter it to hold the only turn for `key`."""
        return Turn(self._queues, key)


class Turn:
    """Held between its entry and its exit."""

    __slots__ = ("_key", "_queues")

    def __init__(self, queues: dict[Hashable, deque[asyncio.Future[None]]], key: Hashable) -> None:
        self._queues = queues
        self._key = key

    async def __aenter__(self) -> None:
        queue = self._queues.get(self._key)
        if queue is None:
            self._queues[self._key] = deque()
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._pass_on()
            raise

    async def __aexit__(self, *error: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        """To the next who still waits; when nobody does, the key is free."""
        queue = self._queues[self._key]
        while queue:
            following = queue.popleft()
            if not following.done():
                following.set_result(None)
                return
        del self._queues[self._key]
