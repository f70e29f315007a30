"""What stays is what its VR says: wrong VRs, values that are none of their VR, identifiers in places of their own."""

from __future__ import annotations

from struct import pack

import pytest
from building import (
    ENGINE,
    EXPLICIT,
    SC,
    clean,
    data_set,
    doubt_of,
    element,
    fragments,
    image,
    item,
    output,
    received,
    sequence,
    stream,
)
from pydicom._dicom_dict import DicomDictionary
from test_stream_doubts import jpeg

from dicomnode.deidentify.plan import Action
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.model import Doubt, Reason

SECRET = b"SCHNABEL"
PLACE = 0x00189346  # CTDI Phantom Type Code Sequence, kept


def verdict(data: bytes, syntax: str = EXPLICIT) -> Reason | None:
    """The reason, the same for the whole and in chunks; what is not withheld does not hold the secret."""
    doubt = doubt_of(data, syntax)
    try:
        sent = stream(received(syntax), data, 50)[1]
    except Doubt as other:
        assert doubt is not None and other.reason == doubt.reason
        return doubt.reason
    assert doubt is None
    assert sent == output(clean(data, syntax))
    assert SECRET not in sent.upper()
    return None


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00280010, "OB"),
        (0x00280010, "OW"),
        (0x00280010, "FD"),
        (0x00180050, "OB"),
        (0x00181020, "OW"),
        (0x00181020, "FD"),
        (0x00189305, "US"),
        (0x00080016, "OB"),
    ],
)
def test_a_kept_element_of_another_vr_is_withheld_or_says_nothing(tag: int, vr: str) -> None:
    assert verdict(data_set(element(tag, vr, SECRET), without=(tag,))) in (Reason.WRONG_VR, Reason.BAD_UID)


def test_vrs_that_files_have_for_one_another() -> None:
    for tag, vr in ((0x00281201, "US"), (0x00283006, "OW"), (0x00280106, "SS"), (0x00180015, "LO"), (0x00181020, "SH")):
        kept = element(tag, vr, b"AB")
        assert kept in output(clean(data_set(kept)))


@pytest.mark.parametrize("vr", ["OB", "OW", "OF", "UN"])
def test_a_sequence_under_another_vr_does_not_stay(vr: str) -> None:
    inner = item(element(0x00080090, "PN", "SCHNABEL^A", implicit=True))
    assert verdict(data_set(element(PLACE, vr, inner))) is None


@pytest.mark.parametrize("inner", [b"\xfe\xff\x00\xe0\x08\0\0\0SCHNABEL", b"SCHNABEL\1", b"\x7fSCHNABEL "])
def test_text_under_un_is_text(inner: bytes) -> None:
    assert verdict(data_set(element(0x00181020, "UN", inner))) is Reason.WRONG_VR
    assert verdict(data_set(element(0x00181020, "UN", b"Acme 31\r\n\0"))) is None


@pytest.mark.parametrize(
    ("tag", "vr", "value", "sent"),
    [
        (0x00180015, "CS", b"Schnabel, Jan", b""),
        (0x00080008, "CS", b"ORIGINAL\\PRIMARY\\SCHNABEL/R", b"ORIGINAL\\PRIMARY\\"),
        (0x00200012, "IS", b"SCHNABEL", b""),
        (0x00180050, "DS", b"1.5\\SCHNABEL\\-2e3", b"1.5\\\\-2e3 "),
        (0x00180050, "DS", b"1.5\\nan\\ 3 ", b"1.5\\nan\\ 3 "),
        (0x00180050, "LT", b"SCHNABEL", b""),
        (0x00200012, "IS", b"1\0", b"1\0"),
    ],
)
def test_values_that_their_vr_cannot_have_are_emptied(tag: int, vr: str, value: bytes, sent: bytes) -> None:
    data = data_set(element(tag, vr, value))
    assert verdict(data) is None
    assert element(tag, vr, sent) in output(clean(data))


