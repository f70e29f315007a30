"""Values by VR: text of the standard's own examples, dates in all their forms, UIDs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import charset

from dicomnode.deidentify import values
from dicomnode.model import Doubt, Reason


@pytest.mark.parametrize(
    ("character_set", "value", "vr", "text"),
    [
        (None, b"Doe^John ", "PN", "Doe^John"),
        ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "PN", "Buc^Jérôme"),
        ("ISO IR 100", b"\xc4neas", "PN", "Äneas"),
        ("ISO_IR 144", b"\xbb\xee\xda\xe1\xd5\xdc\xd1\xe3\xe0\xd3", "PN", "Люксембург"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "PN", "Wang^XiaoDong=王^小東="),
        ("GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030"), "PN", "Wang^XiaoDong=王^小东="),
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "PN",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "PN",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        ("\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "PN", "Zhang=张^小东="),
        ("ISO 2022 IR 6\\ISO 2022 IR 144", b"\x1b-L\xbb\xee\xda", "LO", "Люк"),
    ],
)
def test_text(character_set: str | None, value: bytes, vr: str, text: str) -> None:
    assert values.decode(value, values.encodings_of(character_set), vr) == text


@pytest.mark.parametrize(
    ("character_set", "value"),
    [("ISO_IR 192", b"\xff\xfeabc"), ("ISO 2022 IR 6\\ISO 2022 IR 87", b"\x1b$)C\xfb\xf3"), ("", b"abc\x1b$BX")],
)
def test_text_that_does_not_decode_is_in_doubt(character_set: str, value: bytes) -> None:
    with pytest.raises(Doubt) as caught:
        values.decode(value, values.encodings_of(character_set), "PN")
    assert caught.value.reason is Reason.CHARACTER_SET


@pytest.mark.parametrize(
    "character_set", ["ISO_IR 999", "latin1", "ISO_IR 100\\nonsense", "ISO_IR 192\\ISO 2022 IR 87"]
)
def test_unknown_character_sets_are_in_doubt(character_set: str) -> None:
    with pytest.raises(Doubt):
        values.encodings_of(character_set)


def test_every_defined_term_is_known() -> None:
    for term in charset.python_encoding:
        assert values.encodings_of(term)


READABLE = {
    "DA": ["20240229", "1999.12.31", "", "20240101\\20240102", "20240101 "],
    "TM": ["10", "1011", "101112", "101112.123456", "10:11:12", "235960", " "],
    "DT": ["2024", "202402", "20240229101112.1+0100", "20240229-0500", "20240229", "2024022910"],
}
UNREADABLE = {
    "DA": ["20230229", "20241301", "2024", "yesterday", "2024-01-01", "20240101\\x", "19000100", "\xff"],
    "TM": ["25", "1060", "noon", "10-11", "101"],
    "DT": ["20240230", "20240101 1011", "x", "2024011", "2024.01.01"],
}


@pytest.mark.parametrize("vr", READABLE)
def test_dates(vr: str) -> None:
    for text in READABLE[vr]:
        assert values.is_readable_date(text.encode(), vr), text
    for text in UNREADABLE[vr]:
        assert not values.is_readable_date(text.encode("latin-1"), vr), text


@given(st.dates())
def test_every_day_can_be_read(day) -> None:
    text = f"{day.year:04}{day.month:02}{day.day:02}"
    assert values.parse_date(text) == (day.year, day.month, day.day)


@given(st.binary(max_size=40), st.sampled_from(["DA", "TM", "DT"]))
def test_reading_dates_never_crashes(value: bytes, vr: str) -> None:
    assert values.is_readable_date(value, vr) in (True, False)


@given(
    st.binary(max_size=60), st.sampled_from(list(charset.python_encoding)), st.sampled_from(["PN", "LO", "UT", "CS"])
)
def test_decoding_gives_text_or_doubt(value: bytes, term: str, vr: str) -> None:
    try:
        assert isinstance(values.decode(value, values.encodings_of(term), vr), str)
    except Doubt as doubt:
        assert doubt.reason is Reason.CHARACTER_SET


def test_uids() -> None:
    assert all(values.is_uid(uid) for uid in ("1.2.3", "0.0", "2.25.1"))
    assert not any(values.is_uid(uid) for uid in ("", "1..2", "1.02", "a", "1." * 40 + "1", "1.2.", " 1.2"))
