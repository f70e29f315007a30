"""Structured content: Table E.3.4-1 row by row, trees that stay valid, and nothing that survives in any item."""

from __future__ import annotations

import re
from datetime import date, timedelta

import documents
import images
import pydicom
import pytest
from compare import BASIC, KEYS, ORIGIN, differences, engine_output, expected_output, oracle_of, plan_of, read
from documents import IMAGE, ROOT, by_reference, item, report
from oracle_facts import facts
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.difference import changes
from dicomnode.deidentify.pseudonyms import Pseudonyms
from dicomnode.model import Doubt, Reason, Received

STRUCTURED = ("clean_structured_content",)
OPTIONS = [
    "retain_uids",
    "retain_device_identity",
    "retain_institution_identity",
    "retain_patient_characteristics",
    "retain_longitudinal_full_dates",
    "retain_longitudinal_modified_dates",
    "clean_descriptors",
]
SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian}
PLANTED = re.compile(
    rb"(?i)zwq[0-9]{5}|pflaume|quittenbaum|1\.2\.826\.0\.1\.3680043\.10\.1337[0-9.]*|(?<![0-9.])1911[01][0-9]{3}"
)
DAY = "19110203"
CHOSEN = dict(
    zip(OPTIONS, ["uids", "device", "institution", "patient", "full", "modified", "descriptors"], strict=True)
)