def test_what_the_image_hangs_on_is_withheld_instead() -> None:
    assert verdict(data_set(element(0x00281052, "DS", "SCHNABEL"))) is Reason.WRONG_VR
    assert verdict(data_set(element(0x00281052, "DS", "-1024"))) is None


@pytest.mark.parametrize("text", ["SCHNABEL", "ISO_IR 100\\SCHNABEL", "ISO 2022 IR 6\\ISO_IR 192"])
def test_character_sets_are_defined_ones(text: str) -> None:
    assert verdict(data_set(t00080005=text)) is Reason.CHARACTER_SET
    inner = element(0x00080005, "CS", text) + element(0x00080104, "LO", "x")
    assert verdict(data_set(sequence(PLACE, item(inner)))) is Reason.CHARACTER_SET
    assert verdict(data_set(sequence(0x00101002, item(inner)))) is None  # it is removed with its items


@pytest.mark.parametrize("tag", sorted(tables.class_uids() - {0x00080016}))
def test_uids_of_classes_are_registered_ones(tag: int) -> None:
    for value in (b"1.2.826.0.99.12345678", b"SCHNABEL JAN"):
        data = data_set(element(tag, "UI", value))
        assert verdict(data) is None
        assert value not in output(clean(data))
    known = element(tag, "UI", b"1.2.840.10008.5.1.4.1.1.2")
    if tables.row_of(tag) is None:
        assert known in output(clean(data_set(known)))


@pytest.mark.parametrize(
    ("uid", "stays"),
    [
        ("2.16.840.1.113883.6.96", True),
        ("2.16.840.1.113883.6.8", True),
        ("2.16.840.1.113883.3.26.1.1", True),
        ("1.2.840.10008.2.16.4", True),
        ("1.2.840.10008.6.1.1050", True),
        ("1.2.840.10008.6.1.20050101", False),
        ("1.2.840.10008.6.1", False),
        ("2.16.840.1.113883.6.96.4711", False),
        ("2.16.840.1.113883.6.47110815", False),
        ("2.16.840.1.113883.4.1", False),
        ("2.16.840.1.113883.6.096", False),
    ],
)
def test_coding_schemes_and_context_groups_that_are_registered_stay(uid: str, stays: bool) -> None:
    scheme = item(element(0x00080102, "SH", "SCT") + element(0x0008010C, "UI", uid))
    code = item(element(0x00080100, "SH", "T-D1100") + element(0x00080117, "UI", uid))
    data = data_set(sequence(0x00080110, scheme), sequence(0x00082218, code))
    assert output(clean(data)).count(element(0x0008010C, "UI", uid)) == stays
    assert output(clean(data)).count(element(0x00080117, "UI", uid)) == stays


@pytest.mark.parametrize("vr", ["OW", "OF", "OD", "OL", "OV", "AT", "FD", "US", "UL", "SV", "UR", "LO", "OB", "UN"])
def test_unknown_attributes_do_not_stay(vr: str) -> None:
    assert verdict(data_set(element(0x0018FE02, vr, SECRET))) is None
    inside = item(element(0x00180050, "DS", "1 ") + element(0x00189073, "LO", SECRET))
    assert verdict(data_set(sequence(0x0018FE02, inside))) is None


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00080202, "OB"), (0x00189445, "OB"), (0x00280020, "OB"), (0x04000315, "FL")]
)
def test_attributes_of_which_the_dictionary_knows_no_name_do_not_stay(tag: int, vr: str) -> None:
    data = data_set(element(tag, vr, SECRET))
    assert verdict(data) is None and SECRET not in output(clean(data))


@pytest.mark.parametrize("tag", [0x00321034, 0x00404009])
def test_codes_of_people_and_departments_do_not_stay(tag: int) -> None:
    code = element(0x00080100, "SH", "N17") + element(0x00080104, "LO", "Neurology, Prof. Schnabel")
    assert b"Neurology" not in output(clean(data_set(sequence(tag, item(code)))))


