"""What the rules' own actions make of values, through the engine: by keyword, mask, expression, VR, path, creator."""

from __future__ import annotations

import images
import pytest
from compare import BASIC, KEYS, ORIGIN, engine_output, plan_of, read
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.deidentify import Deidentifier
from dicomnode.errors import RulesError
from dicomnode.keys import base32, keyed_digest
from dicomnode.model import Doubt, IdentityEntry, Reason, Received

CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


def source(**values: object) -> Dataset:
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.SOPClassUID, data_set.SOPInstanceUID = CT, "1.2.3.1"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "1.2.3.2", "1.2.3.3"
    data_set.PatientID, data_set.PatientName, data_set.Modality = "ID-7781", "Zwetschge^Karl", "CT"
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


def output(rules: str, data_set: Dataset, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    plan = plan_of(BASIC + rules)
    data = images.encode(data_set, syntax)
    return read(engine_output(plan, data, syntax, data_set.SOPClassUID, data_set.SOPInstanceUID))


def text(data_set: Dataset, keyword: str) -> str | None:
    """The value as encoded, padding stripped; None when it is not there."""
    if keyword not in data_set:
        return None
    raw = data_set.get_item(keyword).value
    return (raw if isinstance(raw, bytes) else b"").decode("latin-1").strip(" \0")


def hashed(tag: int, value: str) -> str:
    return base32(keyed_digest(KEYS.pseudonym, f"value of {tag:08x}", value.encode()))


def with_overlay() -> Dataset:
    data_set = source()
    for element, vr, value in ((0x10, "US", 4), (0x11, "US", 4), (0x40, "CS", "G"), (0x50, "SS", [1, 1])):
        data_set.add_new(0x60020000 + element, vr, value)
    data_set.add_new(0x60020022, "LO", "drawn by Karl")
    data_set.add_new(0x60020100, "US", 1)
    data_set.add_new(0x60020102, "US", 0)
    data_set.add_new(0x60023000, "OW", b"\x01\x80")
    return data_set


@pytest.mark.parametrize("line", ['"(60xx,3000)": keep', '"(6002,3000)": keep', "VR:OW: keep"])
def test_an_overlay_stays_as_a_whole(line: str) -> None:
    cleaned = output(f"attributes: {{{line}}}\n", with_overlay())
    plane = {element.tag & 0xFFFF for element in cleaned if element.tag >> 16 == 0x6002}
    assert plane == {0x10, 0x11, 0x40, 0x50, 0x100, 0x102, 0x3000}


def test_what_the_rules_say_of_a_plane_goes_before_its_data() -> None:
    cleaned = output('attributes: {"(60xx,3000)": keep, "(6002,0050)": remove}\n', with_overlay())
    assert 0x60020050 not in cleaned
    assert 0x60020010 in cleaned


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("VR:DA: {round: month}", ""),
        ("/Date$/: {round: year}", ""),
        ("'(0010,00xx)': {round: month}", ""),
        ("PatientBirthDate: {round: year}", "19310101"),
    ],
)
def test_a_birth_date_is_rounded_by_its_own_name_alone(line: str, sent: str) -> None:
    cleaned = output(f"attributes: {{{line}}}\n", source(PatientBirthDate="19310415"))
    assert cleaned.PatientBirthDate == sent


@pytest.mark.parametrize(
    ("line", "sent"),
    [("hash", hashed(0x00080050, "A-4711")[:10]), ("{replace: 'S-{hash:8}'}", "S-" + hashed(0x00080050, "A-4711")[:8])],
)
def test_an_accession_number_that_the_rules_make_is_in_the_identity_book(line: str, sent: str) -> None:
    plan = plan_of(f"{BASIC}attributes: {{AccessionNumber: {line}}}\n")
    data = images.encode(source(AccessionNumber="A-4711"), ExplicitVRLittleEndian)
    cleaned = Deidentifier(plan, KEYS).clean(Received(ORIGIN, CT, "1.2.3.1", ExplicitVRLittleEndian), data)
    assert IdentityEntry("AccessionNumber", "A-4711", sent) in cleaned.identity


