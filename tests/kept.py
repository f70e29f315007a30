"""Instances, withheld ones and Part 10 bytes as the rooms that keep them get them; values are made up."""

from __future__ import annotations

import random
from dataclasses import dataclass

from blake3 import blake3

from dicomnode import records
from dicomnode.keys import ProjectKeys
from dicomnode.model import IdentityEntry, Instance, Location, Origin, Reason, Received, Withheld
from dicomnode.outbox import Segment

KEYS = ProjectKeys.derive(b"\x11" * 32)
OTHER_KEYS = ProjectKeys.derive(b"\x22" * 32)
FRONT = bytes(128) + b"DICM" + b"file meta"


def digest_of(data: bytes) -> bytes:
    return blake3(data).digest()


def instance(
    number: int = 0, *, project: str = "trial", study: str = "studya", data_digest: str = "d" * 64
) -> Instance:
    return Instance(
        project=project,
        study_key=study,
        series_key="seriesa",
        instance_key=f"instance{number}",
        study_uid=f"2.25.{study}",
        series_uid="2.25.2",
        sop_uid=f"2.25.3{number}",
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax="1.2.840.10008.1.2.1",
        patient="ANON",
        modality="CT",
        received_digest=f"received{number}",
        data_digest=data_digest,
        rules_digest="rules",
        peer="staging",
        received_at=1000.0 + number,
    )


def location(number: int = 0, segment: str = "trial/studya/aa.seg") -> Location:
    return Location(segment, number * 100, 100, number * 100 + 32, 50, 20)


def withheld(number: int = 0, *, study: str = "studya", quarantine: str = "", project: str = "trial") -> Withheld:
    return Withheld(
        project=project,
        quarantine=quarantine or f"quarantine{number}",
        study_key=study,
        series_key="seriesa",
        instance_key=f"instance{number}",
        study_uid=f"2.25.{study}" if study else "",
        reason=Reason.RESIDUE,
        where="(0010,0010)",
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        received_digest=f"withheld{number}",
        rules_digest="rules",
        peer="staging",
        received_at=1000.0 + number,
        length=0,
    )


def received(sop_uid: str = "1.2.3.4.5.6.7.8.9") -> Received:
    origin = Origin("trial", "staging", "STAGING", "DICOMNODE", "127.0.0.1", 1)
    return Received(origin, "1.2.840.10008.5.1.4.1.1.2", sop_uid, "1.2.840.10008.1.2.1")


@dataclass(frozen=True)
class Clean:
    """A clean instance in the parts in which it is appended."""

    instance: Instance
    identity: tuple[IdentityEntry, ...]
    parts: tuple[bytes, ...]
    pixel_offset: int
    pixel_length: int

    @property
    def data(self) -> bytes:
        return b"".join(self.parts)

    def append_to(self, segment: Segment) -> Location:
        shape = len(FRONT), self.pixel_offset, self.pixel_length
        return segment.append(records.whole(KEYS, self.instance, self.identity, self.parts, *shape))


def clean(number: int = 0, *, pixels: int = 600, study: str = "studya", project: str = "trial") -> Clean:
    """Part 10 bytes of about 200 bytes and a pixel value of `pixels` bytes (none with 0), drawn from `number`."""
    draw = random.Random(number)
    before, value, after = draw.randbytes(40 + number % 7), draw.randbytes(pixels), draw.randbytes(number % 5)
    if not pixels:
        before, after = before + after, b""
    digest = digest_of(digest_of(before) + digest_of(value) + digest_of(after)).hex()
    entry = IdentityEntry("PatientID", f"original-{number}", f"cleaned-{number}")
    name = IdentityEntry("PatientName", "Müller^\udcff", "ANON")
    parts = (FRONT, before, value, after) if pixels else (FRONT, before)
    offset = len(FRONT) + len(before) if pixels else 0
    return Clean(
        instance(number, study=study, project=project, data_digest=digest), (entry, name), parts, offset, pixels
    )
