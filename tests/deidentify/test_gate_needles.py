"""The gate: identifying values that were taken out may not stand anywhere else, and innocent ones may stay."""

from __future__ import annotations

import images
import pydicom
import pytest
from building import (
    BASELINE,
    JPEG_2000,
    JPEG_LS,
    SC,
    STUDY,
    clean,
    data_set,
    doubt_of,
    element,
    fragments,
    image,
    item,
    output,
    sequence,
)
from compare import BASIC, KEYS, ORIGIN, plan_of
from test_stream_doubts import jpeg, segment

from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.gate import Gate
from dicomnode.deidentify.needles import patterns_of
from dicomnode.deidentify.plan import Needle
from dicomnode.model import Doubt, Reason, Received

SOFTWARE = 0x00181020  # Software Versions, LO, kept by the Basic Profile
LOOKUP = 0x00281201  # Red Palette Color Lookup Table Data, OW
NAME, ID, BIRTH, INSTITUTION = 0x00100010, 0x00100020, 0x00100030, 0x00080080


def verdict(text: str | bytes, *more: bytes, tag: int = SOFTWARE, vr: str = "LO", **changed: str) -> Doubt | None:
    return doubt_of(data_set(element(tag, vr, text), *more, **changed))


REPEATED = (
    "Quittenbaum",
    "QUITTENBAUM",
    "for quittenbaum, 3",
    "x_Walpurga_y",
    "Walpurga2",
    "MrsQuittenbaumIII",
    "QuittenbaumWalpurga",
    "PID-4711",
    "see pid-4711.",
    "19370214",
    "1937-02-14",
    "14.02.1937",
    "2/14/1937",
    "14-Feb-1937",
    "Feb 14, 1937",
    STUDY,
    f"{STUDY}.5",
    f"uid={STUDY};",
    f"9.{STUDY}",
)
INNOCENT = (
    "Quitten",
    "baum",
    "4711",
    "PID-47112",
    "219370214",
    "1937",
    "14.02.1938",
    f"{STUDY}5",
    "Acme v3.1",
)


@pytest.mark.parametrize("text", REPEATED)
def test_a_repeat_is_withheld(text: str) -> None:
    doubt = verdict(text)
    assert doubt is not None and doubt.reason is Reason.RESIDUE
    assert doubt.where.endswith("repeated in (0018,1020)")
    assert not any(word in str(doubt) for word in ("Quitten", "4711", "1937"))


@pytest.mark.parametrize("text", INNOCENT)
def test_what_only_looks_alike_passes(text: str) -> None:
    assert verdict(text) is None


@pytest.mark.parametrize(
    ("name", "text", "hit"),
    [
        ("Lee^Ann", "for Lee today", True),
        ("Lee^Ann", "LEE", True),
        ("Lee^Ann", "sleeve", False),
        ("Lee^Ann", "planning", False),
        ("Lee^Ann", "LEE2", False),
        ("Stern^Anna", "sternum", False),
        ("Stern^Anna", "Stern3", True),
        ("Wu^Li", "Wu", True),
        ("Wu^Li", "wu, li", True),
        ("Wu^Li", "Wuhan", False),
        ("Wu^Li", "quick wu", False),
        ("Anna-Maria Graf^X", "maria", True),
        ("O'Neil^X", "o'neil", True),
        ("Quitten\\baum^X", "quitten", True),
        ("X^Y", "X", False),
    ],
)
def test_components_of_names(name: str, text: str, hit: bool) -> None:
    assert (verdict(text, t00100010=name) is not None) == hit


@pytest.mark.parametrize(
    ("identifier", "text", "hit"),
    [
        ("12345", "12345", True),
        ("12345", "no 12345.", True),
        ("12345", "0012345", True),
        ("12345", "9912345", False),
        ("12345", "123456", False),
        ("1234", "1234", True),
        ("1234", "v 1234", False),
        ("AB123456", "xAB123456y", True),
        ("00000", "6.000000", False),
        ("00000", "00000", True),
    ],
)
def test_identifiers(identifier: str, text: str, hit: bool) -> None:
    assert (verdict(text, t00100020=identifier) is not None) == hit