def test_templates_take_the_name_of_the_project() -> None:
    plan = plan_of(f"{BASIC}templates: {{patient_id: '{{project}}-{{hash:10}}', accession: '{{project}}{{hash:8}}'}}\n")
    data = images.encode(source(AccessionNumber="A-4711"), ExplicitVRLittleEndian)
    engine = Deidentifier(plan.of_project("lung"), KEYS)
    cleaned = engine.clean(Received(ORIGIN, CT, "1.2.3.1", ExplicitVRLittleEndian), data)
    assert cleaned.patient == f"lung-{PATIENT}"
    with pytest.raises(RulesError, match=r"template accession: .* for project long-name: the result is longer than 16"):
        plan.of_project("long-name")


@pytest.mark.parametrize(
    ("condition", "accepted"),
    [
        ("SliceThickness: {in: [5]}", True),
        ("SliceThickness: {in: [5.5, 4]}", False),
        ("SliceThickness: {not_in: ['5.00']}", False),
        ("PatientAge: {in: [42Y]}", False),
        ("PatientAge: {in: [042Y]}", True),
        ("Rows: {in: [512.0]}", True),
        ("StationName: {in: ['5']}", False),
    ],
)
def test_numbers_are_compared_as_such(condition: str, accepted: bool) -> None:
    data_set = source(SliceThickness="5.0", PatientAge="042Y", Rows=512, StationName="5.0")
    if accepted:
        assert output(f"accept_if: {{{condition}}}\n", data_set)
        return
    with pytest.raises(Doubt) as doubt:
        output(f"accept_if: {{{condition}}}\n", data_set)
    assert doubt.value.reason is Reason.CONDITIONS


PATIENT = base32(keyed_digest(KEYS.pseudonym, "patient", b"ID-7781"))[:10]
MADE = [
    ("StationName: hash", {"StationName": "CT01"}, hashed(0x00081010, "CT01")[:10]),
    ("StationName: {hash: 16}", {"StationName": "CT01"}, hashed(0x00081010, "CT01")[:16]),
    ("StationName: hash", {"StationName": ""}, ""),
    ("ProtocolName: pseudonym", {"ProtocolName": "Abdomen"}, PATIENT),
    ("InstitutionName: {replace: '{project}'}", {"InstitutionName": "Mercy"}, "default"),
    ("InstitutionName: {replace: '{Modality}/{patient} x'}", {"InstitutionName": "Mercy"}, f"CT/{PATIENT} x"),
    ("InstitutionName: {replace: '{StationName}|'}", {"InstitutionName": "Mercy", "StationName": "S1"}, "|"),
    (
        "InstitutionName: {replace: '{hash:8}-{PatientName}'}",
        {"InstitutionName": "M"},
        hashed(0x00080080, "M")[:8] + "-" + PATIENT,
    ),
    ("ImageComments: {substitute: {'CT-(\\d+) .*': 'no \\1'}}", {"ImageComments": "CT-17 of Karl"}, "no 17"),
    ("ImageComments: {substitute: {'CT-(\\d+)': 'no \\1'}}", {"ImageComments": "CT-17 of Karl"}, ""),
    ("ImageComments: {substitute: {a: b, '(\\w+) (\\w+)': '\\2 \\1'}}", {"ImageComments": "head left"}, "left head"),
    ("StudyDescription: {vocabulary: [CT Abdomen, Thorax]}", {"StudyDescription": "ct_abdomen"}, "ct_abdomen"),
    ("StudyDescription: {vocabulary: [CT Abdomen]}", {"StudyDescription": "CT of Karl"}, ""),
    ("ImageType: {vocabulary: [ORIGINAL, AXIAL]}", {"ImageType": ["ORIGINAL", "KARL", "AXIAL"]}, "ORIGINAL\\\\AXIAL"),
    ("StudyDate: {round: month}", {"StudyDate": "20040119"}, "20040101"),
    ("StudyDate: {round: year}", {"StudyDate": "20040119"}, "20040101"),
    ("StudyDate: {round: year}", {"StudyDate": "20041119"}, "20040101"),
    ("AcquisitionDateTime: {round: month}", {"AcquisitionDateTime": "20040119112749.5"}, "200401"),
    ("StudyTime: {round: hour}", {"StudyTime": "112749"}, "110000"),
    ("PatientAge: {round: 5}", {"PatientAge": "042Y"}, "040Y"),
    ("PatientAge: {round: 10}", {"PatientAge": "096Y"}, "090Y"),
    ("PatientAge: {round: 5}", {"PatientAge": "old"}, ""),
    ("PatientWeight: {round: 5}", {"PatientWeight": "83.4"}, "85"),
    ("PatientSize: {round: 0.1}", {"PatientSize": "1.83"}, "1.8"),
    ("PatientSex: {code: {F: O, m: O}}", {"PatientSex": "M"}, "O"),
    ("PatientSex: {code: {F: O}}", {"PatientSex": "M"}, ""),
    ("StudyDate: {shift: -30}", {"StudyDate": "20040131"}, "20040101"),
    ("StudyDate: shift\ndates: {days: 10}", {"StudyDate": "20040101"}, "20040111"),
    ("StudyDescription: clean", {"StudyDescription": "CT Abdomen"}, "CT Abdomen"),
    ("StudyDescription: clean", {"StudyDescription": "CT Zwetschge"}, "CT"),
    ("ClinicalTrialSiteID: {set: 'site {project}'}", {}, "site default"),
    ("ClinicalTrialSiteID: {set: new}", {"ClinicalTrialSiteID": "old"}, "new"),
    ("ClinicalTrialSiteID: {replace: new}", {}, None),
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["implicit", "explicit"])
@pytest.mark.parametrize(("line", "values", "expected"), MADE)
def test_made_values(line: str, values: dict[str, object], expected: str | None, syntax: str) -> None:
    keyword = line.partition(":")[0]
    found = output(f"attributes:\n  {line}\n", source(**values), syntax)
    assert text(found, keyword) == expected
    assert found.PatientIdentityRemoved == "YES"


