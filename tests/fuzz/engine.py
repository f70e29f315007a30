"""What is fuzzed: the de-identification engine, with damaged real files and planted identifiers.

An input is a line of text (transfer syntax, SOP class, SOP Instance UID, size of chunks) and a data set.
"""

from __future__ import annotations

from functools import cache
from struct import pack

import images
import synthetic
from compare import BASIC, KEYS, ORIGIN, plan_of
from mutation import mutated
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from seeking import Target

from dicomnode.deidentify import Deidentifier
from dicomnode.model import Doubt, Reason, Received

LARGEST = 12_000
PERSON = synthetic.PERSON
PLANTED = (
    (0x00100010, b"PN", PERSON.name, tuple(PERSON.name.split("^"))),
    (0x00100020, b"LO", PERSON.patient_id, (PERSON.patient_id,)),
    (0x00080050, b"SH", PERSON.accession, (PERSON.accession,)),
    (0x00100030, b"DA", PERSON.birth_date, (PERSON.birth_date,)),
    (0x00080080, b"LO", PERSON.institution, (PERSON.institution,)),
)
BROKEN = frozenset({Reason.UNREADABLE, Reason.TRUNCATED, Reason.TRAILING_BYTES, Reason.UNKNOWN_VR, Reason.INTERNAL})


def packed(syntax: str, sop_class: str, sop_uid: str, data_set: bytes, chunk: int = 1000) -> bytes:
    """An input."""
    return f"{syntax} {sop_class} {sop_uid} {chunk}\n".encode() + data_set


def unpacked(data: bytes) -> tuple[Received, bytes, int]:
    """The parts of an input, whatever became of them."""
    line, _, data_set = data.partition(b"\n")
    words = [*line.decode("latin-1").split(" "), "", "", "", ""][:4]
    chunk = int(words[3]) if words[3].isdecimal() and words[3].isascii() else 1000
    return Received(ORIGIN, words[1], words[2], words[0]), data_set, max(1, min(chunk, 1 << 20))


def change(random, data: bytes, pool) -> bytes:
    """Change the data set, and now and then the line before it."""
    line, _, data_set = data.partition(b"\n")
    others = [other.partition(b"\n")[2] for other in (random.choice(pool), random.choice(pool))]
    if random.random() < 0.05:
        line = mutated(random, line, others).replace(b"\n", b" ")
    elif random.random() < 0.1:
        words = line.split(b" ")
        words[0] = random.choice(pool).split(b" ", 1)[0]
        line = b" ".join(words)
    return line + b"\n" + mutated(random, data_set, others)


@cache
def _real() -> tuple[bytes, ...]:
    found = []
    for path in images.sendable_files():
        part10 = path.read_bytes()
        if len(part10) <= LARGEST:
            syntax, data_set = images.split(part10)
            header = images.parse(part10)
            found.append(packed(syntax, str(header.SOPClassUID), str(header.SOPInstanceUID), data_set))
    return tuple(found)


@cache
def _planted() -> tuple[bytes, ...]:
    made = [synthetic.ct(rows=4, columns=4), synthetic.small(), synthetic.ct(number=3, rows=2, columns=2)]
    plain = [
        packed(syntax, str(each.SOPClassUID), str(each.SOPInstanceUID), images.encode(each, syntax))
        for each in made
        for syntax in images.PLAIN_SYNTAXES
    ]
    jpegs = [synthetic.jpeg(), synthetic.jpeg(comment=b"made by a scanner")]
    return (
        *plain,
        *(
            packed(
                str(each.file_meta.TransferSyntaxUID),
                str(each.SOPClassUID),
                str(each.SOPInstanceUID),
                images.split(images.written(each))[1],
            )
            for each in jpegs
        ),
    )


def seeds() -> list[bytes]:
    """Small real files, and synthetic ones with planted identifiers."""
    return [*_real(), *_planted()]


@cache
def _engine() -> Deidentifier:
    return Deidentifier(plan_of(BASIC), KEYS)


def clean(data: bytes) -> None:
    """Nothing but Doubt is raised, no planted identifier leaves, and in chunks the same comes out."""
    request, data_set, chunk = unpacked(data)
    assert _whole(request, data_set) == _in_chunks(request, data_set, chunk), "whole and in chunks differ"


def _whole(request: Received, data_set: bytes) -> bytes | None:
    """The output, or None when it is withheld: which doubt comes first depends on the chunks."""
    try:
        cleaned = _engine().clean(request, bytearray(data_set))
    except Doubt as doubt:
        assert doubt.where.isprintable() and doubt.where.isascii(), "a place that may quote a value"
        assert doubt.reason is not Reason.INTERNAL, "an internal error"
        return None
    outside = b"".join(bytes(part) for part in (*cleaned.head, *cleaned.tail))
    for value in _identifiers(request, data_set):
        assert value.encode() not in outside, "a planted identifier leaves"
    pixels = bytes(cleaned.pixels or b"")
    output = b"".join(bytes(part) for part in (*cleaned.head, pixels, *cleaned.tail))
    _again(cleaned.transfer_syntax, cleaned.sop_class, cleaned.sop_uid, output[cleaned.data_set_offset :])
    return output


def _identifiers(request: Received, data_set: bytes) -> list[str]:
    """The planted values whose elements are still as they were."""
    found = []
    for tag, vr, value, parts in PLANTED:
        raw = value.encode() + b" " * (len(value) % 2)
        if request.transfer_syntax == ImplicitVRLittleEndian:
            element = pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw)) + raw
        elif request.transfer_syntax == ExplicitVRLittleEndian:
            element = pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(raw)) + raw
        else:
            continue
        if element in data_set:
            found += parts
    return found


def _again(syntax: str, sop_class: str, sop_uid: str, data_set: bytes) -> None:
    """What was written can be read: only its content may be a reason for doubt."""
    try:
        _engine().clean(Received(ORIGIN, sop_class, sop_uid, syntax), data_set)
    except Doubt as doubt:
        assert doubt.reason not in BROKEN, f"what was written cannot be read: {doubt}"


def _in_chunks(request: Received, data_set: bytes, chunk: int) -> bytes | None:
    stream, output = _engine().stream(request), bytearray()
    chunks = [data_set[at : at + chunk] for at in range(0, len(data_set), chunk)]
    fed = 0
    try:
        for piece in chunks:
            fed += 1
            for part in stream.feed(piece):
                output += part
        last, _ = stream.finish()
    except Doubt:
        written = output[stream.pixels_at : stream.pixels_at + stream.pixels_written]
        original = bytes(stream.original_head) + written + b"".join(map(bytes, stream.original_rest))
        assert original + b"".join(chunks[fed:]) == data_set, "the original is not put together again"
        return None
    return bytes(output) + b"".join(map(bytes, last))


ENGINE = Target("engine", seeds, clean, change)
