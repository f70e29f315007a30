"""A project's secret: one 32 byte key, from which every other key is derived by label."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from dicomnode import disk
from dicomnode.errors import KeyFileError

KEY_BYTES = 32


def keyed_digest(key: bytes, label: str, value: bytes) -> bytes:
    """HMAC-SHA-256 over the type label, a zero byte and the value; 32 bytes."""
    mac = _begun(key, label).copy()
    mac.update(value)
    return mac.digest()


@lru_cache(maxsize=256)
def _begun(key: bytes, label: str) -> hmac.HMAC:
    """To begin anew with each value would take three times as long."""
    return hmac.new(key, label.encode() + b"\0", "sha256")


def base32(digest: bytes) -> str:
    """Lower-case base32 without padding."""
    return b32encode(digest).decode("ascii").rstrip("=").lower()


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