def test_the_same_value_has_the_same_hash_everywhere() -> None:
    one = output("attributes: {StationName: hash}\n", source(StationName="CT01", SOPInstanceUID="1.2.3.8"))
    other = output("attributes: {StationName: hash}\n", source(StationName="CT01", PatientID="Another"))
    assert text(one, "StationName") == text(other, "StationName") != "CT01"


SELECTED = [
    ("/^Referring/: remove", "ReferringPhysicianName", None),
    ("/nowhere/: remove", "ReferringPhysicianName", ""),
    ("VR:PN: {replace: Nobody}", "ReferringPhysicianName", "Nobody"),
    ("VR:PN: {replace: Nobody}", "PatientName", "Nobody"),
    ("(0008,00xx): {replace: Any}", "ReferringPhysicianName", "Any"),
    ("(0008,xxxx): {replace: Wide}\n  (0008,009x): {replace: Near}", "ReferringPhysicianName", "Near"),
    ("VR:PN: {replace: Vr}\n  /Physician/: {replace: Word}", "ReferringPhysicianName", "Word"),
    ("/Physician/: {replace: Word}\n  0008,0090: {replace: Tag}", "ReferringPhysicianName", "Tag"),
    ("(0008,0090): {replace: Tag}", "ReferringPhysicianName", "Tag"),
    ("VR:UI: remove", "SOPInstanceUID", None),
    ("VR:US: remove", "Rows", None),
]


@pytest.mark.parametrize(("lines", "keyword", "expected"), SELECTED)
def test_selectors(lines: str, keyword: str, expected: str | None) -> None:
    found = output(f"attributes:\n  {lines}\n", source(ReferringPhysicianName="Pflaume^Eva", Rows=4))
    if keyword in ("SOPInstanceUID", "Rows"):
        assert found[keyword].value, "what an image needs is not reached by a pattern"
        assert found.Rows == 4
    else:
        assert text(found, keyword) == expected


