"""Valid values that say nothing: what a D of the table is replaced with, per VR or per attribute."""

from __future__ import annotations

import json
import struct
from functools import cache
from typing import Any

from dicomnode.deidentify.standard.tables import HERE

REMOVED = "Removed"
DUMMIES: dict[str, bytes] = {
    **dict.fromkeys(["AE", "CS"], b"REMOVED "),
    **dict.fromkeys(["LO", "LT", "PN", "SH", "ST", "UC", "UT"], b"Removed "),
    "AS": b"000Y",
    "DA": b"19000101",
    "DT": b"19000101000000",
    "TM": b"000000",
    "DS": b"0 ",
    "IS": b"0 ",
    "UR": b"urn:removed ",
    **dict.fromkeys(["US", "SS", "OB", "OW", "UN"], bytes(2)),
    **dict.fromkeys(["UL", "SL", "FL", "AT", "OL", "OF"], bytes(4)),
    **dict.fromkeys(["FD", "UV", "SV", "OD", "OV"], bytes(8)),
}
"""A dummy value of every VR but UI and SQ, padded to even length."""
LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
NUMBERS = {"US": "H", "FL": "f"}


@cache
def _records() -> dict[str, Any]:
    return dict(json.loads((HERE / "replacements.json").read_text(encoding="utf-8")))


def _value(vr: str, text: str) -> bytes:
    if vr in NUMBERS:
        numbers = [float(part) if vr == "FL" else int(part) for part in text.split()]
        return struct.pack(f"<{len(numbers)}{NUMBERS[vr]}", *numbers)
    if vr == "OB":
        return bytes.fromhex(text)
    value = text.encode("ascii")
    return value if len(value) % 2 == 0 else value + (b"\0" if vr == "UI" else b" ")


def element(tag: int, vr: str, value: bytes, implicit: bool) -> bytes:
    """One encoded element, little endian, of defined length."""
    where = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return where + struct.pack("<L", len(value)) + value
    if vr in LONG:
        return where + vr.encode() + struct.pack("<HL", 0, len(value)) + value
    return where + vr.encode() + struct.pack("<H", len(value)) + value


def items(records: list[dict[str, Any]], implicit: bool) -> bytes:
    """Encoded items of defined length; a record maps a tag to [VR, text] or to a list of records."""
    encoded = b""
    for record in records:
        content = b""
        for tag, given in sorted(record.items()):
            nested = not given or isinstance(given[0], dict)
            value = items(given, implicit) if nested else _value(given[0], given[1])
            content += element(int(tag, 16), "SQ" if nested else given[0], value, implicit)
        encoded += b"\xfe\xff\x00\xe0" + struct.pack("<L", len(content)) + content
    return encoded


def code_items(codes: list[tuple[str, str]], implicit: bool) -> bytes:
    """Encoded code items (value, meaning) under scheme DCM."""
    return items(
        [{"00080100": ["SH", v], "00080102": ["SH", "DCM"], "00080104": ["LO", m]} for v, m in codes], implicit
    )


def value_for(tag: int, vr: str) -> bytes | None:
    """The dummy value of an attribute that is no sequence; None for a UI that has none."""
    record = _records().get(f"{tag:08X}")
    if isinstance(record, list) and record and record[0] == vr:
        return _value(vr, record[1])
    return DUMMIES.get(vr)


def items_for(tag: int, sop_class: str) -> list[dict[str, Any]] | str | None:
    """The items that replace a sequence: "items" where its own are treated and stay, None where there is no rule."""
    records = _records()
    found = records.get(f"{tag:08X} {sop_class}", records.get(f"{tag:08X}"))
    if found == "items" or (isinstance(found, list) and found and isinstance(found[0], dict)):
        return found
    return None
