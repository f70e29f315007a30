"""The gate finds names, numbers and dates however they are written, in every character set of the instance."""

from __future__ import annotations

import pytest
from building import (
    BIG_ENDIAN,
    HEAD,
    LONG,
    SC,
    SERIES,
    SOP,
    STUDY,
    clean,
    data_set,
    doubt_of,
    element,
    item,
    output,
    received,
    sequence,
)
from compare import BASIC, KEYS, plan_of

from dicomnode.deidentify import Deidentifier, concepts
from dicomnode.deidentify.encoded import vr_code
from dicomnode.deidentify.folding import folded, spelt_out
from dicomnode.deidentify.plan import Action
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
        ("4711", "MRN 4711", True),
        ("4711", "MRN:4711", True),
        ("4711", "MRN4711", True),
        ("4711", "Pat.-Nr.: 4711", True),
        ("4711", "Patient Id = 4711, chest", True),
        ("4711", "see case #4711.", True),
        ("4711", "Fall (4711)", True),
        ("4711", "Nr. 4711", True),
        ("A12", "patient a12", True),
        ("#4711", "MRN 4711", True),
        ("MRN:4711", "MRN 4711", True),
        ("4711", "filter 4711", False),
        ("4711", "MRN 47115", False),
        ("4711", "MRN 4711b", False),
        ("12", "no 12", False),
        ("4711", "piano 4711", False),
        ("MRN:123456", "for 123456", True),
        ("123456", "MRN:123456", True),
        ("MRN123456", "123456", True),
        ("MRN_123456", "123456", True),
        ("PID 12345 (old)", "12345", True),
        ("*123456*", "123456", True),
        ("123456.", "123456", True),
        ("MRN:123456", "1234567", False),
        ("00001234", "MRN 1234", True),
        ("00001234", "v1234", False),
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
    "500105",
    "050150",
    "010550",
    "born 5.1.50",
    "5/1/50",
    "50-01-05",
    "*5.1.50",
    "5. Januar 1950",
    "5.Januar 1950",
    "05. Jan. 1950",
    "5. Jän. 1950",
    "5. Jänner 1950",
    "5 janvier 1950",
    "5 janv. 1950",
    "né le 5 janvier 1950",
    "5 de enero de 1950",
    "5 ene 1950",
    "5 gennaio 1950",
    "5 gen. 1950",
    "5 januari 1950",
    "5 de janeiro de 1950",
    "5 de janeiro, 1950",
    "5 of January 1950",
    "the 5th of Jan., 1950",
    "January the 5th 1950",
    "Jan 5 '50",
    "5-Jan-50",
    "5Jan1950",
    "05JAN50",
    "1950-Jan-05",
    "1950, January 5",
)


@pytest.mark.parametrize("text", BORN)
def test_dates_of_birth(text: str) -> None:
    assert found(instance(b"Other^X", text.encode(), character_set="ISO_IR 192", birth="19500105"))
    assert not found(instance(b"Other^X", text.encode(), character_set="ISO_IR 192", birth="19500206"))


TIMES = ("1950", "v5.1.50", "5011950", "105011950", "2005/01/50", "1950-1-50", "1500105", "5001051", "1.5.1.50")
WORDS = ("Januar 1950", "15. Januar 1950", "5. Januar 1951", "5. Mai 1950", "5 Jan", "5 janitor 1950", "8 gen 5 1950")


@pytest.mark.parametrize("text", [*TIMES, *WORDS])
def test_what_is_no_date_of_birth(text: str) -> None:
    assert not found(instance(b"Other^X", text.encode(), birth="19500105"))


