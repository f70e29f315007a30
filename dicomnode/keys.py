"""A project's secret: one 32 byte key, from which every other key is derived by label."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from hmac import trans_5C, trans_36
from pathlib import Path
from typing import Any

from dicomnode import disk
from dicomnode.errors import KeyFileError

KEY_BYTES = 32

_BLOCK = hashlib.sha256().block_size
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)


def keyed_digest(key: bytes, label: str, value: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) over the type label, a zero byte and the value; 32 bytes."""
    begun, outer = _begun(key, label)
    inner, whole = begun.copy(), outer.copy()
    inner.update(value)
    whole.update(inner.digest())
    return whole.digest()  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _begun(key: bytes, label: str) -> tuple[Any, Any]:
    """The inner hash as far as all values share it, and the outer one: hmac.HMAC's own copies take three times as long.

    A key is at most one block (64 bytes) long.
    """
    if len(key) > _BLOCK:
        raise ValueError("a key is longer than a block")
    block = key.ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(block.translate(trans_36) + label.encode() + b"\0")
    return inner, hashlib.sha256(block.translate(trans_5C))


def base32(digest: bytes) -> str:
    """Lower-case base32 (RFC 4648) without padding; base64.b32encode takes twice as long."""
    padding = -len(digest) % 5
    number = int.from_bytes(digest, "big") << 8 * padding
    pairs = [_PAIRS[number >> shift & 0x3FF] for shift in range(8 * (len(digest) + padding) - 10, -1, -10)]
    return "".join(pairs)[: (8 * len(digest) + 4) // 5]


@dataclass(frozen=True, slots=True, repr=False)
class ProjectKeys:
    """The derived keys of one project, 32 bytes each; `key_id` names the master key without telling it.

    `seal_id` names the key file that `seal` comes from; `former` has names and keys that open what was sealed before.
    """

    pseudonym: bytes
    journal: bytes
    seal: bytes
    key_id: str
    seal_id: str
    former: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def derive(cls, master: bytes) -> ProjectKeys:
        """Derive the working keys from a master key of 32 bytes."""
        if len(master) != KEY_BYTES:
            raise KeyFileError(f"a project key has {KEY_BYTES} bytes, this one {len(master)}")

        def labelled(label: str) -> bytes:
            return keyed_digest(master, "dicomnode key", label.encode())

        name = hashlib.sha256(labelled("key id")).hexdigest()[:16]
        return cls(
            pseudonym=labelled("pseudonym"),
            journal=labelled("journal"),
            seal=labelled("seal"),
            key_id=name,
            seal_id=name,
        )

    def sealing_with(self, current: ProjectKeys, older: Iterable[ProjectKeys] = ()) -> ProjectKeys:
        """The same pseudonyms, sealing under the key of `current`; our own key and `older` ones still open."""
        former = {keys.seal_id: keys.seal for keys in (self, *older)}
        return replace(self, seal=current.seal, seal_id=current.seal_id, former=tuple(former.items()))

    def seal_key(self, seal_id: str) -> bytes | None:
        """The key that opens what was sealed under `seal_id`; None when it is not here."""
        return self.seal if seal_id == self.seal_id else dict(self.former).get(seal_id)

    def journal_key(self, kind: str, uid: str) -> str:
        """The key under which the journal knows an original UID (`kind`: study, series or instance)."""
        return _journal_key(self.journal, kind, uid)


@lru_cache(maxsize=1024)
def _journal_key(key: bytes, kind: str, uid: str) -> str:
    """The instances of a study share two of their three keys, and ask for the third more than once."""
    return base32(keyed_digest(key, kind, uid.encode())[:16])


def load_key(path: Path) -> ProjectKeys:
    """Read a key file (64 hexadecimal digits); raises KeyFileError when it is missing, damaged or open to others."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
        master = bytes.fromhex(text)
    except FileNotFoundError:
        raise KeyFileError(f"key file {path} does not exist", "restore it from the site's backup") from None
    except (OSError, ValueError) as error:
        raise KeyFileError(
            f"key file {path} cannot be read ({type(error).__name__})", "it must hold 64 hexadecimal digits"
        ) from None
    if disk.open_to_others(path, mode):
        raise KeyFileError(f"key file {path} can be read by others", f"run chmod 600 {path}")
    return ProjectKeys.derive(master)


def create_key(path: Path) -> ProjectKeys:
    """Create a key file (0600), durable before it is used; an existing file is loaded, never replaced."""
    if path.exists():
        keys = load_key(path)
        disk.sync_directory(path.parent)  # whoever created it may have been killed before doing so
        return keys
    master = secrets.token_bytes(KEY_BYTES)
    disk.replace(path, master.hex().encode("ascii") + b"\n")
    return ProjectKeys.derive(master)
