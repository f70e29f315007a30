"""deid recipes as rules: each construct, and what cannot be carried over."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dicomnode.deidentify import load as load_rules
from dicomnode.deidentify.encoded import vr_code
from dicomnode.errors import RulesError
from dicomnode.recipes import Converted, convert, load

HEADER = "FORMAT dicom\n\n%header\n\n"


def made(text: str) -> Converted:
    return convert(text, Path("recipe.dicom"))


def attributes(text: str) -> object:
    return yaml.safe_load(made(HEADER + text).text).get("attributes")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("REMOVE StationName", {"StationName": "remove"}),
        ("BLANK ReferringPhysicianName", {"ReferringPhysicianName": "empty"}),
        ("KEEP BodyPartExamined", {"BodyPartExamined": "keep"}),
        ("KEEP bodypartexamined  # whatever", {"BodyPartExamined": "keep"}),
        ("REMOVE Station Name", None),
        ("REMOVE (0008,1010)", {"StationName": "remove"}),
        ("REMOVE 00081010", {"StationName": "remove"}),
        ("ADD IssuerOfPatientID TRIAL", {"IssuerOfPatientID": {"set": "TRIAL"}}),
        ("REPLACE StudyDescription CT of the head", {"StudyDescription": {"replace": "CT of the head"}}),
        ('REPLACE StationName "A B"', {"StationName": {"replace": "A B"}}),
        ("JITTER StudyDate 31", {"StudyDate": {"shift": 31}}),
        ("JITTER endswith:Date -31", {"/(?i)(Date)$/": {"shift": -31}}),
        ("REMOVE startswith:Patient", {"/(?i)^(Patient)/": "remove"}),
        ("BLANK contains:PatientName", {"/(?i)PatientName/": "empty"}),
        ("KEEP select:group:0018", {"(0018,xxxx)": "keep"}),
        ("BLANK select:VR:TM", {"VR:TM": "empty"}),
        ("KEEP except:StudyDate|StudyTime", {"/(?i)^(?!.*(?:StudyDate|StudyTime))/": "keep"}),
        ("REMOVE SegmentSequence__SegmentLabel", {"SegmentSequence > SegmentLabel": "remove"}),
        ("BLANK SegmentSequence__0__(0062,0005)", {"SegmentSequence > SegmentLabel": "empty"}),
        ("REMOVE contains:(0010,1010)", {"/^(?:PatientAge)$/": "remove"}),
        ("KEEP startswith:0020006", {"/^(?:Laterality|ImageLaterality)$/": "keep"}),
        (
            "KEEP except:Institution.Name|0008103e",
            {"/(?i)^(?!.*(?:Institution.Name|0008103e)|InstitutionName$|SeriesDescription$)/": "keep"},
        ),
        ('REMOVE (0033,"MITRA: ONE",1E)', {"(0033,xx1e,MITRA: ONE)": "remove"}),
        ('KEEP 0029,"SIEMENS CSA HEADER",21', {"(0029,xx21,SIEMENS CSA HEADER)": "keep"}),
        ("REPLACE FrameOfReferenceUID deid_func:pydicom_uuid prefix=1.55.", {"FrameOfReferenceUID": "uid"}),
        ("REPLACE StudyDate deid_func:jitter days=1 years=1", {"StudyDate": {"shift": 366}}),
    ],
)
def test_header_lines(line: str, expected: object) -> None:
    assert attributes(line) == expected


def explained(converted: Converted) -> list[str]:
    """What becomes of the explanations of windows and of modality LUTs, and of the units of pixels."""
    steps = converted.plan.for_class("1.2.840.10008.5.1.4.1.1.2")
    return [steps.step(tag, "LO").action.name for tag in (0x00281055, 0x00283003, 0x00281054)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("REMOVE ALL", ["REMOVE", "REMOVE", "KEEP"]),
        ("REMOVE select:VR:LO", ["REMOVE", "REMOVE", "KEEP"]),
        ("REMOVE select:group:0028", ["REMOVE", "REMOVE", "KEEP"]),
        ("BLANK contains:WidthExplanation", ["EMPTY", "KEEP", "KEEP"]),
        ("BLANK contains:&.Width.Explanation", ["EMPTY", "KEEP", "KEEP"]),
        ("BLANK contains:283003", ["KEEP", "EMPTY", "KEEP"]),
        ("REPLACE endswith:Explanation none", ["REPLACE", "REPLACE", "KEEP"]),
        ("KEEP contains:Window\nREMOVE ALL", ["KEEP", "REMOVE", "KEEP"]),
        ("REMOVE ALL\nBLANK LUTExplanation", ["REMOVE", "REMOVE", "KEEP"]),
        ("REMOVE RescaleType", ["KEEP", "KEEP", "REMOVE"]),
    ],
)
def test_texts_of_the_image_do_not_escape_a_line_for_many_attributes(lines: str, expected: list[str]) -> None:
    assert explained(made(HEADER + lines)) == expected


def test_a_function_decides_about_texts_of_the_image_too() -> None:
    found = made(HEADER + "REPLACE contains:LUTExplanation func:describe")
    assert [note.source.line for note in found.notes] == [5]
    assert explained(found)[1] == "REMOVE"


def test_the_strongest_action_on_a_field_holds() -> None:
    lines = "REMOVE StudyDate\nBLANK StudyDate\nJITTER StudyDate 5\nKEEP StationName\nREMOVE StationName\n"
    assert attributes(lines) == {"StudyDate": {"shift": 5}, "StationName": "keep"}


def test_groups_of_fields() -> None:
    found = made(
        "FORMAT dicom\n%fields staff\nFIELD OperatorsName\nFIELD startswith:Performing\n%header\nREMOVE fields:staff\n"
    )
    assert yaml.safe_load(found.text)["attributes"] == {"OperatorsName": "remove", "/(?i)^(Performing)/": "remove"}
    assert not found.notes


def test_values_that_the_gate_searches_for_are_no_loss() -> None:
    found = made(
        "FORMAT dicom\n%values who\nSPLIT PatientName by='^';minlength=4\nFIELD PatientID\n"
        "%header\nREMOVE values:who\nREMOVE ALL values:who\nREPLACE values:who var:id\n"
    )
    assert [(note.source.line, note.lost) for note in found.notes] == [(6, False), (7, False), (8, False)]
    assert "an instance in which one of these values is left is withheld" in found.notes[0].why


def test_values_that_nobody_searches_for_are_a_loss() -> None:
    (note,) = made("FORMAT dicom\n%values what\nFIELD ConvolutionKernel\n%header\nREMOVE values:what\n").notes
    assert (note.source.line, note.lost) == (5, True)
    assert "ConvolutionKernel" in note.why


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (r"REMOVE ALL contains:(\d{7,0})", "rules do not remove by value"),
        ("REMOVE contains:RequestAttributesSequence__Study", "no attribute is called"),
        ("REMOVE startswith:(0018", "is no regular expression"),
        ("REMOVE ALL func:is_name", "a function needs Python"),
        ("REMOVE values:nothing", "there is no %values nothing"),
        ("REMOVE fields:nothing", "there is no %fields nothing"),
        ("REPLACE StudyDate", "REPLACE needs a value"),
        ("CHANGE StudyDate 1", "not understood"),
        ("REPLACE StudyDescription deid_func:nothing", "deid has no function nothing"),
        ("REPLACE (0018,0050) 1.0.0", "cannot be a value of VR DS"),
    ],
)
def test_what_is_lost_is_said_with_its_line(line: str, why: str) -> None:
    (note,) = made(HEADER + line).lost
    assert note.source.line == 5
    assert why in note.why


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("REMOVE PatientsName", "no attribute is called PatientsName"),
        ("REMOVE contains:xyzzy", "no attribute is called contains:xyzzy"),
        ("REMOVE select:group:0028", "only texts are treated so"),
        ("REMOVE contains:PixelSpacingCalibrationType", "only texts are treated so"),
        ("ADD PatientIdentityRemoved YES", "written without being mentioned"),
        ("KEEP PatientName", "never kept"),
        ("REPLACE PatientID cookie-monster", "all patients would be cookie-monster"),
        ("REMOVE PatientID", "a patient needs an ID"),
        ("REPLACE SOPInstanceUID var:source_id", "it gets a new UID"),
        ("REMOVE SeriesInstanceUID", "an instance must have it"),
        ("REMOVE PixelData", "deid does not change it either"),
        ("REMOVE contains:0019", "private attributes go without being mentioned"),
        ("KEEP select:group:0019", "private attributes stay by creator only"),
        ("REPLACE StudyDescription func:describe", "a function needs Python"),
    ],
)
def test_what_is_treated_otherwise_is_said(line: str, why: str) -> None:
    found = made(HEADER + line)
    assert why in found.notes[0].why
    assert not found.lost


def test_pseudonyms_and_variables() -> None:
    found = made(
        HEADER + "REPLACE PatientID var:id\nREMOVE PatientName\nREPLACE AccessionNumber var:nr\nADD StudyDate var:day\n"
    )
    said = yaml.safe_load(found.text)
    assert said["templates"] == {"patient_id": "{var:id}", "patient_name": "", "accession": "{var:nr}"}
    assert said["attributes"] == {"StudyDate": {"set": "{var:day}"}}
    assert found.plan.missing == ("AccessionNumber: var:nr", "PatientID: var:id", "StudyDate: var:day")


def test_labels_stay_as_comments() -> None:
    found = made("FORMAT dicom\n%labels\nADD MAINTAINER somebody\nADD VERSION 1.0\n%header\nREMOVE StationName\n")
    assert "# MAINTAINER somebody\n# VERSION 1.0\n" in found.text
    assert not found.notes


FILTERS = """FORMAT dicom
%filter whitelist
LABEL Clean
  contains BurnedInAnnotation No