MONTHS = {
    2: ("February", "Februar", "février", "febrero", "febbraio", "februari", "fevereiro", "Feb.", "févr.", "fev"),
    3: ("March", "März", "mars", "marzo", "maart", "março", "Mar", "Mrz."),
    4: ("April", "avril", "abril", "aprile", "Apr", "avr."),
    5: ("May", "Mai", "mayo", "maggio", "mei", "maio"),
    6: ("June", "Juni", "juin", "junio", "giugno", "junho", "Jun"),
    7: ("July", "Juli", "juillet", "julio", "luglio", "julho", "juil."),
    8: ("August", "août", "agosto", "augustus", "Aug", "ago"),
    9: ("September", "septembre", "septiembre", "settembre", "setembro", "Sept.", "set"),
    10: ("October", "Oktober", "octobre", "octubre", "ottobre", "outubro", "Okt", "Oct"),
    11: ("November", "novembre", "noviembre", "novembro", "Nov"),
    12: ("December", "Dezember", "décembre", "diciembre", "dicembre", "dezembro", "Dez.", "dic"),
}


@pytest.mark.parametrize("month", MONTHS)
def test_months_in_seven_languages(month: int) -> None:
    birth = f"1937{month:02}21"
    for name in MONTHS[month]:
        for character_set, encoding in (("ISO_IR 192", "utf-8"), ("ISO_IR 100", "latin-1")):
            text = f"nata il 21 {name} 1937".encode(encoding)
            assert found(instance(b"Other^X", text, character_set=character_set, birth=birth)), name
            assert not found(instance(b"Other^X", text, character_set=character_set, birth="19370121"))


@pytest.mark.parametrize(
    ("birth", "kept", "hit"),
    [
        ("19370214", "昭和12年2月14日生", True),
        ("19370214", "昭和１２年０２月１４日", True),
        ("19370214", "昭和12年2月15日", False),
        ("19890107", "昭和64年1月7日", True),
        ("19890108", "平成元年1月8日", True),
        ("20190501", "令和1年05月01日", True),
        ("19370214", "民國26年2月14日", True),
        ("19370214", "DOB S12.2.14", True),
        ("19370214", "S12/02/14", True),
        ("19370214", "xs12.2.14", False),
        ("19370214", "S12.2.14.1", False),
        ("19370214", "ur. 14.II.1937", True),
        ("19371204", "4 XII 1937", True),
        ("19370214", "14.III.1937", False),
        ("19370214", "ur.14.II.1937r.", True),
        ("19370214", "1937-II-14", True),
        ("19370214", "1.14.II.1937", False),
        ("19370214", "14.II.1937.5", False),
        ("19370214", "114.II.1937", False),
        ("19370214", "14/02/2480", True),
        ("19370214", "2480-02-14", True),
        ("19370214", "14/02/2481", False),
        ("19370214", "DOB.14/2/2480a", True),
        ("19370214", "1.14.2.2480", False),
    ],
)
def test_birth_dates_of_other_calendars(birth: str, kept: str, hit: bool) -> None:
    assert found(instance(b"Other^X", kept.encode(), character_set="ISO_IR 192", birth=birth)) == hit


def test_a_birth_date_that_is_told_in_another_calendar_is_looked_for() -> None:
    told = element(0x00100033, "LO", "1355/11/25")
    assert found(doubt_of(data_set(told, element(SOFTWARE, "LO", "geb. 1355/11/25"))))
    assert not found(doubt_of(data_set(told, element(SOFTWARE, "LO", "geb. 1355/11/26"))))
    for day, hit in (("25.11.1355", True), ("26.11.1355", False)):
        digits = element(0x00100033, "LO", "13551125")
        assert found(doubt_of(data_set(digits, element(SOFTWARE, "LO", f"geb. {day}")))) == hit


@pytest.mark.parametrize("tag", [0x00100033, 0x00100034])
def test_a_day_that_is_told_twice_may_be_that_of_the_examination(tag: int) -> None:
    """Some write the Gregorian date there; a newborn is examined on it, and so is who has died."""
    told, repeated = element(tag, "LO", "20200301"), element(0x00080024, "DA", "20200301")
    plan = plan_of(BASIC + "options: [retain_longitudinal_full_dates]\n")
    for study, hit in (("20200301", False), ("20200302", True)):
        data = data_set(told, repeated, element(0x00080020, "DA", study), t00100030="19370214")
        try:
            Deidentifier(plan, KEYS).clean(received(), data)
        except Doubt as doubt:
            assert hit and doubt.reason is Reason.RESIDUE
        else:
            assert not hit


