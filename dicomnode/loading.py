"""Records on their way out: small ones are read and checked in a thread, several at once; large ones while sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
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


def _read(outbox: Outbox, rows: Iterable[Row]) -> list[Loaded]:
    return [loaded for run in _runs(rows) for loaded in _read_run(outbox, run)]


def _runs(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Small records that lie one behind the other, to be read at once; a large one is alone."""
    run: list[Row] = []
    for row in rows:
        if run and not _follows(run[-1][1], row[1]):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _follows(one: Location, other: Location) -> bool:
    small = one.data_length <= READ_WHOLE and other.data_length <= READ_WHOLE
    return small and (one.segment, one.offset + one.length) == (other.segment, other.offset)


def _read_run(outbox: Outbox, rows: list[Row]) -> list[Loaded]:
    if rows[0][1].data_length > READ_WHOLE:
        return [Loaded(*rows[0], outbox)]
    found: Sequence[memoryview | StoreDamaged | CannotKeep]
    try:
        found = outbox.wholes([location for _, location in rows])
    except (StoreDamaged, CannotKeep) as trouble:
        if len(rows) > 1:  # it may be one of them alone
            return [each for row in rows for each in _read_run(outbox, [row])]
        found = [trouble]
    return [
        Loaded(*row, outbox, trouble=each) if isinstance(each, Exception) else Loaded(*row, outbox, each)
        for row, each in zip(rows, found, strict=True)
    ]
