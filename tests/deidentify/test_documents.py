"""Key objects, presentation states, segmentations, overlays and encapsulated documents; documents stay valid IODs."""

from __future__ import annotations

import warnings

import documents
import images
import pydicom
import pytest
from compare import BASIC, engine_output, plan_of
from documents import IMAGE, ROOT, annotation, by_reference, item, key_objects, presentation_state, report
from oracle_facts import facts
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from test_content import GOES, KINDS, STAYS, STRUCTURED, SYNTAXES, both, chain, encoded, every_row, leaks, uid
from test_valid_iod import new_errors

from dicomnode.model import Doubt, Reason


def real_reports() -> list[tuple[str, Dataset]]:
    """The real reports; their patients and physicians are called by words that every report has."""
    found = []
    for name in ("test-SR.dcm", "reportsi.dcm", "reportsi_with_empty_number_tags.dcm"):
        source = pydicom.dcmread(images.real(name))
        source.PatientName, source.ReferringPhysicianName = "Quittenbaum^Walpurga", "Zwq00000^Pflaume"
        for element in source.iterall():
            if element.keyword == "PersonName":
                element.value = "Zwq00001^Pflaume"
        found.append((name, source))
    return found


@pytest.mark.parametrize("options", [(), STRUCTURED, (*STRUCTURED, "retain_longitudinal_full_dates", "retain_uids")])
def test_real_and_made_documents_stay_valid(tmp_path, options: tuple[str, ...]) -> None:
    made = [
        ("rows", every_row()),
        ("chain", chain(KINDS)),
        (
            "references",
            report(GOES, STAYS, item("CODE", "121071 DCM Finding", "10200004 SCT Liver", by_reference(1, 2))),
        ),
        ("key objects", key_objects(IMAGE, f"{ROOT}.1.7.2")),
        ("presentation", presentation_state(annotation("Zwq00001"), annotation("Zwq00002", points=False))),
    ]
    pairs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, source in [*real_reports(), *made]:
            both(source, *options)
            before = images.encode(source, ExplicitVRLittleEndian)
            whole = images.part10(before, ExplicitVRLittleEndian, str(source.SOPClassUID), str(source.SOPInstanceUID))
            pairs.append((name, whole, encoded(source, *options)))
    found = new_errors(tmp_path, pairs)
    assert found == {name: [] for name, _, _ in pairs}


@pytest.mark.parametrize("options", [(), STRUCTURED, ("clean_graphics",)])
def test_references_stay_and_texts_go(options: tuple[str, ...]) -> None:
    second = f"{ROOT}.1.7.2"
    objects = both(key_objects(IMAGE, second), *options)
    selected = objects.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [one.ReferencedSOPInstanceUID for one in selected] == [uid(IMAGE), uid(second)]
    state = both(presentation_state(annotation("of Zwq00001")), *options)
    assert state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == uid(IMAGE)
    assert state.ReferencedSeriesSequence[0].SeriesInstanceUID == uid(f"{ROOT}.1.7")
    segments = both(documents.segmentation(), *options)
    frame = segments.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert frame.ReferencedSOPInstanceUID == uid(IMAGE)
    assert segments.SegmentSequence[0].SegmentLabel == "Liver"
    assert not leaks(objects) | leaks(state) | leaks(segments)


def test_key_objects_keep_their_images_in_the_content() -> None:
    objects = both(key_objects(IMAGE), *STRUCTURED)
    kinds = [i.ValueType for i in objects.ContentSequence]
    assert kinds == ["CODE", "PNAME", "IMAGE"]
    assert objects.ContentSequence[2].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid(IMAGE)


def test_graphics_stay_and_their_texts_go() -> None:
    source = presentation_state(annotation("of Zwq00001"), annotation("Zwq00002", points=False), annotation())
    output = both(source, "clean_graphics")
    assert not leaks(output)
    first, last = output.GraphicAnnotationSequence
    assert first.GraphicObjectSequence[0].GraphicData == [3.0, 4.0] and "TextObjectSequence" not in first
    assert last.ReferencedImageSequence[0].ReferencedSOPInstanceUID == uid(IMAGE)
    assert [code.CodeValue for code in output.DeidentificationMethodCodeSequence] == ["113100", "113103"]
    only_text = both(presentation_state(annotation("Zwq00002", points=False)), "clean_graphics")
    assert "GraphicAnnotationSequence" not in only_text
    without = both(source)
    assert without.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData == [0.0, 0.0]


def test_overlays_of_regions_stay_and_drawn_ones_go() -> None:
    source = pydicom.dcmread(images.real("examples_overlay.dcm"))
    source.PatientName = "Quittenbaum^Walpurga"
    assert source[0x60000040].value == "G"
    source.add_new(0x60000022, "LO", "of Zwq00001")
    drawn = both(source, "clean_graphics")
    assert not [element for element in drawn if element.tag.group >> 8 == 0x60]
    bits = source[0x60003000].value
    source[0x60000040].value = "R"
    for syntax in SYNTAXES.values():
        marked = both(source, "clean_graphics", syntax=syntax)
        assert marked[0x60003000].value == bits and 0x60000022 not in marked
    assert not [element for element in both(source) if element.tag.group >> 8 == 0x60]


def test_curves_lose_texts_and_sounds() -> None:
    source = pydicom.dcmread(images.real("CT_small.dcm"))
    values = {
        0x0005: ("US", 2),
        0x0010: ("US", 1),
        0x0020: ("CS", "ROI"),
        0x0103: ("US", 0),
        0x2500: ("LO", "Zwq00001"),
    }
    values |= {0x0022: ("LO", "Zwq00002"), 0x200C: ("OB", b"Zwq00003"), 0x3000: ("OW", b"\1\0\2\0")}
    for element, (vr, value) in values.items():
        source.add_new(0x50000000 | element, vr, value)
    output = both(source, "clean_graphics")
    assert sorted(e.tag.element for e in output if e.tag.group == 0x5000) == [0x0005, 0x0010, 0x0020, 0x0103, 0x3000]
    assert not [e for e in both(source) if e.tag.group == 0x5000]


WITHHELD = [row["sop_class"] for row in facts("withheld_classes.csv")]


@pytest.mark.parametrize("sop_class", [*WITHHELD, "1.2.826.0.1.3680043.10.1337.9", "1.3.12.2.1107.5.9.1"])
def test_documents_models_raw_and_private_classes_are_withheld(sop_class: str) -> None:
    source = documents.instance(sop_class, "OT")
    source.EncapsulatedDocument = b"%PDF Quittenbaum"
    for options in ((), STRUCTURED, ("clean_graphics",)):
        with pytest.raises(Doubt) as caught:
            encoded(source, *options)
        assert (caught.value.reason, caught.value.where) == (Reason.SOP_CLASS, "(0008,0016)")
        assert ROOT not in str(caught.value) and "Quittenbaum" not in str(caught.value)


def test_an_accepted_document_is_replaced_unless_it_is_kept() -> None:
    source = documents.instance("1.2.840.10008.5.1.4.1.1.104.1", "DOC")
    source.EncapsulatedDocument = b"%PDF of a person"
    accepted = BASIC + "accept: [EncapsulatedPDFStorage]\n"
    data = images.encode(source, ExplicitVRLittleEndian)
    for rules, stays in ((accepted, False), (accepted + "attributes: {EncapsulatedDocument: keep}\n", True)):
        output = engine_output(plan_of(rules), data, ExplicitVRLittleEndian, source.SOPClassUID, source.SOPInstanceUID)
        assert (b"%PDF of a person" in output) is stays
