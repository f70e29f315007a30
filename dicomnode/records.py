"""One record of an outbox segment: header, Part 10 bytes, description, sealed identity part, trailer.

All integers are little endian. Header (32 bytes): magic, version, lengths of the description, the
sealed part and the Part 10 bytes. The description is JSON: the Instance, the digest of the preamble
and file meta, and where data set and pixel value lie. Trailer (48 bytes): magic, length of the
record, BLAKE3 digest of header, description and sealed part. The Part 10 bytes are verified through the
two digests in the description whenever they are read, so a record counts only when every byte of it is
there. In the file both magic numbers are the segment's own (`marks`): the file may have been another
segment's before, whose records are there no more. Under those of former versions SHA-256 counts too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from operator import attrgetter
from typing import Any

from blake3 import blake3

from dicomnode import disk, sealing
from dicomnode.errors import KeyFileError, SealBroken, StoreDamaged
from dicomnode.keys import ProjectKeys
from dicomnode.model import Buffer, IdentityEntry, Instance, Location

VERSION = 1
HEADER = struct.Struct("<8sHHIIIQ")
TRAILER = struct.Struct("<8sQ32s")
HEADER_MAGIC = b"DCMNODE\x01"
TRAILER_MAGIC = b"DCMNODE\x02"
READ_BYTES = 1 << 20
READ_WHOLE = 8 << 20
LABEL = "outbox identity"
Hash = Callable[..., Any]
HASHES: tuple[Hash, ...] = (blake3, sha256)  # of former versions the second too

_FIELDS = tuple(field.name for field in fields(Instance))
_values = attrgetter(*_FIELDS)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Shape:
    """Where things lie in the Part 10 bytes: their length, the data set's start, and the pixel value.

    Without a pixel value, offset and length are 0.
    """

    length: int
    data_set_offset: int
    pixel_offset: int = 0
    pixel_length: int = 0

    def runs(self) -> tuple[int, int, int, int, int]:
        """Offsets where front, data set before, pixel value and data set after begin, and the end."""
        at = self.pixel_offset or self.length
        return 0, self.data_set_offset, at, at + self.pixel_length, self.length

    def fits(self) -> bool:
        """True when the runs follow each other."""
        runs = self.runs()
        return all(earlier <= later for earlier, later in pairwise(runs))


@dataclass(frozen=True, slots=True)
class Recovered:
    """A record that was found whole behind what the journal knows; the identity entries are identified."""

    instance: Instance
    identity: tuple[IdentityEntry, ...]
    location: Location


@dataclass(frozen=True, slots=True)
class Record:
    """A record to be written: all its bytes in parts, of which those behind the Part 10 bytes have `tail_length`."""

    instance: Instance
    identity: tuple[IdentityEntry, ...]
    parts: Sequence[Buffer]
    shape: Shape
    tail_length: int


@lru_cache(maxsize=256)
def marks(segment: str) -> tuple[bytes, bytes]:
    """The magic numbers of a segment's headers and trailers. Those of former versions are the same in all."""
    own = blake3(segment.encode()).digest()[: len(HEADER_MAGIC) - 2]
    return b"D" + own + HEADER_MAGIC[-1:], b"D" + own + TRAILER_MAGIC[-1:]


def marked(parts: Sequence[Buffer], segment: str) -> list[Buffer]:
    """The parts of a record, from its header to its tail, with the marks of the segment; nothing large is copied."""
    header, *between, tail = parts
    first, last = marks(segment)
    at = len(tail) - TRAILER.size
    return [b"".join((first, header[len(first) :])), *between, b"".join((tail[:at], last, tail[at + len(last) :]))]


def _plain(data: Buffer, at: int, mark: bytes, plain: bytes) -> bytes:
    """Header or tail with the `plain` magic number where, at `at`, the mark of its segment stands."""
    end = at + len(plain)
    return b"".join((data[:at], plain if data[at:end] == mark else data[at:end], data[end:]))


