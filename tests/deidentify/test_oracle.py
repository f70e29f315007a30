"""The engine and the oracle agree, element by element, on every real file, in every way it can be encoded."""

from __future__ import annotations

from collections import Counter

import images
import pytest
from compare import BASIC, differences, engine_output, expected_output, oracle_of, plan_of, read

from dicomnode.model import Doubt, Reason

RULES_TEXTS = {
    "basic": (BASIC, ()),
    "everything kept that can be": (
        BASIC + "options: [retain_uids, retain_device_identity, retain_institution_identity, "
        "retain_patient_characteristics, retain_longitudinal_full_dates]\n",
        (
            "retain_uids",
            "retain_device_identity",
            "retain_institution_identity",
            "retain_patient_characteristics",
            "retain_longitudinal_full_dates",
        ),
    ),
}
EXPECTED_DOUBTS = {Reason.SOP_CLASS, Reason.RESIDUE}
"""Reasons for which a sound real file may be withheld: documents and raw data, and what the gate finds."""


def compare(path, rules: str) -> Reason | None:
    """Assert that both agree; the reason when the engine withholds the file."""
    text, options = RULES_TEXTS[rules]
    plan = plan_of(text)
    syntax, data = images.split(path.read_bytes())
    source = read(path.read_bytes())
    try:
        output = engine_output(plan, data, syntax, str(source.SOPClassUID), str(source.SOPInstanceUID))
    except Doubt as doubt:
        return doubt.reason
    actual = read(output)
    expected = read(expected_output(oracle_of(plan, options=options), data, syntax))
    assert not differences(actual, expected), path.name
    return None


@pytest.mark.parametrize("rules", RULES_TEXTS)
def test_every_real_file(rules: str) -> None:
    reasons = Counter()
    for path in images.sendable_files():
        reason = compare(path, rules)
        if reason is not None:
            reasons[reason, path.name] += 1
    print(sorted(reasons))
    assert {reason for reason, _ in reasons} <= EXPECTED_DOUBTS
