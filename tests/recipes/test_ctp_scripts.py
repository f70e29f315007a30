"""Scripts of CTP's anonymiser as rules."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
import yaml
from pydicom.data import get_testdata_file

from dicomnode.cli import main
from dicomnode.errors import RulesError
from dicomnode.recipes import Converted, convert


def made(*lines: str) -> Converted:
    return convert("<script>\n" + "\n".join(lines) + "\n</script>", Path("anonymizer.script"))


def element(tag: str, value: str) -> str:
    return f'<e en="T" t="{tag}" n="Name">{value}</e>'


PARAMS = ('<p t="DATEINC">-3210</p>', '<p t="TRIAL">ABC</p>', '<p t="UIDROOT">1.2.3</p>')


@pytest.mark.parametrize(
    ("tag", "value", "expected"),
    [
        ("00081010", "@remove()", "remove"),
        ("00080090", "@empty()", "empty"),
        ("00080070", "@keep()", "keep"),
        ("00081140", "@process()", "keep"),
        ("00080060", "@require()", "keep"),
        ("00080014", "@hashuid(@UIDROOT,this)", "uid"),
        ("00080020", "@incrementdate(this,@DATEINC)", {"shift": -3210}),
        ("00080020", "@hashdate(this,PatientID)", "shift"),
        ("00080020", "@modifydate(this,*,*,1)", {"round": "month"}),
        ("00080020", "@modifydate(this,*,1,1)", {"round": "year"}),
        ("00101010", "@round(this,5)", {"round": 5}),
        ("00081030", "@hash(this,16)", {"hash": 16}),
        ("00081030", "@hash(this,4)", {"hash": 8}),
        ("00081030", "@hash(this)", "hash"),
        ("00120040", "@hashptid(@SITEID,PatientID)", "pseudonym"),
        ("00120020", "@always()@param(@TRIAL)", {"set": "ABC"}),
        ("00120020", "@param(@TRIAL)", {"replace": "ABC"}),
        ("00120021", "Trial @param(@TRIAL) of @value(Modality)", {"replace": "Trial ABC of {Modality}"}),
        ("00081030", "@contents(SeriesDescription)", {"replace": "{SeriesDescription}"}),
        ("00081030", "@truncate(this,4)", {"substitute": {r"([\s\S]{0,4})[\s\S]*": r"\1"}}),
        ("00081030", "@if(this,isblank){@remove()}{Removed}", {"replace": "Removed"}),
        ("00081030", "@select(){@keep()}{@remove()}", "remove"),
        ("00081030", "@select(){@keep()}{@keep()}", "keep"),
        ("00081030", '@if(Modality,equals,"CT"){@keep()}{@empty()}', "empty"),
        ("00081030", '@if(Modality,equals,"CT"){@keep()}{@hash(this,16)}', {"hash": 16}),
        ("00081030", '@if(Modality,equals,"CT"){@keep()}{@call(plugin)}', "remove"),
        ("00081030", '@if(Modality,equals,"CT"){@if(this,contains,"}"){@keep()}{@keep()}}{@remove()}', "remove"),
        ("00081030", "@if(Modality,isblank){@remove()}{@keep()}", "remove"),
        ("0020000d", '@if(Modality,equals,"CT"){@keep()}{@hashuid(@UIDROOT,this)}', "uid"),
        ("00081030", "@blank(3)", "empty"),
    ],
)
def test_elements(tag: str, value: str, expected: object) -> None:
    found = made(*PARAMS, element(tag, value))
    assert list(yaml.safe_load(found.text)["attributes"].values()) == [expected]
    assert not found.lost


def test_pseudonyms() -> None:
    found = made(
        *PARAMS,
        element("00100010", "@hashname(this,6,2)"),
        element("00100020", "@param(@TRIAL)-@hashptid(@SITEID,this,12)"),
        element("00080050", "@hash(this,16)"),
        element("00200010", "@remove()"),
    )
    assert yaml.safe_load(found.text)["templates"] == {
        "patient_name": "{hash:10}",
        "patient_id": "ABC-{hash:12}",
        "accession": "{hash:16}",
        "study_id": "",
    }


def test_conditions_that_quarantine() -> None:
    found = made(
        element("00080008", '@if(ImageType,contains,"SCREEN SAVE"){@quarantine()}{@keep()}'),
        element("00080060", "@if(this,isblank){@quarantine()}{}"),
        element("00081030", '@if(StudyDescription,matches,".*test.*"){@skip()}{@remove()}'),
    )
    said = yaml.safe_load(found.text)
    assert said["withhold_if"] == [
        {"ImageType": {"substring": "SCREEN SAVE"}},
        {"Modality": {"present": "false"}},
        {"StudyDescription": {"matches": [".*test.*"]}},
    ]
    assert said["attributes"] == {"ImageType": "keep", "StudyDescription": "remove"}


def test_groups_and_removals() -> None:
    found = made(
        '<k en="T" t="0018">Keep group 0018</k>',
        '<k en="F" t="0020">Keep group 0020</k>',
        '<k en="T" t="safeprivateelements">Keep safe private elements</k>',
        '<r en="T" t="curves">Remove curves</r>',
        '<r en="T" t="overlays">Remove overlays</r>',
        '<r en="T" t="privategroups">Remove private groups</r>',
        '<r en="T" t="unspecifiedelements">Remove unchecked elements</r>',
        '<e en="F" t="00081010" n="StationName">@keep()</e>',
    )
    said = yaml.safe_load(found.text)
    assert said["options"] == ["retain_safe_private"]
    assert said["attributes"] == {
        "(0018,xxxx)": "keep",
        "(50xx,xxxx)": "remove",
        "(60xx,xxxx)": "remove",
        "/^/": "remove",
    }


@pytest.mark.parametrize(
    ("tag", "value", "lost", "why"),
    [
        ("00100010", "@keep()", False, "never kept"),
        ("00080016", "@keep()", False, "without it nobody can read the instance"),
        ("00120062", "@always()YES", False, "written without being mentioned"),
        ("00131010", "@param(@PROJECTNAME)", False, "private attributes are not written"),
        ("00080020", "@date()", False, "a run's date is never written"),
        ("00080020", "@incrementdate(this,@NOWHERE)", False, "is no number of days"),
        ("00080020", "@modifydate(this,2000,*,*)", False, "rounded to the month or to the year only"),
        ("00100020", "SUBJECT", False, "all patients would be SUBJECT"),
        ("00081030", '@if(Modality,equals,"CT"){@keep()}{@remove()}', False, "depends on a value"),
        ("00080060", '@if(Modality,equals,"CT"){@keep()}{@remove()}', False, "the strictest holds for all: remove"),
        ("00080060", "@call(plugin)", True, "the profile's treatment holds"),
        ("00080060", "@uppercase(this)", False, "case is not changed"),
        ("00100020", "@hashptid(@SITEID,this)", False, "one ID at two sites of a project is one patient"),
        ("00080060", "@quarantine()", True, "all instances would be withheld"),
        ("00280010", '@if(Rows,greaterthan,"512"){@quarantine()}{@keep()}', True, "cannot be carried over"),
        ("0008103e", "@encrypt(this,key)", False, "takes the place of @encrypt"),
        ("0008103e", "@call(plugin)", False, "programs are not called"),
    ],
)
def test_what_is_not_carried_over_is_said(tag: str, value: str, lost: bool, why: str) -> None:
    notes = [note for note in made(element(tag, value)).notes if note.source.line]
    assert (notes[0].source.line, notes[0].lost) == (2, lost)
    assert why in notes[0].why


KEPT = ('<k en="T" t="0008">Keep group 8</k>', '<k en="T" t="0018">Keep group 18</k>')


@pytest.mark.parametrize(
    ("tag", "keyword", "value", "expected"),
    [
        ("00181000", "DeviceSerialNumber", '@if(Modality,equals,"CT"){@remove()}{@keep()}', "remove"),
        ("00181000", "DeviceSerialNumber", "@call(plugin)", "remove"),
        ("00181000", "DeviceSerialNumber", "@user()", "remove"),
        ("00181000", "DeviceSerialNumber", '@if(this,contains,"X"){@quarantine()}{}', "remove"),
        ("00181012", "DateOfSecondaryCapture", "@date()", "remove"),
        ("00080050", "AccessionNumber", "@if(this,contains,X){@hash(this)}{@keep()}", "empty"),
        ("00080050", "AccessionNumber", "SITE-@hash(this,12)", {"replace": "SITE-{hash:12}"}),
        ("00080050", "AccessionNumber", "@remove()", "empty"),
    ],
)
def test_no_group_that_is_kept_reaches_what_an_element_says(
    tag: str, keyword: str, value: str, expected: object
) -> None:
    for lines in ((*KEPT, element(tag, value)), (element(tag, value), *KEPT)):
        found = made(*lines)
        assert yaml.safe_load(found.text)["attributes"][keyword] == expected
        assert not any("the profile's treatment holds" in note.why for note in found.notes)
        assert not found.lost


def test_a_kept_group_lets_no_identifier_out_of_which_the_script_says_more(tmp_path: Path) -> None:
    image = get_testdata_file("CT_small.dcm")
    assert isinstance(image, str)
    source = pydicom.dcmread(image)
    source.DeviceSerialNumber, source.AccessionNumber = "SN-IDENT-77", "ACC-IDENT-78"
    source.save_as(tmp_path / "source.dcm")
    lines = (
        element("00181000", '@if(Modality,equals,"CT"){@remove()}{@keep()}'),
        element("00080050", "@hash(this,16)"),
    )
    (tmp_path / "rules.yaml").write_text(made(*KEPT, *lines).text)
    words = ["deidentify", str(tmp_path / "source.dcm"), str(tmp_path / "out"), "--rules", str(tmp_path / "rules.yaml")]
    assert main(words) == 0
    (sent,) = (pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm"))
    assert sent.ManufacturerModelName == source.ManufacturerModelName
    assert "DeviceSerialNumber" not in sent
    assert len(sent.AccessionNumber) == 16
    assert sent.AccessionNumber != source.AccessionNumber


def test_properties() -> None:
    text = (
        "param.DATEINC=-10\nset.[0008,0020]StudyDate=@incrementdate(this,@DATEINC)\n"
        "#set.[0008,1010]StationName=@keep()\nset.[0008,0080]InstitutionName=@remove()\n"
        "keep.group18=\n#remove.curves=\nremove.overlays=\n"
    )
    said = yaml.safe_load(convert(text, Path("anonymizer.properties")).text)
    assert said["attributes"] == {
        "StudyDate": {"shift": -10},
        "InstitutionName": "remove",
        "(0018,xxxx)": "keep",
        "(60xx,xxxx)": "remove",
    }


def test_damaged_xml_is_refused_with_its_line() -> None:
    with pytest.raises(RulesError, match=r"x\.script: line 2: the script is no XML"):
        convert("<script>\n<e en=></script>", Path("x.script"))