def whole(
    keys: ProjectKeys,
    instance: Instance,
    identity: tuple[IdentityEntry, ...],
    part10: Sequence[Buffer],
    data_set_offset: int,
    pixel_offset: int = 0,
    pixel_length: int = 0,
) -> Record:
    """The record of an instance that is there whole; offsets are relative to the Part 10 bytes."""
    shape = Shape(sum(map(len, part10)), data_set_offset, pixel_offset, pixel_length)
    header, tail = compose(keys, instance, identity, _first(part10, data_set_offset), shape)
    return Record(instance, identity, (header, *part10, tail), shape, len(tail))


def _first(parts: Sequence[Buffer], length: int) -> bytes:
    """The first `length` bytes of all parts together."""
    first = bytearray()
    for part in parts:
        if len(first) == length:
            break
        first += memoryview(part)[: length - len(first)]
    return bytes(first)


def compose(
    keys: ProjectKeys, instance: Instance, identity: Sequence[IdentityEntry], front: Buffer, shape: Shape
) -> tuple[bytes, bytes]:
    """Header and tail (description, sealed part, trailer) of a record whose Part 10 bytes begin with `front`."""
    if not shape.fits():
        raise ValueError(f"offsets of the record do not follow each other: {shape}")
    description = _encode(
        {
            **dict(zip(_FIELDS, _values(instance), strict=True)),
            "key_id": keys.key_id,
            "seal_id": keys.seal_id,
            "front_digest": blake3(front).hexdigest(),
            "data_set_offset": shape.data_set_offset,
            "pixel_offset": shape.pixel_offset,
            "pixel_length": shape.pixel_length,
        }
    ).encode()
    lines = _encode([(entry.attribute, entry.original, entry.cleaned) for entry in identity])
    sealed = sealing.seal(keys.seal, LABEL, lines.encode("utf-8", "surrogatepass"), description)
    header = HEADER.pack(HEADER_MAGIC, VERSION, 0, len(description), len(sealed), 0, shape.length)
    digest = blake3(header + description + sealed).digest()
    length = HEADER.size + shape.length + len(description) + len(sealed) + TRAILER.size
    return header, b"".join((description, sealed, TRAILER.pack(TRAILER_MAGIC, length, digest)))


def locate(segment: str, offset: int, shape: Shape, tail_length: int) -> Location:
    """The Location of a record that begins at `offset`."""
    data_offset = offset + HEADER.size
    return Location(
        segment=segment,
        offset=offset,
        length=HEADER.size + shape.length + tail_length,
        data_offset=data_offset,
        data_length=shape.length,
        data_set_offset=shape.data_set_offset,
    )


def read(fd: int, size: int, offset: int, segment: str, keys: ProjectKeys) -> Recovered | None:
    """Read and verify the record at `offset` of a file of `size` bytes; None when it does not count.

    Raises StoreDamaged for a newer format, KeyFileError when a key is not the right one or
    missing, SealBroken, CannotKeep.
    """
    header = disk.read(fd, HEADER.size, offset)
    if len(header) < HEADER.size:
        return None
    magic, version, _, description_length, sealed_length, _, data_length = HEADER.unpack(header)
    if magic not in (marks(segment)[0], HEADER_MAGIC):
        return None
    if version != VERSION:
        raise StoreDamaged(f"segment {segment} has format {version}, this program knows {VERSION}", "use a newer one")
    tail_length = description_length + sealed_length + TRAILER.size
    tail_at = offset + HEADER.size + data_length
    if tail_at + tail_length > size:
        return None
    tail = disk.read(fd, tail_length, tail_at)
    told, made = _told(header, tail, segment) or ({}, blake3)
    if not told:
        return None
    shape = Shape(data_length, told["data_set_offset"], told["pixel_offset"], told["pixel_length"])
    if not _data_is_whole(fd, offset + HEADER.size, shape, told, made):
        return None
    instance = Instance(**{name: told[name] for name in _FIELDS})
    description, sealed = tail[:description_length], tail[description_length : -TRAILER.size]
    identity = _identity(keys, told, sealed, description, segment)
    return Recovered(instance, identity, locate(segment, offset, shape, tail_length))