def test_free_text_does_not_stay_unless_it_is_listed() -> None:
    kept = tables.kept_text()
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        if vr in dictionary.FREE_TEXT and tag not in kept and tag >> 16 > 8 and not tag >> 16 & 1:
            data = data_set(element(tag, vr, SECRET))
            assert verdict(data) is None, keyword
    assert all(DicomDictionary[tag][0] in dictionary.FREE_TEXT for tag in kept)


ADDED = [
    (int(tag, 16), DicomDictionary[int(tag, 16)][0])
    for tag, row in tables.additions().items()
    if row.basic == "X" and "x" not in tag and DicomDictionary[int(tag, 16)][0] in ("LO", "SH", "OB", "OW")
]


@pytest.mark.parametrize(("tag", "vr"), ADDED)
def test_what_the_project_adds_does_not_stay(tag: int, vr: str) -> None:
    assert verdict(data_set(element(tag, vr, SECRET))) is None


def test_pixels_outside_pixel_data() -> None:
    for tag in (0x7F020010, 0x7FFE0010, 0x7FE00020, 0x7FE00030, 0x7FE00040):
        pixels = [*image(), element(0x7FE00010, "OB", bytes(16))]
        assert verdict(data_set(*pixels, element(tag, "OW", SECRET))) is None
    for inner in (element(0x7FE00010, "OB", SECRET), fragments(jpeg()), element(0x7FE00008, "OF", SECRET)):
        nested = b"".join(sorted(image(), key=lambda part: (part[1], part[0], part[3], part[2]))) + inner
        assert verdict(data_set(sequence(PLACE, item(nested)))) is Reason.PIXEL_STREAM
        assert verdict(data_set(sequence(0x00880200, item(nested)))) is None  # an icon goes with its sequence


def overlay(bits: int, position: int, *more: bytes) -> list[bytes]:
    numbers = ((0x60020010, 4), (0x60020011, 4), (0x60020100, bits), (0x60020102, position))
    return [*(element(tag, "US", pack("<H", number)) for tag, number in numbers), *more]


def test_overlays_in_the_unused_bits_of_pixels_are_withheld() -> None:
    pixels = [*image(bits=16), element(0x7FE00010, "OW", bytes(32))]
    assert verdict(data_set(*pixels, *overlay(16, 12))) is Reason.SUSPICIOUS_PIXELS
    assert verdict(data_set(*pixels, *overlay(16, 0))) is Reason.SUSPICIOUS_PIXELS
    assert verdict(data_set(*pixels, *overlay(1, 9))) is Reason.SUSPICIOUS_PIXELS
    assert verdict(data_set(*pixels, *overlay(1, 0))) is None
    drawn = element(0x60023000, "OW", b"\1\2")
    assert verdict(data_set(*pixels, *overlay(1, 0, drawn))) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("PS3.15 2024c Basic Profile", True),
        ("dicomnode rules 0123456789abcdef", True),
        ("PS3.15 2020a Schnabel Jan", False),
        ("PS3.15 1937a Basic Profile", False),
        ("dicomnode rules SCHNABEL", False),
    ],
)
def test_methods_declared_before(text: str, kept: bool) -> None:
    data = data_set(element(0x00120063, "LO", text))
    assert verdict(data) is None
    assert (text.encode() in output(clean(data))) == kept


def test_methods_declared_before_are_searched() -> None:
    data = data_set(element(0x00120063, "LO", "dicomnode rules 1234567890123456"), t00100020="1234567890123456")
    assert verdict(data) is Reason.RESIDUE
    named = data_set(element(0x00120063, "LO", "PS3.15 2024c Basic Profile"), t00100010="Basic^Profile")
    assert verdict(named) is None  # the words are the standard's own


def test_the_modality_that_is_reported_is_a_defined_term() -> None:
    assert clean(data_set(t00080060="CT")).modality == "CT"
    assert clean(data_set(t00080060="SCHNABEL JAN")).modality == ""


def test_voices_are_withheld() -> None:
    for last in ("1", "2"):
        audio = f"1.2.840.10008.5.1.4.1.1.9.4.{last}"
        assert doubt_of(data_set(t00080016=audio), sop_class=audio).reason is Reason.SOP_CLASS
    assert doubt_of(data_set(t00080016=SC)) is None


