"""The form of a sealed file: magic, length of the header, header, then chunks of length and AES-256-GCM data.

The header is pseudonymous JSON, in the clear but authenticated with every chunk. The first chunk is the C-STORE
command, the others are the data set in pieces of 1 MiB.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from dicomnode import disk
from dicomnode.errors import CannotKeep, KeyFileError, SealBroken
from dicomnode.keys import ProjectKeys
from dicomnode.model import Buffer, Origin, Received
from dicomnode.sealing import CHUNK_BYTES, SALT_BYTES, TAG_BYTES, Chunks, in_chunks

MAGIC = b"DCMNQUA\x01"
PREFIX = struct.Struct("<8sI")
CHUNK = struct.Struct("<I")
OVERHEAD = CHUNK.size + TAG_BYTES
MOST_HEADER = 1 << 16
SUFFIX = ".sealed"
UNFINISHED = ".unfinished"


def place(
    path: Path, keys: ProjectKeys, label: str, told: Mapping[str, object], received: Received, parts: Iterable[Buffer]
) -> int:
    """Write a sealed file that gets its name only when it is whole and synced; the length of its data set.

    The name is durable only after sync_directory. Raises CannotKeep; nothing of it is there then.
    """
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    fd = disk.create(unfinished)
    try:
        try:
            length = _write(fd, keys, label, told, received, parts)
            disk.sync(fd)
        finally:
            os.close(fd)
        disk.rename(unfinished, path)
    except BaseException:
        with suppress(CannotKeep):
            disk.unlink(unfinished)
        raise
    return length


def _write(
    fd: int, keys: ProjectKeys, label: str, told: Mapping[str, object], received: Received, parts: Iterable[Buffer]
) -> int:
    """`told` becomes the header. The length of the data set. Raises CannotKeep."""
    salt = secrets.token_bytes(SALT_BYTES)
    header = json.dumps({**told, "key_id": keys.seal_id, "salt": salt.hex()}, separators=(",", ":")).encode()
    chunks = Chunks(keys.seal, label, salt, header)
    command = chunks.seal(json.dumps(asdict(received)).encode())
    offset = disk.write(fd, [PREFIX.pack(MAGIC, len(header)), header, CHUNK.pack(len(command)), command], 0)
    length = 0
    for plain, last in in_chunks(parts):
        sealed = chunks.seal(plain, last=last)
        offset = disk.write(fd, [CHUNK.pack(len(sealed)), sealed], offset)
        length += len(plain)
    return length


def read(
    file: BinaryIO, label: str, key_of: Callable[[dict[str, Any], str], bytes]
) -> tuple[dict[str, Any], Received, Chunks]:
    """The header and the command, authenticated, and what opens the rest; `key_of` gets the header and a key's name.

    Raises SealBroken, and what `key_of` raises.
    """
    authenticated = header(file)
    try:
        told: dict[str, Any] = json.loads(authenticated)
        key_id, salt = str(told.pop("key_id")), bytes.fromhex(told.pop("salt"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise broken() from None
    chunks = Chunks(key_of(told, key_id), label, salt, authenticated)
    command = json.loads(chunks.open(_chunk(file)))
    return told, Received(**{**command, "origin": Origin(**command["origin"])}), chunks


def seal_key(keys: ProjectKeys, project: str, key_id: str) -> bytes:
    """The key that opens what was sealed under `key_id`. Raises KeyFileError."""
    key = keys.seal_key(key_id)
    if key is None:
        raise KeyFileError(
            f"a withheld instance of project {project} was sealed under key {key_id}",
            "restore that key file from the site's backup and name it in older_seal_key_files",
        )
    return key


def broken() -> SealBroken:
    """The error of a file that does not authenticate."""
    return SealBroken("a sealed original is damaged or cut short", "receive the instance again from its source")


def header(file: BinaryIO) -> bytes:
    """The header of a sealed file, not authenticated yet. Raises SealBroken."""
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        raise broken()
    magic, length = PREFIX.unpack(prefix)
    if magic != MAGIC or length > MOST_HEADER:
        raise broken()
    told = file.read(length)
    if len(told) < length:
        raise broken()
    return told


def _chunk(file: BinaryIO) -> bytes:
    prefix = file.read(CHUNK.size)
    length = CHUNK.unpack(prefix)[0] if len(prefix) == CHUNK.size else 0
    if not TAG_BYTES <= length <= CHUNK_BYTES + TAG_BYTES:
        raise broken()
    sealed = file.read(length)
    if len(sealed) < length:
        raise broken()
    return sealed


def data(file: BinaryIO, chunks: Chunks) -> Generator[bytes, None, None]:
    """The data set in chunks, each authenticated before it is given; only an exhausted iterator was whole."""
    with file:
        end = os.fstat(file.fileno()).st_size
        last = False
        while not last:
            sealed = _chunk(file)
            last = file.tell() == end
            yield chunks.open(sealed, last=last)


def data_length(path: Path) -> int:
    """Length of the data set in a sealed file, from its size: all chunks but the last are full."""
    with path.open("rb") as file:
        header(file)
        _chunk(file)
        rest = os.fstat(file.fileno()).st_size - file.tell()
    number = -(-rest // (CHUNK_BYTES + OVERHEAD))
    return rest - number * OVERHEAD