def test_short_dates_are_looked_for_in_texts_only() -> None:
    """A time of day and a part of a UID may have the digits of the birth date."""
    time = element(0x00181201, "TM", "050150")
    assert not found(doubt_of(data_set(element(0x00181405, "IS", "500105"), t00100030="19500105")))
    assert not found(doubt_of(data_set(time, t00100030="19500105")))


@pytest.mark.parametrize(
    ("name", "kept", "hit"),
    [
        ("Li^Bo", "Herr Li", True),
        ("Li^Bo", "Mrs. Li", True),
        ("Li^Bo", "Patientin: Li", True),
        ("Li^Bo", "Li CT", False),
        ("Li^Bo", "frameli", False),
        ("Li^Bo", "Herr Lig", False),
        ("Wu^Xi", "name=wu", True),
    ],
)
def test_short_names_that_are_announced(name: str, kept: str, hit: bool) -> None:
    assert found(instance(name.encode(), kept.encode())) == hit


@pytest.mark.parametrize(
    ("name", "kept", "hit"),
    [
        ("OBRIEN^MARY", "for O'Brien", True),
        ("OBRIEN^MARY", "for O`Brien", True),
        ("OBRIEN^MARY", "for O Brien", True),
        ("O'BRIEN^MARY", "for O Brien", True),
        ("DANGELO^EVA", "D'Angelo 2", True),
        ("NDIAYE^AWA", "N'Diaye", True),
        ("OBRIEN^MARY", "Bo'Briens", False),
        ("VAN DER BERG^ANN", "vanderberg_2", True),
        ("VANDERBERG^ANN", "van der Berg", True),
        ("SMITHJONES^ANN", "Smith-Jones", True),
        ("WANG^XIAO DONG", "Xiaodong", True),
        ("QUITTENBAUM^EVA", "Q.U.I.T.T.E.N.B.A.U.M", True),
        ("LIU^XIAO DU", "exiaoduo", False),
        ("LI^WEI", "seg_LiWei", True),
        ("LI^WEI", "WeiLi2", True),
        ("LI^WEI", "Liweis", False),
        ("BERG^ANN", "v a n b e r g", False),
    ],
)
def test_names_written_as_one_word_or_as_several(name: str, kept: str, hit: bool) -> None:
    assert found(instance(name.encode(), kept.encode())) == hit


@pytest.mark.parametrize("character_set", ["", "ISO_IR 6", "ISO_IR 192", "ISO_IR 100"])
@pytest.mark.parametrize(
    ("name", "kept"),
    [("MÜLLER", "Müller"), ("MÜLLER", "Mueller"), ("Müller", "MULLER"), ("MUELLER", "Müller"), ("Groß", "GROSS")],
)
def test_latin_1_is_read_whatever_is_declared(character_set: str, name: str, kept: str) -> None:
    """Gateways write UTF-8 into the character set and leave the texts as they are."""
    for text, hit in ((kept, True), ("Schöller", False)):
        doubt = instance(f"{name}^Eva".encode("latin-1"), text.encode("latin-1"), character_set=character_set)
        assert found(doubt) == hit


@pytest.mark.parametrize("apostrophe", "'`´\x91\x92")
@pytest.mark.parametrize("character_set", ["", "ISO_IR 100", "ISO_IR 192"])
def test_apostrophes_of_windows_are_some_too(apostrophe: str, character_set: str) -> None:
    for name, kept in (
        ("NDIAYE^Zoë", f"N{apostrophe}Diaye"),
        (f"N{apostrophe}DIAYE^Zoë", "Ndiaye"),
        ("MUELLER^Eva", f"Müller{apostrophe}s"),
    ):
        assert found(instance(name.encode("latin-1"), kept.encode("latin-1"), character_set=character_set))


@pytest.mark.parametrize("apostrophe", "'’‘´ʻʼ′`")
def test_apostrophes_however_they_look(apostrophe: str) -> None:
    for name, kept in (("NDIAYE^AWA", f"N{apostrophe}Diaye"), (f"N{apostrophe}DIAYE^AWA", "Ndiaye")):
        assert found(instance(name.encode(), kept.encode(), character_set="ISO_IR 192"))
    assert not found(instance(b"NDIAYE^AWA", f"N{apostrophe}Dia".encode(), character_set="ISO_IR 192"))


