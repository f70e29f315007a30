"""Every row of Table E.1-1, planted at the top level and four deep: engine and oracle agree, and nothing stays."""

from __future__ import annotations

import re

import images
import planted
import pytest
from building import element
from compare import BASIC, differences, engine_output, expected_output, oracle_of, plan_of, read
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

CT, PR, PET, RTPLAN, SR, KO, US = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.11.1",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.481.5",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.59",
    "1.2.840.10008.5.1.4.1.1.6",
)
SYNTAXES = {"implicit": ImplicitVRLittleEndian, "explicit": ExplicitVRLittleEndian}


def both(sop_class: str, nested: bool, syntax: str) -> bytes:
    """The engine's output, once it is seen to be the oracle's."""
    plan = plan_of(BASIC)
    data = images.encode(planted.data_set(sop_class, nested), syntax)
    output = engine_output(plan, data, syntax, sop_class, planted.KEY_UIDS["SOPInstanceUID"])
    expected = expected_output(oracle_of(plan), data, syntax)
    found = differences(read(output), read(expected))
    assert not found
    return output


def leaks(output: bytes) -> set[bytes]:
    """Every planted text, UID or day of birth that is still there."""
    searched = rb"(?i)zwq[0-9]{5}|pflaume|1\.2\.826\.0\.1\.3680043\.10\.1337[0-9.]*|(?<![0-9.])191[0-9]{5}"
    return set(re.findall(searched, output))


@pytest.mark.parametrize("nested", [False, True], ids=["top level", "four deep"])
@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("sop_class", [CT, PR, PET, RTPLAN, SR, KO, US])
def test_every_row_is_treated(sop_class: str, syntax: str, nested: bool) -> None:
    assert not leaks(both(sop_class, nested, SYNTAXES[syntax]))


def test_every_iod() -> None:
    """One encoded data set, in which only the SOP class changes."""
    data = images.encode(planted.data_set(CT, False), ExplicitVRLittleEndian)
    plan = plan_of(BASIC)
    before, behind = data.split(element(0x00080016, "UI", CT))
    for sop_class in planted.iods():
        changed = before + element(0x00080016, "UI", sop_class) + behind
        output = engine_output(plan, changed, ExplicitVRLittleEndian, sop_class, planted.KEY_UIDS["SOPInstanceUID"])
        found = differences(read(output), read(expected_output(oracle_of(plan), changed, ExplicitVRLittleEndian)))
        assert not found, sop_class
        assert not leaks(output), sop_class
