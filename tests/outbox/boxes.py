"""What the tests of segments share."""

from __future__ import annotations

from pathlib import Path

from kept import KEYS, Clean, clean

from dicomnode.model import Location
from dicomnode.outbox import Outbox, Recovered

CASES = [clean(number, pixels=size) for number, size in enumerate((600, 0, 1, 70_000, 100_001))]


def outbox(directory: Path, **options: int) -> Outbox:
    return Outbox(directory, {"trial": KEYS}, **options)


def read(box: Outbox, location: Location) -> bytes:
    return b"".join(box.pieces(location))


def recover(directory: Path, known: dict[str, int] | None = None) -> list[Recovered]:
    return list(outbox(directory).recover(known or {}))


def as_recovered(case: Clean, location: Location) -> Recovered:
    return Recovered(case.instance, case.identity, location)
