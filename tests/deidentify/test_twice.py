"""De-identifying once more changes nothing but UIDs and pseudonyms, which are those of the new originals."""

from __future__ import annotations

import warnings

import pytest
from compare import BASIC, KEYS, ORIGIN, plan_of, read
from outcomes import outcomes
from pydicom.dataset import Dataset

from dicomnode.deidentify import Deidentifier
from dicomnode.folders.part10 import read_meta
from dicomnode.model import Received

PSEUDONYMS = ("PatientID", "PatientName", "AccessionNumber", "StudyID")
OPTIONS = ["", "retain_uids, retain_patient_characteristics", "clean_descriptors", "retain_longitudinal_full_dates"]


def values(data_set: Dataset, path: str = "") -> dict[str, object]:
    """All values but UIDs and pseudonyms, as they are encoded where pydicom has not read them."""
    found: dict[str, object] = {}
    for element in data_set:
        where = f"{path}{element.tag}"
        if element.VR == "SQ":
            found[where] = len(element.value)
            for number, item in enumerate(element.value):
                found |= values(item, f"{where}[{number}]")
        else:
            found[where] = "" if element.VR == "UI" or element.keyword in PSEUDONYMS else element.value
    return found


@pytest.mark.parametrize("options", OPTIONS)
def test_twice_is_once(options: str) -> None:
    plan = plan_of(f"{BASIC}options: [{options}]\n")
    engine, seen = Deidentifier(plan, KEYS), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for once in outcomes(plan):
            if not once.output:
                continue
            meta = read_meta(once.output)
            received = Received(ORIGIN, meta.sop_class, meta.sop_uid, meta.transfer_syntax)
            cleaned = engine.clean(received, once.output[meta.data_set :])
            pixels = [cleaned.pixels] if cleaned.pixels is not None else []
            twice = b"".join(map(bytes, [*cleaned.head, *pixels, *cleaned.tail]))
            assert values(read(twice)) == values(read(once.output)), once.path.name
            seen += 1
    assert seen > 150
