"""The plan: what the table, the Types and the VR decide, checked against the standard's own rows and known gaps."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracle_facts import CODES, TYPES, facts, under

from dicomnode.deidentify import rules
from dicomnode.deidentify.plan import MEMO, Action, Needle, Step, key_of
from dicomnode.deidentify.resolve import letter
from dicomnode.deidentify.standard import dictionary, replacements, tables
from dicomnode.deidentify.standard.types import iod_of

PLAN = rules.load(Path(__file__).parents[2] / "rules" / "basic.yaml")
CT, PET, PR, RTPLAN = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.11.1",
    "1.2.840.10008.5.1.4.1.1.481.5",
)

NEVER_REACHED = frozenset([0x04000550])
"""Modified Attributes Sequence: only in the Original Attributes Sequence, which goes as a whole."""


def step(tag: int, vr: str, sop_class: str = CT, *path: int) -> Step:
    steps = PLAN.for_class(sop_class)
    for sequence in path:
        steps = steps.inside(sequence)
    return steps[key_of(tag, vr)]


def test_the_table_is_whole() -> None:
    assert len(tables.rows()) == 657
    assert {row.basic for row in tables.rows().values()} | {"K"} == set(CODES)
    assert len(tables.read("safe_private.csv")) == 479
    assert len(tables.read("sr_concepts.csv")) == 214


@pytest.mark.parametrize("code", CODES)
def test_codes_under_types(code: str) -> None:
    for type_ in TYPES:
        asked = {"3": "", "?": None}.get(type_, type_)
        assert letter(code, asked) == under(code, type_), (code, type_)


@pytest.mark.parametrize(
    ("tag", "vr", "sop_class", "path", "action"),
    [
        (0x00080022, "DA", CT, (), Action.REMOVE),
        (0x00080022, "DA", PET, (), Action.EMPTY),
        (0x00700082, "DA", PR, (), Action.DUMMY),
        (0x00700082, "DA", CT, (), Action.REMOVE),
        (0x300A0006, "DA", RTPLAN, (), Action.EMPTY),
        (0x00080020, "DA", CT, (), Action.EMPTY),
        (0x00080080, "LO", CT, (), Action.REMOVE),
        (0x00080080, "LO", CT, (0x00081072,), Action.DUMMY),
        (0x00081140, "SQ", PR, (0x00081115,), Action.RECURSE),
        (0x00081155, "UI", CT, (), Action.UID),
        (0x00081150, "UI", CT, (), Action.UID),
        (0x00080008, "CS", CT, (), Action.FORM),
        (0x00180050, "LT", CT, (), Action.FORM),
        (0x00181020, "UN", CT, (), Action.FORM),
        (0x00280010, "OB", CT, (), Action.WITHHOLD),
        (0x00180050, "OB", CT, (), Action.WITHHOLD),
        (0x00189346, "OB", CT, (), Action.REMOVE),
        (0x00281201, "US", CT, (), Action.KEEP),
        (0x7FE00010, "OW", CT, (0x00189346,), Action.WITHHOLD),
        (0x7FE00020, "OW", CT, (), Action.REMOVE),
        (0x7F020010, "OW", CT, (), Action.REMOVE),
        (0x00240044, "LT", CT, (), Action.REMOVE),
        (0x00081190, "UR", CT, (), Action.REMOVE),
        (0x00080119, "UC", CT, (0x00082218,), Action.KEEP),
        (0x0020000D, "UI", CT, (), Action.UID),
        (0x00283110, "SQ", CT, (), Action.RECURSE),
        (0x00081167, "UI", CT, (), Action.UID),
        (0x006A0003, "UI", CT, (), Action.UID),
        (0x00142006, "PN", CT, (), Action.REMOVE),
        (0x00143076, "DA", CT, (), Action.REMOVE),
        (0x50020010, "US", CT, (), Action.REMOVE),
        (0x601E3000, "OW", CT, (), Action.REMOVE),
        (0x601E0010, "US", CT, (), Action.REMOVE),
        (0x60004000, "LT", CT, (), Action.REMOVE),
        (0x00090010, "LO", CT, (), Action.REMOVE),
        (0x00091001, "OW", CT, (), Action.REMOVE),
        (0x00090010, "LO", CT, (0x00091002,), Action.REMOVE),
        (0x00020010, "UI", CT, (), Action.REMOVE),
        (0x00041511, "UI", CT, (), Action.REMOVE),
        (0x00080000, "UL", CT, (), Action.REMOVE),
        (0x00120063, "LO", CT, (), Action.REMOVE),
        (0x00280303, "CS", CT, (), Action.REMOVE),
        (0x04000500, "SQ", CT, (), Action.REMOVE),
        (0x00189999, "LO", CT, (), Action.REMOVE),
        (0x00189999, "UN", CT, (), Action.REMOVE),
        (0x00189999, "OB", CT, (), Action.REMOVE),
        (0x00189999, "US", CT, (), Action.REMOVE),
        (0x00189999, "SQ", CT, (), Action.RECURSE),
        (0x00280010, "LO", CT, (), Action.WITHHOLD),
        (0x00280010, "PN", CT, (), Action.WITHHOLD),
        (0x00280004, "PN", CT, (), Action.WITHHOLD),
        (0x00280010, "DA", CT, (), Action.WITHHOLD),
        (0x00280103, "UI", CT, (), Action.WITHHOLD),
        (0x00280103, "SQ", CT, (), Action.WITHHOLD),
        (0x00283000, "LO", CT, (), Action.WITHHOLD),
        (0x00281050, "SH", CT, (), Action.FORM),
        (0x00189073, "LO", CT, (), Action.REMOVE),
        (0x00080070, "PN", CT, (), Action.REMOVE),
        (0x00081140, "UN", PR, (0x00081115,), Action.RECURSE),
        (0x00283110, "UN", CT, (), Action.RECURSE),
        (0x7FE00010, "OW", CT, (), Action.KEEP),
        (0x00100020, "LO", CT, (), Action.PSEUDONYM),
        (0x00100020, "SQ", CT, (), Action.EMPTY),
        (0x00080050, "SH", CT, (0x00400275,), Action.PSEUDONYM),
        (0x00041500, "CS", CT, (), Action.REMOVE),
        (0x00081155, "LO", CT, (), Action.REMOVE),
    ],
)
def test_steps(tag: int, vr: str, sop_class: str, path: tuple[int, ...], action: Action) -> None:
    assert step(tag, vr, sop_class, *path).action is action, step(tag, vr, sop_class, *path).reason


def test_needles() -> None:
    assert step(0x00100010, "PN").needle is Needle.NAME
    assert step(0x00080090, "PN").needle is Needle.NAME
    assert step(0x00100020, "LO").needle is Needle.IDENTIFIER
    assert step(0x00080080, "LO").needle is Needle.IDENTIFIER
    assert step(0x00100030, "DA").needle is Needle.BIRTH_DATE
    assert step(0x0020000D, "UI").needle is Needle.UID
    assert step(0x00081150, "UI").needle is Needle.NONE
    assert step(0x00081030, "LO").needle is Needle.NONE
    assert step(0x00091001, "PN").needle is Needle.IDENTIFIER


def test_needles_are_of_attributes_that_go() -> None:
    for tag in tables.needles():
        assert step(tag, dictionary.vr_of(tag)).needle.name == tables.needles()[tag]


def test_the_book() -> None:
    booked = [0x00100020, 0x00100010, 0x00080050, 0x00200010, 0x0020000D, 0x0020000E, 0x00080018]
    assert all(step(tag, dictionary.vr_of(tag)).book for tag in booked)
    assert not step(0x00080018, "UI", CT, 0x00081140).book
    assert not step(0x00080090, "PN").book


def test_every_row_has_a_step_in_every_class_that_cannot_fail() -> None:
    for sop_class in [*dictionary.storage_classes(), "1.2.3"]:
        steps = PLAN.for_class(sop_class)
        for tag, row in tables.rows().items():
            if "x" in tag or tag == "private":
                continue
            for vr in {row.vr or "UN", "UN"}:
                found = steps[key_of(int(tag, 16), vr)]
                assert (found.dummy is not None) == (found.action is Action.DUMMY)
                assert found.dummy is None or len(found.dummy) % 2 == 0


def test_a_type_one_or_two_is_never_removed() -> None:
    """Whatever the table says: what an IOD must have stays, emptied or with a dummy, in every sequence."""
    checked = 0
    for sop_class in dictionary.storage_classes():
        root = iod_of(sop_class)
        assert root is not None
        places = [(root, PLAN.for_class(sop_class))]
        while places:
            node, steps = places.pop()
            places += [(below, steps.inside(tag)) for tag, below in node.sequences.items()]
            for tag, type_ in node.types.items():
                if type_ in ("1", "2") and tag not in NEVER_REACHED:
                    action = steps[key_of(tag, dictionary.vr_of(tag))].action
                    assert action is not Action.REMOVE, (sop_class, hex(tag))
                    checked += 1
    assert checked > 1000


def test_memory_is_bounded() -> None:
    steps = PLAN.for_class(CT)
    for number in range(MEMO + 100):
        steps[key_of(0x00091000 + number, "LO")]
        steps.inside(0x00091000 + number)
    assert len(steps) <= MEMO
    assert steps[key_of(0x00100010, "PN")].action is Action.PSEUDONYM


def test_facts_agree_with_the_dictionary() -> None:
    """Keywords in the hand-written files are the dictionary's."""
    for name in ("needles.csv", "class_uids.csv"):
        for row in facts(name):
            assert dictionary.keyword_of(int(row["tag"], 16)) == row["keyword"]
    for row in facts("class_uids.csv"):
        assert dictionary.vr_of(int(row["tag"], 16)) == "UI"


def test_replacements_are_encoded_as_pydicom_reads_them() -> None:
    from io import BytesIO

    from pydicom.filereader import read_dataset

    for tag in (0x0040A730, 0x00401101, 0x00700001, 0x0040A073, 0x0040B020, 0x00081072, 0x00340001):
        records = replacements.items_for(tag, CT)
        assert isinstance(records, list)
        read = []
        for implicit in (True, False):
            encoded = replacements.element(tag, "SQ", replacements.items(records, implicit), implicit)
            data_set = read_dataset(BytesIO(encoded), implicit, True)
            read.append(data_set[tag].value)
        assert str(read[0]) == str(read[1])
        assert len(read[0]) == 1