@pytest.mark.parametrize(("kept", "hit"), [("ヤマダ", True), ("ﾔﾏﾀﾞ", True), ("やまだ", True), ("ヤマシタ", False)])
def test_a_name_in_hiragana_is_found_in_katakana(kept: str, hit: bool) -> None:
    for name in ("Zwq^Pflaume=山田^太郎=やまだ^たろう", "Zwq^Pflaume==ヤマダ^タロウ"):
        assert found(instance(name.encode(), kept.encode(), character_set="ISO_IR 192")) == hit


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


UNDER_UN = [
    ({"t00100020": "AB-12.345-6"}, b"AB123456"),
    ({"t00100020": "4711"}, b"MRN 4711"),
    ({"t00100020": "4711"}, b"4711"),
    ({"t00100010": "Li^Na"}, b"Pat. Li"),
    ({}, b"geb. 14. Februar 1937"),
    ({}, b"born 14.2.37"),
    ({}, "Ｑｕｉｔｔｅｎｂａｕｍ".encode()),
]
MAKER = 0x00080070


@pytest.mark.parametrize("vr", ["LO", "UN", "AE", "CS"])
@pytest.mark.parametrize(("changed", "kept"), UNDER_UN)
def test_text_under_another_vr_is_searched_as_text(changed: dict[str, str], kept: bytes, vr: str) -> None:
    kept = kept.upper() if vr == "CS" else kept
    data = data_set(element(MAKER, vr, kept), without=(MAKER,), **changed)
    assert found(doubt_of(data)) or (vr == "CS" and kept not in output(clean(data)))
    assert not found(doubt_of(data_set(element(MAKER, vr, b"ACME"), without=(MAKER,), **changed)))


def test_under_un_only_texts_are_searched_as_texts() -> None:
    """A time and a number may have the digits of the birth date, and a code string may be a term."""
    for tag, value in ((0x00181201, "050150"), (0x00181405, "500105"), (0x00181405, "4711")):
        assert not found(doubt_of(data_set(element(tag, "UN", value), t00100030="19500105", t00100020="4711")))
    assert not found(doubt_of(data_set(element(0x00180015, "UN", "HAND"), t00100010="Hand^Otto")))


@pytest.mark.parametrize(("vr", "kept"), [("UN", b"MRN 4711"), ("UN", b"see Pat. Li\0"), ("LO", b"MRN 4711")])
def test_private_text_that_the_rules_keep(vr: str, kept: bytes) -> None:
    """In Implicit VR all private elements are UN."""
    named = BASIC + "attributes: {'(0009,xx01,\"ACME\")': keep}\n"
    engine = Deidentifier(plan_of(named), KEYS)
    changed = {"t00100020": "4711", "t00100010": "Li^Na"}
    creator, syntax = element(0x00090010, "LO", "ACME"), received()
    with pytest.raises(Doubt) as caught:
        engine.clean(syntax, data_set(creator, element(0x00091001, vr, kept), **changed))
    assert caught.value.reason is Reason.RESIDUE
    for innocent in (b"MRN 4712", b"\0\1MRN 4711", bytes(range(256))):
        if vr == "UN" or innocent[0]:
            engine.clean(syntax, data_set(creator, element(0x00091001, vr, innocent), **changed))


def test_a_kept_text_of_a_content_item_under_un() -> None:
    """Where an option keeps the text of a concept, it is read in the same way under UN."""
    step = concepts.vary(plan_of(BASIC).for_class(SC), concepts.Value.KEPT_TEXT, None).step(0x0040A160, "UN")
    assert (step.action, step.form, step.searched) == (Action.FORM, "TEXT", vr_code("UT"))


JAPANESE, KOREAN = "ISO 2022 IR 6\\ISO 2022 IR 87", "\\ISO 2022 IR 149"
HOSPITAL, STREET = "慶應義塾大学病院", "東京都港区芝公園"