%filter graylist
LABEL Known, nothing to blank
  contains ManufacturerModelName Sensation 64
LABEL Dose
  contains Modality CT
  + contains Manufacturer GE
  + equals Rows 512|1024
  coordinates 0,0,512,110
%filter blacklist
LABEL Saved # somebody
  contains ImageType SAVE
  contains SeriesDescription SAVE || equals 0x00080060 OT
  + missing Manufacturer
LABEL Nothing
  missing ImageType || empty ImageType
  + notcontains Modality CT
  + notequals Modality MR
"""


def test_filters_withhold() -> None:
    found = made(FILTERS)
    assert yaml.safe_load(found.text)["withhold_if"] == [
        {"Modality": {"matches": ["CT"]}, "Manufacturer": {"matches": ["GE"]}, "Rows": {"in": [512, 1024]}},
        {"ImageType": {"matches": ["SAVE"]}, "Manufacturer": {"present": "false"}},
        {"SeriesDescription": {"matches": ["SAVE"]}, "Manufacturer": {"present": "false"}},
        {"Modality": {"in": ["OT"]}, "Manufacturer": {"present": "false"}},
        {"ImageType": {"present": "false"}, "Modality": {"not_matches": ["CT"], "not_in": ["MR"]}},
    ]
    assert [(note.source.line, note.lost) for note in found.notes] == [(3, False), (6, False), (12, False)]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("LABEL All\n  coordinates all", "rules for pixels"),
        ("LABEL One\n  like ImageType SAVE", "is no criterion"),
        ("LABEL One\n  missing Nothing", "no attribute is called Nothing"),
        ("LABEL One\n  empty ImageType", "do not tell an empty attribute from a missing one"),
        ("LABEL One\n  contains ImplementationVersionName X", "is of the file"),
        ("LABEL One\n  present SequenceOfUltrasoundRegions", "its VR is SQ"),
    ],
)
def test_filters_that_are_lost(lines: str, why: str) -> None:
    assert why in made(f"FORMAT dicom\n%filter graylist\n{lines}\n  coordinates 0,0,1,1\n").lost[0].why


def test_two_tests_of_one_attribute_withhold_more() -> None:
    found = made("FORMAT dicom\n%filter black\nLABEL One\n contains ImageType A\n + contains ImageType B\n")
    assert yaml.safe_load(found.text)["withhold_if"] == [{"ImageType": {"matches": ["A"]}}]
    assert "more is withheld" in found.notes[0].why


def test_a_recipe_is_accepted_as_rules(tmp_path: Path) -> None:
    path = tmp_path / "recipe.dicom"
    path.write_text(HEADER + "REMOVE StationName\nKEEP PatientName\n")
    plan = load(path)
    (tmp_path / "rules.yaml").write_text(made(path.read_text()).text)
    assert plan.digest == load_rules(tmp_path / "rules.yaml").digest
    assert plan.name == "recipe"


def test_a_recipe_that_protects_more_is_refused_as_rules(tmp_path: Path) -> None:
    path = tmp_path / "recipe.dicom"
    path.write_text(HEADER + "REMOVE ALL contains:[0-9]{7}\nREMOVE ALL func:f\n")
    with pytest.raises(
        RulesError,
        match=r"recipe\.dicom:5: .* cannot be carried over: .* \(and 1 more\); "
        r"run dicomnode rules convert .*recipe\.dicom --output rules\.yaml, which names every such line; say in ",
    ):
        load(path)


def test_rules_are_rules_still(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("profile: advanced\n")
    with pytest.raises(RulesError, match="unknown profile 'advanced'"):
        load(path)
    with pytest.raises(RulesError, match="does not exist"):
        load(tmp_path / "nowhere.yaml")


def test_remarks_name_lines_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.dicom"
    path.write_text(HEADER + "REMOVE StationName\nKEEP StudyDescription\n")
    (remark,) = load(path).remarks
    assert remark.startswith("recipe.dicom:6: keep StudyDescription")


@pytest.mark.parametrize(("word", "tag"), [("REMOVE", 0x00181020), ("KEEP", 0x00181030)])
def test_what_excepts_many_attributes_is_no_key_that_is_too_long(word: str, tag: int, tmp_path: Path) -> None:
    """YAML reads no more than 1024 characters in front of a colon."""
    done = made(f"{HEADER}{word} except:0010|0020\nREMOVE StationName2")
    assert max(map(len, done.text.splitlines())) > 1024
    assert [(note.source.line, note.why) for note in done.notes] == [
        (6, "no attribute is called StationName2, so nothing happens")
    ]
    rules = tmp_path / "rules.yaml"
    rules.write_text(done.text, encoding="utf-8")
    steps = load_rules(rules).for_class("1.2.840.10008.5.1.4.1.1.2")
    assert steps[tag << 16 | vr_code("LO")].action.name == word
