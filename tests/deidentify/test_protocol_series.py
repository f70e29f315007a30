"""Patient protocols and saved screens never leave, whatever else the rules let through."""

from __future__ import annotations

import images
import pytest
import synthetic
from compare import KEYS, ORIGIN, plan_of
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.deidentify import Deidentifier
from dicomnode.errors import RulesError
from dicomnode.model import Doubt, Reason, Received

ANY_PICTURE = "profile: basic\nsuspicious_pixels: {off: all}\n"


def reason_of(description: str | None, rules: str = ANY_PICTURE) -> Reason | None:
    data_set = synthetic.ct(rows=8, columns=8)
    data_set.SeriesDescription = description
    if description is None:
        del data_set.SeriesDescription
    data = images.encode(data_set, ExplicitVRLittleEndian)
    received = Received(ORIGIN, str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), ExplicitVRLittleEndian)
    try:
        Deidentifier(plan_of(rules), KEYS).clean(received, data)
    except Doubt as doubt:
        assert doubt.where == "(0008,103E)"
        assert doubt.originals is not None
        return doubt.reason
    return None


@pytest.mark.parametrize(
    "description", ["Patient Protocol", "PATIENT_PROTOCOL ", "CT patient  protocol 1", "Screen Save"]
)
def test_such_series_are_withheld(description: str) -> None:
    assert reason_of(description) is Reason.PROTOCOL_SERIES


@pytest.mark.parametrize("description", ["Thorax 1.0 Br38", "", None, "Protocol of the patient"])
def test_others_go_through(description: str | None) -> None:
    assert reason_of(description) is None


def test_the_rules_have_a_list_of_their_own() -> None:
    ours = f"{ANY_PICTURE}protocol_series: [scout notes]\n"
    assert reason_of("Scout_Notes 3", ours) is Reason.PROTOCOL_SERIES
    assert reason_of("Patient Protocol", ours) is None
    assert reason_of("Patient Protocol", f"{ANY_PICTURE}protocol_series: []\n") is None
    assert plan_of(ours).digest != plan_of(ANY_PICTURE).digest


def test_a_list_that_would_withhold_everything_is_refused() -> None:
    with pytest.raises(RulesError, match="'a' is too short; write three characters or more"):
        plan_of(f"{ANY_PICTURE}protocol_series: [a]\n")
