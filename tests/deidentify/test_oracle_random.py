"""Random data sets, also with VRs that the dictionary does not give: engine and oracle agree, or it is withheld."""

from __future__ import annotations

import warnings
from collections import Counter

import images
import planted
from compare import BASIC, differences, engine_output, expected_output, oracle_of, plan_of, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle_facts import STRINGS, dictionary_vr
from pydicom import config
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.deidentify.standard.dictionary import keywords, storage_classes
from dicomnode.deidentify.standard.tables import read as read_facts
from dicomnode.deidentify.standard.tables import withheld_classes
from dicomnode.model import Doubt, Reason

VRS = [*STRINGS, "SQ", "US", "SL", "FD", "OB", "OW"]
SEQUENCES = [0x00081115, 0x00081140, 0x00400555, 0x0040A730, 0x00283110, 0x52009229, 0x00081072, 0x00089124, 0x00700001]
CONTENT = [0x0040A040, 0x0040A043, 0x0040A124, 0x0040A160, 0x0040A168, 0x0040DB73, 0x00700009, 0x60000040, 0x60000010]
TAGS = sorted(
    [tag for tag in keywords().values() if 0x0008 <= tag >> 16 < 0x5400 and tag & 0xFFFF]
    + [0x00189998, 0x00189999, 0x00091001, 0x60020010, 0x50003000, 0x60003000]
)
RESERVED = {0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00280100, 0x00280103} | {
    tag for tag, entry in DicomDictionary.items() if " or " in entry[0]
}
"""What every instance here has anyway, what decides how values are read, and what pydicom cannot write alone."""
SAFE = [
    (int(row["group"], 16), int(row["element"], 16), row["creator"], row["vr"].partition("/")[0] or "US")
    for row in read_facts("safe_private.csv")
]
CLASSES = sorted(set(storage_classes()) - set(withheld_classes()))


@st.composite
def data_sets(draw: st.DrawFn, implicit: bool, depth: int = 3) -> Dataset:
    """In Implicit VR with the dictionary's VRs: there are no others."""
    made = Dataset()
    tags = draw(st.lists(st.sampled_from(TAGS), max_size=12, unique=True))
    for tag in dict.fromkeys([*tags, *draw(st.lists(st.sampled_from(CONTENT), max_size=3))]):
        own = dictionary_vr(Tag(tag))
        vr = own if own in VRS and (implicit or draw(st.integers(0, 3))) else draw(st.sampled_from(VRS))
        if implicit and vr != own:
            continue
        if tag not in RESERVED and (vr != "SQ" or depth):
            made[tag] = DataElement(tag, vr, draw(values(vr, implicit, depth)))
    for tag in draw(st.lists(st.sampled_from(SEQUENCES), max_size=2, unique=True)) if depth else []:
        made[tag] = DataElement(tag, "SQ", draw(values("SQ", implicit, depth)))
    for group, low, creator, own in draw(st.lists(st.sampled_from(SAFE), max_size=2)):
        vr = own if own in VRS and (implicit or draw(st.integers(0, 3))) else draw(st.sampled_from(VRS))
        if (vr != "SQ" or depth) and (group << 16 | 0x10) not in made:
            made.add_new(group << 16 | 0x10, "LO", creator)
            made[group << 16 | 0x1000 | low] = DataElement(
                group << 16 | 0x1000 | low, vr, draw(values(vr, implicit, depth))
            )
    return made


def values(vr: str, implicit: bool, depth: int) -> st.SearchStrategy:
    if vr == "SQ":
        return st.lists(data_sets(implicit, depth - 1), max_size=2).map(Sequence)
    return st.integers(0, 3000).map(lambda number: planted.value(vr, number) if number % 7 else empty(vr))


def empty(vr: str) -> object:
    return b"" if vr in ("OB", "OW") else None


KEPT = ("retain_uids", "retain_device_identity", "retain_patient_characteristics", "retain_safe_private")
OPTIONS: list[tuple[str, ...]] = [
    (),
    ("retain_safe_private",),
    ("retain_longitudinal_modified_dates",),
    ("clean_structured_content", "clean_graphics"),
    (*KEPT, "clean_structured_content", "clean_graphics", "retain_longitudinal_full_dates"),
    ("clean_descriptors",),
    ("clean_structured_content",),
    ("clean_descriptors", "clean_structured_content", "clean_graphics"),
    (*KEPT, "clean_descriptors", "clean_structured_content", "retain_longitudinal_modified_dates"),
    (*KEPT, "retain_longitudinal_full_dates"),
    (*KEPT, "retain_longitudinal_modified_dates"),
]
REASONS: Counter[Reason] = Counter()


@settings(max_examples=220, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.booleans().flatmap(lambda i: st.tuples(st.just(i), data_sets(i))),
    st.sampled_from(CLASSES),
    st.sampled_from(OPTIONS),
)
def agree(drawn: tuple[bool, Dataset], sop_class: str, options: tuple[str, ...]) -> None:
    implicit, data_set = drawn
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    data_set.SOPClassUID = sop_class
    for keyword, uid in planted.KEY_UIDS.items():
        setattr(data_set, keyword, uid)
    plan = plan_of(BASIC + f"options: [{', '.join(options)}]\n")
    data = images.encode(data_set, syntax)
    try:
        output = engine_output(plan, data, syntax, sop_class, planted.KEY_UIDS["SOPInstanceUID"])
    except Doubt as doubt:
        REASONS[doubt.reason] += 1
        return
    REASONS["agreed"] += 1
    found = differences(read(output), read(expected_output(oracle_of(plan, options=options), data, syntax)))
    assert not found


def test_engine_and_oracle_agree_on_random_data_sets() -> None:
    REASONS.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mode = config.settings.writing_validation_mode
        config.settings.writing_validation_mode = config.IGNORE
        try:
            agree()
        finally:
            config.settings.writing_validation_mode = mode
    assert REASONS["agreed"] > 100, REASONS