def _told(header: Buffer, tail: Buffer, segment: str) -> tuple[dict[str, Any], Hash] | None:
    """The description and what made its digests; None when header and tail are not of one record as it was written."""
    if len(header) < HEADER.size or len(tail) < TRAILER.size:
        return None
    first, last = marks(segment)
    old = header[: len(HEADER_MAGIC)] == HEADER_MAGIC
    header = _plain(header, 0, first, HEADER_MAGIC)
    tail = _plain(tail, len(tail) - TRAILER.size, last, TRAILER_MAGIC)
    magic, _, _, description_length, sealed_length, _, data_length = HEADER.unpack(header)
    if magic != HEADER_MAGIC or len(tail) != description_length + sealed_length + TRAILER.size:
        return None
    magic, length, digest = TRAILER.unpack((view := memoryview(tail))[-TRAILER.size :])
    if (magic, length) != (TRAILER_MAGIC, HEADER.size + data_length + len(tail)):
        return None
    signed = b"".join((header, view[: -TRAILER.size]))
    made = next((each for each in (HASHES if old else HASHES[:1]) if each(signed).digest() == digest), None)
    return made and (json.loads(bytes(view[:description_length])), made)


def pieces(fd: int, location: Location, start: int = 0) -> Iterator[memoryview]:
    """The Part 10 bytes of a record from `start` on; the last piece comes only when all are as they were written.

    One piece up to READ_WHOLE bytes, else pieces of READ_BYTES. Raises StoreDamaged, CannotKeep.
    """
    if location.data_length <= READ_WHOLE:
        yield _checked(location, memoryview(disk.read(fd, location.length, location.offset)))[start:]
        return
    at, end = location.data_offset, location.data_offset + location.data_length
    rest = max(0, location.offset + location.length - end)
    told, digests = _expected(location, disk.read(fd, HEADER.size, location.offset), disk.read(fd, rest, end))
    while at < end:
        piece = memoryview(disk.read(fd, min(READ_BYTES, end - at), at))
        digests.update(piece)
        skip = max(0, start - (at - location.data_offset))
        at += len(piece)
        if not piece or (at == end and not digests.are(told)):
            raise _damaged(location)
        yield piece[skip:]


def wholes(fd: int, locations: Sequence[Location]) -> list[memoryview | StoreDamaged]:
    """The Part 10 bytes of records that lie one behind the other, read at once; an error for one that is damaged.

    Raises CannotKeep.
    """
    start, last = locations[0].offset, locations[-1]
    run = memoryview(disk.read(fd, last.offset + last.length - start, start))
    found: list[memoryview | StoreDamaged] = []
    for each in locations:
        try:
            found.append(_checked(each, run[each.offset - start :][: each.length]))
        except StoreDamaged as damaged:
            found.append(damaged)
    return found


def _checked(location: Location, record: memoryview) -> memoryview:
    """The Part 10 bytes of a whole record, when all of it is as it was written."""
    first = location.data_offset - location.offset
    part10, rest = record[first : first + location.data_length], record[first + location.data_length :]
    told, digests = _expected(location, record[: HEADER.size], rest)
    digests.update(part10)
    if len(part10) < location.data_length or not digests.are(told):
        raise _damaged(location)
    return part10


def _expected(location: Location, header: Buffer, rest: Buffer) -> tuple[dict[str, Any], _Digests]:
    """What a record says of its Part 10 bytes, and digests to be filled with these."""
    told, made = _told(header, rest, location.segment) or ({}, blake3)
    shape = told and Shape(location.data_length, told["data_set_offset"], told["pixel_offset"], told["pixel_length"])
    if not shape or not shape.fits():
        raise _damaged(location)
    return told, _Digests(shape, made)


def _damaged(location: Location) -> StoreDamaged:
    return StoreDamaged(
        f"the record at {location.offset} of segment {location.segment} is not as it was written",
        "retrieve the study again from its source",
    )


@dataclass(slots=True)
class Scan:
    """What a segment holds from some offset on: records, the runs of bytes between them that are none, and the end.

    `torn` is true where the last run looks like a record that was whole once, and not like one that was cut short.
    """

    found: list[Recovered]
    gaps: list[tuple[int, int]]
    end: int
    torn: bool = False


