"""Instances whose pixels may show who the patient is are withheld unless the rules say otherwise."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import images
import oracle_pixels
import pydicom
import pytest
import synthetic
from compare import KEYS, ORIGIN, plan_of
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.deidentify import Deidentifier, suspicious
from dicomnode.deidentify.rules import load
from dicomnode.errors import RulesError
from dicomnode.model import Doubt, Reason, Received

DEFAULT = "profile: basic\n"
SC, US, US_MULTI = (f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("7", "6.1", "3.1"))
DX, XA, RT_IMAGE = (f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("1.1", "12.1", "481.1"))
CAPTURES = (SC, *(f"{SC}.{last}" for last in range(1, 5)))
ULTRASOUND = (US, US_MULTI, "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3", "1.2.840.10008.5.1.4.1.1.6.2")
BEYOND_THE_CLASSES = {"explicit_VR-UN.dcm": "conversion"}
"""Real files of other classes: a CT that says it was digitised from video."""


def doubt_of(data: bytes, syntax: str, sop_class: str, sop_uid: str, rules: str = DEFAULT) -> Doubt | None:
    try:
        Deidentifier(plan_of(rules), KEYS).clean(Received(ORIGIN, sop_class, sop_uid, syntax), data)
    except Doubt as doubt:
        return doubt
    return None


def rule_of(rules: str = DEFAULT, sop_class: str = "", **values: object) -> str:
    """The rule for which a CT image with these values is withheld, "" when it is not; None removes an attribute."""
    data_set = synthetic.ct(rows=8, columns=8)
    if sop_class:
        data_set.SOPClassUID = sop_class
    for keyword, value in values.items():
        if value is None:
            del data_set[keyword]
        else:
            setattr(data_set, keyword, value)
    assert_same_as_oracle(data_set, rules)
    return judged(data_set, rules)


def judged(data_set: Dataset, rules: str) -> str:
    data = images.encode(data_set, ExplicitVRLittleEndian)
    doubt = doubt_of(data, ExplicitVRLittleEndian, str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), rules)
    if doubt is None or doubt.reason is not Reason.SUSPICIOUS_PIXELS:
        assert doubt is None or doubt.reason is Reason.PIXEL_LENGTH, doubt
        return ""
    return doubt.where.rpartition(" ")[2]


def assert_same_as_oracle(data_set: Dataset, rules: str) -> None:
    if rules == DEFAULT:
        assert judged(data_set, rules) == oracle_pixels.suspected(data_set)


def test_real_files_are_judged_as_the_oracle_says() -> None:
    """All secondary captures and ultrasound images, and beside them what is named above."""
    counted: Counter[str] = Counter()
    beyond = {}
    for path in images.sendable_files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = pydicom.dcmread(path, stop_before_pixels=True)
            expected = oracle_pixels.suspected(source) if "Rows" in source else ""
        syntax, data = images.split(path.read_bytes())
        doubt = doubt_of(data, syntax, str(source.SOPClassUID), str(source.SOPInstanceUID))
        if doubt is None or doubt.reason is not Reason.SUSPICIOUS_PIXELS:
            before_pixels = (Reason.UNKNOWN_VR, Reason.TRANSFER_SYNTAX, Reason.TRUNCATED, Reason.BAD_UID)
            assert not expected or (doubt and doubt.reason in before_pixels), path.name
            continue
        assert doubt.where.rpartition(" ")[2] == expected, path.name
        counted[expected] += 1
        if str(source.SOPClassUID) not in (*CAPTURES, *ULTRASOUND):
            beyond[path.name] = expected
    assert beyond == BEYOND_THE_CLASSES
    assert counted == {"burned-in": 2, "secondary-capture": 63, "ultrasound": 22, "conversion": 1}


@pytest.mark.parametrize("sop_class", CAPTURES)
def test_every_secondary_capture_is_withheld(sop_class: str) -> None:
    assert rule_of(sop_class=sop_class) == "secondary-capture"
    assert rule_of(sop_class=sop_class, BurnedInAnnotation="NO") == "secondary-capture"


@pytest.mark.parametrize("sop_class", ULTRASOUND)
def test_every_ultrasound_image_is_withheld(sop_class: str) -> None:
    assert rule_of(sop_class=sop_class, Modality="US") == "ultrasound"
    assert rule_of(sop_class=sop_class, BurnedInAnnotation=None) == "ultrasound"


SUSPECTED = {
    "a value other than NO": ("burned-in", {"BurnedInAnnotation": "YES"}),
    "a value that is none of the terms": ("burned-in", {"BurnedInAnnotation": "UNKNOWN"}),
    "a face": ("recognizable-features", {"RecognizableVisualFeatures": "YES"}),
    "film": ("film", {"ConversionType": "DF"}),
    "scanned paper": ("film", {"ConversionType": "SD"}),
    "a scanned image": ("film", {"ConversionType": "SI"}),
    "a film digitiser": ("film", {"Manufacturer": "Vidar Systems Corp."}),
    "a workstation": ("conversion", {"ConversionType": "WSD"}),
    "something synthetic": ("conversion", {"ConversionType": "SYN"}),
    "a video": ("conversion", {"VideoImageFormatAcquired": "NTSC"}),
    "a portal image from video": ("conversion", {"Modality": "RTIMAGE", "ConversionType": "DV"}),
    "a capture device": ("capture-device", {"SecondaryCaptureDeviceManufacturer": "Acme"}),
    "a capture device's version": ("capture-device", {"SecondaryCaptureDeviceSoftwareVersions": "1"}),
    "a saved screen": ("screen-capture", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
    "a saved screen, other spelling": ("screen-capture", {"ImageType": ["DERIVED", "SECONDARY", "screen_save"]}),
    "a position display": ("screen-capture", {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "POSDISP"]}),
    "a protocol page": ("dose-sheet", {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}),
    "dose information": ("dose-sheet", {"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}),
    "a dose report by its name": ("dose-sheet", {"SeriesDescription": "Dose Report"}),
    "a patient protocol by its name": ("dose-sheet", {"SeriesDescription": "Patienten Protokoll"}),
    "colour": ("colour", {"PhotometricInterpretation": "RGB", "BurnedInAnnotation": None}),
    "an X-ray made of X-rays": (
        "derived-capture",
        {"Modality": "CR", "ImageType": ["DERIVED", "SECONDARY"], "BurnedInAnnotation": None},
    ),
    "DX without a word": ("annotation-unknown", {"Modality": "DX", "BurnedInAnnotation": None}),
    "endoscopy with an empty word": ("annotation-unknown", {"Modality": "ES", "BurnedInAnnotation": ""}),
    "no modality": ("annotation-unknown", {"Modality": None, "BurnedInAnnotation": None}),
    "the label of a slide": ("slide-label", {"Modality": "SM", "ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}),
    "a slide with its label": ("slide-label", {"SpecimenLabelInImage": "YES"}),
}


@pytest.mark.parametrize("case", SUSPECTED)
def test_suspected(case: str) -> None:
    expected, values = SUSPECTED[case]
    assert rule_of(**values) == expected


INNOCENT = {
    "CT that says NO": {},
    "CT without a word": {"BurnedInAnnotation": None},
    "MR, reformatted": {"Modality": "MR", "ImageType": ["DERIVED", "SECONDARY", "MPR"], "BurnedInAnnotation": None},
    "a proton density": {"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "PROTON_DENSITY"]},
    "a screening": {"SeriesDescription": "Lung screening low dose", "ImageType": ["ORIGINAL", "PRIMARY", "SCREENING"]},
    "DX that says NO": {"Modality": "DX"},
    "CR without a word": {"Modality": "CR", "BurnedInAnnotation": None},
    "a portal image": {"Modality": "RTIMAGE", "ConversionType": "DI"},
    "colour that says NO": {"PhotometricInterpretation": "RGB"},
    "a whole slide": {"Modality": "SM", "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]},
}


@pytest.mark.parametrize("case", INNOCENT)
def test_innocent(case: str) -> None:
    assert rule_of(**INNOCENT[case]) == ""


def test_without_pixels_there_is_nothing_to_suspect() -> None:
    data_set = synthetic.ct(rows=8, columns=8)
    data_set.SOPClassUID = US
    del data_set.PixelData
    assert judged(data_set, DEFAULT) == ""


def test_the_stream_withholds_before_anything_is_given_out() -> None:
    data_set = synthetic.ct(rows=64, columns=64)
    data_set.SOPClassUID = SC
    data = images.encode(data_set, ExplicitVRLittleEndian)
    stream = Deidentifier(plan_of(DEFAULT), KEYS).stream(
        Received(ORIGIN, SC, str(data_set.SOPInstanceUID), ExplicitVRLittleEndian)
    )
    given: list[object] = []
    with pytest.raises(Doubt) as caught:
        for at in range(0, len(data), 100):
            given += stream.feed(data[at : at + 100])
    assert caught.value.reason is Reason.SUSPICIOUS_PIXELS
    assert caught.value.where == "(0008,0016) secondary-capture"
    assert not given


def test_rules_switch_off_accept_and_add() -> None:
    off = "profile: basic\nsuspicious_pixels: {off: [ultrasound]}\n"
    assert rule_of(off, US, Modality="US") == ""
    assert rule_of(off, SC) == "secondary-capture"
    accepted = "profile: basic\nsuspicious_pixels: {accept: [SecondaryCaptureImageStorage]}\n"
    assert rule_of(accepted, SC, ConversionType="WSD") == ""
    assert rule_of(accepted, f"{SC}.1") == "secondary-capture"
    own = "profile: basic\nsuspicious_pixels:\n  rules:\n    ours:\n      reason: a phantom\n      when:\n"
    own += "        - SeriesDescription: {matches: ['phantom']}\n          Modality: {not_in: [MR]}\n"
    assert rule_of(own, SeriesDescription="QA PHANTOM 3") == "ours"
    assert rule_of(own, SeriesDescription="QA PHANTOM 3", Modality="MR") == ""
    assert rule_of(own, SC) == "secondary-capture"
    replaced = own.replace("ours", "ultrasound")
    assert rule_of(replaced, US, Modality="US") == ""
    everything = "profile: basic\nsuspicious_pixels: {off: all}\n"
    assert rule_of(everything, SC, BurnedInAnnotation="YES") == ""


WRONG = {
    "{of: all}": "unknown key 'of'; did you mean 'off'?",
    "{off: [ultrasuond]}": "unknown rule 'ultrasuond'; did you mean 'ultrasound'?",
    "{accept: [SecondaryCapture]}": "unknown SOP class 'SecondaryCapture'",
    "{rules: {x: {when: [{Modality: {in: [CT]}}]}}}": "rule 'x' has no reason; write: {reason: ..., when: [...]}",
    "{rules: {x: {reason: y, when: []}}}": "when must be a list; write: when: [...]",
    "{rules: {x: {reason: y, when: [{}]}}}": "a condition of x is empty",
    "{rules: {x: {reason: y, wen: z, when: [{Modality: {in: [CT]}}]}}}": "unknown key 'wen'; did you mean 'when'?",
    "{rules: {x: {reason: y, when: [{Modalty: {in: [CT]}}]}}}": "unknown attribute 'Modalty'; did you mean 'Modality'?",
    "{rules: {x: {reason: y, when: [{Modality: {inn: [CT]}}]}}}": "unknown test 'inn'; did you mean 'in'?",
    "{rules: {x: {reason: y, when: [{Modality: {in: []}}]}}}": "in has an empty list; say which values",
    "{rules: {x: {reason: y, when: [{Modality: {present: maybe}}]}}}": "present cannot be 'maybe'; use true or false",
    "{rules: {x: {reason: y, when: [{Modality: {matches: ['(']}}]}}}": "'(' is no regular expression",
    "{rules: {x: {reason: y, when: [{Rows: {in: [1]}}]}}}": "nothing can be asked of 'Rows'; its VR is US, not a text",
    "{rules: {x: {reason: y, when: [{SOPClassUID: {in: [CT]}}]}}}": "unknown SOP class 'CT'",
}


@pytest.mark.parametrize("section", WRONG)
def test_a_wrong_section_is_refused(section: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"profile: basic\nsuspicious_pixels: {section}\n", encoding="utf-8")
    with pytest.raises(RulesError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:2: {WRONG[section]}")


def test_every_rule_has_a_reason_and_the_digest_covers_the_rules() -> None:
    assert all(len(rule.reason) > 20 for rule in suspicious.default().rules)
    sections = ["", "{}", "{off: [film]}", "{off: all}", "{accept: [SecondaryCaptureImageStorage]}"]
    sections.append("{rules: {x: {reason: y, when: [{Modality: {in: [CT]}}]}}}")
    digests = [plan_of(f"profile: basic\n{s and 'suspicious_pixels: ' + s}\n").digest for s in sections]
    assert digests[0] == digests[1]
    assert len(set(digests)) == len(sections) - 1


def test_what_a_picture_shows_is_never_vouched_for() -> None:
    """Burned In Annotation goes as it came: nothing here has cleaned a pixel."""
    for value in ("YES", None):
        data_set = synthetic.ct(rows=8, columns=8)
        data_set.BurnedInAnnotation = value
        if value is None:
            del data_set.BurnedInAnnotation
        data = images.encode(data_set, ExplicitVRLittleEndian)
        received = Received(ORIGIN, str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), ExplicitVRLittleEndian)
        cleaned = Deidentifier(plan_of("profile: basic\nsuspicious_pixels: {off: all}\n"), KEYS).clean(received, data)
        sent = images.parse(b"".join(bytes(part) for part in (*cleaned.head, cleaned.pixels or b"", *cleaned.tail)))
        assert sent.get("BurnedInAnnotation") == value


def test_the_file_that_people_read_is_the_one_that_rules() -> None:
    assert Path(oracle_pixels.FILE).resolve() == suspicious.FILE.resolve()