def test_values_next_to_element_headers_are_whole_tokens() -> None:
    """The bytes of a length or of the next tag may be letters: they are no part of the value."""
    behind = element(0x00500004, "CS", "PATIENT")  # group 0050: its first byte is a P
    explanation = 0x00281055  # Window Center & Width Explanation, kept
    assert verdict("x Graf", behind, tag=explanation, t00100010="Graf^X") is not None
    long = "Graf" + " " * (0x4142 - 4)  # the bytes of its length are letters
    assert verdict(long, tag=explanation, t00100010="Graf^X") is not None


def test_utf_16_and_other_encodings() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        text = "for Quittenbaum.".encode(encoding)
        assert verdict(text, tag=LOOKUP, vr="OW") is not None
        assert verdict("for Quittenbau".encode(encoding), tag=LOOKUP, vr="OW") is None
    name = {"t00100010": "Müller^Jürgen"}
    for text in ("Müller", "MÜLLER", "Muller", "müller 2"):
        assert verdict(text.encode("latin-1"), **name) is not None, text
        assert verdict(text.encode("utf-8"), **name) is not None, text
        assert verdict(text.encode("utf-16-le"), tag=LOOKUP, vr="OW", **name) is not None, text
    assert verdict(b"Mull", **name) is None


@pytest.mark.parametrize(
    ("character_set", "name", "encoding"),
    [
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎", "iso2022_jp"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东", "utf-8"),
        ("GB18030", "Wang^XiaoDong=王^小东", "gb18030"),
        ("ISO_IR 144", "Люкceмбypг", "iso8859-5"),
        ("ISO_IR 166", "นามสกุล", "tis-620"),
    ],
)
def test_names_in_other_scripts(character_set: str, name: str, encoding: str) -> None:
    parts = [
        element(0x00080005, "CS", character_set),
        element(NAME, "PN", name.encode(encoding)),
    ]
    last = name.split("=")[-1].split("^")[-1]
    for text in (last.encode(encoding), last.encode("utf-8")):
        data = data_set(*parts, element(SOFTWARE, "LO", b"x " + text), without=(0x00080005, NAME))
        assert doubt_of(data).reason is Reason.RESIDUE
    data = data_set(*parts, element(LOOKUP, "OW", last.encode("utf-16-be")), without=(0x00080005, NAME))
    assert doubt_of(data).reason is Reason.RESIDUE
    assert doubt_of(data_set(*parts, without=(0x00080005, NAME))) is None


def test_a_name_that_does_not_decode_is_searched_as_bytes() -> None:
    parts = [element(0x00080005, "CS", "ISO_IR 192"), element(NAME, "PN", b"M\xfcller^J")]
    assert doubt_of(data_set(*parts, element(SOFTWARE, "LO", b"by M\xfcller"), without=(0x00080005, NAME))) is not None
    assert doubt_of(data_set(*parts, without=(0x00080005, NAME))) is None


def test_values_inside_removed_sequences_are_needles() -> None:
    inner = element(0x00100020, "LO", "OTHER-8888") + element(0x00100022, "CS", "TEXT")
    others = sequence(0x00101002, item(inner))  # Other Patient IDs Sequence
    assert verdict("OTHER-8888", others) is not None
    assert verdict("OTHER-9999", others) is None


def test_nested_places_are_searched() -> None:
    code = element(0x00080100, "SH", "T-1") + element(0x00080102, "SH", "99X")
    region = sequence(0x00082218, item(code + element(0x00080104, "LO", "left of Quittenbaum")))
    doubt = doubt_of(data_set(region))
    assert doubt is not None and doubt.reason is Reason.RESIDUE


def test_institution_that_is_the_manufacturer() -> None:
    for manufacturer in ("TOSHIBA", "TOSHIBA_MEC"):
        data = data_set(element(INSTITUTION, "LO", "TOSHIBA"), t00080070=manufacturer)
        assert doubt_of(data) is None
    assert doubt_of(data_set(element(INSTITUTION, "LO", "Klinik Nord"), t00080070="for Klinik Nord")) is not None
    assert verdict("TOSHIBA", element(INSTITUTION, "LO", "TOSHIBA")) is not None
    assert doubt_of(data_set(t00100020="TOSHIBA", t00080070="TOSHIBA")) is not None


def test_defined_terms_that_are_names() -> None:
    part = element(0x00180015, "CS", "HAND")
    assert doubt_of(data_set(part, t00100010="Hand^Otto")) is None
    assert doubt_of(data_set(element(0x00180015, "CS", "QUITTEN"), t00100010="Quitten^Otto")) is not None
    assert verdict("Hand", part, t00100010="Hand^Otto") is not None