def test_paths_reach_into_sequences_only() -> None:
    item = Dataset()
    item.ScheduledProcedureStepID, item.StudyDescription = "SPS77", "Inside"
    data_set = source(StudyDescription="Outside", RequestAttributesSequence=Sequence([item]))
    inside = "RequestAttributesSequence > StudyDescription"
    rules = f"attributes:\n  RequestAttributesSequence: keep\n  {inside}: {{replace: In}}\n"
    for syntax in SYNTAXES:
        found = output(rules, data_set, syntax)
        assert found.RequestAttributesSequence[0].StudyDescription == "In"
        assert text(found, "StudyDescription") is None


def test_the_longest_path_holds() -> None:
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning = "x"
    outer.ProcedureCodeSequence = Sequence([inner])
    rules = (
        "attributes:\n  RequestAttributesSequence: keep\n  ProcedureCodeSequence: keep\n"
        "  ProcedureCodeSequence > CodeMeaning: {replace: Short}\n"
        "  RequestAttributesSequence > ProcedureCodeSequence > CodeMeaning: {replace: Long}\n"
    )
    found = output(rules, source(RequestAttributesSequence=Sequence([outer]), ProcedureCodeSequence=Sequence([inner])))
    assert found.RequestAttributesSequence[0].ProcedureCodeSequence[0].CodeMeaning == "Long"
    assert found.ProcedureCodeSequence[0].CodeMeaning == "Short"


def test_private_attributes_by_creator() -> None:
    data_set = source()
    block = data_set.private_block(0x0009, "ACME 1", create=True)
    block.add_new(0x01, "LO", "stays")
    block.add_new(0x02, "LO", "goes")
    data_set.private_block(0x0009, "OTHER", create=True).add_new(0x01, "LO", "goes too")
    for line in ("(0009,xx01,ACME 1)", "(xxxx,xx01,acme 1)"):
        found = output(f'attributes:\n  "{line}": keep\n', data_set)
        assert [str(e.value) for e in found if e.tag.is_private] == ["ACME 1", "stays"]
    every = output('attributes:\n  "(0009,xxxx,ACME 1)": keep\n  "(0009,xx02,ACME 1)": remove\n', data_set)
    assert [str(e.value) for e in every if e.tag.is_private] == ["ACME 1", "stays"]


def test_a_code_replaces_a_sequence() -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "L1", "99LOCAL", "Karls Kopf"
    for syntax in SYNTAXES:
        found = output(
            "attributes:\n  ProcedureCodeSequence: {code: [T-D1100, SRT, Head]}\n",
            source(ProcedureCodeSequence=Sequence([item])),
            syntax,
        )
        (only,) = found.ProcedureCodeSequence
        assert (only.CodeValue, only.CodingSchemeDesignator, only.CodeMeaning) == ("T-D1100", "SRT", "Head")


def doubt(rules: str, data_set: Dataset) -> Doubt:
    plan = plan_of(BASIC + rules)
    data = images.encode(data_set, ExplicitVRLittleEndian)
    received = Received(ORIGIN, data_set.SOPClassUID, data_set.SOPInstanceUID, ExplicitVRLittleEndian)
    with pytest.raises(Doubt) as caught:
        Deidentifier(plan, KEYS).clean(received, data)
    return caught.value


def test_what_cannot_be_a_value_is_in_doubt() -> None:
    long = source(InstitutionName="Mercy", StationName="S" * 16, SeriesDescription="D" * 60)
    rules = "attributes: {StationName: {replace: '{SeriesDescription}'}, SeriesDescription: keep}\n"
    found = doubt(rules, long)
    assert (found.reason, found.where) == (Reason.WRONG_VR, "(0008,1010)")
    date = doubt("attributes: {StudyDate: {substitute: {'(.*)': '\\1 x'}}}\n", source(StudyDate="20040101"))
    assert (date.reason, date.where) == (Reason.WRONG_VR, "(0008,0020)")


