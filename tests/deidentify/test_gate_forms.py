"""The gate finds names, numbers and dates however they are written, in every character set of the instance."""

from __future__ import annotations

import pytest
from building import BIG_ENDIAN, HEAD, LONG, SC, SERIES, SOP, STUDY, data_set, doubt_of, element, item, sequence

from dicomnode.deidentify.folding import folded, spelt_out
from dicomnode.model import Doubt, Reason

SOFTWARE, PLACE, LOOKUP = 0x00181020, 0x00189346, 0x00281201  # kept: LO, SQ, OW


def instance(
    name: bytes, kept: bytes, *, character_set: str = "ISO_IR 100", inner: str | None = None, birth: str = "19370214"
) -> Doubt | None:
    """The verdict about a patient's name and a kept text; `inner` is the character set of an item around the text."""
    text = element(SOFTWARE, "LO", kept)
    if inner is not None:
        text = sequence(PLACE, item(element(0x00080005, "CS", inner) + element(0x00080104, "LO", kept)))
    parts = [
        element(0x00080005, "CS", character_set),
        element(0x00080016, "UI", SC),
        element(0x00080018, "UI", SOP),
        element(0x00100010, "PN", name),
        element(0x00100020, "LO", "PID-4711"),
        element(0x00100030, "DA", birth),
        element(0x0020000D, "UI", STUDY),
        element(0x0020000E, "UI", SERIES),
        text,
    ]
    return doubt_of(b"".join(sorted(parts, key=lambda part: (part[1], part[0], part[3], part[2]))))


def found(doubt: Doubt | None) -> bool:
    assert doubt is None or doubt.reason is Reason.RESIDUE
    return doubt is not None


@pytest.mark.parametrize(
    ("name", "kept", "hit"),
    [
        ("Jørgensen^Åse", "for Jorgensen", True),
        ("Jørgensen^Åse", "for Joergensen", True),
        ("Müller^Hans-Jürgen", "for Mueller", True),
        ("Müller^Hans-Jürgen", "for Muller", True),
        ("Mueller^Hanz", "for Müller", True),
        ("NUNEZ^JOSE", "for José Núñez", True),
        ("Weiß^X", "by weiss", True),
        ("O'Brien^Sean", "OBRIEN S", True),
        ("McDonald^Ron", "Mc Donald", True),
        ("MacDonald^Ron", "mac donald", True),
        ("Ærø^X", "aeroe", True),
        ("Mach^Otto", "mac h", False),
        ("Müller^X", "Mull", False),
        ("Möller^X", "Müller", False),
    ],
)
def test_letters_with_and_without_marks(name: str, kept: str, hit: bool) -> None:
    assert found(instance(name.encode("latin-1"), kept.encode("latin-1"))) == hit


@pytest.mark.parametrize(
    ("character_set", "encoding", "name", "kept", "hit"),
    [
        ("\\ISO 2022 IR 87", "iso2022_jp", "Yamada^Tarou=山田^太郎", "患者山田太郎様", True),
        ("\\ISO 2022 IR 87", "iso2022_jp", "Yamada^Tarou=山田^太郎", "山田様", True),
        ("\\ISO 2022 IR 87", "iso2022_jp", "Yamada^Tarou=山田^太郎", "山本様", False),
        ("ISO_IR 192", "utf-8", "Yamada^Tarou=山田^太郎=やまだ^たろう", "患者やまだ様", True),
        ("GB18030", "gb18030", "Wang^Dong=王^东", "病人王东先生", True),
        ("GB18030", "gb18030", "Wang^Dong=王^东", "病人王先生", False),
        ("GB18030", "gb18030", "Wang^Dong=王^东", "for WangDong", True),
        ("ISO_IR 144", "iso8859_5", "Иванов^Пётр", "для ИВАНОВ", True),
        ("ISO_IR 144", "iso8859_5", "Иванов^Пётр", "для Петр", True),
        ("ISO_IR 101", "iso8859_2", "Wałęsa^Łukasz", "for Lukasz Walesa", True),
        ("ISO_IR 192", "utf-8", "홍^길동", "홍길동 환자", True),
    ],
)
def test_other_scripts(character_set: str, encoding: str, name: str, kept: str, hit: bool) -> None:
    assert found(instance(name.encode(encoding), kept.encode(encoding), character_set=character_set)) == hit


def test_korean_with_escapes() -> None:
    name = b"Hong^Gildong=\x1b$)C" + "홍".encode("euc_kr") + b"^\x1b$)C" + "길동".encode("euc_kr")
    kept = b"\x1b$)C" + "환자 홍길동".encode("euc_kr")
    assert found(instance(name, kept, character_set="\\ISO 2022 IR 149"))


