"""Every file of pydicom, pydicom-data and deid-data: no crash, no leak, and little withheld but what is damaged."""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path

import images
import outcomes
import pydicom
from compare import BASIC, KEYS, plan_of, read
from outcomes import Outcome, elements, identifiers, texts
from pydicom.uid import ExplicitVRBigEndian

from dicomnode.deidentify import Deidentifier
from dicomnode.model import Doubt, Reason, Received

MOST_WITHHELD = 0.02
DAMAGED = {
    Reason.MISSING_UID: {
        *("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm"),
        *("SC_rgb_jls_lossy_sample.dcm", "UN_sequence.dcm", "empty_charset_LEI.dcm", "nested_priv_SQ.dcm"),
        *("no_meta_group_length.dcm", "priv_SQ.dcm"),
    },
    Reason.TRUNCATED: {"MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm", "rtplan_truncated.dcm"},
    Reason.TRANSFER_SYNTAX: {"meta_missing_tsyntax.dcm", "rtdose_expb.dcm", "rtdose_expb_1frame.dcm"},
    Reason.PIXEL_LENGTH: {"MR_small_padded.dcm"},
    Reason.WRONG_VR: {"badVR.dcm"},
    Reason.UNKNOWN_VR: {"SC_rgb_jpeg.dcm"},
    Reason.BAD_UID: {"bad_sequence.dcm"},
}
"""Files that are no instance or do not add up, by reason."""
TERMS = ("CS", "UI")
"""VRs whose values are defined: a name may be spelt like one."""
SCHEMES = ("CodingSchemeDesignator",)
SMALL = 600_000


@cache
def found() -> list[Outcome]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return outcomes.outcomes(plan_of(BASIC))


def test_little_is_withheld_but_what_is_damaged() -> None:
    taken = [each for each in found() if each.output or each.doubt]
    withheld = {each.path.name: each.reason for each in taken if each.doubt}
    for reason, names in DAMAGED.items():
        assert {name: withheld.pop(name, None) for name in names} == dict.fromkeys(names, reason)
    assert len(withheld) <= MOST_WITHHELD * len(taken), withheld
    assert set(withheld.values()) <= {Reason.RESIDUE}, withheld
    assert sum(bool(each.output) for each in taken) > 200


def test_no_identifier_of_a_file_is_in_its_output() -> None:
    """As pydicom reads both sides; values of defined terms are left out."""
    for each in found():
        if not each.output:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            searched = identifiers(read(each.path.read_bytes()))
            written = [element for element in elements(read(each.output)) if element.keyword != "PixelData"]
        assert len(searched) >= 2, each.path.name
        allowed = {text.lower() for element in written if element.VR in TERMS for text in texts(element)}
        needles = [re.escape(word.lower()) for word in searched if word.lower() not in allowed]
        pattern = re.compile(rf"(?<!\w)({'|'.join(needles)})(?!\w)")
        for element in written:
            if element.VR not in TERMS and element.keyword not in SCHEMES:
                assert not any(pattern.search(text.lower()) for text in texts(element)), (each.path.name, element.tag)


def test_no_original_uid_is_in_the_bytes_of_an_output() -> None:
    for each in found():
        if not each.output:
            continue
        source = read(each.path.read_bytes())
        uids = {
            text for element in elements(source) if element.keyword.endswith("InstanceUID") for text in texts(element)
        }
        for uid in filter(lambda uid: len(uid) >= outcomes.LEAST_WHOLE, uids):
            assert uid.startswith("1.2.840.10008.") or uid.encode() not in each.beside, each.path.name


# repeats of the patient's own identifiers in text that is kept


def repeats(source: pydicom.Dataset) -> dict[str, str]:
    """The ways in which people write their patient into a free text; values of one repeated character are no names."""
    name = source.get("PatientName")
    family, given = (str(name.family_name), str(name.given_name)) if name else ("", "")
    birth = str(source.get("PatientBirthDate", ""))
    made = {}
    if len(set(family.lower())) >= 3 and family.isalpha():
        made |= {"name": f"seen {family}", "upper": f"{family.upper()}, first", "lower": f"for {family.lower()}."}
        if len(set(given.lower())) >= 3 and given.isalpha():
            made |= {"given first": f"{given} {family}", "underscores": f"x_{given}_{family}_y", "given": f"({given})"}
    if len(str(source.get("PatientID", ""))) >= 5:
        made |= {"ID": f"ID {source.PatientID}", "ID in brackets": f"[{source.PatientID}]"}
    if re.fullmatch(r"[0-9]{8}", birth) and len(set(birth)) > 1:
        year, month, day = birth[:4], birth[4:6], birth[6:]
        made |= {"born": f"* {day}.{month}.{year}", "ISO": f"{year}-{month}-{day}", "US": f"{month}/{day}/{year}"}
    return made


def planted(path: Path, text: str) -> bytes:
    source = pydicom.dcmread(path)
    source.ManufacturerModelName = text
    return images.written(source)


def test_repeats_of_the_patient_in_kept_text_are_withheld() -> None:
    """Measured on every clean real file that says who its patient is: no repeat is missed."""
    engine = Deidentifier(plan_of(BASIC), KEYS)
    tried, missed = 0, []
    for each in found():
        if not each.output or len(each.output) > SMALL:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = pydicom.dcmread(each.path, stop_before_pixels=True)
            if source.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
                continue
            for way, text in repeats(source).items():
                syntax, data = images.split(planted(each.path, text[:64]))
                received = Received(outcomes.ORIGIN, str(source.SOPClassUID), str(source.SOPInstanceUID), syntax)
                tried += 1
                try:
                    engine.clean(received, data)
                except Doubt as doubt:
                    assert doubt.reason is Reason.RESIDUE, each.path.name
                else:
                    missed.append((each.path.name, way))
    assert tried > 100
    assert missed == []
