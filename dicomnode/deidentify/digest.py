"""The digests by which instances are compared: BLAKE3 over three parts, so that pixels are hashed once."""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from dicomnode.deidentify import syntaxes
from dicomnode.deidentify.pixels import split_pixels
from dicomnode.keys import keyed_digest
from dicomnode.model import Buffer

NO_PIXELS = blake3(b"").digest()


def content_digest(parts: Buffer | Iterable[Buffer]) -> bytes:
    """BLAKE3 of a buffer, or of buffers one behind the other; 32 bytes."""
    total = blake3()
    for part in [parts] if isinstance(parts, bytes | bytearray | memoryview) else parts:
        total.update(part)
    return total.digest()


def received_of(key: bytes, head: bytes, pixels: bytes, tail: bytes) -> str:
    """`received_digest` from the BLAKE3 of the three parts."""
    return keyed_digest(key, "received", head + pixels + tail).hex()


def data_of(before: bytes, pixels: bytes, after: bytes) -> str:
    """`data_digest` from the BLAKE3 of the three parts."""
    return blake3(before + pixels + after).hexdigest()


def received_digest(
    key: bytes, original_head: Buffer | Iterable[Buffer], pixel_digest: bytes, original_tail: Buffer | Iterable[Buffer]
) -> str:
    """Hex HMAC of a received data set under the journal key; `pixel_digest` is BLAKE3 of the pixel value or of b""."""
    return received_of(key, content_digest(original_head), pixel_digest, content_digest(original_tail))


def data_digest(before: Buffer | Iterable[Buffer], pixel_digest: bytes, after: Buffer | Iterable[Buffer]) -> str:
    """Hex BLAKE3 of a clean data set: of what lies before the pixel value, the pixel value and what lies behind it."""
    return data_of(content_digest(before), pixel_digest, content_digest(after))


def data_set_digest(data: Buffer, transfer_syntax: str) -> str:
    """`data_digest` of a whole data set in Implicit or Explicit VR Little Endian or encapsulated; raises Doubt."""
    value, stop = split_pixels(data, syntaxes.form(transfer_syntax))
    view = memoryview(data)
    return data_digest(view[:value], content_digest(view[value:stop]), view[stop:])
