"""Rules of every kind over generated and real instances: what comes out is valid, what goes wrong is a doubt."""

from __future__ import annotations

import images
import planted
import pytest
from compare import BASIC, KEYS, ORIGIN, plan_of, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from test_oracle_random import data_sets

from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.actions import fits
from dicomnode.deidentify.plan import Plan
from dicomnode.folders.part10 import is_part10, read_meta
from dicomnode.model import Doubt, Reason, Received

SETS = [
    "VR:LO: hash\n  VR:SH: {hash: 8}\n  VR:PN: {replace: 'Nobody {patient}'}\n  VR:ST: clean\n  VR:LT: {substitute: "
    "{'(\\w).*': '\\1'}}\n  VR:CS: {vocabulary: [M, CT, MR]}\n  VR:DA: {round: month}\n  VR:DT: {round: year}\n"
    "  VR:TM: {round: hour}\n  VR:AS: {round: 5}\n  VR:IS: {round: 10}\n  VR:DS: {round: 0.5}\n  VR:UI: uid\n",
    "/e/: {replace: '{StudyDate} {PatientID} {Modality}'}\n  /a/: {code: {CT: Z, M: Y}}\n"
    "  ContentDate: {set: '20000101'}\n",
    "(0008,xxxx): keep\n  (0010,xxxx): hash\n  (00xx,0010): empty\n  VR:SQ: keep\n  /Sequence$/: keep\n",
    "VR:DA: shift\n  VR:DT: {shift: 40}\n  VR:TM: shift\n  '(xxxx,xxxx,ACME)': keep\n  VR:UT: {hash: 52}\n",
    "/^/: remove\n",
    "/^/: {replace: x}\n",
    "/^/: dummy\n",
    "/^/: keep\n",
]


def outcome(plan: Plan, received: Received, data: bytes) -> bytes | Doubt:
    try:
        cleaned = Deidentifier(plan, KEYS).clean(received, data)
    except Doubt as doubt:
        return doubt
    pixels = [cleaned.pixels] if cleaned.pixels is not None else []
    return b"".join(bytes(part) for part in [*cleaned.head, *pixels, *cleaned.tail])


def check(plan: Plan, received: Received, data: bytes) -> None:
    """No error but a doubt; what comes out can be read, says that it is de-identified, and is the same again."""
    made = outcome(plan, received, data)
    if isinstance(made, Doubt):
        assert made.reason is not Reason.INTERNAL, made.where
        return
    data_set = read(made)
    assert data_set.PatientIdentityRemoved == "YES"
    assert data_set.SOPClassUID and data_set.SOPInstanceUID
    assert list(data_set.keys()) == sorted(data_set.keys())
    assert outcome(plan, received, data) == made


@pytest.mark.parametrize("lines", SETS)
@given(drawn=st.booleans().flatmap(lambda implicit: st.tuples(st.just(implicit), data_sets(implicit))))
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_generated_instances(lines: str, drawn: tuple[bool, Dataset]) -> None:
    implicit, data_set = drawn
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    for keyword, uid in planted.KEY_UIDS.items():
        setattr(data_set, keyword, uid)
    plan = plan_of(f"{BASIC}attributes:\n  {lines}")
    received = Received(ORIGIN, data_set.SOPClassUID, data_set.SOPInstanceUID, syntax)
    check(plan, received, images.encode(data_set, syntax))


@pytest.mark.parametrize("lines", SETS)
def test_real_files(lines: str) -> None:
    plan = plan_of(f"{BASIC}attributes:\n  {lines}")
    checked = 0
    for path in images.real_files()[::4]:
        content = path.read_bytes()
        if not is_part10(content):
            continue
        try:
            meta = read_meta(content)
        except Doubt:
            continue
        check(plan, Received(ORIGIN, meta.sop_class, meta.sop_uid, meta.transfer_syntax), content[meta.data_set :])
        checked += 1
    assert checked > 25


@pytest.mark.parametrize(
    ("vr", "good", "bad"),
    [
        ("DA", ["20040119", ""], ["2004", "20041301", "today"]),
        ("TM", ["112749", "11"], ["2500", "x"]),
        ("CS", ["A_B 1"], ["a", "TOO LONG FOR A CODE"]),
        ("AS", ["045Y"], ["45Y", "old"]),
        ("IS", ["12", "-3"], ["1.5x", "1234567890123"]),
        ("PN", ["A^B=C", "x" * 64], ["x" * 65]),
        ("LO", ["x" * 64], ["x" * 65, "a\\b", "a\nb"]),
        ("LT", ["a\nb\\c"], ["a\0b"]),
        ("UI", ["1.2.3"], ["1.2.x", "01.2", "1." * 40]),
    ],
)
def test_what_fits_a_vr(vr: str, good: list[str], bad: list[str]) -> None:
    assert all(fits(vr, text) for text in good)
    assert not any(fits(vr, text) for text in bad)
