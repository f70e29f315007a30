"""Scripts of CTP's anonymiser as rules."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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
        ("00081030", "@select(){@keep()}{@remove()}", "keep"),
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
        ("00080060", '@if(Modality,equals,"CT"){@keep()}{@remove()}', True, "depends on a value"),
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
