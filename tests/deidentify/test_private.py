"""Safe private attributes: every row of the standard's list, block by block, at every depth and in both encodings."""

from __future__ import annotations

from struct import pack

import pytest
from building import EXPLICIT, IMPLICIT, data_set, element, item, output, received, sequence
from compare import BASIC, KEYS, differences, expected_output, oracle_of, plan_of, read
from oracle_private import safe
from planted import CHAIN
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.private import NUMERIC, listed
from dicomnode.model import Doubt, Reason

OPTIONS = ("retain_safe_private",)
SAFE = BASIC + "options: [retain_safe_private]\n"
ENGINE = Deidentifier(plan_of(SAFE), KEYS)
WIDTHS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "AT": 4, "OW": 2, "OB": 2}
VALUES = {"DS": b"1.5 ", "IS": b"12", "CS": b"YES ", "UI": b"1.2.826.0.1.77.5"}
PHILIPS, STACK = b"Philips Imaging DD 001", 0x5F
"""A private creator, and of its elements one that is a sequence; 2D in it is the number of slices, SS."""


def value(vr: str) -> bytes:
    """A value of this VR."""
    return VALUES.get(vr, bytes(WIDTHS[vr]) if vr in WIDTHS else b"Plain ")


def cleaned(*more: bytes, syntax: str = EXPLICIT, rules: str = SAFE, options: tuple[str, ...] = OPTIONS) -> Dataset:
    """What a small instance with these elements becomes, once the oracle agrees."""
    data = data_set(*more, implicit=syntax == IMPLICIT)
    actual = output(Deidentifier(plan_of(rules), KEYS).clean(received(syntax), data))
    expected = expected_output(oracle_of(plan_of(rules), options=options), data, syntax)
    assert not differences(read(actual), read(expected))
    return read(actual)


def private(found: Dataset) -> set[int]:
    return {int(tag) for tag in found.keys() if tag.is_private}  # noqa: SIM118 - iterating would decode


def block(
    group: int, creator: bytes, *elements: tuple[int, str, bytes], at: int = 0x10, implicit: bool = False
) -> list[bytes]:
    """A private creator and its elements, by their last two digits."""
    first = element(group << 16 | at, "LO", creator, implicit=implicit)
    rest = [element(group << 16 | at << 8 | low, vr, each, implicit=implicit) for low, vr, each in elements]
    return [first, *rest]


def by_block() -> dict[tuple[int, bytes], list[tuple[int, str, bool]]]:
    """The last two digits, VR, and whether the list gives one, of the rows of each group and creator."""
    found: dict[tuple[int, bytes], list[tuple[int, str, bool]]] = {}
    for (group, low, creator), vrs in listed().items():
        found.setdefault((group, creator), []).append((low, vrs[0], vrs != NUMERIC))
    return found


@pytest.mark.parametrize("at", [0x10, 0xFF], ids=hex)
@pytest.mark.parametrize("form", ["explicit", "implicit", "unknown", "nested", "in a private sequence"])
def test_every_row_stays(form: str, at: int) -> None:
    """All 479 rows: UIDs are replaced, all others stay byte by byte; without a VR anywhere nothing can be said."""
    checked = 0
    implicit = form == "implicit"
    for (group, creator), rows in by_block().items():
        given = [(low, "UN" if form == "unknown" else vr, b"" if vr == "SQ" else value(vr)) for low, vr, _ in rows]
        first, *rest = block(group, creator, *given, at=at, implicit=implicit)
        found = at_place(first + b"".join(sorted(rest, key=lambda each: each[2])), form)
        known = [(low, vr) for low, vr, said in rows if said or form not in ("implicit", "unknown")]
        assert private(found) == {group << 16 | at, *(group << 16 | at << 8 | low for low, _ in known)}
        for low, vr in known:
            stays = raw(found, group << 16 | at << 8 | low) == value(vr)
            assert stays == (vr not in ("UI", "SQ")), (hex(group), hex(low), vr)
        checked += len(rows)
    assert checked == len(safe()) == 479


def raw(found: Dataset, tag: int) -> bytes:
    one = found.get_item(tag)
    return one.value if isinstance(one.value, bytes) else b""