def test_a_substitution_cannot_bring_a_name_back() -> None:
    """What stays of a value by a pattern is searched by the gate like all that stays."""
    found = doubt(
        "attributes: {StudyDescription: {substitute: {'(.*) (.*)': '\\2'}}}\n", source(StudyDescription="CT Zwetschge")
    )
    assert found.reason is Reason.RESIDUE


def test_other_character_sets() -> None:
    data_set = source(SpecificCharacterSet="ISO_IR 192", StudyDescription="Schädel von Karl")
    found = output("attributes: {StudyDescription: {substitute: {'(\\w+) von .*': '\\1'}}}\n", data_set)
    assert found.StudyDescription == "Schädel"


def test_large_instances_get_the_same() -> None:
    """The way of an instance that streams makes and adds the same values."""
    data_set = source(StationName="CT01", StudyDate="20040119")
    plan = plan_of(BASIC + "attributes: {StationName: hash, ClinicalTrialSiteID: {set: S}, StudyDate: {round: year}}\n")
    data = images.encode(data_set, ExplicitVRLittleEndian)
    received = Received(ORIGIN, CT, data_set.SOPInstanceUID, ExplicitVRLittleEndian)
    stream = Deidentifier(plan, KEYS).stream(received)
    parts = stream.feed(data)
    last, _ = stream.finish()
    whole = engine_output(plan, data, ExplicitVRLittleEndian, CT, data_set.SOPInstanceUID)
    assert b"".join(map(bytes, [*parts, *last])) == whole


def residue(rules: str, data_set: Dataset) -> bool:
    """Whether the gate withholds it."""
    try:
        output(rules, data_set)
    except Doubt as doubt:
        assert doubt.reason is Reason.RESIDUE
        return True
    return False


def test_what_is_left_of_a_text_is_searched_beside_a_term_that_is_a_name() -> None:
    rules = "attributes: {StudyDescription: {substitute: {'MR (.*)': '\\1'}}, BodyPartExamined: keep}\n"
    for name, description, withheld in (
        ("Hand^Otto", "MR Hand rechts", True),
        ("Hand^Otto", "MR rechts", False),
        ("Fuss^Otto", "MR Hand rechts", False),
    ):
        data_set = source(PatientName=name, StudyDescription=description, BodyPartExamined="HAND")
        assert residue(rules, data_set) is withheld


def test_what_a_template_puts_together_is_searched() -> None:
    """Two values that stay, and that name the patient only side by side."""
    rules = "attributes: {InstitutionName: {replace: '{FilterType}{ConvolutionKernel}'}, ConvolutionKernel: keep}\n"
    added = "attributes: {ClinicalTrialSiteID: {set: '{FilterType}{ConvolutionKernel}'}, ConvolutionKernel: keep}\n"
    for chosen in (rules, added):
        for name, withheld in (("Zwetschge^Karl", True), ("Quitte^Karl", False)):
            data_set = source(PatientName=name, InstitutionName="Mercy", FilterType="ZWET", ConvolutionKernel="SCHGE")
            assert residue(chosen, data_set) is withheld


def test_a_uid_where_the_rules_make_a_text_has_no_dummy() -> None:
    """Clinical Trial Sponsor Name is Type 1, and a text."""
    trial = source()
    trial.add_new(0x00120010, "UI", "1.2.826.77")
    found = doubt("attributes: {ClinicalTrialSponsorName: hash}\n", trial)
    assert (found.reason, found.where) == (Reason.WRONG_VR, "(0012,0010)")
    sent = output("attributes: {ClinicalTrialSponsorName: {vocabulary: [Acme]}}\n", trial)
    assert text(sent, "ClinicalTrialSponsorName") == ""


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_the_key_uids_are_kept_by_the_option_alone(keyword: str) -> None:
    with pytest.raises(RulesError, match=r"use uid, or options: \[retain_uids\]"):
        plan_of(BASIC + f"attributes: {{{keyword}: keep}}\n")
    for wide in ("'(0020,xxxx)'", "'(0008,xxxx)'", "/UID$/", "VR:UI"):
        sent = output(f"attributes: {{{wide}: keep}}\n", source())
        assert str(sent[keyword].value).startswith("2.25.")
