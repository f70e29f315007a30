"""The engine: what comes out, byte for byte, and what is withheld."""

from __future__ import annotations

import zlib
from io import BytesIO

import images
import pydicom
import pytest
import synthetic
from blake3 import blake3
from building import (
    BASELINE,
    CT,
    ENGINE,
    EXPLICIT,
    IMPLICIT,
    RLE,
    SC,
    SERIES,
    SOP,
    STUDY,
    clean,
    data_set,
    doubt_of,
    element,
    fragments,
    image,
    item,
    output,
    received,
    rle,
    sequence,
)
from compare import KEYS
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicomnode.deidentify import data_digest, data_set_digest, received_digest
from dicomnode.model import IdentityEntry, Originals, Reason

NO_PIXELS = blake3(b"").digest()
PIXELS = element(0x7FE00010, "OB", bytes(range(16)))


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(data))


def test_what_an_instance_becomes() -> None:
    cleaned = clean(data_set(*image(), PIXELS))
    uid = ENGINE.pseudonyms.uid
    sent = read(output(cleaned))
    assert (sent.SOPInstanceUID, sent.StudyInstanceUID, sent.SeriesInstanceUID) == (uid(SOP), uid(STUDY), uid(SERIES))
    assert (cleaned.sop_uid, cleaned.study_uid, cleaned.series_uid) == (uid(SOP), uid(STUDY), uid(SERIES))
    assert cleaned.originals == Originals(STUDY, SERIES, SOP)
    assert sent.PatientID == cleaned.patient and len(cleaned.patient) == 10
    assert str(sent.PatientName) == cleaned.patient
    assert sent.PatientBirthDate == ""
    assert (sent.PatientIdentityRemoved, sent.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert sent.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert (cleaned.modality, cleaned.sop_class, cleaned.transfer_syntax) == ("OT", SC, EXPLICIT)
    assert IdentityEntry("PatientID", "PID-4711", cleaned.patient) in cleaned.identity
    assert IdentityEntry("SOPInstanceUID", SOP, cleaned.sop_uid) in cleaned.identity


def test_file_meta_is_ours_and_right() -> None:
    cleaned = clean(data_set())
    whole = output(cleaned)
    assert whole[:132] == bytes(128) + b"DICM"
    meta = read(whole).file_meta
    assert meta.FileMetaInformationGroupLength == cleaned.data_set_offset - 132 - 12
    assert (meta.MediaStorageSOPInstanceUID, meta.MediaStorageSOPClassUID) == (cleaned.sop_uid, SC)
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID.startswith("2.25.")
    assert not {element.tag.element for element in meta} - {0x0000, 0x0001, 0x0002, 0x0003, 0x0010, 0x0012, 0x0013}


def test_pixels_are_the_received_buffer_and_kept_bytes_are_the_same() -> None:
    data = bytearray(data_set(*image(), PIXELS))
    cleaned = ENGINE.clean(received(), data)
    data[-1] ^= 0xFF
    assert bytes(cleaned.pixels) == bytes(range(15)) + bytes([15 ^ 0xFF])
    for kept in (*image(), element(0x00080070, "LO", "Acme")):
        assert kept in cleaned.before_pixels


def test_sequences_keep_their_kind_of_length() -> None:
    inner = element(0x00080060, "CS", "CT") + element(0x0020000E, "UI", "1.2.826.0.1.77.99.1")
    for defined in (True, False):
        for defined_item in (True, False):
            part = sequence(0x00081115, item(inner, defined=defined_item), defined=defined)
            sent = output(clean(data_set(part)))
            uid = ENGINE.pseudonyms.uid("1.2.826.0.1.77.99.1")
            expected = element(0x00080060, "CS", "CT") + element(0x0020000E, "UI", uid)
            assert sequence(0x00081115, item(expected, defined=defined_item), defined=defined) in sent


def test_untouched_sequences_are_the_same_bytes() -> None:
    code = element(0x00080100, "SH", "T-04000") + element(0x00080102, "SH", "SRT") + element(0x00080104, "LO", "Breast")
    part = sequence(0x00082218, item(code, defined=False), item(code), defined=True)
    assert part in output(clean(data_set(part)))


def test_person_names_hidden_in_unknown_sequences_go() -> None:
    inner = element(0x00100010, "PN", "Quittenbaum^Walpurga", implicit=True)
    inner += element(0x0020000E, "UI", "1.2.826.0.1.77.99.1", implicit=True)
    for defined in (True, False):
        sent = output(clean(data_set(sequence(0x00081115, item(inner), vr="UN", defined=defined))))
        assert b"Quittenbaum" not in sent and b"1.2.826.0.1.77.99.1" not in sent
        assert read(sent).ReferencedSeriesSequence[0].SeriesInstanceUID.startswith("2.25.")


def test_several_uids_in_one_value_and_well_known_ones() -> None:
    value = "1.2.826.0.1.77.8\\1.2.840.10008.1.2.1\\1.2.826.0.1.77.9"
    sent = output(clean(data_set(element(0x00200052, "UI", value))))
    uid = ENGINE.pseudonyms.uid
    expected = f"{uid('1.2.826.0.1.77.8')}\\1.2.840.10008.1.2.1\\{uid('1.2.826.0.1.77.9')}"
    assert element(0x00200052, "UI", expected) in sent


def test_private_group_length_overlay_and_padding_go() -> None:
    more = (
        element(0x00080000, "UL", bytes(4)),
        element(0x00091001, "LO", "secret"),
        element(0x60003000, "OW", bytes(32)),
        PIXELS,
        element(0x7FE10010, "LO", "Private"),
        element(0xFFFCFFFC, "OB", bytes(8)),
    )
    sent = read(output(clean(data_set(*image(), *more))))
    assert {element.tag.group for element in sent} == {0x0008, 0x0010, 0x0012, 0x0020, 0x0028, 0x7FE0}
    assert bytes(sent.PixelData) == bytes(range(16))


def test_declaration_of_an_earlier_run_is_continued_not_repeated() -> None:
    first = clean(data_set())
    again = clean(bytes(first.before_pixels), sop_uid=first.sop_uid, sop_class=first.sop_class)
    one, other = read(output(first)), read(output(again))
    assert one.DeidentificationMethod == other.DeidentificationMethod
    assert len(other.DeidentificationMethodCodeSequence) == len(one.DeidentificationMethodCodeSequence)


def test_same_input_same_output_in_another_engine() -> None:
    data = data_set(*image(), PIXELS)
    other = type(ENGINE)(ENGINE.plan, KEYS)
    assert output(other.clean(received(), data)) == output(clean(data))


def test_empty_patient_id_is_keyed_by_the_study() -> None:
    one = clean(data_set(t00100020=""))
    other = clean(data_set(t00100020="", t0020000D="1.2.826.0.1.77.111"))
    missing = clean(data_set(without=(0x00100020,)))
    assert one.patient == missing.patient != other.patient


def test_digests() -> None:
    for data, syntax in (
        (data_set(*image(), PIXELS, element(0xFFFCFFFC, "OB", bytes(8))), EXPLICIT),
        (data_set(), EXPLICIT),
        (data_set(implicit=True), IMPLICIT),
        (data_set(*image(), fragments(rle())), RLE),
    ):
        cleaned = clean(data, syntax)
        pixels = NO_PIXELS if cleaned.pixels is None else blake3(cleaned.pixels).digest()
        sent = output(cleaned)[cleaned.data_set_offset :]
        assert data_digest(cleaned.before_pixels, pixels, cleaned.tail) == data_set_digest(
            sent, cleaned.transfer_syntax
        )
        parts = bytes(cleaned.original_head), bytes(cleaned.pixels or b""), bytes(cleaned.original_tail)
        assert b"".join(parts) == data
        digest = received_digest(KEYS.journal, cleaned.original_head, pixels, cleaned.original_tail)
        assert digest == received_digest(KEYS.journal, parts[0], pixels, parts[2])
        assert digest != received_digest(bytes(32), parts[0], pixels, parts[2])


WITHHELD = {
    "no study": (data_set(without=(0x0020000D,)), Reason.MISSING_UID, "(0020,000D)"),
    "empty series": (data_set(t0020000E=""), Reason.MISSING_UID, "(0020,000E)"),
    "two instances": (data_set(element(0x00080018, "UI", SOP)), Reason.MISSING_UID, "(0008,0018)"),
    "several studies": (data_set(t0020000D="1.2.3\\1.2.4"), Reason.BAD_UID, "(0020,000D)"),
    "letters": (data_set(t0020000D="1.2.abc"), Reason.BAD_UID, "(0020,000D)"),
    "empty component": (data_set(t0020000D="1..2"), Reason.BAD_UID, "(0020,000D)"),
    "65 characters": (data_set(t0020000D="1." + "2" * 63), Reason.BAD_UID, "(0020,000D)"),
    "other instance": (data_set(t00080018="1.2.3"), Reason.COMMAND_MISMATCH, "(0008,0018)"),
    "other class": (data_set(t00080016=CT), Reason.COMMAND_MISMATCH, "(0008,0016)"),
    "pixels too short": (data_set(*image(), element(0x7FE00010, "OB", bytes(14))), Reason.PIXEL_LENGTH, "(7FE0,0010)"),
    "pixels too long": (data_set(*image(), element(0x7FE00010, "OB", bytes(18))), Reason.PIXEL_LENGTH, "(7FE0,0010)"),
    "pixels truncated": (data_set(*image(), PIXELS)[:-2], Reason.TRUNCATED, "(7FE0,0010)"),
    "no rows": (data_set(*image()[2:], PIXELS), Reason.PIXEL_LENGTH, "(0028,0010)"),
    "frames are no number": (
        data_set(*image()[:-1], element(0x00280008, "IS", "1A"), PIXELS),
        Reason.WRONG_VR,
        "(0028,0008)",
    ),
    "native with fragments": (data_set(*image(), fragments(b"ab")), Reason.PIXEL_STREAM, "(7FE0,0010)"),
    "two pixel elements": (
        data_set(*image(), element(0x7FE00008, "OF", bytes(64)), PIXELS),
        Reason.UNREADABLE,
        "(7FE0,0010)",
    ),
    "odd length kept": (data_set()[:-2] + b"\x28\0\x10\x10DS\3\x001.5", None, ""),
}


@pytest.mark.parametrize("case", WITHHELD)
def test_withheld(case: str) -> None:
    data, reason, where = WITHHELD[case]
    doubt = doubt_of(data)
    assert doubt is not None
    if reason is not None:
        assert (doubt.reason, doubt.where) == (reason, where)


def test_doubt_carries_the_uids_that_could_be_read() -> None:
    doubt = doubt_of(data_set(*image(), PIXELS)[:-2])
    assert doubt is not None and doubt.originals == Originals(STUDY, SERIES, SOP)
    assert doubt_of(data_set(without=(0x0020000D,))).originals is None


def test_doubt_about_a_deflated_instance_carries_its_uids_too() -> None:
    """Without them its study would never be known to be here: it would be asked for again, in vain."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = compressor.compress(data_set(*image(), PIXELS)[:-2]) + compressor.flush()
    doubt = doubt_of(deflated, str(DeflatedExplicitVRLittleEndian))
    assert doubt is not None and doubt.originals == Originals(STUDY, SERIES, SOP)


@pytest.mark.parametrize("sop_class", ["1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.1.1"])
def test_private_raw_and_other_classes_are_withheld(sop_class: str) -> None:
    doubt = doubt_of(data_set(t00080016=sop_class), sop_class=sop_class)
    assert doubt is not None and doubt.reason is Reason.SOP_CLASS


@pytest.mark.parametrize("syntax", ["1.2.3.4", "1.2.840.10008.1.2.4.94", ""])
def test_unknown_syntaxes_are_withheld(syntax: str) -> None:
    doubt = doubt_of(data_set(), syntax)
    assert doubt is not None and doubt.reason is Reason.TRANSFER_SYNTAX


@pytest.mark.parametrize(
    ("photometric", "samples", "length"),
    [("RGB", 3, 48), ("YBR_FULL", 3, 48), ("YBR_FULL_422", 3, 32), ("YBR_PARTIAL_420", 3, 24), ("MONOCHROME2", 1, 16)],
)
def test_lengths_of_native_pixels(photometric: str, samples: int, length: int) -> None:
    attributes = [
        element(0x00280002, "US", bytes([samples, 0])),
        element(0x00280004, "CS", photometric),
        *(element(tag, "US", bytes([value, 0])) for tag, value in ((0x00280010, 4), (0x00280011, 4), (0x00280100, 8))),
    ]
    for size in (length - 2, length, length + 2):
        doubt = doubt_of(data_set(*attributes, element(0x7FE00010, "OB", bytes(size))))
        assert (doubt is None) == (size == length)


def test_one_bit_and_odd_pixels() -> None:
    bits = [*image(frames=3, bits=1)]
    assert doubt_of(data_set(*bits, element(0x7FE00010, "OB", bytes(6)))) is None
    rows = [part for part in image() if part[:4] != b"\x28\0\x10\0"] + [element(0x00280010, "US", b"\3\0")]
    odd = [part for part in rows if part[:4] != b"\x28\0\x11\0"] + [element(0x00280011, "US", b"\5\0")]
    assert doubt_of(data_set(*odd, element(0x7FE00010, "OB", bytes(15)))) is None
    assert doubt_of(data_set(*odd, element(0x7FE00010, "OB", bytes(18)))) is not None


def test_encapsulated_structure() -> None:
    two = image(frames=2)
    frame = rle()
    offsets = bytes(4) + (8 + len(frame)).to_bytes(4, "little")
    good = data_set(*two, fragments(frame, frame, offsets=offsets))
    assert doubt_of(good, RLE) is None
    for bad in (
        data_set(*two, fragments(frame)),
        data_set(*two, fragments(frame, frame, offsets=b"QUITTENBAUM ")),
        data_set(*two, fragments(frame, frame, offsets=b"\0\0\0\0\2\0\0\0")),
        data_set(*two, PIXELS),
        good[:-8],
        good.replace(b"\xfe\xff\x00\xe0\x52", b"\xfe\xff\x00\xe0\x53"),
    ):
        assert doubt_of(bad, RLE) is not None
    assert doubt_of(data_set(*two, fragments(b"abcd", b"efgh")), BASELINE).reason is Reason.PIXEL_STREAM


def test_a_synthetic_ct_and_its_engine_agree_with_pydicom() -> None:
    source = synthetic.ct(rows=16, columns=16)
    syntax, data = images.split(images.written(source))
    cleaned = clean(data, syntax, sop_class=str(source.SOPClassUID), sop_uid=str(source.SOPInstanceUID))
    sent = read(output(cleaned))
    assert (sent.pixel_array == source.pixel_array).all()
    for needle in synthetic.PERSON.needles():
        assert needle.encode("latin-1") not in output(cleaned)
