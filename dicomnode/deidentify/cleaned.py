"""A clean instance, and how one is made of a data set that is held whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dicomnode.deidentify import convert, part10
from dicomnode.deidentify.encoded import PIXEL_DATA, UNDEFINED, Element, Reader, Short, place
from dicomnode.deidentify.fragments import Fragments, fragments_of, refuse_tables
from dicomnode.deidentify.pixels import check_native, refuse_embedded_overlays
from dicomnode.deidentify.syntaxes import Form
from dicomnode.deidentify.treatment import Treatment
from dicomnode.model import Buffer, Doubt, IdentityEntry, Originals, Reason


@dataclass(slots=True)
class Cleaned:
    """What may leave, and what was received of it.

    The Part 10 file is `head`, `pixels`, `tail`; its data set begins at `data_set_offset`. `pixels` is the pixel value
    (fragments and delimiter, when encapsulated): a slice of what was received, except that deflated and big endian
    data sets were converted. What was received is `original_head`, `pixels`, `original_tail`; converted ones are
    wholly in `original_head`.
    """

    head: list[Buffer]
    data_set_offset: int
    pixels: Buffer | None
    tail: list[Buffer]
    original_head: Buffer
    original_tail: Buffer
    transfer_syntax: str
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    originals: Originals
    patient: str
    modality: str
    identity: tuple[IdentityEntry, ...]

    @property
    def before_pixels(self) -> Buffer:
        """The clean data set up to and including the pixel element's header, or all of it."""
        return self.head[1] if len(self.head) == 2 else b""


@dataclass(slots=True)
class Split:
    """Where the pixel value of a data set lies; `tag` is 0 when there is none."""

    tag: int
    vr: int
    value: int
    length: int


class Place(NamedTuple):
    """Where the pixel value begins and ends."""

    begin: int
    end: int


def split_at(reader: Reader, position: int) -> Split:
    """The pixel element at `position`, or none at the end of the data; raises Doubt."""
    if position == reader.size:
        return Split(0, 0, position, 0)
    return Split(*reader.pixel_header(position))


def check_pixels(
    data: bytes, elements: list[Element], split: Split, treatment: Treatment, form: Form
) -> Fragments | None:
    """Judge the pixel element by the elements before it; the walker for encapsulated ones. Raises Doubt."""
    if split.tag != PIXEL_DATA or split.length != UNDEFINED:
        refuse_tables(elements)
    if not split.tag:
        return None
    treatment.judge_pixels(split.tag, split.vr, data, elements)
    refuse_embedded_overlays(data, elements)
    if split.length != UNDEFINED:
        if form.encapsulated:
            raise Doubt(Reason.PIXEL_STREAM, place((split.tag,)))
        check_native(data, elements, split.tag, split.length)
        return None
    if not form.encapsulated or split.tag != PIXEL_DATA:
        raise Doubt(Reason.PIXEL_STREAM, place((split.tag,)))
    return fragments_of(data, elements, form.pixels)


def clean_tail(treatment: Treatment, tail: bytes, implicit: bool) -> list[bytes]:
    """The clean elements behind the pixel value; raises Doubt."""
    if not tail:
        return []
    behind: Element = (PIXEL_DATA, 0, 0, 0, 0, None)
    elements = [behind]
    reader = Reader(tail, implicit)
    position = reader.top_level(0, elements)
    if position != reader.size:
        raise Doubt(Reason.UNREADABLE, place((PIXEL_DATA,)))
    return treatment.tail(tail, elements[1:])


def readable(data: Buffer, form: Form) -> Buffer:
    """The data set in little endian, not deflated: itself, or converted. Raises Doubt."""
    if form.deflated:
        return convert.inflate(data)
    return convert.to_little_endian(data) if form.big_endian else data


def clean_whole(treatment: Treatment, data: Buffer, source: Buffer, form: Form, elements: list[Element]) -> Cleaned:
    """Clean a data set that is there from beginning to end; raises Doubt.

    `source` is `data` made readable; `elements` is filled with what was read of it.
    """
    view = memoryview(source)
    reader = Reader(source, form.implicit)
    split = split_at(reader, reader.top_level(0, elements))
    head = bytes(view[: split.value])
    parts = treatment.head(head, elements)
    if split.tag:
        parts.append(head[elements[-1][4] if elements else 0 :])
    fragments = check_pixels(head, elements, split, treatment, form)
    end = split.value + split.length
    if fragments is not None:
        end = split.value + fragments.advance(view[split.value :])
    if end > reader.size or (fragments is not None and not fragments.done):
        raise Short(Reason.TRUNCATED, place((split.tag,)))
    tail = clean_tail(treatment, bytes(view[end:]), form.implicit)
    treatment.gate.check()
    if fragments is not None:
        treatment.judge_frames(fragments)
    cleaned = assemble(treatment, form, source, parts, Place(split.value, end) if split.tag else None, tail)
    if source is not data:
        cleaned.original_head, cleaned.original_tail = memoryview(data), b""
    return cleaned


def assemble(
    treatment: Treatment, form: Form, data: Buffer, parts: list[bytes], pixels: Place | None, tail: list[bytes]
) -> Cleaned:
    """The clean instance of the elements before and behind the pixel value, which lies in `data`."""
    view = memoryview(data)
    begin, end = pixels or (len(view), len(view))
    cleaned = describe(treatment, form)
    cleaned.head.append(b"".join(parts))
    cleaned.pixels = view[begin:end] if pixels else None
    cleaned.tail = list(tail)
    cleaned.original_head, cleaned.original_tail = view[:begin], view[end:]
    return cleaned


def describe(treatment: Treatment, form: Form) -> Cleaned:
    """A clean instance of which only the Part 10 head is there yet."""
    subject = treatment.subject
    head = part10.file_head(subject.sop_class, subject.sop_uid, form.output)
    return Cleaned(
        head=[head],
        data_set_offset=len(head),
        pixels=None,
        tail=[],
        original_head=b"",
        original_tail=b"",
        transfer_syntax=form.output,
        sop_class=subject.sop_class,
        sop_uid=subject.sop_uid,
        series_uid=subject.series_uid,
        study_uid=subject.study_uid,
        originals=subject.originals,
        patient=subject.patient,
        modality=subject.modality,
        identity=tuple(treatment.identity),
    )
