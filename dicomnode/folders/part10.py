"""Reading DICOM files (PS3.10 section 7): just enough file meta to hand the data set to the engine as it lies there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dicomnode.model import Buffer, Doubt, Reason

PREAMBLE = 128
MAGIC = b"DICM"
GROUP = b"\x02\x00"
LONG = frozenset([b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"])
SOP_CLASS, SOP_UID, TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010
BARE_GROUPS, LATE = (0x0002, 0x0008), 0x00200000
"""Groups with which a data set begins, and a tag that its second element is before."""
DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file meta says; identified. `data_set` is where the data set begins."""

    sop_class: str
    sop_uid: str
    transfer_syntax: str
    data_set: int


def is_part10(content: Buffer) -> bool:
    """Whether the bytes begin as a DICOM file does."""
    return bytes(content[PREAMBLE : PREAMBLE + 4]) == MAGIC


def is_bare(content: Buffer) -> bool:
    """Whether the bytes begin as a data set does, without preamble or file meta, in any transfer syntax.

    The first element is of group 0002 or 0008, and where it ends one of a higher tag begins.
    """
    return any(_begins(bytes(content[:12]), content, order) for order in ("little", "big"))


def _begins(head: bytes, content: Buffer, order: Literal["little", "big"]) -> bool:
    tag = _tag(head, order)
    if len(head) < 8 or tag >> 16 not in BARE_GROUPS:
        return False
    if not head[4:6].isalpha():
        length, begin = int.from_bytes(head[4:8], order), 8
    elif head[4:6] in LONG:
        length, begin = int.from_bytes(head[8:12], order), 12
    else:
        length, begin = int.from_bytes(head[6:8], order), 8
    end = begin + length
    return end == len(content) or tag < _tag(bytes(content[end : end + 4]), order) < LATE


def _tag(element: bytes, order: Literal["little", "big"]) -> int:
    return int.from_bytes(element[:2], order) << 16 | int.from_bytes(element[2:4], order)


def read_meta(content: Buffer) -> FileMeta:
    """Read group 0002, always Explicit VR Little Endian (PS3.10 7.1). Raises Doubt when it does not add up."""
    view, at = memoryview(content), PREAMBLE + 4
    found: dict[int, str] = {}
    while at + 8 <= len(view) and bytes(view[at : at + 2]) == GROUP:
        element = int.from_bytes(view[at + 2 : at + 4], "little")
        long = bytes(view[at + 4 : at + 6]) in LONG
        begin = at + (12 if long else 8)
        length = int.from_bytes(view[at + 8 : at + 12] if long else view[at + 6 : at + 8], "little")
        if begin + length > len(view):
            raise Doubt(Reason.TRUNCATED, f"(0002,{element:04X})")
        if element in (SOP_CLASS, SOP_UID, TRANSFER_SYNTAX):
            found[element] = bytes(view[begin : begin + length]).decode("ascii", "replace").rstrip("\0 ")
        at = begin + length
    if not found.get(TRANSFER_SYNTAX):
        raise Doubt(Reason.TRANSFER_SYNTAX, "(0002,0010)")
    return FileMeta(found.get(SOP_CLASS, ""), found.get(SOP_UID, ""), found[TRANSFER_SYNTAX], at)
