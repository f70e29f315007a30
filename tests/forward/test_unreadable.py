"""A record that the disk does not give: it costs itself alone, is tried again, and then is held until a person acts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from keeper import serving, until
from studies_to_send import KEY, WAITING, Receiver, cases, world

from dicomnode import loading, records
from dicomnode.forward import READS
from dicomnode.model import DeliveryState, Location


class Disk:
    """Gives EIO for what lies between two offsets, as long as it is `broken`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken = False
        self.start = self.end = 0
        self._read = os.pread
        monkeypatch.setattr(os, "pread", self.read)

    def spoil(self, start: int, end: int) -> None:
        self.start, self.end, self.broken = start, end, True

    def read(self, fd: int, length: int, offset: int) -> bytes:
        if self.broken and offset < self.end and offset + length > self.start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._read(fd, length, offset)


@pytest.fixture(params=["whole", "in pieces"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Disk:
    if request.param == "in pieces":
        for room in (loading, records):
            monkeypatch.setattr(room, "READ_WHOLE", 0)
        monkeypatch.setattr(records, "READ_BYTES", 100)
    return Disk(monkeypatch)


def last_bytes(location: Location) -> tuple[int, int]:
    """The last Part 10 bytes: when they are asked for, the rest may be on its way."""
    end = location.data_offset + location.data_length
    return end - 10, end


async def test_the_rest_goes_out_at_once_and_the_study_is_held_in_the_end(tmp_path: Path, disk: Disk) -> None:
    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        held = here.hold(cases(4))
        bad, location = here.journal.instances(*KEY)[1]
        disk.spoil(*last_bytes(location))
        here.forwarder(port).add(WAITING)
        delivery = await here.ends(seconds=20)
        assert (delivery.state, delivery.sent) == (DeliveryState.HELD, 3)
        assert delivery.error == (
            f"an instance in segment {location.segment} cannot be sent: cannot read a file of the storage directory: "
            "Input/output error; repair the disk, then dicomnode studies retry"
        )
        assert here.events().count("instance-held") == 1
        assert here.events().count("delivery-postponed") == 1, "it is said once"
        others = [case.instance.sop_uid for case in held if case.instance.instance_key != bad.instance_key]
        assert sorted(receiver.data_sets) == sorted(others)
        assert sorted(receiver.asked) == sorted(others), "nothing was sent twice"
        assert receiver.count >= READS
        disk.broken = False
        here.forwarder(port).add(WAITING)
        delivery = await here.ends(2)
        assert (delivery.state, delivery.sent, len(receiver.data_sets)) == (DeliveryState.SENT, 4, 4)


async def test_one_that_can_be_read_again_is_sent_without_a_person(tmp_path: Path, disk: Disk) -> None:
    receiver = Receiver()
    async with world(tmp_path) as here, serving(receiver) as (_, port):
        here.hold(cases(3))
        _, location = here.journal.instances(*KEY)[0]
        disk.spoil(*last_bytes(location))
        here.forwarder(port).add(WAITING)
        await until(lambda: here.delivery().attempts > 0)
        disk.broken = False
        delivery = await here.ends()
        assert (delivery.state, delivery.sent) == (DeliveryState.SENT, 3)