def scan(fd: int, size: int, offset: int, segment: str, keys: ProjectKeys) -> Scan:
    """Every record from `offset` on that counts, also those behind one that does not; raises like read()."""
    seen = Scan([], [], offset)
    while seen.end < size:
        record = _read_or_seek(fd, size, seen.end, segment, keys)
        if record is None:
            seen.torn = _ends_with_trailer(fd, size, segment)
            break
        if record.location.offset > seen.end:
            seen.gaps.append((seen.end, record.location.offset))
        seen.found.append(record)
        seen.end = record.location.offset + record.location.length
    return seen


def _read_or_seek(fd: int, size: int, offset: int, segment: str, keys: ProjectKeys) -> Recovered | None:
    try:
        return read(fd, size, offset, segment, keys) or _seek(fd, size, offset + 1, segment, keys)
    except StoreDamaged:
        record = _seek(fd, size, offset + 1, segment, keys)
        if record is None and offset == 0:
            raise  # one program writes a segment: only where none of its records is ours the format is another
        return record


def _seek(fd: int, size: int, offset: int, segment: str, keys: ProjectKeys) -> Recovered | None:
    """The first record behind `offset` that counts; what only looks like one is passed over."""
    while chunk := disk.read(fd, READ_BYTES, offset):
        places = [chunk.find(magic) for magic in (marks(segment)[0], HEADER_MAGIC)]
        at = min((place for place in places if place >= 0), default=-1)
        if at < 0:
            if len(chunk) < READ_BYTES:
                break
            offset += len(chunk) - len(HEADER_MAGIC) + 1
            continue
        offset += at
        with suppress(StoreDamaged, SealBroken):
            if record := read(fd, size, offset, segment, keys):
                return record
        offset += 1
    return None


def _ends_with_trailer(fd: int, size: int, segment: str) -> bool:
    if size < TRAILER.size:
        return False
    return disk.read(fd, len(TRAILER_MAGIC), size - TRAILER.size) in (TRAILER_MAGIC, marks(segment)[1])


def _identity(
    keys: ProjectKeys, told: Mapping[str, str], sealed: bytes, description: bytes, segment: str
) -> tuple[IdentityEntry, ...]:
    if told["key_id"] != keys.key_id:
        raise KeyFileError(
            f"segment {segment} was written under key {told['key_id']}, the project's key is {keys.key_id}",
            "restore the project's key file from the site's backup",
        )
    seal_id = told.get("seal_id", told["key_id"])
    key = keys.seal_key(seal_id)
    if key is None:
        raise KeyFileError(
            f"identities in segment {segment} were sealed under key {seal_id}", "name its file in older_seal_key_files"
        )
    plain = sealing.unseal(key, LABEL, sealed, description)
    return tuple(IdentityEntry(*line) for line in json.loads(plain.decode("utf-8", "surrogatepass")))


def _data_is_whole(fd: int, at: int, shape: Shape, told: Mapping[str, str], made: Hash) -> bool:
    if not shape.fits():
        return False
    digests, end = _Digests(shape, made), at + shape.length
    while at < end and (piece := disk.read(fd, min(READ_BYTES, end - at), at)):
        digests.update(memoryview(piece))
        at += len(piece)
    return digests.are(told)


class _Digests:
    """The digests of Part 10 bytes that come in order, run by run."""

    def __init__(self, shape: Shape, made: Hash) -> None:
        self._made = made
        self._left = [end - first for first, end in pairwise(shape.runs())]
        self._hashes = [made() for _ in self._left]
        self._run = 0

    def update(self, view: memoryview) -> None:
        while view:
            step = self._left[self._run]
            self._hashes[self._run].update(view[:step])
            self._left[self._run] -= len(view[:step])
            view = view[step:]
            self._run += bool(view)

    def are(self, told: Mapping[str, str]) -> bool:
        """Whether these are the digests in a description."""
        front, *data = (each.digest() for each in self._hashes)
        return (front.hex(), self._made(b"".join(data)).hexdigest()) == (told["front_digest"], told["data_digest"])
