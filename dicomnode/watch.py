"""What the node looks at beside its work: the space on its disk, and what waits too long for a destination."""

from __future__ import annotations

import asyncio
import time

import structlog

from dicomnode import memory
from dicomnode.errors import StoreDamaged
from dicomnode.space import Space
from dicomnode.store import identity, journal
from dicomnode.store.database import Interrupter, examine
from dicomnode.store.journal import Journal
from dicomnode.store.schema import IDENTITY_HEAD, JOURNAL_HEAD
from dicomnode.trouble import Trouble

log = structlog.get_logger()

LOOK_EVERY = 1.0  # seconds
FIRST_TELLING = 60.0
TELL_EVERY = 3600.0
TOO_LONG = 3600.0  # seconds that a study may wait before a destination counts as behind
INTERRUPT_EVERY, MOST_INTERRUPTS = 0.1, 20  # seconds; then the disk hangs, and nothing ends what waits for it

DATABASES = (("journal", JOURNAL_HEAD, journal.HINT), ("identity", IDENTITY_HEAD, identity.HINT))


class Watch:
    """Looks at the disk every second and at the waiting studies every hour."""

    def __init__(self, space: Space, journal: Journal) -> None:
        self._space = space
        self._journal = journal
        self._trouble = Trouble("storage-troubled")
        self._interrupter = Interrupter()
        self._tell_at = time.monotonic() + FIRST_TELLING

    async def run(self) -> None:
        """Look until cancelled; first through the databases, of which a start has read a few pages only."""
        examined = asyncio.ensure_future(asyncio.to_thread(self.examine))
        try:
            await self._run()
        finally:  # a large database takes minutes, and the process would not end before
            await self._interrupted(examined)

    async def _interrupted(self, examined: asyncio.Future[None]) -> None:
        for _ in range(MOST_INTERRUPTS):
            if examined.done():
                return
            self._interrupter.stop()
            await asyncio.wait({examined}, timeout=INTERRUPT_EVERY)

    def examine(self) -> None:
        """Tell of databases that are damaged (blocking)."""
        for name, head, hint in DATABASES:
            if self._interrupter.stopped:
                return
            try:
                examine(self._space.directory / f"{name}.db", head, hint, self._interrupter)
            except StoreDamaged as error:
                log.error("storage-damaged", kind=name, error=str(error))
            except Exception as error:  # noqa: BLE001 - it cannot be looked through now
                if self._interrupter.stopped:
                    return
                self._trouble.tell(error)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - who only looks does not end the node
                self._trouble.tell(error)

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
