"""Every row of Table E.1-1 under every option, alone and in pairs, wherever it may stand: engine and oracle agree.

Beside the oracle, the table itself is asked: an option changes its own rows and no other, and what it keeps stays.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import images
import oracle_dates
import planted
import pytest
from compare import BASIC, KEYS, differences, engine_output, expected_output, oracle_of, plan_of, read
from oracle_facts import additions, digits, find_row, table
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.deidentify.explanation import _occurrences
from dicomnode.deidentify.resolve import DECLARED
from dicomnode.deidentify.standard import dictionary, tables

CT, PR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.11.1"
SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
PLACES = ("top level", "four deep", "private sequence")
OPTIONS = list(tables.OPTIONS)
FULL, MODIFIED = "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"
PAIRS = [pair for pair in combinations(OPTIONS, 2) if set(pair) != {FULL, MODIFIED}]
SAFE = "retain_safe_private"


def output(data_set: Dataset, syntax: str, *options: str) -> Dataset:
    """What the engine makes, once it is seen to be what the oracle makes."""
    plan = plan_of(BASIC + f"options: [{', '.join(options)}]\n")
    data = images.encode(data_set, syntax)
    made = engine_output(plan, data, syntax, data_set.SOPClassUID, data_set.SOPInstanceUID)
    expected = expected_output(oracle_of(plan, options=options), data, syntax)
    found = differences(read(made), read(expected))
    assert not found
    return read(made)


@cache
def full(place: str) -> Dataset:
    return planted.data_set(CT, place)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["implicit", "explicit"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_alone(option: str, place: str, syntax: str) -> None:
    more = {SAFE} if place == "private sequence" else set()
    output(full(place), syntax, *{option, *more})


@pytest.mark.parametrize(("number", "pair"), [*enumerate(PAIRS)])
def test_options_in_pairs(number: int, pair: tuple[str, str]) -> None:
    output(full(PLACES[number % 3]), SYNTAXES[number % 2], *pair)
    output(full(PLACES[(number + 1) % 3]), SYNTAXES[(number + 1) % 2], *pair)


def test_all_options_at_once() -> None:
    for dates in (FULL, MODIFIED):
        chosen = [option for option in OPTIONS if option not in (FULL, MODIFIED)]
        for place in PLACES:
            output(full(place), ExplicitVRLittleEndian, *chosen, dates)


@cache
def by_type() -> dict[str, list[tuple[tuple[int, ...], int, str]]]:
    """For each Type that an IOD gives a row: a SOP class, and the path, tag and VR of the rows there."""
    found: dict[str, list[tuple[tuple[int, ...], int, str]]] = {}
    for tag, vr in planted.rows():
        for sop_class, path in _occurrences().get(tag, {}).values():
            found.setdefault(sop_class, []).append((path, tag, vr))
    return {sop_class: sorted(places) for sop_class, places in found.items()}


@pytest.mark.parametrize("option", ["", *OPTIONS])
def test_rows_of_type_1_and_2(option: str) -> None:
    """Each row where an IOD makes it Type 1, 1C, 2 or 2C, in every such sequence."""
    checked = 0
    for number, (sop_class, places) in enumerate(by_type().items()):
        if sop_class in tables.withheld_classes():
            continue
        output(planted.at(sop_class, places), SYNTAXES[number % 2], *([option] if option else []))
        checked += len(places)
    assert checked > 100


def raw(data_set: Dataset, tag: int) -> bytes | None:
    """The encoded value; None when it is not there."""
    if tag not in data_set:
        return None
    value = data_set.get_item(tag).value
    return value if isinstance(value, bytes) else b"" if value is None else str(value).encode()


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_its_own_rows_and_no_other(option: str) -> None:
    column = tables.OPTIONS[option]
    source = full("top level")
    basic, chosen = output(source, ExplicitVRLittleEndian), output(source, ExplicitVRLittleEndian, option)
    changed = {int(tag) for tag in {*basic.keys(), *chosen.keys()} if raw(basic, tag) != raw(chosen, tag)}
    for tag in changed - DECLARED:
        assert _may_change(tag, column), f"{tag:08X}"
    assert changed - DECLARED, "an option that changes nothing is not an option"


def _may_change(tag: int, column: str) -> bool:
    row = find_row(Tag(tag))
    if row is not None:
        return any(code.startswith(column + "=") for code in row["options"].split())
    vr = dictionary.vr_of(tag)
    by_vr = {"uids": ("UI",), "full": ("DA", "TM", "DT"), "modified": ("DA", "TM", "DT")}
    return tag >> 16 & 1 == 1 if column == "private" else vr in by_vr.get(column, ())


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("retain")])
def test_what_the_table_keeps_stays(option: str) -> None:
    """K: byte by byte, ages of 90 years and more aside; C of modified dates: moved."""
    column = tables.OPTIONS[option]
    data = images.part10(images.encode(full("top level"), ExplicitVRLittleEndian), ExplicitVRLittleEndian, "1", "1")
    source = read(data)
    found = output(full("top level"), ExplicitVRLittleEndian, option)
    days = oracle_dates.days(KEYS.pseudonym, str(read(data).PatientID), "", "days", 365)
    checked = 0
    for tag, vr in planted.rows():
        codes = table().get(digits(tag), {"options": ""})["options"].split()
        if vr == "SQ" or digits(tag) in additions():
            continue
        if f"{column}=K" in codes:
            assert raw(found, tag) == raw(source, tag), hex(tag)
            checked += 1
        elif column == "modified" and "modified=C" in codes and oracle_dates.movable(digits(tag), vr, vr):
            moved = oracle_dates.moved((raw(source, tag) or b"").decode().strip(), vr, days)
            assert (raw(found, tag) or b"").decode().strip() == moved, hex(tag)
            checked += 1
    assert checked or column == "private"
