"""The head of a Part 10 file (PS3.10 section 7.1): preamble and file meta information, always built new."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from dicomnode import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

PREAMBLE = bytes(128) + b"DICM"
SHORT = Struct("<HH2sH").pack
VERSION = Struct("<HH2sHI").pack(2, 1, b"OB", 0, 2) + b"\0\1"


def file_head(sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    """Preamble, prefix and group 0002 for a data set; nothing of what was received is in it."""
    before, behind = _around(sop_class, transfer_syntax)
    uid = _text(3, b"UI", sop_uid)
    length = len(before) + len(uid) + len(behind)
    return b"".join((PREAMBLE, SHORT(2, 0, b"UL", 4), length.to_bytes(4, "little"), before, uid, behind))


@lru_cache(maxsize=512)
def _around(sop_class: str, transfer_syntax: str) -> tuple[bytes, bytes]:
    behind = (
        _text(0x10, b"UI", transfer_syntax)
        + _text(0x12, b"UI", IMPLEMENTATION_CLASS)
        + _text(0x13, b"SH", IMPLEMENTATION_VERSION)
    )
    return VERSION + _text(2, b"UI", sop_class), behind


def _text(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return SHORT(2, number, vr, len(value)) + value
