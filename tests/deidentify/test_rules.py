"""Rules files: a corpus of bad ones with the error each must give, and what good ones compile to."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.deidentify import rules
from dicomnode.deidentify.plan import Action, Plan, key_of
from dicomnode.errors import RulesError

CT = "1.2.840.10008.5.1.4.1.1.2"
BASIC = Path(__file__).parents[2] / "rules" / "basic.yaml"
DESCRIPTORS = "profile: basic\noptions: [clean_descriptors]\n"
MODIFIED = "profile: basic\noptions: [retain_longitudinal_modified_dates]\n"

BAD = {
    "": "1: the file is empty; add: profile: basic",
    "options: []": "1: the key 'profile' is missing; add: profile: basic",
    "profile: basic\noptoins: []": "2: unknown key 'optoins'; did you mean 'options'?",
    "burned-in: {reason: x, when: []}": "1: unknown key 'burned-in'; rules about pixels hold by themselves; "
    "further ones stand under suspicious_pixels: rules",
    "profile: full": "1: unknown profile 'full'; use basic",
    "profile: [basic]": "1: a single word is expected here",
    "- profile": "1: the rules must be keys with values; write: key: value",
    "profile: basic\nprofile: basic": "2: 'profile' is there twice; keep one of the two",
    "profile: basic\noptions: retain_uids": "2: options must be a list; write: options: [...]",
    "profile: basic\noptions: [retain_uid]": "2: unknown option 'retain_uid'; did you mean 'retain_uids'?",
    "profile: basic\noptions:\n  - clean_descripters": "3: unknown option 'clean_descripters'; "
    "did you mean 'clean_descriptors'?",
    "profile: basic\ndescriptors: {words: [Ultravist]}": "2: 'descriptors' says what stays of descriptions; "
    "add option clean_descriptors",
    DESCRIPTORS + "descriptors: {word: [x]}": "3: unknown key 'word'; did you mean 'words'?",
    DESCRIPTORS + "descriptors: {words: [two words]}": "3: 'two words' is no word; put whole texts under vocabulary",
    DESCRIPTORS + "descriptors: {vocabulary: ['-']}": "3: '-' is no word; put whole texts under vocabulary",
    "profile: basic\noptions: [retain_longitudinal_full_dates, retain_longitudinal_modified_dates]": "2: full and "
    "modified dates exclude each other; choose one (PS3.15 E.3.6)",
    "profile: basic\ntemplates:\n  patientid: x": "3: unknown template 'patientid'; did you mean 'patient_id'?",
    "profile: basic\ntemplates:\n  patient_id: ANON": "3: template patient_id: it must have {hash} or {hash:N} once; "
    "write for example: '{hash:10}'",
    "profile: basic\ntemplates:\n  accession: 'ACCESSION-{hash:10}'": "3: template accession: the result is longer "
    "than 16 characters; write for example: '{hash:10}'",
    "profile: basic\ntemplates:\n  patient_id: '{hash:3}'": "3: template patient_id: the hash must have 8 to 52 "
    "characters; write for example: '{hash:10}'",
    "profile: basic\ntemplates:\n  patient_id: ''": "3: template patient_id: a patient needs an ID; "
    "write for example: '{hash:10}'",
    "profile: basic\nattributes:\n  StudyDescripton: keep": "3: unknown attribute 'StudyDescripton'; "
    "did you mean 'StudyDescription'?",
    "profile: basic\nattributes:\n  StudyDescription: kep": "3: unknown action 'kep'; did you mean 'keep'?",
    "profile: basic\nattributes:\n  PatientName: keep": "3: 'PatientName: keep' is not possible; "
    "it is never kept (PS3.15 E.2)",
    "profile: basic\nattributes:\n  PatientID: remove": "3: 'PatientID: remove' is not possible; "
    "its pseudonym is set by templates: patient_id",
    "profile: basic\nattributes:\n  SOPInstanceUID: remove": "3: 'SOPInstanceUID: remove' is not possible; "
    "an instance must have it: use uid, or options: [retain_uids], which keeps UIDs",
    'profile: basic\nattributes:\n  "(0009,1001)": keep': "3: '(0009,1001): keep' is not possible; "
    "name the creator of its block, as in (0009,xx01,GEMS_IDEN_01)",
    "profile: basic\ndates: {shift: days}": "2: 'dates' says how dates are moved, but they are not; "
    "add option retain_longitudinal_modified_dates",
    MODIFIED + "dates:\n  shift: day": "4: unknown shift 'day'; did you mean 'days'?",
    MODIFIED + "dates:\n  range: 29": "4: range must be 30 to 36500 days; write: range: 365",
    MODIFIED + "dates:\n  range: all": "4: range must be 30 to 36500 days; write: range: 365",
    MODIFIED + "dates:\n  rang: 365": "4: unknown key 'rang'; did you mean 'range'?",
    MODIFIED + "attributes: {StudyDate: keep}": "3: 'StudyDate: keep' is not possible; beside moved dates it would "
    "tell by how much (retain_longitudinal_modified_dates)",
    "profile: basic\nattributes:\n  PixelData: remove": "3: 'PixelData: remove' is not possible; "
    "it is not for the rules to decide",
    "profile: basic\nattributes:\n  StudyDate: uid": "3: 'StudyDate: uid' is not possible; its VR is DA, not UI",
    "profile: basic\nattributes:\n  StudyDate: keep\n  (0008,0020): remove": "4: '(0008,0020)' is there twice; "
    "keep one of the two",
    "profile: basic\nattributes:\n  ProcedureCodeSequence: dummy": "3: 'ProcedureCodeSequence: dummy' is not "
    "possible; there is no replacement for this sequence; use remove or empty",
    "profile: basic\nwithhold: [CTImageStorag]": "2: unknown SOP class 'CTImageStorag'; did you mean 'CTImageStorage'?",
    "profile: basic\naccept: [EncapsulatedPDF]": "2: unknown SOP class 'EncapsulatedPDF'; "
    "did you mean 'EncapsulatedPDFStorage'?",
    **{
        f"profile: basic\nattributes:\n  {line}": f"3: {error}"
        for line, error in {
            "StationName: replace": "unknown action 'replace'; replace needs an argument: {replace: '{project}'}",
            "StationName: {replac: x}": "unknown action 'replac' with an argument; did you mean 'replace'?",
            "StationName: {hash: 8, replace: x}": "an attribute has one action; write for example: {hash: 12}",
            "StationName: {hash: 3}": "a hash has 8 to 16 characters; write: hash: 10",
            "StationName: {hash: 20}": "a hash has 8 to 16 characters; write: hash: 10",
            "StudyDate: hash": "'StudyDate: hash' is not possible; its VR is DA, and the result could not be one",
            "Rows: {replace: x}": "'Rows: replace' is not possible; its VR is US, and the result could not be one",
            "StationName: shift": "'StationName: shift' is not possible; its VR is SH, no date",
            "StudyDate: {shift: 0}": "shift must be a number of days up to 36500, not 0; write: shift: -30",
            "Modality: clean": "'Modality: clean' is not possible; its VR is CS, no description",
            "StudyDate: {round: 5}": "'StudyDate: round' is not possible; its VR is DA: use month or year",
            "StudyDate: {round: moth}": "unknown unit 'moth'; use month or year, hour, or a number as in round: 5",
            "PatientSex: {round: 5}": "'PatientSex: round' is not possible; its VR is CS, which cannot be rounded",
            "StationName: {replace: '{projet}'}": "unknown placeholder '{projet}'; did you mean 'project'?",
            "StationName: {replace: '{Rows}'}": "'{Rows}' cannot be in this template; its VR is US",
            "StationName: {replace: '{StationName}'}": "'{StationName}' cannot be in this template; "
            "it would be its own template",
            "StationName: {replace: 'Zürich'}": "template 'Zürich': only printable ASCII without \\ { }; "
            "write it plainly",
            "StationName: {replace: 'longer than it may be'}": "'longer than it may be' cannot be a value of VR SH; "
            "see PS3.5 section 6.2",
            "StudyDate: {replace: today}": "'today' cannot be a value of VR DA; see PS3.5 section 6.2",
            "StationName: {set: '{hash}'}": "set cannot use {hash}: there may be no value; use replace",
            "/Station/: {set: x}": "'/Station/: set' is not possible; only a single attribute of the top level can be "
            "set; use replace",
            "Rows: {set: '5'}": "'Rows: set' is not possible; its VR is US, and the result could not be one",
            "StationName: {substitute: {'(': x}}": "'(: x' is no substitution; missing ), unterminated subpattern at "
            "position 0",
            "StationName: {substitute: {'a': '\\1'}}": "'a: \\1' is no substitution; invalid group reference 1 at "
            "position 1",
            "StationName: {substitute: {}}": "substitute has no pattern; write: substitute: {'CT-(\\d+)': '\\1'}",
            "StationName: {vocabulary: []}": "vocabulary is empty; write: vocabulary: [HEAD, NECK]",
            "PatientSex: {code: {Male: male}}": "'male' cannot be a value of VR CS; see PS3.5 section 6.2",
            "PatientSex: {code: {}}": "the table of codes is empty; write: code: {Male: M, Female: F}",
            "ProcedureCodeSequence: {code: [A, B]}": "a code has value, scheme and meaning; "
            "write: code: [T-D1100, SRT, Head]",
            "ProcedureCodeSequence: {code: {a: b}}": "'ProcedureCodeSequence: code' is not possible; "
            "its VR is SQ, and the result could not be one",
            "PatientName: {vocabulary: [x]}": "'PatientName: vocabulary' is not possible; it is never kept "
            "(PS3.15 E.2)",
            "VR:PM: remove": "unknown VR 'PM'; write for example: VR:PN",
            "/(/: remove": "'(' is no regular expression; missing ), unterminated subpattern at position 0",
            "//: remove": "'//' is no regular expression; write for example: /^Referring/",
            "'(0008,xx01,ACME)': keep": "group 0008 is not private; private groups have odd numbers",
            "'(0009,xx01,ACME)': hash": "'hash' is not possible for private attributes; use keep or remove",
            "RequestAttributesSequense > StudyDescription: keep": "unknown attribute 'RequestAttributesSequense'; "
            "did you mean 'RequestAttributesSequence'?",
            "StudyDate: {shift: -30}\noptions: [retain_longitudinal_modified_dates]": "'StudyDate: shift' is not "
            "possible; beside moved dates it would tell by how much (retain_longitudinal_modified_dates)",
            "StudyDate: shift\noptions: [retain_longitudinal_full_dates]": "'StudyDate: shift' is not possible; beside "
            "dates that stay it would tell by how much (retain_longitudinal_full_dates)",
            "VR:DA: keep\noptions: [retain_longitudinal_modified_dates]": "'VR:DA: keep' is not possible; beside "
            "moved dates it would tell by how much (retain_longitudinal_modified_dates)",
        }.items()
    },
    **{
        f"profile: basic\n{line}": f"2: {error}"
        for line, error in {
            "suspicious_pixels: {off: [all]}": "'all' is no rule in a list; write: off: all",
            "aggregate: series": "'aggregate' says what fails as a whole, but nothing is asked; add accept_if",
            "accept_if: {Modality: {inn: CT}}": "unknown test 'inn'; did you mean 'in'?",
            "accept_if: {Modality: {in: [CT], values: each}}": "values cannot be 'each'; use any or all",
            "accept_if: {SliceThickness: {above: a}}": "'a' cannot be compared with a value of VR DS; write a number",
            "accept_if: {PatientAge: {below: a}}": "'a' cannot be compared with a value of VR AS; write an age: 065Y",
            "accept_if: {SliceThickness: {above: [1, 2]}}": "above has several values; give one",
            "accept_if: {PixelData: {present: true}}": "nothing can be asked of 'PixelData'; its VR is OW, not a text",
            "withhold_if: {Modality: {in: [SR]}}": "withhold_if must be a list; write: withhold_if: [...]",
            "include: none.yaml": "the included file {folder}/none.yaml does not exist; did you mean 'x.yaml'?",
            "include: x.yaml": "x.yaml includes itself; take one of the includes out",
        }.items()
    },
    "profile: basic\naccept_if: {Modality: {in: [CT]}}\naggregate: serie": "3: unknown aggregate 'serie'; "
    "did you mean 'series'?",
    "profile: basic\n  options: []": "2: not valid YAML: mapping values are not allowed here; "
    "check indentation and quotes",
}


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_refused_with_line_and_nearest_word(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RulesError) as caught:
        rules.load(path)
    assert str(caught.value) == f"{path}:{BAD[text].replace('{folder}', str(tmp_path))}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", rules.tables.OPTIONS)
def test_every_option_is_honoured(tmp_path: Path, option: str) -> None:
    plan = rules.load(write(tmp_path, f"profile: basic\noptions: [{option}]\n"))
    assert plan.options == {option}
    assert len(plan.methods.codes) == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="does not exist"):
        rules.load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"profile: b\xe4sic\n")
    with pytest.raises(RulesError, match=r"latin.yaml:1: the file is not UTF-8 text; save it as UTF-8"):
        rules.load(tmp_path / "latin.yaml")
    with pytest.raises(RulesError, match="is a folder; name a file in it"):
        rules.load(tmp_path)


def step(plan: Plan, tag: int, vr: str, sop_class: str = CT) -> Action:
    return plan.for_class(sop_class)[key_of(tag, vr)].action


def test_overrides_hold_at_every_depth(tmp_path: Path) -> None:
    text = 'profile: basic\nattributes:\n  StudyDescription: keep\n  "(0018,0015)": remove\n  StudyDate: KEEP\n'
    plan = rules.load(write(tmp_path, text))
    assert step(plan, 0x00081030, "LO") is Action.KEEP
    assert step(plan, 0x00180015, "CS") is Action.REMOVE
    assert step(plan, 0x00080020, "DA") is Action.CHECK
    nested = plan.for_class(CT).inside(0x00081115).inside(0x0008114A)
    assert nested[key_of(0x00081030, "LO")].action is Action.KEEP


def test_included_files_come_first(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        "profile: basic\noptions: [retain_uids, retain_longitudinal_full_dates]\nwithhold: [RawDataStorage]\n"
        "templates: {patient_id: 'A-{hash:10}', accession: 'B{hash:8}'}\n"
        "attributes: {StudyDescription: keep, StationName: remove}\n"
    )
    plan = rules.load(
        write(
            tmp_path,
            "include: site.yaml\noptions: [retain_longitudinal_modified_dates]\nwithhold: [CTImageStorage]\n"
            "templates: {accession: 'C{hash:8}'}\nattributes: {StudyDescription: remove}\n",
        )
    )
    assert plan.options == {"retain_uids", "retain_longitudinal_modified_dates"}
    assert step(plan, 0x00081030, "LO") is Action.REMOVE
    assert step(plan, 0x00081010, "SH") is Action.REMOVE
    assert (plan.templates["patient_id"], plan.templates["accession"]) == ("A-{hash:10}", "C{hash:8}")
    assert plan.refuses(CT) and plan.refuses("1.2.840.10008.5.1.4.1.1.66")


def test_an_error_names_the_included_file(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("profile: basic\nattributes:\n  StationNam: keep\n")
    with pytest.raises(RulesError) as caught:
        rules.load(write(tmp_path, "include: [site.yaml]\n"))
    assert str(caught.value).startswith(f"{tmp_path}/site.yaml:3: unknown attribute 'StationNam'")


def test_files_that_include_each_other(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("include: x.yaml\n")
    with pytest.raises(RulesError, match=r"other.yaml:1: x.yaml includes itself"):
        rules.load(write(tmp_path, "profile: basic\ninclude: other.yaml\n"))


@pytest.mark.parametrize(
    ("text", "codes", "remark"),
    [
        (
            "options: [retain_device_identity]\nattributes:\n  StationName: remove",
            ["113100"],
            "x.yaml:4: remove StationName contradicts retain_device_identity: code 113109 is not claimed",
        ),
        (
            "attributes:\n  StudyDescription: {vocabulary: [x]}",
            [],
            "x.yaml:3: vocabulary StudyDescription is more than the Basic Profile lets stay: no code of CID 7050 is "
            "claimed",
        ),
        (
            "options: [retain_device_identity]\nattributes:\n  StationName: keep",
            [],
            "x.yaml:4: keep StationName is more than the Basic Profile lets stay: no code of CID 7050 is claimed; "
            "retain_device_identity keeps it without this line",
        ),
        (
            "options: [retain_longitudinal_full_dates]\nattributes:\n  VR:DA: remove",
            ["113100"],
            "x.yaml:4: remove InstanceCreationDate and 53 more contradicts retain_longitudinal_full_dates: "
            "code 113106 is not claimed",
        ),
        (
            "attributes:\n  (0009,xx01,ACME): keep",
            [],
            "x.yaml:3: keep private attributes of ACME is more than the Basic Profile lets stay: no code of CID 7050 "
            "is claimed",
        ),
        (
            "attributes:\n  (60xx,3000): keep",
            [],
            "x.yaml:3: keep OverlayData is more than the Basic Profile lets stay: no code of CID 7050 is claimed",
        ),
        (
            "attributes:\n  (50xx,xxxx): keep",
            [],
            "x.yaml:3: keep (5000,0000) is more than the Basic Profile lets stay: no code of CID 7050 is claimed",
        ),
        (
            "attributes:\n  /^Overlay/: keep",
            [],
            "x.yaml:3: keep OverlayDate and 3 more is more than the Basic Profile lets stay: no code of CID 7050 is "
            "claimed",
        ),
        ("attributes:\n  StationName: {replace: x}", ["113100"], ""),
        ("options: [clean_descriptors]\nattributes:\n  StudyDescription: remove", ["113100", "113105"], ""),
    ],
)
def test_what_contradicts_a_claim_is_named(tmp_path: Path, text: str, codes: list[str], remark: str) -> None:
    plan = rules.load(write(tmp_path, f"profile: basic\n{text}\n"))
    assert [code for code, _ in plan.methods.codes] == codes
    assert plan.remarks == ((remark,) if remark else ())


def test_a_kept_identifier_costs_the_claim(tmp_path: Path) -> None:
    strict = rules.load(write(tmp_path, "profile: basic\nattributes: {BodyPartExamined: remove}\n"))
    assert strict.methods.codes[0][0] == "113100"
    weaker = rules.load(write(tmp_path, "profile: basic\nattributes: {StudyDescription: keep}\n"))
    assert weaker.methods.codes == ()
    assert weaker.methods.text[0] == "PS3.15 2026d Basic Profile with exceptions"
    assert weaker.declared_codes([], implicit=False) == b""


def test_options_are_declared(tmp_path: Path) -> None:
    text = "profile: basic\noptions: [retain_uids, retain_longitudinal_full_dates]\n"
    plan = rules.load(write(tmp_path, text))
    assert [code for code, _ in plan.methods.codes] == ["113100", "113110", "113106"]
    assert plan.methods.longitudinal == "UNMODIFIED"
    assert plan.dates == "full"
    assert plan.retain_uids
    assert step(plan, 0x0020000D, "UI") is Action.FORM
    assert step(plan, 0x00080020, "DA") is Action.CHECK
    assert step(plan, 0x00100030, "DA") is Action.EMPTY


def test_the_digest_covers_what_decides_and_nothing_else(tmp_path: Path) -> None:
    basic = rules.load(write(tmp_path, "profile: basic\n"))
    assert rules.load(BASIC).digest == basic.digest
    assert rules.load(write(tmp_path, "# said\noptions: []\nprofile: basic\n")).digest == basic.digest
    others = [
        "attributes: {StationName: hash}",
        "attributes: {StationName: {hash: 11}}",
        "attributes: {VR:PN: remove}",
        "attributes: {/Station/: remove}",
        "attributes: {'(0009,xx01,ACME)': keep}",
        "attributes: {ClinicalTrialSiteID: {set: x}}",
        "attributes: {ClinicalTrialSiteID: {replace: x}}",
        "attributes: {StudyDate: shift}",
        "attributes: {StudyDate: shift}\ndates: {days: 5}",
        "attributes: {StudyDate: shift}\ndates: {range: 100}",
        "accept_if: {Modality: {in: [CT]}}",
        "accept_if: {Modality: {in: [CT]}}\naggregate: series",
        "withhold_if: [{Modality: {in: [CT]}}]",
        "options: [retain_uids]",
        "templates: {patient_id: '{hash:11}'}",
        "attributes: {StudyDescription: keep}",
        "withhold: [CTImageStorage]",
        "accept: [RawDataStorage]",
    ]
    digests = {rules.load(write(tmp_path, f"profile: basic\n{other}\n")).digest for other in others}
    assert len(digests | {basic.digest}) == len(others) + 1


def test_classes_are_withheld_and_accepted(tmp_path: Path) -> None:
    plan = rules.load(BASIC)
    assert not plan.refuses(CT)
    assert not plan.refuses("1.2.840.10008.5.1.4.1.1.6")
    refused = ["", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.1.1"]
    assert all(plan.refuses(sop_class) for sop_class in refused)
    text = "profile: basic\naccept: [RawDataStorage]\nwithhold: [1.2.840.10008.5.1.4.1.1.2, MRImageStorage]\n"
    changed = rules.load(write(tmp_path, text))
    assert changed.refuses(CT)
    assert changed.refuses("1.2.840.10008.5.1.4.1.1.4")
    assert not changed.refuses("1.2.840.10008.5.1.4.1.1.66")


def test_declared_text_keeps_only_what_a_node_wrote() -> None:
    plan = rules.load(BASIC)
    once = plan.declared_text("")
    assert once == "\\".join(plan.methods.text)
    assert plan.declared_text(once) == once
    assert plan.declared_text("by Dr. Zwetschgenbaum") == once
    earlier = "PS3.15 2026d Retain UIDs Option\\dicomnode rules 0123456789abcdef"
    assert plan.declared_text(earlier + " ") == earlier + "\\" + once


def test_declared_codes_keep_known_ones() -> None:
    plan = rules.load(BASIC)
    codes = plan.declared_codes(["113105", "113100", "ZWETSCHGE"], implicit=False)
    assert b"113105" in codes
    assert codes.count(b"113100") == 1
    assert b"ZWETSCHGE" not in codes
