"""The engine and the oracle agree, element by element, on every real file, in every way it can be encoded."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

import images
import pydicom
import pytest
from compare import BASIC, differences, engine_output, expected_output, oracle_of, plan_of, read
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

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
DAMAGED = {
    "MR_small_padded.dcm": Reason.PIXEL_LENGTH,
    "MR_truncated.dcm": Reason.TRUNCATED,
    "SC_rgb_jpeg.dcm": Reason.UNKNOWN_VR,
    "badVR.dcm": Reason.WRONG_VR,
    "bad_sequence.dcm": Reason.BAD_UID,
    "emri_small_jpeg_2k_lossless_too_short.dcm": Reason.TRUNCATED,
    "rtdose_expb.dcm": Reason.TRANSFER_SYNTAX,
    "rtdose_expb_1frame.dcm": Reason.TRANSFER_SYNTAX,
    "rtplan_truncated.dcm": Reason.TRUNCATED,
}
"""Files that must be withheld, and why."""
MOST_FALSE_ALARMS = 0.02
SMALL = 600_000


def compare(path, rules: str) -> Reason | None:
    """Assert that both agree; the reason when the engine withholds the file."""
    text, options = RULES_TEXTS[rules]
    plan = plan_of(text)
    syntax, data = images.split(path.read_bytes())
    source = pydicom.dcmread(path, stop_before_pixels=True)
    try:
        output = engine_output(plan, data, syntax, str(source.SOPClassUID), str(source.SOPInstanceUID))
    except Doubt as doubt:
        return doubt.reason
    actual = read(output)
    expected = read(expected_output(oracle_of(plan, options=options), data, syntax))
    found = differences(actual, expected)
    assert not found, path.name
    return None


@pytest.mark.parametrize("rules", RULES_TEXTS)
def test_every_real_file(rules: str) -> None:
    files = images.sendable_files()
    withheld = {path.name: reason for path in files if (reason := compare(path, rules)) is not None}
    assert {name: withheld.pop(name, None) for name in DAMAGED} == DAMAGED
    assert set(withheld.values()) <= {Reason.RESIDUE}, withheld
    assert len(withheld) <= MOST_FALSE_ALARMS * len(files), withheld


@pytest.mark.parametrize("syntax", images.PLAIN_SYNTAXES)
def test_real_files_in_every_plain_syntax(syntax: str) -> None:
    plan = plan_of(BASIC)
    checked = 0
    for path in images.sendable_files():
        source = pydicom.dcmread(path, stop_before_pixels=path.stat().st_size > SMALL)
        if path.stat().st_size > SMALL or source.file_meta.TransferSyntaxUID.is_compressed or path.name in DAMAGED:
            continue
        if syntax == ExplicitVRBigEndian and any(
            item.get("WaveformData") for item in source.get("WaveformSequence", [])
        ):
            continue  # pydicom cannot write words in a sequence in the other byte order
        data = images.encode(source, syntax)
        try:
            output = engine_output(plan, data, syntax, str(source.SOPClassUID), str(source.SOPInstanceUID))
        except Doubt as doubt:
            assert doubt.reason in (Reason.RESIDUE, Reason.TRANSFER_SYNTAX), path.name
            continue
        found = differences(read(output), read(expected_output(oracle_of(plan), data, syntax)))
        assert not found, path.name
        checked += 1
    assert checked > 60


def test_no_real_file_crashes_the_engine() -> None:
    """Also those that cannot be sent: whatever the bytes, there is an output or a doubt."""
    plan = plan_of(BASIC)
    for path in images.real_files():
        content = path.read_bytes()
        for data in (content, content[132:], content[: len(content) // 2]):
            for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
                with suppress(Doubt):
                    engine_output(plan, data, syntax, "1.2", "1.2")


def test_pixels_are_identical() -> None:
    plan = plan_of(BASIC)
    for path in images.sendable_files():
        syntax, data = images.split(path.read_bytes())
        source = pydicom.dcmread(path, stop_before_pixels=True)
        if syntax == ExplicitVRBigEndian:
            continue
        with suppress(Doubt):
            output = read(engine_output(plan, data, syntax, str(source.SOPClassUID), str(source.SOPInstanceUID)))
            before = pydicom.dcmread(path).get("PixelData", b"")
            assert sha256(output.get("PixelData", b"")).digest() == sha256(before).digest(), path.name
