"""The date of birth under full dates: it leaves as no date of its own, and a newborn's images still go through."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import EXPLICIT, data_set, element, item, output, received, sequence
from compare import BASIC, KEYS, plan_of

from dicomnode.deidentify import Deidentifier, rules
from dicomnode.model import Doubt, Reason

SR = "1.2.840.10008.5.1.4.1.1.88.33"
FULL = Deidentifier(plan_of(BASIC + "options: [retain_longitudinal_full_dates]\n"), KEYS)
ARCHIVE = Deidentifier(rules.load(Path(__file__).parents[2] / "rules" / "vna_import.yaml"), KEYS)
BORN, OTHER = "19370214", "20240301"
STUDY_DATE, DATE, DATETIME = 0x00080020, 0x0040A121, 0x0040A120


def verdict(*parts: bytes, engine: Deidentifier = FULL, **changed: str) -> Doubt | None:
    try:
        assert BORN.encode() in output(engine.clean(received(EXPLICIT), data_set(*parts, **changed)))
    except Doubt as doubt:
        assert doubt.reason is Reason.RESIDUE
        return doubt
    return None


def content_item(concept: tuple[str, str], kind: str, value: bytes) -> bytes:
    name = element(0x00080100, "SH", concept[0]) + element(0x00080102, "SH", concept[1])
    name += element(0x00080104, "LO", "a date")
    head = element(0x0040A010, "CS", "CONTAINS") + element(0x0040A040, "CS", kind)
    return item(head + sequence(0x0040A043, item(name)) + value)


def dated(kind: str, day: str) -> bytes:
    return element(DATE, "DA", day) if kind == "DATE" else element(DATETIME, "DT", f"{day}101500")


def report(item_: bytes) -> bytes:
    parts = [element(0x0040A040, "CS", "CONTAINER"), sequence(0x0040A730, item_)]
    return data_set(*parts, t00080016=SR, t00080060="SR")


@pytest.mark.parametrize("kind", ["DATE", "DATETIME"])
@pytest.mark.parametrize("concept", [("121031", "DCM"), ("21112-8", "LN"), ("184099003", "SCT"), ("121031", "99LOC")])
def test_no_content_item_sends_it(concept: tuple[str, str], kind: str) -> None:
    try:
        sent = output(ARCHIVE.clean(received(EXPLICIT, SR), report(content_item(concept, kind, dated(kind, BORN)))))
    except Doubt as doubt:
        assert doubt.reason is Reason.RESIDUE and doubt.where.startswith("(0010,0030) repeated in (0040,A12")
        assert (concept, kind) != (("121031", "DCM"), "DATE")
    else:
        assert BORN.encode() not in sent
    ARCHIVE.clean(received(EXPLICIT, SR), report(content_item(concept, kind, dated(kind, OTHER))))


@pytest.mark.parametrize("tag", [0x00400440, 0x00400441, 0x00409220])
def test_nor_does_an_item_of_another_sequence(tag: int) -> None:
    found = verdict(sequence(tag, content_item(("121031", "DCM"), "DATE", dated("DATE", BORN))))
    assert found is not None and found.where == "(0010,0030) repeated in (0040,A121)"


@pytest.mark.parametrize(
    "date",
    [
        element(STUDY_DATE, "DA", BORN),
        element(STUDY_DATE, "UN", BORN),
        element(STUDY_DATE, "DA", "1937.02.14"),
        element(0x00080023, "DA", BORN),
        element(0x0008002A, "DT", f"{BORN}101500.25"),
    ],
)
def test_a_newborn_is_examined_on_its_day_of_birth(date: bytes) -> None:
    admitted, creation = element(0x00380020, "DA", BORN), element(0x00080012, "DA", BORN)
    frame = element(0x00189074, "DT", f"{BORN}101500") + element(0x00189151, "DT", f"{BORN}101500")
    frames = sequence(0x52009230, item(sequence(0x00209111, item(frame))))
    old = {"t00100030": "1937.02.14"}
    for each in ({}, old):
        FULL.clean(received(EXPLICIT), data_set(date, **each))
        FULL.clean(received(EXPLICIT), data_set(date, admitted, creation, frames, **each))
    assert verdict(date, sequence(0x00400440, content_item(("1", "99LOC"), "DATE", dated("DATE", BORN)))) is not None


@pytest.mark.parametrize(
    "date",
    [
        element(0x001021D0, "DA", BORN),
        element(0x00380020, "DA", BORN),
        element(0x00080070, "DA", BORN),
        sequence(0x0018A001, item(element(STUDY_DATE, "DA", BORN))),
        sequence(0x0018A001, item(element(0x0018A002, "DT", f"{BORN}0815"))),
    ],
)
def test_what_is_no_date_of_an_image_excuses_nothing(date: bytes) -> None:
    parts = [element(STUDY_DATE, "DA", OTHER), date]
    data = data_set(*parts, without=(0x00080070,))
    with pytest.raises(Doubt) as caught:
        sent = output(FULL.clean(received(EXPLICIT), data))
        assert BORN.encode() in sent
    assert caught.value.reason is Reason.RESIDUE


def test_a_day_of_the_same_month_excuses_nothing() -> None:
    dates = {"t00100030": "1937.02.14"}
    with pytest.raises(Doubt):
        FULL.clean(received(), data_set(element(STUDY_DATE, "DA", "1937.02.28"), t00080070="born 14.2.1937", **dates))


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        (f"born {BORN}101500", True),
        (f"{BORN}2359", True),
        (f"{BORN}10+0100", True),
        (f"{BORN}99", False),
        (f"{BORN}1015007", False),
        (f"1.2.{BORN}101500", False),
    ],
)
def test_with_a_time_behind(text: str, hit: bool) -> None:
    engine = Deidentifier(plan_of(BASIC), KEYS)
    assert (verdict(engine=engine, t00080070=text) is not None) is hit