def test_a_term_excuses_no_repeat_in_another_form() -> None:
    """A patient named like a body part: the code string may stay, but not what hides beside it."""
    part, named = element(0x00180015, "CS", "HAND"), {"t00100010": "Hand^Otto"}
    innocent, wide, swapped = b"\1\2\3\4", "Hand".encode("utf-16-le"), b"aHdn"
    verdicts = [verdict(each, part, tag=LOOKUP, vr="OW", **named) for each in (innocent, wide, swapped)]
    assert [each is None for each in verdicts] == [True, False, False]
    for meaning, passes in (("Knie", True), ("Hand", False)):
        text = meaning.encode()
        code = (0x01040008).to_bytes(4, "little") + len(text).to_bytes(4, "little") + text
        hidden = b"\xfe\xff\x00\xe0" + len(code).to_bytes(4, "little") + code
        region = element(0x00082218, "UN", hidden)  # Anatomic Region Sequence
        assert (doubt_of(data_set(part, region, **named)) is None) is passes


def test_an_original_uid_under_an_attribute_for_classes() -> None:
    data = data_set(element(0x0008001A, "UI", STUDY))
    assert doubt_of(data) is None
    assert STUDY.encode() not in output(clean(data))


def test_values_that_the_rules_keep_are_no_needles() -> None:
    options = "options: [retain_uids, retain_institution_identity, retain_longitudinal_full_dates]\n"
    engine = Deidentifier(plan_of(BASIC + options), KEYS)
    inner = element(0x00080080, "LO", "Klinik Nord") + element(0x0020000D, "UI", STUDY)
    data = data_set(
        element(0x00080020, "DA", "19370214"),
        element(INSTITUTION, "LO", "Klinik Nord"),
        sequence(0x00101002, item(inner)),
    )
    engine.clean(Received(ORIGIN, SC, "1.2.826.0.1.77.3", "1.2.840.10008.1.2.1"), data)


def gate_of(*originals: tuple[Needle, bytes]) -> Gate:
    gate = Gate(lambda: ())
    for kind, value in originals:
        gate.original(kind, NAME, value, b"")
    return gate


@pytest.mark.parametrize("marker", [0xFE, 0xE1, 0xEF, 0xF0])
def test_text_segments_of_jpeg(marker: int) -> None:
    frame = jpeg(segment(marker, b"\0\1 Quittenbaum"))
    assert doubt_of(data_set(*image(), fragments(frame)), BASELINE).reason is Reason.RESIDUE
    assert doubt_of(data_set(*image(), fragments(frame.replace(b"Quitten", b"Tannen_"))), BASELINE) is None
    wide = jpeg(segment(marker, "Quittenbaum".encode("utf-16-le")))
    assert doubt_of(data_set(*image(), fragments(wide)), BASELINE).reason is Reason.RESIDUE


def test_text_between_scans_behind_the_end_and_in_entropy_coded_data() -> None:
    late = jpeg(entropy=b"\x12\x34" + segment(0xFE, b"Quittenbaum") + b"")
    assert doubt_of(data_set(*image(), fragments(late)), BASELINE).reason is Reason.RESIDUE
    behind = jpeg() + b"\0\0Quittenbaum\0"
    assert doubt_of(data_set(*image(), fragments(behind)), BASELINE).reason is Reason.PIXEL_STREAM
    assert doubt_of(data_set(*image(), fragments(jpeg(entropy=b"Quittenbaum"))), BASELINE).reason is Reason.RESIDUE
    assert doubt_of(data_set(*image(), fragments(jpeg(entropy=b"Quitten"))), BASELINE) is None


def test_frames_in_several_fragments() -> None:
    frame = jpeg(segment(0xE0, b"JFIF"), entropy=b"\x12\xff\x00\x34" * 20)
    entropy = frame.index(b"\x12\xff")
    for cut in range(entropy, len(frame) - 2):
        if cut % 2 == 0:
            assert doubt_of(data_set(*image(), fragments(frame[:cut], frame[cut:])), BASELINE) is None, cut
    named = frame[:-2] + segment(0xFE, b"Quittenbaum") + b"\xff\xd9"
    assert doubt_of(data_set(*image(), fragments(named[: entropy + 2], named[entropy + 2 :])), BASELINE) is not None