def both(source: Dataset, *options: str, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """The engine's output, once it is seen to be the oracle's."""
    output = encoded(source, *options, syntax=syntax)
    plan = plan_of(BASIC + f"options: [{', '.join(options)}]\n")
    expected = expected_output(oracle_of(plan, options=options), images.encode(source, syntax), syntax)
    assert differences(read(output), read(expected)) == []
    return read(output)


def encoded(source: Dataset, *options: str, syntax: str = ExplicitVRLittleEndian) -> bytes:
    plan = plan_of(BASIC + f"options: [{', '.join(options)}]\n")
    data = images.encode(source, syntax)
    return engine_output(plan, data, syntax, str(source.SOPClassUID), str(source.SOPInstanceUID))


def leaks(output: Dataset | bytes) -> set[bytes]:
    content = output if isinstance(output, bytes) else images.encode(output, ExplicitVRLittleEndian)
    return set(PLANTED.findall(content))


def value_for(kind: str, number: int) -> object:
    """A value that says who it is about; `number` is in it. No date is a date of birth in another item."""
    token, day = f"Zwq{number:05}", f"{date(1911, 2, 3) + timedelta(number % 300):%Y%m%d}"
    return {
        "TEXT": f"about {token}",
        "PNAME": f"{token}^Pflaume",
        "DATE": day,
        "DATETIME": f"{day}101112",
        "TIME": "101112.13",
        "UIDREF": f"{ROOT}.5.{number}",
        "CODE": "C0 99LOCAL " + token,
        "NUM": "47.11",
    }.get(kind, f"{ROOT}.6.{number}")


def rows() -> list[dict[str, str]]:
    return facts("sr_concepts.csv")


def every_row() -> Dataset:
    """A report with an item of each row of the table, in sections, each with an item below it."""
    items = []
    for number, row in enumerate(rows()):
        name = documents.code(row["value"], row["scheme"], "concept")
        below = item("TEXT", "99 99LOCAL note", f"below Zwq{10000 + number}", relation="HAS PROPERTIES")
        items.append(item(row["value_type"], name, value_for(row["value_type"], number), below))
    half = len(items) // 2
    sections = [item("CONTAINER", "121070 DCM Findings", None, *part) for part in (items[:half], items[half:])]
    return report(*sections)


def sections(output: Dataset) -> list[Dataset]:
    return [below for section in output.ContentSequence for below in section.ContentSequence]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_row(syntax: str) -> None:
    output = both(every_row(), *STRUCTURED, syntax=SYNTAXES[syntax])
    assert not leaks(output)
    staying = [(i.ConceptNameCodeSequence[0].CodeValue, i.ValueType) for i in sections(output)]
    assert staying == [(row["value"], row["value_type"]) for row in rows() if row["basic"] != "X"]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_row_under_each_option(option: str) -> None:
    output = both(every_row(), *STRUCTURED, option)
    staying = [(i.ConceptNameCodeSequence[0].CodeValue, i.ValueType) for i in sections(output)]
    column = CHOSEN[option]
    kept = [row for row in rows() if row["basic"] != "X" or column in row["options"].replace("=", " ").split()]
    assert staying == [(row["value"], row["value_type"]) for row in kept]
    texts = {i.TextValue for i in sections(output) if i.ValueType == "TEXT"} - {"Removed"}
    expected = [n for n, row in enumerate(rows()) if f"{column}=K" in row["options"] and row["value_type"] == "TEXT"]
    assert texts == {value_for("TEXT", number) for number in expected}


@pytest.mark.parametrize("first", OPTIONS)
@pytest.mark.parametrize("second", OPTIONS)
def test_every_row_under_options_in_pairs(first: str, second: str) -> None:
    if first < second and (first + second).count("longitudinal") != 2:
        both(every_row(), *STRUCTURED, first, second)


def test_dummies_are_valid_values() -> None:
    output = both(every_row(), *STRUCTURED)
    found = {i.ValueType: i for i in sections(output)}
    assert found["TEXT"].TextValue == "Removed" and found["PNAME"].PersonName == "Removed"
    assert (found["DATE"].Date, found["TIME"].Time, found["DATETIME"].DateTime) == (
        "19000101",
        "000000",
        "19000101000000",
    )
    assert found["UIDREF"].UID.startswith("2.25.")
    for kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        reference = found[kind].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID.startswith("2.25.")
        assert reference.ReferencedSOPClassUID in (documents.CT, documents.WAVEFORM)


KINDS = ["TEXT", "PNAME", "DATE", "DATETIME", "TIME", "UIDREF", "CODE", "NUM", "IMAGE", "COMPOSITE", "WAVEFORM"]


def chain(kinds: list[str], depth: int = 12) -> Dataset:
    """Items of every value type at every depth, under concepts that the table does not know."""
    below: list[Dataset] = []
    for level in range(depth):
        here = [item(kind, "1 99LOCAL own", value_for(kind, level)) for kind in kinds]
        below = [item("CONTAINER", "121070 DCM Findings", None, *here, *below)]
    return report(*below)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_nothing_survives_at_any_depth(syntax: str) -> None:
    output = both(chain(KINDS), *STRUCTURED, syntax=SYNTAXES[syntax])
    assert not leaks(output)
    depth = 0
    level = output.ContentSequence
    while level:
        assert len(level[0].ContentSequence) in (len(KINDS), len(KINDS) + 1)
        level = [below for below in level[0].ContentSequence if below.ValueType == "CONTAINER"]
        depth += 1
    assert depth == 12


def test_codes_of_public_schemes_stay_and_others_do_not() -> None:
    public = item("CODE", "363698007 SCT Finding Site", "10200004 SCT Liver")
    local = item("CODE", "363698007 SCT Finding Site", "1 99LOCAL Zwq00001")
    site, other = both(report(public, local), *STRUCTURED).ContentSequence
    assert site.ConceptCodeSequence[0].CodeMeaning == "Liver"
    assert other.ConceptCodeSequence[0].CodeMeaning == "Removed"


def test_known_words_stay_with_clean_descriptors() -> None:
    items = [
        item("TEXT", "121071 DCM Finding", "Liver normal"),
        item("TEXT", "1 99LOCAL own", "Liver normal"),
        item("TEXT", "121071 DCM Finding", "Liver of Zwq00001"),
        item("TEXT", "121030 DCM Subject ID", "Kidney"),
        item("TEXT", "111706 DCM Issuer of Parent Specimen Identifier", "Kidney"),
    ]
    output = both(report(*items), *STRUCTURED, "clean_descriptors")
    assert [i.TextValue for i in output.ContentSequence] == ["Liver normal", "Liver normal", "Removed", "Removed"]
    assert [i.TextValue for i in both(report(*items), *STRUCTURED).ContentSequence] == ["Removed"] * 4


def test_identifiers_as_numbers_or_codes_go() -> None:
    number = item("NUM", "121030 DCM Subject ID", "4711")
    coded = item("CODE", "121030 DCM Subject ID", "4711 SCT x")
    measured = item("NUM", "410668003 SCT Length", "47.11")
    output = both(report(number, coded, measured), *STRUCTURED)
    assert [i.ConceptNameCodeSequence[0].CodeValue for i in output.ContentSequence] == ["410668003"]


def test_document_attributes_and_template() -> None:
    output = both(report(item("NUM", "410668003 SCT Length", "1")), *STRUCTURED)
    observer = output.VerifyingObserverSequence[0]
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == ("Removed", "Removed")
    assert output.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    evidence = output.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid(IMAGE)
    codes = [code.CodeValue for code in output.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113104"]


def uid(original: str) -> str:
    return Pseudonyms(KEYS.pseudonym, {}).uid(original)


def test_references_resolve_in_the_study() -> None:
    output = both(report(item("IMAGE", None, IMAGE)), *STRUCTURED)
    assert output.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid(IMAGE)
    kept = both(report(item("IMAGE", None, IMAGE)), *STRUCTURED, "retain_uids")
    assert kept.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == IMAGE


GOES = item("TEXT", "121106 DCM Comment", "of Zwq00001", item("NUM", "410668003 SCT Length", "1"))
STAYS = item("NUM", "410668003 SCT Length", "1")


def positions(output: Dataset) -> list[list[int]]:
    found = []
    for one in output.ContentSequence:
        for below in one.get("ContentSequence", []):
            if "ReferencedContentItemIdentifier" in below:
                value = below.ReferencedContentItemIdentifier
                found.append([value] if isinstance(value, int) else list(value))
    return found


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_by_reference_follow_their_targets(syntax: str) -> None:
    pointing = item(
        "CODE",
        "121071 DCM Finding",
        "10200004 SCT Liver",
        by_reference(1, 2),
        by_reference(1, 1),
        by_reference(1, 1, 1),
        by_reference(1, 9),
        by_reference(1, 4),
        by_reference(1, 3, 8),
        by_reference(1),
    )
    output = both(report(GOES, STAYS, pointing, STAYS), *STRUCTURED, syntax=SYNTAXES[syntax])
    assert len(output.ContentSequence) == 3
    assert positions(output) == [[1, 1], [1, 3], [1]]


def test_a_reference_to_a_reference_that_goes_goes_too() -> None:
    pointing = item(
        "CODE",
        "121071 DCM Finding",
        "10200004 SCT Liver",
        by_reference(1, 2, 2),
        by_reference(1, 2, 3),
        by_reference(1, 1),
    )
    output = both(report(GOES, pointing), *STRUCTURED)
    assert positions(output) == [] and "ContentSequence" not in output.ContentSequence[0]


def test_a_broken_position_is_withheld() -> None:
    source = report(item("NUM", "410668003 SCT Length", "1", by_reference(1, 1)))
    data = images.encode(source, ExplicitVRLittleEndian).replace(b"\x40\0\x73\xdbUL", b"\x40\0\x73\xdbSL")
    plan = plan_of(BASIC + "options: [clean_structured_content]\n")
    with pytest.raises(Doubt) as caught:
        engine_output(plan, data, ExplicitVRLittleEndian, source.SOPClassUID, source.SOPInstanceUID)
    assert caught.value.reason is Reason.UNREADABLE


def test_coordinates_go_with_what_they_were_selected_from() -> None:
    gone = item("IMAGE", "111040 DCM Original Source", IMAGE, relation="SELECTED FROM")
    gone.ConceptNameCodeSequence = Sequence([documents.concept("121200 DCM Illustration of ROI")])
    stays = item("IMAGE", None, IMAGE, relation="SELECTED FROM")
    for kind in ("SCOORD", "TCOORD"):
        output = both(report(item(kind, None, None, gone), item(kind, None, None, gone, stays)), *STRUCTURED)
        assert [len(i.ContentSequence) for i in output.ContentSequence] == [1]


def test_an_emptied_container_stays_and_an_emptied_root_has_no_sequence() -> None:
    output = both(report(item("CONTAINER", "121070 DCM Findings", None, GOES)), *STRUCTURED)
    assert "ContentSequence" not in output.ContentSequence[0]
    assert "ContentSequence" not in both(report(GOES), *STRUCTURED)


def test_other_sequences_of_content_items() -> None:
    source = pydicom.dcmread(images.real("CT_small.dcm"))
    context = [GOES, item("DATETIME", "122081 DCM Drug start", f"{DAY}101112"), STAYS]
    source.AcquisitionContextSequence = Sequence(context)
    step, specimen, preparation = Dataset(), Dataset(), Dataset()
    step.SpecimenPreparationStepContentItemSequence = Sequence(
        [item("TEXT", "121041 DCM Specimen Identifier", "Zwq00002"), item("TEXT", "1 99LOCAL own", "of Zwq00003")]
    )
    preparation.SpecimenPreparationSequence = Sequence([step])
    specimen.update(preparation)
    source.SpecimenDescriptionSequence = Sequence([specimen])
    protocol = documents.code("1", "99LOCAL", "Protocol")
    protocol.ProtocolContextSequence = Sequence([item("TEXT", "1 99LOCAL own", "of Zwq00004"), STAYS])
    source.PerformedProtocolCodeSequence = Sequence([protocol])
    for syntax in SYNTAXES.values():
        output = both(source, *STRUCTURED, syntax=syntax)
        assert not leaks(output)
        assert len(output.AcquisitionContextSequence) == 1
        without = both(source, syntax=syntax)
        assert not leaks(without)
        assert len(without.get("AcquisitionContextSequence", [])) == 0
        kept = without.PerformedProtocolCodeSequence[0].ProtocolContextSequence
        assert [i.get("TextValue") for i in kept] == ["Removed", None]
    source.AcquisitionContextSequence = Sequence([GOES])
    assert len(both(source, *STRUCTURED).AcquisitionContextSequence) == 0


def test_the_difference_tells_which_item_went() -> None:
    source = report(GOES, STAYS)
    syntax = ExplicitVRLittleEndian
    plan = plan_of(BASIC + "options: [clean_structured_content]\n")
    request = Received(ORIGIN, source.SOPClassUID, source.SOPInstanceUID, syntax)
    cleaned = Deidentifier(plan, KEYS).clean(request, images.encode(source, syntax))
    items = [change for change in changes(plan, cleaned, syntax) if change.path[0] == "(0040,A730)" != change.path[-1]]
    assert {change.kind for change in items if change.path[1] == 1} == {"removed"}
    assert {change.kind for change in items if change.path[1] == 2} == {"kept"}


@pytest.mark.parametrize("kind", ["CODE", "code", "", "TEXT", "NUM", "CONTAINER", None])
@pytest.mark.parametrize("options", [STRUCTURED, (*STRUCTURED, *OPTIONS[:4], "clean_descriptors")])
def test_a_local_code_does_not_stay_whatever_the_value_type(kind: str | None, options: tuple[str, ...]) -> None:
    local = item("CODE", "121071 DCM Finding", "X1 99LOC Hans Pflaume")
    public = item("CODE", "121071 DCM Finding", "X1 SCT Nodule")
    several = item("CODE", "121071 DCM Finding", "X1 SCT Nodule")
    several.ConceptCodeSequence.append(local.ConceptCodeSequence[0])
    for each in (local, public, several):
        if kind is None:
            del each.ValueType
        else:
            each.ValueType = kind
    for syntax in SYNTAXES.values():
        cleaned = both(report(local, public, several), *options, syntax=syntax)
        assert b"pflaume" not in {each.lower() for each in leaks(cleaned)}
        meanings = [[code.CodeMeaning for code in each.ConceptCodeSequence] for each in cleaned.ContentSequence]
        assert meanings == [["Removed"], ["Nodule"], ["Removed"]]
