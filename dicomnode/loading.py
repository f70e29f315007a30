"""Records on their way out: small ones are read and checked in a thread, several at once; large ones while sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass

from dicomnode.errors import CannotKeep, StoreDamaged
from dicomnode.model import Buffer, Instance, Location
from dicomnode.outbox import Outbox
from dicomnode.records import READ_WHOLE

AHEAD = 2 << 20  # bytes of small records that are read at once
MOST_AHEAD = 64

Row = tuple[Instance, Location]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record to be sent; `whole` is its Part 10 bytes, or None where it is too large to be held, or in `trouble`."""

    instance: Instance
    location: Location
    outbox: Outbox
    whole: Buffer | None = None
    trouble: StoreDamaged | CannotKeep | None = None

    def pieces(self, start: int = 0) -> Iterator[Buffer]:
        """The Part 10 bytes from `start` on; blocks where the record is not held. Raises StoreDamaged, CannotKeep."""
        if self.whole is None:
            yield from self.outbox.pieces(self.location, start)
        else:
            yield memoryview(self.whole)[start:]


async def loaded(outbox: Outbox, rows: Iterable[Row]) -> AsyncGenerator[Loaded, None]:
    """The rows in order with what was read of them, the next ones read meanwhile; a bad one keeps no other."""
    batches = _batches(rows)
    ahead = _begin(outbox, batches)
    try:
        while ahead is not None:
            found = await ahead
            ahead = _begin(outbox, batches)
            found.reverse()
            while found:
                yield found.pop()  # and hold it no longer
    finally:
        if ahead is not None:
            ahead.cancel()


def _begin(outbox: Outbox, batches: Iterator[list[Row]]) -> asyncio.Task[list[Loaded]] | None:
    batch = next(batches, None)
    return asyncio.create_task(asyncio.to_thread(_read, outbox, batch)) if batch else None


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows to be read at once."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        length = row[1].data_length
        if batch and (size + length > AHEAD or len(batch) == MOST_AHEAD):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch


def _read(outbox: Outbox, rows: list[Row]) -> list[Loaded]:
    found = []
    for instance, location in rows:
        if location.data_length > READ_WHOLE:
            found.append(Loaded(instance, location, outbox))
            continue
        try:
            found.append(Loaded(instance, location, outbox, next(outbox.pieces(location))))
        except (StoreDamaged, CannotKeep) as trouble:
            found.append(Loaded(instance, location, outbox, trouble=trouble))
    return found