def j2k(*main: bytes, tile: tuple[bytes, ...] = (), length: int | None = None) -> bytes:
    data = b"\x12\x34\xff\x4f\x56\x78"
    header = b"".join(tile)
    size = 12 + len(header) + 2 + len(data) if length is None else length
    part = b"\xff\x90" + bytes([0, 10, 0, 0]) + size.to_bytes(4, "big") + b"\0\1"
    start = b"\xff\x4f" + segment(0x51, bytes(36)) + segment(0x52, bytes(10)) + segment(0x5C, bytes(5))
    return start + b"".join(main) + part + header + b"\xff\x93" + data + b"\xff\xd9"


@pytest.mark.parametrize("length", [None, 0])
def test_comments_of_jpeg_2000(length: int | None) -> None:
    named = segment(0x64, b"\0\1by Quittenbaum")
    for frame in (j2k(named, length=length), j2k(tile=(named,), length=length)):
        assert doubt_of(data_set(*image(), fragments(frame)), JPEG_2000).reason is Reason.RESIDUE
    innocent = segment(0x64, b"\0\1Kakadu-v6")
    for frame in (j2k(innocent, length=length), j2k(tile=(innocent,), length=length)):
        assert doubt_of(data_set(*image(), fragments(frame)), JPEG_2000) is None


def test_boxes_around_jpeg_2000() -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return (len(content) + 8).to_bytes(4, "big") + kind + content

    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    named = start + box(b"xml ", b"<name>Quittenbaum</name>") + box(b"jp2c", j2k())
    assert doubt_of(data_set(*image(), fragments(named)), JPEG_2000).reason is Reason.RESIDUE
    assert doubt_of(data_set(*image(), fragments(start + box(b"jp2c", j2k()))), JPEG_2000) is None


def test_jpeg_ls_has_other_markers_in_its_data() -> None:
    start = b"\xff\xd8" + segment(0xF7, bytes(5) + b"\1" + bytes(3)) + segment(0xDA, b"\1" + bytes(5))
    sound = start + b"\x12\xff\x7e\x34" + b"\xff\xd9"
    assert doubt_of(data_set(*image(), fragments(sound)), JPEG_LS) is None
    named = start + b"\x12\xff\x7e\x34" + segment(0xFE, b"Quittenbaum") + b"\xff\xd9"
    assert doubt_of(data_set(*image(), fragments(named)), JPEG_LS).reason is Reason.RESIDUE


@pytest.mark.parametrize("frame", [b"", b"\xff\xd8", jpeg()[:-2], jpeg()[:40], j2k()[:-4], b"GIF89a.."])
def test_frames_that_are_not_complete(frame: bytes) -> None:
    doubt = doubt_of(data_set(*image(), fragments(frame)), JPEG_2000)
    assert doubt is not None and doubt.reason is Reason.PIXEL_STREAM


def test_random_binary_values_are_innocent() -> None:
    import random

    hay = random.Random(7).randbytes(300_000)
    gate = gate_of((Needle.NAME, b"Maier^Ann^Lee"), (Needle.IDENTIFIER, b"12345"), (Needle.BIRTH_DATE, b"19370214"))
    gate.keep[0x4F57](hay)
    gate.check()
    gate.keep[0x4F57](b"\0\1Lee\0")
    with pytest.raises(Doubt):
        gate.check()


def test_dates_of_birth_are_found_in_the_usual_forms() -> None:
    patterns = patterns_of((Needle.BIRTH_DATE, BIRTH, b"1937.02.14", b""))
    found = patterns.plain | patterns.dated
    assert {b"19370214", b"14.2.1937", b"2/14/1937", b"1937-02-14", b"14 feb 1937"} <= found
    assert patterns_of((Needle.BIRTH_DATE, BIRTH, b"unknown", b"")).plain == {b"unknown"}


def test_at_most_two_percent_of_the_real_files_are_withheld_by_the_gate() -> None:
    files = images.sendable_files()
    engine = Deidentifier(plan_of(BASIC), KEYS)
    withheld = []
    for path in files:
        syntax, data = images.split(path.read_bytes())
        head = pydicom.dcmread(path, stop_before_pixels=True)
        try:
            engine.clean(Received(ORIGIN, str(head.SOPClassUID), str(head.SOPInstanceUID), syntax), data)
        except Doubt as doubt:
            if doubt.reason is Reason.RESIDUE:
                withheld.append(path.name)
    distinct = len({path.parent for path in files} | {path for path in files if "TINY" not in str(path)})
    assert len(withheld) <= 0.02 * distinct, withheld
