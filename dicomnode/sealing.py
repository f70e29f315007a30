"""AES-256-GCM as the storage uses it: one box for short values, numbered chunks for long ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dicomnode.errors import SealBroken
from dicomnode.keys import keyed_digest
from dicomnode.model import Buffer

NONCE_BYTES = 12
TAG_BYTES = 16
SALT_BYTES = 16
CHUNK_BYTES = 1 << 20


@lru_cache(maxsize=64)
def _cipher(key: bytes, label: str) -> AESGCM:
    return AESGCM(keyed_digest(key, "seal", label.encode()))


def seal(key: bytes, label: str, plain: Buffer, associated: Buffer) -> bytes:
    """Seal a short value under the key derived for `label`; `associated` is authenticated with it."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(key, label).encrypt(nonce, plain, associated)


def unseal(key: bytes, label: str, sealed: Buffer, associated: Buffer) -> bytes:
    """Open what `seal` made; raises SealBroken."""
    view = memoryview(sealed)
    try:
        return _cipher(key, label).decrypt(view[:NONCE_BYTES], view[NONCE_BYTES:], associated)
    except (InvalidTag, ValueError):
        raise SealBroken(f"sealed data ({label}) does not authenticate", "check the project's key file") from None


class Chunks:
    """Seals or opens one stream of numbered chunks under a key of its own (key, label and 16 byte salt).

    The nonce is the chunk's number and a flag that marks the last one, so that chunks cannot be moved,
    dropped or cut off; `associated` is authenticated with every chunk.
    """

    def __init__(self, key: bytes, label: str, salt: bytes, associated: Buffer) -> None:
        self._cipher = AESGCM(keyed_digest(key, f"seal {label}", salt))
        self._associated = hashlib.sha256(associated).digest()
        self._number = 0

    def _nonce(self, last: bool) -> bytes:
        self._number += 1
        return (self._number - 1).to_bytes(NONCE_BYTES - 1, "big") + bytes([last])

    def seal(self, plain: Buffer, *, last: bool = False) -> bytes:
        """The next chunk, 16 bytes longer than `plain`."""
        return self._cipher.encrypt(self._nonce(last), plain, self._associated)

    def open(self, sealed: Buffer, *, last: bool = False) -> bytes:
        """Open the next chunk; raises SealBroken."""
        try:
            return self._cipher.decrypt(self._nonce(last), sealed, self._associated)
        except (InvalidTag, ValueError):
            raise SealBroken("a sealed chunk does not authenticate", "check the project's key file") from None


def in_chunks(parts: Iterable[Buffer], size: int = CHUNK_BYTES) -> Iterator[tuple[Buffer, bool]]:
    """Regroup `parts` into chunks of `size` bytes and a last one of 0 to `size`; yields (chunk, is last)."""
    waiting = bytearray()
    for part in parts:
        view = memoryview(part)
        while len(waiting) + len(view) > size:
            taken = size - len(waiting)
            waiting += view[:taken]
            view = view[taken:]
            yield waiting, False
            waiting = bytearray()
        waiting += view
    yield waiting, True