@pytest.mark.parametrize(
    ("tag", "vr", "value", "kept"),
    [
        (0x00100020, "LO", "A1234", "番号A1234"),
        (0x00100020, "LO", "A1234", "番号A1234番"),
        (0x00100020, "LO", "AB-12.345-6", "番号AB123456"),
        (0x00100020, "LO", "4711", "患者 MRN 4711"),
        (0x00080050, "SH", "KXQ77", "受付KXQ77番"),
        (0x00080080, "LO", HOSPITAL, HOSPITAL + "検査"),
        (0x00080080, "LO", HOSPITAL, "検査" + HOSPITAL),
        (0x00101040, "LO", STREET, "住所" + STREET),
        (0x00100020, "LO", "PID-4711", "番号ＰＩＤ\u2212４７１１"),
        (0x00100020, "LO", "12345678", "番号１２３４５６７８"),
        (0x00100030, "DA", "19370214", "生 １９３７０２１４"),
        (0x00100030, "DA", "19370214", "１９３７年２月１４日"),
        (0x00100030, "DA", "19370214", "１４．２．１９３７"),
    ],
)
def test_what_identifies_in_text_with_code_extensions(tag: int, vr: str, value: str, kept: str) -> None:
    for encoding, character_set in (("utf-8", "ISO_IR 192"), ("iso2022_jp", JAPANESE)):
        changed = {"t00080005": character_set, "without": (tag, MAKER)}
        data = data_set(
            element(tag, vr, value.encode(encoding)), element(MAKER, "LO", kept.encode(encoding)), **changed
        )
        doubt = doubt_of(data)
        assert found(doubt) and doubt is not None and doubt.where.endswith(" repeated in (0008,0070)")
        innocent = kept[:2] + "一般検査" + kept[-2:] if not kept.isascii() else kept
        other = element(MAKER, "LO", innocent.encode(encoding))
        assert not found(doubt_of(data_set(element(tag, vr, value.encode(encoding)), other, **changed)))


def test_numbers_inside_longer_numbers_stay_so_when_they_are_decoded() -> None:
    for kept in ("番号９１２３４５６７８９", "番号9123456789"):
        data = data_set(
            element(MAKER, "LO", kept.encode()), without=(MAKER,), t00080005="ISO_IR 192", t00100020="12345678"
        )
        assert not found(doubt_of(data))
    place = element(0x00080080, "LO", "病院123456".encode())
    for kept, hit in (("病院123456", True), ("病院1234567", False)):
        text = element(MAKER, "LO", ("検" + kept).encode())
        assert found(doubt_of(data_set(place, text, without=(MAKER,), t00080005="ISO_IR 192"))) is hit


@pytest.mark.parametrize("character_set", [KOREAN, "ISO_IR 100", "ISO_IR 192"])
def test_a_number_directly_behind_a_designator(character_set: str) -> None:
    """Also where the set that it designates is none of the declared ones."""
    kept = b"\x1b$)CA1234 " + "환자".encode("euc_kr")
    changed = {"t00080005": character_set, "t00100020": "A1234"}
    assert found(doubt_of(data_set(element(MAKER, "LO", kept), without=(MAKER,), **changed)))
    assert not found(doubt_of(data_set(element(MAKER, "LO", kept.replace(b"A1", b"BA1")), without=(MAKER,), **changed)))


def test_a_punctuated_number_in_an_address() -> None:
    """What is percent-encoded is read as well."""
    rules = BASIC + "attributes: {RetrieveURL: keep}\n"
    for kept in ("http://a.b/AB-12/345-6", "http://a.b/%41B-12345%2D6"):
        with pytest.raises(Doubt) as caught:
            data = data_set(element(0x00081190, "UR", kept), t00100020="AB.12.345.6")
            Deidentifier(plan_of(rules), KEYS).clean(received(), data)
        assert caught.value.reason is Reason.RESIDUE


def test_folding() -> None:
    assert folded("MÜLLER") == folded("Mu\u0308ller") == "muller"
    assert spelt_out("Mu\u0308ller") == "mueller"
    assert folded("Straße") == "strasse"
    assert folded("ﾔﾏﾀﾞ") == folded("ヤマダ")
    assert folded("홍길동") == "홍길동"