def at_place(content: bytes, form: str) -> Dataset:
    """The level at which the elements stand when they come back."""
    if form == "nested":
        for keyword in reversed(CHAIN):
            content = sequence(tag_for_keyword(keyword) or 0, item(content))
        found = cleaned(content)
        for keyword in CHAIN:
            found = found[keyword].value[0]
        return found
    if form == "in a private sequence":
        return cleaned(*block(0x2001, PHILIPS), sequence(0x2001105F, item(content)))[0x2001105F].value[0]
    return cleaned(content, syntax=IMPLICIT if form == "implicit" else EXPLICIT)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    "made",
    [
        [(0x20011001, "FL", bytes(4))],
        [(0x20010010, "LO", PHILIPS), (0x20011101, "FL", bytes(4))],
        [(0x20010010, "LO", PHILIPS), (0x200110FA, "FL", bytes(4))],
        [(0x20010010, "LO", b"Philips Imaging DD 009"), (0x20011001, "FL", bytes(4))],
        [(0x20010010, "LO", b"philips imaging dd 001"), (0x20011001, "FL", bytes(4))],
        [(0x20010010, "LO", b""), (0x20011001, "FL", bytes(4))],
        [(0x20010010, "LO", PHILIPS)],
        [(0x20010001, "FL", bytes(4)), (0x20010010, "LO", PHILIPS)],
        [(0x20010010, "LO", PHILIPS), (0x20010101, "FL", bytes(4))],
        [(0x20030010, "LO", PHILIPS), (0x20031001, "FL", bytes(4))],
        [(0x20010010, "LO", PHILIPS), (0x20011001, "FL", bytes(6))],
        [(0x20010010, "LO", PHILIPS), (0x2001105F, "UN", b"")],
        [(0x00190010, "LO", b"GEMS_ACQU_01"), (0x00191024, "DS", b"Meier ")],
        [(0x00990010, "LO", b"NQHeader"), (0x00991001, "UI", b"1.2/Meier ")],
        [(0x00190010, "LO", b"GEMS_ACQU_01"), (0x0019109E, "LO", b"\xfe\xff\x00\xe0\x00\x00\x00\x00")],
    ],
)
def test_what_the_list_does_not_name_goes_with_its_creator(made: list[tuple[int, str, bytes]], syntax: str) -> None:
    found = private(cleaned(*(element(*one, implicit=syntax == IMPLICIT) for one in made), syntax=syntax))
    kept = {0x20010010, 0x2001105F} if made[-1][0] == 0x2001105F else set()
    assert found == kept


@pytest.mark.parametrize("vr", ["LO", "OB", "DS", "FD", "SQ", "PN"])
def test_another_vr_than_the_list_says_goes(vr: str) -> None:
    made = element(0x20011001, vr, b"" if vr == "SQ" else b"1.234567")
    assert private(cleaned(element(0x20010010, "LO", PHILIPS), made)) == set()
    assert private(cleaned(element(0x20010010, "CS", PHILIPS), element(0x20011001, "FL", bytes(4)))) == set()
    assert len(private(cleaned(element(0x20010010, "UN", PHILIPS), element(0x20011001, "FL", bytes(4))))) == 2


def test_the_creator_may_stand_in_any_block_and_twice() -> None:
    made = [
        *block(0x2001, PHILIPS, (0x01, "FL", b"abcd"), (0xFA, "LO", b"Meier "), at=0x10),
        *block(0x2001, b"MEIER AND SONS", (0x01, "FL", b"efgh"), at=0x11),
        *block(0x2001, PHILIPS + b" \0", (0x01, "FL", b"ijkl"), at=0x12),
    ]
    assert private(cleaned(*made)) == {0x20010010, 0x20011001, 0x20010012, 0x20011201}


def test_a_creator_of_an_outer_level_says_nothing() -> None:
    bare = sequence(0x2001105F, item(element(0x2001102D, "SS", b"\1\0")))
    found = cleaned(*block(0x2001, PHILIPS), bare)
    assert private(found) == {0x20010010, 0x2001105F}
    assert private(found[0x2001105F].value[0]) == set()


