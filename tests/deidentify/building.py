"""Encoded data sets put together by hand, and the engine under the basic rules."""

from __future__ import annotations

from struct import pack

from compare import BASIC, KEYS, ORIGIN, plan_of

from dicomnode.deidentify import Cleaned, CleanStream, Deidentifier, Limits
from dicomnode.model import Doubt, Received

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
BASELINE, JPEG_LS, JPEG_2000, RLE = (f"1.2.840.10008.1.2.{last}" for last in ("4.50", "4.80", "4.90", "5"))
CT, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
SOP, STUDY, SERIES = "1.2.826.0.1.77.3", "1.2.826.0.1.77.1", "1.2.826.0.1.77.2"
LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
UNDEFINED = 0xFFFFFFFF
ITEM_END, SEQUENCE_END = pack("<HHI", 0xFFFE, 0xE00D, 0), pack("<HHI", 0xFFFE, 0xE0DD, 0)


def element(tag: int, vr: str, value: bytes | str = b"", *, implicit: bool = False, length: int | None = None) -> bytes:
    """An element, its value padded; `length` may lie."""
    if isinstance(value, str):
        value = value.encode("latin-1")
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    size = len(value) if length is None else length
    if implicit:
        return pack("<HHI", tag >> 16, tag & 0xFFFF, size) + value
    if vr in LONG:
        return pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, size) + value
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), size) + value


def item(content: bytes, *, defined: bool = True) -> bytes:
    if defined:
        return pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    return pack("<HHI", 0xFFFE, 0xE000, UNDEFINED) + content + ITEM_END


def sequence(tag: int, *items: bytes, implicit: bool = False, defined: bool = True, vr: str = "SQ") -> bytes:
    content = b"".join(items)
    if defined:
        return element(tag, vr, content, implicit=implicit)
    return element(tag, vr, content, implicit=implicit, length=UNDEFINED) + SEQUENCE_END


def fragments(*parts: bytes, offsets: bytes = b"", vr: str = "OB", end: bytes = SEQUENCE_END) -> bytes:
    """An encapsulated pixel element."""
    content = b"".join(item(part + b"\0" * (len(part) % 2)) for part in (offsets, *parts))
    return element(0x7FE00010, vr, content, length=UNDEFINED) + end


def rle(*segments: bytes, offsets: tuple[int, ...] = ()) -> bytes:
    """An RLE frame (PS3.5 Annex G); `offsets` may lie. Without segments one of 4 x 4 pixels of 8 bits."""
    segments = segments or (b"\x0f" + bytes(range(16)) + b"\0",)
    starts = [64]
    for segment in segments[:-1]:
        starts.append(starts[-1] + len(segment))
    starts = [*(offsets or starts), *[0] * 15][:15]
    return pack("<16I", len(segments), *starts) + b"".join(segments)


HEAD: tuple[tuple[int, str, str], ...] = (
    (0x00080005, "CS", "ISO_IR 100"),
    (0x00080016, "UI", SC),
    (0x00080018, "UI", SOP),
    (0x00080060, "CS", "OT"),
    (0x00080070, "LO", "Acme"),
    (0x00100010, "PN", "Quittenbaum^Walpurga"),
    (0x00100020, "LO", "PID-4711"),
    (0x00100030, "DA", "19370214"),
    (0x0020000D, "UI", STUDY),
    (0x0020000E, "UI", SERIES),
    (0x00200013, "IS", "1"),
)


def data_set(*more: bytes, implicit: bool = False, without: tuple[int, ...] = (), **changed: str) -> bytes:
    """A small instance with these elements added; `changed` gives values by t and the tag's eight digits."""
    parts = [
        element(tag, vr, changed.get(f"t{tag:08X}", value), implicit=implicit)
        for tag, vr, value in HEAD
        if tag not in without
    ]
    return b"".join(sorted([*parts, *more], key=lambda part: (part[1], part[0], part[3], part[2])))


def image(frames: int = 1, bits: int = 8) -> list[bytes]:
    """The attributes of an image of 4 x 4 pixels."""
    rows = [(0x00280002, 1), (0x00280010, 4), (0x00280011, 4), (0x00280100, bits)]
    return [
        *(element(tag, "US", pack("<H", value)) for tag, value in rows),
        element(0x00280004, "CS", "MONOCHROME2"),
        element(0x00280008, "IS", str(frames)),
    ]


ENGINE = Deidentifier(plan_of(BASIC), KEYS)


def received(syntax: str = EXPLICIT, sop_class: str = SC, sop_uid: str = SOP) -> Received:
    return Received(ORIGIN, sop_class, sop_uid, syntax)


def clean(data: bytes, syntax: str = EXPLICIT, **arguments: str) -> Cleaned:
    return ENGINE.clean(received(syntax, **arguments), data)


def output(cleaned: Cleaned) -> bytes:
    """The whole Part 10 file."""
    pixels = [] if cleaned.pixels is None else [cleaned.pixels]
    return b"".join(bytes(part) for part in (*cleaned.head, *pixels, *cleaned.tail))


def doubt_of(data: bytes, syntax: str = EXPLICIT, **arguments: str) -> Doubt | None:
    """Why the instance is withheld, None when it is not."""
    try:
        clean(data, syntax, **arguments)
    except Doubt as doubt:
        return doubt
    return None


def stream(
    request: Received, data: bytes, size: int, limits: Limits | None = None
) -> tuple[CleanStream, bytes, Cleaned]:
    """Feed the data in chunks that are overwritten afterwards; the stream, its output and what finish gave."""
    cleaner = ENGINE.stream(request, limits)
    out = bytearray()
    for at in range(0, len(data), size):
        chunk = bytearray(data[at : at + size])
        for part in cleaner.feed(chunk):
            out += part
        chunk[:] = b"\xee" * len(chunk)
    last, cleaned = cleaner.finish()
    for part in last:
        out += part
    return cleaner, bytes(out), cleaned
