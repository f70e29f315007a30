"""References resolve after de-identification: RT, segmentations, key objects, presentation states, reports."""

from __future__ import annotations

from collections.abc import Iterator

import documents
import images
import pydicom
import pytest
from compare import BASIC, KEYS, differences, engine_output, expected_output, oracle_of, plan_of, read
from documents import IMAGE, ROOT, annotation, item, key_objects, presentation_state, reference, report, segmentation
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from test_content import leaks

from dicomnode.deidentify.pseudonyms import Pseudonyms

REFERENCES = ("ReferencedSOPInstanceUID", "ReferencedFrameOfReferenceUID", "SeriesInstanceUID", "StudyInstanceUID")
RT = {
    name: f"1.2.840.10008.5.1.4.1.1.481.{last}" for name, last in (("STRUCT", 3), ("PLAN", 5), ("ION", 8), ("DOSE", 2))
}
UID = Pseudonyms(KEYS.pseudonym, {}).uid
TEXTS = ("RTPlanName", "RTPlanDescription", "StructureSetName", "StructureSetDescription", "ROIDescription")


def rt(kind: str) -> Dataset:
    made = documents.instance(RT[kind], f"RT{kind}")
    made.FrameOfReferenceUID, made.OperatorsName = f"{ROOT}.4", "Zwq00001^Pflaume"
    return made


def structure_set() -> Dataset:
    """A structure set of a series, with one contour on an image."""
    made = rt("STRUCT")
    made.StructureSetLabel, made.StructureSetName, made.StructureSetDescription = "Zwq00002", "Zwq00003", "Zwq00004"
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ContourImageSequence = f"{ROOT}.1.7", reference()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", f"{ROOT}.1"
    study.RTReferencedSeriesSequence = Sequence([series])
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = f"{ROOT}.4", Sequence([study])
    made.ReferencedFrameOfReferenceSequence = Sequence([frame])
    region, contours, contour, observation = Dataset(), Dataset(), Dataset(), Dataset()
    region.ROINumber, region.ROIName, region.ROIDescription = "1", "Zwq00005", "Zwq00006"
    region.ReferencedFrameOfReferenceUID, region.ROIGenerationAlgorithm = f"{ROOT}.4", "MANUAL"
    contour.ContourImageSequence, contour.ContourGeometricType = reference(), "POINT"
    contour.NumberOfContourPoints, contour.ContourData = "1", ["1", "2", "3"]
    contours.ReferencedROINumber, contours.ContourSequence = "1", Sequence([contour])
    observation.ObservationNumber, observation.ReferencedROINumber = "1", "1"
    observation.ROIInterpreter, observation.RTROIInterpretedType = "Zwq00007^Pflaume", "ORGAN"
    made.StructureSetROISequence, made.ROIContourSequence = Sequence([region]), Sequence([contours])
    made.RTROIObservationsSequence = Sequence([observation])
    return made


def plan(kind: str, structures: Dataset) -> Dataset:
    made = rt(kind)
    made.RTPlanLabel, made.RTPlanName, made.RTPlanDescription = "Zwq00008", "Zwq00009", "Zwq00010"
    made.RTPlanGeometry = "PATIENT"
    made.ReferencedStructureSetSequence = reference(structures.SOPInstanceUID, structures.SOPClassUID)
    made.SOPInstanceUID = f"{ROOT}.1.2.{kind == 'ION':d}"
    return made


def dose(of: Dataset) -> Dataset:
    made = rt("DOSE")
    made.DoseUnits, made.DoseType, made.DoseSummationType, made.DoseComment = "GY", "PHYSICAL", "PLAN", "Zwq00011"
    made.ReferencedRTPlanSequence = reference(of.SOPInstanceUID, of.SOPClassUID)
    return made


def outputs(source: Dataset, *options: str) -> Dataset:
    """The engine's output, once it is seen to be the oracle's."""
    syntax = ExplicitVRLittleEndian
    rules = plan_of(BASIC + f"options: [{', '.join(options)}]\n")
    data = images.encode(source, syntax)
    output = engine_output(rules, data, syntax, str(source.SOPClassUID), str(source.SOPInstanceUID))
    assert differences(read(output), read(expected_output(oracle_of(rules, options=options), data, syntax))) == []
    return read(output)


def uids(data_set: Dataset, path: str = "") -> Iterator[tuple[str, str]]:
    """Place and value of every reference."""
    for element in data_set:
        here = f"{path}/{element.keyword}"
        if element.VR == "SQ" and element.keyword != "DeidentificationMethodCodeSequence":
            for below in element.value:
                yield from uids(below, here)
        elif element.keyword in REFERENCES and element.value:
            yield here, str(element.value)


def made() -> dict[str, Dataset]:
    structures = structure_set()
    plans = {kind: plan(kind, structures) for kind in ("PLAN", "ION")}
    return {
        "structure set": structures,
        "plan": plans["PLAN"],
        "ion plan": plans["ION"],
        "dose": dose(plans["PLAN"]),
        "segmentation": segmentation(),
        "key objects": key_objects(IMAGE),
        "presentation state": presentation_state(annotation("Zwq00001")),
        "report": report(item("IMAGE", None, IMAGE), item("COMPOSITE", "121002 DCM Quoted Source", f"{ROOT}.1.7.8")),
    }


@pytest.mark.parametrize("name", made())
def test_every_reference_stays_and_resolves(name: str) -> None:
    source = made()[name]
    output = outputs(source, "clean_structured_content", "clean_graphics")
    assert sorted(uids(output)) == sorted((place, UID(value)) for place, value in uids(source))
    assert not leaks(output)
    kept = outputs(source, "clean_structured_content", "clean_graphics", "retain_uids")
    assert sorted(uids(kept)) == sorted(uids(source))


@pytest.mark.parametrize("name", ["structure set", "plan", "ion plan", "dose", "segmentation"])
def test_references_stay_without_options(name: str) -> None:
    source = made()[name]
    output = outputs(source)
    assert sorted(uids(output)) == sorted((place, UID(value)) for place, value in uids(source))
    assert not leaks(output)
    assert not any(output.get(keyword) for keyword in TEXTS)


@pytest.mark.parametrize(
    "name", ["rtplan.dcm", "rtdose.dcm", "rtdose_rle.dcm", "liver.dcm", "liver_1frame.dcm", "test-SR.dcm"]
)
def test_references_of_real_files_stay(name: str) -> None:
    source = pydicom.dcmread(images.real(name))
    source.PatientName = "Quittenbaum^Walpurga"
    source.decompress() if source.file_meta.TransferSyntaxUID.is_compressed else None
    output = outputs(source, "clean_structured_content", "clean_graphics")
    assert sorted(uids(output)) == sorted((place, UID(value)) for place, value in uids(source))
    assert list(uids(source))
