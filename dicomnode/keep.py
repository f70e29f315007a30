"""What is done with an instance in a thread: digests, the segment or the quarantine, the sync. Blocking."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from blake3 import blake3
from pydicom._uid_dict import UID_dictionary

from dicomnode import records
from dicomnode.deidentify import Cleaned, data_digest, received_digest
from dicomnode.deidentify.digest import NO_PIXELS, content_digest, received_of
from dicomnode.keys import base32, keyed_digest
from dicomnode.model import Buffer, Doubt, IdentityEntry, Instance, Location, Originals, Reason, Received, Withheld
from dicomnode.outbox import Outbox, Segment
from dicomnode.quarantine import Quarantine
from dicomnode.records import Record
from dicomnode.studies import Key
from dicomnode.ways import Way


@dataclass(frozen=True, slots=True)
class Kept:
    """A clean instance that is durable."""

    instance: Instance
    location: Location
    identity: tuple[IdentityEntry, ...]


class Leases:
    """Which segment an association appends to; one at a time, given back when it turns to another study."""

    def __init__(self, outbox: Outbox, open_associations: Container[int]) -> None:
        self._outbox = outbox
        self._associations = open_associations
        self._held: dict[int, Segment] = {}
        self._lock = threading.Lock()

    def take(self, association: int, key: Key) -> Segment:
        """The association's segment for this study."""
        with self._lock:
            segment = self._held.get(association)
        if segment is not None and (segment.project, segment.study_key) == key and segment.usable:
            return segment
        self.give_back(association)
        segment = self._outbox.lease(*key)
        with self._lock:
            self._held[association] = segment
        return segment

    def give_back(self, association: int) -> None:
        """The association ended, moved on, or cannot use its segment any more."""
        with self._lock:
            segment = self._held.pop(association, None)
        if segment is not None:
            self._outbox.give_back(segment)

    def settle(self, association: int) -> None:
        """A record is written, or never will be: an association that ended meanwhile keeps nothing."""
        if association not in self._associations:
            self.give_back(association)


def describe(way: Way, received: Received, cleaned: Cleaned, digests: tuple[str, str], at: float) -> Instance:
    """The journal's view of a clean instance; `digests` are of the received and of the clean data set."""
    key = way.keys.journal_key
    return Instance(
        project=way.project,
        study_key=key("study", cleaned.originals.study_uid),
        series_key=key("series", cleaned.originals.series_uid),
        instance_key=key("instance", cleaned.originals.sop_uid),
        study_uid=cleaned.study_uid,
        series_uid=cleaned.series_uid,
        sop_uid=cleaned.sop_uid,
        sop_class=cleaned.sop_class,
        transfer_syntax=cleaned.transfer_syntax,
        patient=cleaned.patient,
        modality=cleaned.modality,
        received_digest=digests[0],
        data_digest=digests[1],
        rules_digest=way.rules_digest,
        peer=received.origin.peer,
        received_at=at,
    )


def digests(way: Way, cleaned: Cleaned) -> tuple[str, str]:
    """The keyed digest of what was received and the digest of what will be sent; pixels are hashed once."""
    pixels = NO_PIXELS if cleaned.pixels is None else content_digest(cleaned.pixels)
    received = received_digest(way.keys.journal, cleaned.original_head, pixels, cleaned.original_tail)
    return received, data_digest(cleaned.before_pixels, pixels, cleaned.tail)


def record(way: Way, received: Received, cleaned: Cleaned, at: float) -> Record:
    """A clean instance as its segment will hold it; nothing is copied, nothing blocks."""
    pixels = [] if cleaned.pixels is None else [cleaned.pixels]
    return records.whole(
        way.keys,
        describe(way, received, cleaned, digests(way, cleaned), at),
        cleaned.identity,
        [*cleaned.head, *pixels, *cleaned.tail],
        cleaned.data_set_offset,
        pixel_offset=sum(map(len, cleaned.head)) if pixels else 0,
        pixel_length=sum(map(len, pixels)),
    )


def keep(leases: Leases, association: int, made: Record) -> Kept:
    """Append a record to its study's segment; durable on return. Blocks; raises CannotKeep."""
    instance = made.instance
    try:
        location = leases.take(association, (instance.project, instance.study_key)).append(made)
    finally:
        leases.settle(association)
    return Kept(instance, location, made.identity)


def internal(error: Exception) -> Doubt:
    """An unexpected exception withholds; only its type is told, its text may quote values."""
    return Doubt(Reason.INTERNAL, type(error).__name__)


def whole_digest(way: Way, original: Buffer) -> str:
    """The received digest of an instance that could not be cleaned."""
    return received_digest(way.keys.journal, original, NO_PIXELS, b"")


class Digest:
    """`whole_digest` of an original that passes in parts."""

    def __init__(self, way: Way) -> None:
        self._key = way.keys.journal
        self._total = blake3()

    def over(self, parts: Iterable[Buffer]) -> Iterator[Buffer]:
        """The same parts."""
        for part in parts:
            self._total.update(part)
            yield part

    def value(self) -> str:
        """The digest of what has passed."""
        return received_of(self._key, self._total.digest(), NO_PIXELS, NO_PIXELS)


def withheld(
    way: Way, received: Received, doubt: Doubt, originals: Originals | None, digest: str, at: float
) -> Withheld:
    """The journal's view of a withheld instance; its quarantine name follows from its content if known."""
    key = way.keys.journal_key
    instance_key = key("instance", received.sop_uid)
    content = f"{instance_key} {digest}" if digest else secrets.token_hex(16)
    name = base32(keyed_digest(way.keys.journal, "quarantine", content.encode())[:16])
    return Withheld(
        project=way.project,
        quarantine=name,
        study_key=key("study", originals.study_uid) if originals else "",
        series_key=key("series", originals.series_uid) if originals else "",
        instance_key=instance_key,
        study_uid=way.deidentifier.pseudonyms.uid(originals.study_uid) if originals else "",
        reason=doubt.reason,
        where=doubt.where,
        sop_class=_registered(received.sop_class),
        received_digest=digest,
        rules_digest=way.rules_digest,
        peer=received.origin.peer,
        received_at=at,
        length=0,
    )


def _registered(uid: str) -> str:
    """The SOP class if the standard registers it: a command may hold anything, a name too."""
    return uid if uid in UID_dictionary else ""


def seal(quarantine: Quarantine, record: Withheld, received: Received, original: Iterable[Buffer]) -> Withheld:
    """Seal an original; durable on return. Raises CannotKeep."""
    return quarantine.seal(record, received, original)
