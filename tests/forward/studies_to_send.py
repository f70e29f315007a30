"""A study in a real outbox and a real journal, and a receiver that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from keeper import Keeper, peer, until
from kept import KEYS, Clean, clean

from dicomnode.dimse.sender import Patience as Deadlines
from dicomnode.forward import Forwarder, Patience
from dicomnode.model import Delivery, DeliveryState, Received
from dicomnode.outbox import Outbox
from dicomnode.store.journal import Journal

SHORT = Deadlines(connect=1, associate=0.5, stall=0.5, answer=0.5, release=0.3)
SOON = Patience(first=0.05, most=0.2, refusals=4)
KEY = ("trial", "studya")
WAITING = Delivery(*KEY, "research", DeliveryState.WAITING, 0, 0.0, "", 0, 0)


@dataclass
class Receiver(Keeper):
    """A research PACS; `answers` has the statuses for one SOP Instance UID, the last one for all further times."""

    answers: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def store(self, received: Received, data: bytearray) -> int:
        self.asked.append(received.sop_uid)
        statuses = self.answers.get(received.sop_uid, [self.status])
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        await self.pause()
        if status == 0 or status >> 12 == 0xB:
            self.stored.append((received, bytes(data)))
        return status


class World:
    """Outbox, journal, and the forwarders made in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.open()

    def open(self) -> None:
        self.journal = Journal.open(self.folder / "journal.db")
        self.outbox = Outbox(self.folder / "outbox", {"trial": KEYS})
        self.ended: list[Delivery] = []
        self._running: list[tuple[Forwarder, asyncio.Task[None]]] = []

    def hold(self, cases: Iterable[Clean]) -> list[Clean]:
        """Put instances into the outbox and the journal."""
        held = list(cases)
        segment = self.outbox.lease(*KEY)
        for case in held:
            self.journal.stored(case.instance, case.append_to(segment))
        self.outbox.give_back(segment)
        self.journal.flush().result()
        return held

    def forwarder(self, port: int, patience: Patience = SOON, **arguments: object) -> Forwarder:
        """A running one."""
        made = Forwarder(
            peer(port),
            lambda project: "STAGING",
            self.outbox,
            self.journal,
            self.ended.append,
            patience=patience,
            deadlines=SHORT,
            **arguments,  # type: ignore[arg-type]
        )
        self._running.append((made, asyncio.create_task(made.run())))
        return made

    async def ends(self, count: int = 1, seconds: float = 10) -> Delivery:
        """Wait for so many deliveries to end; the last one."""
        await until(lambda: len(self.ended) >= count, seconds)
        return self.ended[-1]

    def delivery(self) -> Delivery:
        """As the journal has it."""
        self.journal.flush().result()
        found = self.journal.deliveries()
        return found[0] if found else WAITING

    def events(self) -> list[str]:
        """Names of the events told so far."""
        self.journal.flush().result()
        return [each.name for each in (*self.journal.events(*KEY), *self.journal.events("", ""))]

    async def close(self) -> None:
        for forwarder, task in self._running:
            forwarder.stop()
            await asyncio.wait({task}, timeout=5)
            task.cancel()
        self.outbox.close()
        self.journal.close()


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    made = World(folder)
    try:
        yield made
    finally:
        await made.close()


def cases(count: int, first: int = 0) -> list[Clean]:
    """Instances of one study and class."""
    return [clean(number) for number in range(first, first + count)]


def of(case: Clean, sop_class: str, syntax: str) -> Clean:
    """The same under another SOP class and transfer syntax."""
    return replace(case, instance=replace(case.instance, sop_class=sop_class, transfer_syntax=syntax))


def data_set(case: Clean) -> bytes:
    """What arrives of it."""
    from kept import FRONT

    return case.data[len(FRONT) :]
