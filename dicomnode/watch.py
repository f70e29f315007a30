"""What the node looks at beside its work: the space on its disk, and what waits too long for a destination."""

from __future__ import annotations

import asyncio
import time

import structlog

from dicomnode import memory
from dicomnode.errors import safe_text
from dicomnode.space import Space
from dicomnode.store.journal import Journal

log = structlog.get_logger()

LOOK_EVERY = 1.0  # seconds
FIRST_TELLING = 60.0
TELL_EVERY = 3600.0
TOO_LONG = 3600.0  # seconds that a study may wait before a destination counts as behind


class Watch:
    """Looks at the disk every second and at the waiting studies every hour."""

    def __init__(self, space: Space, journal: Journal) -> None:
        self._space = space
        self._journal = journal
        self._tell_at = time.monotonic() + FIRST_TELLING

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - who only looks does not end the node
                log.error("storage-troubled", error=safe_text(error))

    async def _look(self) -> None:
        await asyncio.to_thread(self._space.look)
        await asyncio.to_thread(memory.trim)
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_EVERY
            await asyncio.to_thread(self.tell_waiting, time.time())

    def tell_waiting(self, now: float) -> None:
        """Warn of each destination for which studies wait longer than TOO_LONG (blocking)."""
        for waiting in self._journal.waiting(now - TOO_LONG):
            log.warning(
                "destination-behind",
                destination=waiting.destination,
                studies=waiting.studies,
                instances=waiting.instances,
                bytes=waiting.bytes,
                seconds=round(now - waiting.since),
                free=self._space.free,
            )