@pytest.mark.parametrize(
    ("outer", "encoding", "name", "inner", "inner_encoding", "kept"),
    [
        ("ISO_IR 192", "utf-8", "Müller^Ägidius", "ISO_IR 100", "latin-1", "für MÜLLER"),
        ("ISO_IR 192", "utf-8", "Иванов^Пётр", "ISO_IR 144", "iso8859_5", "для Иванов"),
        ("ISO_IR 192", "utf-8", "王小东^李", "GB18030", "gb18030", "病人王小东"),
        ("ISO_IR 100", "latin-1", "Müller^X", "ISO_IR 192", "utf-8", "MÜLLER"),
    ],
)
def test_items_with_a_character_set_of_their_own(
    outer: str, encoding: str, name: str, inner: str, inner_encoding: str, kept: str
) -> None:
    doubt = instance(name.encode(encoding), kept.encode(inner_encoding), character_set=outer, inner=inner)
    assert found(doubt)
    assert not found(instance(b"Other^X", kept.encode(inner_encoding), character_set=outer, inner=inner))


def test_utf_8_that_says_it_is_latin_1() -> None:
    assert found(instance("Müller^X".encode(), "MÜLLER".encode()))


@pytest.mark.parametrize(
    ("identifier", "kept", "hit"),
    [
        ("123-45-6789", "SSN 123456789", True),
        ("123456789", "SSN 123-45-6789", True),
        ("12.34.56.78", "12345678", True),
        ("AB 123456", "AB123456", True),
        ("AB123456", "AB 123456", True),
        ("00123456", "MRN 123456", True),
        ("0012345", "MRN 12345", True),
        ("123456^^^HOSP&1.2.3&ISO", "id 123456", True),
        ("PAT-4711", "pat4711", True),
        ("123-456", "9123456", False),
        ("123456", "v1.2, 34567", False),
        ("4711", "MRN 4711", False),
        ("00001234", "MRN 1234", False),
        ("AB-12", "AB12", False),
    ],
)
def test_identifiers_however_they_are_punctuated(identifier: str, kept: str, hit: bool) -> None:
    assert found(doubt_of(data_set(element(SOFTWARE, "LO", kept), t00100020=identifier))) == hit


BORN = (
    "05.01.1950",
    "5.1.1950",
    "1950-01-05",
    "1950-1-5",
    "1950/1/5",
    "1950 01 05",
    "5 Jan 1950",
    "05 Jan 1950",
    "5-Jan-1950",
    "5th Jan 1950",
    "January 5, 1950",
    "january 5th, 1950",
    "Jan 5, 1950",
    "5 January 1950",
    "05/01/50",
    "01/05/50",
    "05011950",
    "01051950",
    "DOB:19500105",
    "1950年1月5日",
    "1950年01月05日",
)


@pytest.mark.parametrize("text", BORN)
def test_dates_of_birth(text: str) -> None:
    assert found(instance(b"Other^X", text.encode(), character_set="ISO_IR 192", birth="19500105"))
    assert not found(instance(b"Other^X", text.encode(), character_set="ISO_IR 192", birth="19500206"))


@pytest.mark.parametrize("text", ["1950", "v5.1.50", "5011950", "105011950", "2005/01/50", "1950-1-50"])
def test_what_is_no_date_of_birth(text: str) -> None:
    assert not found(instance(b"Other^X", text.encode(), birth="19500105"))


def test_words_with_their_bytes_swapped() -> None:
    swapped = bytes(b"Quittenbaum "[at ^ 1] for at in range(12))
    assert found(doubt_of(data_set(element(LOOKUP, "OW", swapped))))
    assert not found(doubt_of(data_set(element(LOOKUP, "OW", swapped[2:]))))


def test_text_in_words_of_a_big_endian_sender() -> None:
    def big(tag: int, vr: str, value: bytes) -> bytes:
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        head = (tag >> 16).to_bytes(2, "big") + (tag & 0xFFFF).to_bytes(2, "big") + vr.encode()
        length = bytes(2) + len(value).to_bytes(4, "big") if vr in LONG else len(value).to_bytes(2, "big")
        return head + length + value

    elements = [(tag, big(tag, vr, value.encode())) for tag, vr, value in HEAD]
    for text, hit in ((b"Quittenbaum ", True), (b"Tannenbaum", False)):
        whole = b"".join(part for _, part in sorted([*elements, (LOOKUP, big(LOOKUP, "OW", text))]))
        assert found(doubt_of(whole, BIG_ENDIAN)) == hit


def test_only_institutions_and_stations_may_be_called_like_the_manufacturer() -> None:
    admission = element(0x00380010, "LO", "4455667")
    repeated = element(SOFTWARE, "LO", "MRN 4455667")
    assert found(doubt_of(data_set(admission, repeated, t00080070="Acme 4455667")))
    for tag in (0x00080080, 0x00081010, 0x00081040):
        assert not found(doubt_of(data_set(element(tag, "LO", "Acme"), t00080070="Acme 7")))
    punctuated = data_set(element(0x00080080, "LO", "AC MEDICAL SYSTEMS"), t00080070="A.C. Medical Systems")
    assert not found(doubt_of(punctuated))
    numbered = element(0x00080080, "LO", "4455667")
    assert found(doubt_of(data_set(numbered, t00080070="Acme 4455667")))


def test_folding() -> None:
    assert folded("MÜLLER") == folded("Mu\u0308ller") == "muller"
    assert spelt_out("Mu\u0308ller") == "mueller"
    assert folded("Straße") == "strasse"
    assert folded("ﾔﾏﾀﾞ") == folded("ヤマダ")
    assert folded("홍길동") == "홍길동"