@pytest.mark.parametrize("vr", ["SH", "LO", "IS", "CS", "PN", "DA", "AS", "UI", "UT", "AE", "SQ"])
def test_what_describes_the_image_does_not_go_without_it(vr: str) -> None:
    """The length check reads the bytes, whatever their VR: then the attribute may not be removed behind it."""
    pixels = element(0x7FE00010, "OW", bytes(32))
    for tag, number in ((0x00280010, 4), (0x00280002, 1), (0x00280100, 16), (0x00280103, 1)):
        rest = [each for each in image(bits=16) if each[:4] != pack("<HH", tag >> 16, tag & 0xFFFF)]
        value = pack("<H", number) if vr != "SQ" else b""
        assert verdict(data_set(*rest, element(tag, vr, value), pixels)) is Reason.WRONG_VR
    colours = [each for each in image() if each[:4] != pack("<HH", 0x0028, 0x0004)]
    under = element(0x00280004, vr, "MONOCHROME2" if vr != "SQ" else b"")
    told = verdict(data_set(*colours, under, element(0x7FE00010, "OB", bytes(16))))
    assert told is (Reason.WRONG_VR if vr in ("PN", "DA", "AS", "UI", "SQ") else None)


def kept_attribute(vr: str) -> int:
    """The first attribute of this VR that stays, and is none of the image's."""
    steps = ENGINE.plan.for_class(SC)
    tags = (tag for tag, entry in DicomDictionary.items() if entry[0] == vr and 0x0010 < tag >> 16 < 0x7FE0)
    return next(tag for tag in tags if steps.step(tag, vr).action is Action.KEEP and tag >> 16 != 0x0028)


@pytest.mark.parametrize("vr", dictionary.WIDTHS)
def test_binary_values_are_whole_numbers(vr: str) -> None:
    tag = kept_attribute(vr)
    width = dictionary.WIDTHS[vr]
    for kind in (vr, "UN"):
        whole = element(tag, kind, bytes(3 * width))
        assert whole in output(clean(data_set(whole)))
        for length in range(2, 2 * width, 2):
            cut = element(tag, kind, b"by Hans Muster.."[:length])
            wanted = Reason.WRONG_VR if length % width else None
            assert verdict(data_set(cut)) is wanted
            assert verdict(data_set(sequence(PLACE, item(cut)))) is wanted


@pytest.mark.parametrize("spelt", ["ISO-IR 192", "ISO IR 192", "ISOIR192", "ISO_IR192", "ISO_IR 192", " ISO-IR 192"])
def test_a_misspelt_character_set_is_corrected(spelt: str) -> None:
    kept = element(0x00080070, "LO", "Мюллер".encode())
    data = data_set(kept, without=(0x00080070,), t00080005=spelt)
    assert verdict(data) is None
    assert element(0x00080005, "CS", "ISO_IR 192") in output(clean(data))
    inner = element(0x00080005, "CS", spelt) + element(0x00080104, "LO", "Thorax")
    within = output(clean(data_set(sequence(PLACE, item(inner)))))
    assert element(0x00080005, "CS", "ISO_IR 192") + element(0x00080104, "LO", "Thorax") in within


@pytest.mark.parametrize("vr", ["PN", "UI", "AS", "DA", "TM", "SQ", "US"])
def test_a_character_set_does_not_go_without_its_text(vr: str) -> None:
    value = b"ISO_IR 192" if vr != "SQ" else b""
    assert verdict(data_set(element(0x00080005, vr, value), without=(0x00080005,))) is Reason.WRONG_VR
    assert verdict(data_set(element(0x00080005, "LO", b"ISO_IR 192"), without=(0x00080005,))) is None


def test_character_sets_with_code_extensions_stay_as_they_are() -> None:
    for spelt in ("ISO 2022 IR 6\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "GB18030", "ISO_IR 100 ", ""):
        assert element(0x00080005, "CS", spelt) in output(clean(data_set(t00080005=spelt)))