ITEM = [
    element(0x00080018, "UI", "1.2.826.0.1.77.44"),
    element(0x00080070, "LO", "Acme"),
    element(0x00100010, "PN", "Quittenbaum^Walpurga"),
    *block(0x2001, PHILIPS, (0x2D, "SS", b"\1\0"), (0x2E, "LO", b"Walpurga")),
    *block(0x2005, b"MEIER", (0x2D, "SS", b"\1\0")),
]


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("form", ["SQ", "UN", "implicit"])
def test_private_sequences_are_treated_item_by_item(form: str, defined: bool) -> None:
    """Also where UN hides one: listed children stay, the table rules the others."""
    inner = b"".join(ITEM if form == "SQ" else [as_implicit(one) for one in ITEM])
    implicit = form == "implicit"
    vr = "SQ" if form == "SQ" else "UN"
    outer = sequence(0x2001105F, item(inner), item(inner, defined=False), implicit=implicit, vr=vr, defined=defined)
    data = data_set(*block(0x2001, PHILIPS, implicit=implicit), outer, implicit=implicit)
    clean = output(ENGINE.clean(received(IMPLICIT if implicit else EXPLICIT), data))
    assert b"Walpurga" not in clean
    assert b"MEIER" not in clean
    assert b"1.2.826.0.1.77.44" not in clean
    assert clean.count(PHILIPS) == 3
    assert clean.count(b"Acme") == 3
    if defined or vr == "SQ":
        cleaned(*block(0x2001, PHILIPS, implicit=implicit), outer, syntax=IMPLICIT if implicit else EXPLICIT)


def as_implicit(one: bytes) -> bytes:
    """An element of Explicit VR with a short length, in Implicit VR."""
    return one[:4] + pack("<I", len(one) - 8) + one[8:]


def test_what_should_be_a_sequence_and_is_none_is_withheld() -> None:
    with pytest.raises(Doubt) as caught:
        cleaned(*block(0x2001, PHILIPS), element(0x2001105F, "UN", b"no items"))
    assert caught.value.reason is Reason.UNREADABLE


def test_uids_are_replaced_unless_uids_stay() -> None:
    made = block(0x0099, b"NQHeader", (0x02, "UI", b"1.2.826.0.1.77.2"))
    assert raw(cleaned(*made), 0x00991002).startswith(b"2.25.")
    assert cleaned(*made)[0x00991002].value == cleaned(*made).SeriesInstanceUID
    both = ("retain_safe_private", "retain_uids")
    rules = BASIC + f"options: [{', '.join(both)}]\n"
    assert raw(cleaned(*made, rules=rules, options=both), 0x00991002) == b"1.2.826.0.1.77.2"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_the_gate_reads_what_stays(syntax: str) -> None:
    made = block(0x0019, b"GEMS_ACQU_01", (0x9E, "LO", b"for quittenbaum"), implicit=syntax == IMPLICIT)
    with pytest.raises(Doubt) as caught:
        cleaned(*made, syntax=syntax)
    assert caught.value.reason is Reason.RESIDUE
    assert caught.value.where.endswith("repeated in (0019,109E)")


def test_a_short_identifier_is_found_as_a_whole_value_in_implicit_vr_too() -> None:
    made = block(0x0019, b"GEMS_ACQU_01", (0x9E, "LO", b"P4"), implicit=True)
    data = data_set(*made, implicit=True, t00100020="P4")
    with pytest.raises(Doubt) as caught:
        ENGINE.clean(received(IMPLICIT), data)
    assert caught.value.reason is Reason.RESIDUE


def test_a_patient_may_be_called_like_a_vendor() -> None:
    data = data_set(*block(0x2001, PHILIPS, (0x01, "FL", bytes(4))), t00100010="Philips^Ida")
    assert PHILIPS in output(ENGINE.clean(received(), data))


def test_the_description_of_private_attributes_goes() -> None:
    described = sequence(0x00080300, item(element(0x00080302, "LO", PHILIPS)))
    assert "PrivateDataElementCharacteristicsSequence" not in cleaned(described)


def test_without_the_option_everything_goes() -> None:
    found = cleaned(*block(0x2001, PHILIPS, (0x01, "FL", bytes(4))), rules=BASIC, options=())
    assert private(found) == set()
    assert "113111" not in str(found.DeidentificationMethodCodeSequence)
    assert "113111" in str(cleaned().DeidentificationMethodCodeSequence)


@pytest.mark.parametrize("padding", [b"\0", b" "])
def test_a_creator_of_odd_length_is_in_doubt(padding: bytes) -> None:
    creator = pack("<HH2sH", 0x00E1, 0x0010, b"LO", 9) + b"ELSCINT1" + padding
    with pytest.raises(Doubt) as caught:
        cleaned(creator, element(0x00E11021, "DS", "12.5"))
    assert (caught.value.reason, caught.value.where) == (Reason.UNREADABLE, "(unknown) after (0020,0013)")
    assert not private(cleaned(creator, element(0x00E110FF, "DS", "12.5")))
