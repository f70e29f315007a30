"""Random trees of content items: engine and oracle agree, nothing identifying survives, and the tree stays a tree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import documents
import images
from compare import BASIC, differences, engine_output, expected_output, oracle_of, plan_of, read
from documents import by_reference, item, report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle_facts import facts
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from test_content import KINDS, OPTIONS, value_for

from dicomnode.model import Doubt, Reason

PLANTED = re.compile(rb"(?i)zwq[0-9]{5}|pflaume|quittenbaum|pid-4711|1\.2\.826\.0\.1\.3680043\.10\.1337|19370214")
KEEPING = {"retain_device_identity", "retain_institution_identity", "retain_uids"}
"""Options that keep texts or UIDs, so that something planted may stay."""
ROWS = facts("sr_concepts.csv")
NAMES = st.one_of(
    st.sampled_from(ROWS).map(lambda row: documents.code(row["value"], row["scheme"], "concept")),
    st.sampled_from(["1 99LOCAL own", "410668003 SCT Length", "121030 dcm Subject ID"]),
    st.none(),
)
VALUES = {"TEXT": "of {} and 19370214", "PNAME": "{}^Pflaume"}
SEEN: Counter[str] = Counter()


def made(kind: str, name: object, number: int, below: list[Dataset], relation: str, extra: int) -> Dataset:
    value = VALUES.get(kind, "").format(f"Zwq{number:05}") or value_for(kind, number)
    one = item(kind, name, value, *below, relation=relation)
    if extra == 1:
        one.ObservationUID, one.ObservationDateTime = f"{documents.ROOT}.9.{number}", "19370214"
    elif extra == 2:
        one.TextValue, one.UID, one.PersonName = f"Zwq{number:05}", f"{documents.ROOT}.8.{number}", "Pflaume"
    elif extra == 3:
        one.ContentSequence = Sequence([])
    elif extra == 4:
        one.ContentItemModifierSequence = Sequence([item("TEXT", "121106 DCM Comment", f"Zwq{number:05}")])
    elif extra == 5:
        one.ReferencedDateTime, one.PatientID = "19370214", f"Zwq{number:05}"
    return one


def trees(depth: int) -> st.SearchStrategy[list[Dataset]]:
    below = trees(depth - 1) if depth else st.just([])
    kinds = st.sampled_from([*KINDS, "CONTAINER", "SCOORD", "TCOORD"])
    relations = st.sampled_from(["CONTAINS", "SELECTED FROM", "HAS OBS CONTEXT"])
    one = st.builds(made, kinds, NAMES, st.integers(0, 99999), below, relations, st.integers(0, 12))
    positions = st.lists(st.integers(1, 4), max_size=3).map(lambda rest: by_reference(1, *rest))
    return st.lists(st.one_of(one, one, one, positions), max_size=4)


def items_of(data_set: Dataset, position: tuple[int, ...] = (1,)) -> Iterator[tuple[tuple[int, ...], Dataset]]:
    yield position, data_set
    for number, below in enumerate(data_set.get("ContentSequence", []), 1):
        yield from items_of(below, (*position, number))


def position_of(one: Dataset) -> tuple[int, ...] | None:
    value = one.get("ReferencedContentItemIdentifier")
    return None if value is None else (value,) if isinstance(value, int) else tuple(value)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(trees(3), st.booleans(), st.sets(st.sampled_from(OPTIONS), max_size=2))
def agree(items: list[Dataset], implicit: bool, more: set[str]) -> None:
    if len({option for option in more if "longitudinal" in option}) == 2:
        more = set()
    options = ("clean_structured_content", *sorted(more))
    plan = plan_of(BASIC + f"options: [{', '.join(options)}]\n")
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    source = report(*items)
    data = images.encode(source, syntax)
    kept = more & KEEPING or any("longitudinal" in option for option in more)
    try:
        output = engine_output(plan, data, syntax, source.SOPClassUID, source.SOPInstanceUID)
    except Doubt as doubt:
        assert kept and doubt.reason is Reason.RESIDUE
        SEEN["withheld"] += 1
        return
    assert differences(read(output), read(expected_output(oracle_of(plan, options=options), data, syntax))) == []
    assert output == engine_output(plan, data, syntax, source.SOPClassUID, source.SOPInstanceUID)
    assert kept or not PLANTED.search(output)
    remaining = dict(items_of(read(output)))
    for position, one in remaining.items():
        target = position_of(one)
        assert target is None or target in remaining, (position, target)
        assert "ContentSequence" not in one or position == (1,) or len(one.ContentSequence) or _was_empty(items)
        SEEN["by reference" if target else one.get("ValueType", "")] += 1


def _was_empty(items: list[Dataset]) -> bool:
    return any("ContentSequence" in one and not one.ContentSequence for tree in items for _, one in items_of(tree))


def test_engine_and_oracle_agree_on_random_trees() -> None:
    SEEN.clear()
    agree()
    assert set(KINDS) <= set(SEEN) and SEEN["by reference"] > 20, SEEN
