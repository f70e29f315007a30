"""Structured reports, key objects, presentation states and segmentations, made item by item."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

ROOT = "1.2.826.0.1.3680043.10.1337"
SR, KO, GSPS, SEG, ECG = (
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.59",
    "1.2.840.10008.5.1.4.1.1.11.1",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.9.1.2",
)
CT, WAVEFORM = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.9.1.1"
IMAGE = f"{ROOT}.1.7.1"
NOBODY = ("Quittenbaum^Walpurga", "PID-4711", "19370214")


def code(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def concept(text: str) -> Dataset:
    """A code from "value scheme meaning"."""
    return code(*text.split(" ", 2))


def reference(uid: str = IMAGE, sop_class: str = CT) -> Sequence:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = sop_class, uid
    return Sequence([made])


def item(kind: str, name: str | Dataset | None, value: object = None, *below: Dataset, relation: str = "") -> Dataset:
    """A content item of a value type with a concept name, its value and the items below it."""
    made = Dataset()
    made.RelationshipType = relation or "CONTAINS"
    made.ValueType = kind
    if name is not None:
        made.ConceptNameCodeSequence = Sequence([concept(name) if isinstance(name, str) else name])
    _value(made, kind, value)
    if below:
        made.ContentSequence = Sequence(below)
    return made


def _value(made: Dataset, kind: str, value: object) -> None:
    keywords = {"TEXT": "TextValue", "PNAME": "PersonName", "UIDREF": "UID", "DATE": "Date", "TIME": "Time"}
    keywords |= {"DATETIME": "DateTime", "CODE": "ConceptCodeSequence", "NUM": "MeasuredValueSequence"}
    keywords |= dict.fromkeys(("IMAGE", "COMPOSITE", "WAVEFORM"), "ReferencedSOPSequence")
    if kind == "CONTAINER":
        made.ContinuityOfContent = "SEPARATE"
    elif kind == "NUM":
        measured = Dataset()
        measured.NumericValue = str(value)
        measured.MeasurementUnitsCodeSequence = Sequence([code("mm", "UCUM", "mm")])
        made.MeasuredValueSequence = Sequence([measured])
    elif kind == "CODE":
        made.ConceptCodeSequence = Sequence([concept(str(value))])
    elif kind in ("SCOORD", "TCOORD"):
        if kind == "SCOORD":
            made.GraphicType, made.GraphicData = "POINT", [1.0, 2.0]
        else:
            made.TemporalRangeType, made.ReferencedTimeOffsets = "POINT", ["1.5"]
    elif keywords[kind] == "ReferencedSOPSequence":
        made.ReferencedSOPSequence = reference(str(value), WAVEFORM if kind == "WAVEFORM" else CT)
    else:
        setattr(made, keywords[kind], value)


def by_reference(*position: int, relation: str = "INFERRED FROM") -> Dataset:
    """An item that only points to another one."""
    made = Dataset()
    made.RelationshipType = relation
    made.ReferencedContentItemIdentifier = list(position)
    return made


def instance(sop_class: str, modality: str) -> Dataset:
    """What every instance has."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID, made.SOPInstanceUID = sop_class, f"{ROOT}.1.1.9"
    made.StudyDate = made.StudyTime = made.AccessionNumber = made.ReferringPhysicianName = ""
    made.Modality, made.Manufacturer = modality, "Acme"
    made.PatientName, made.PatientID, made.PatientBirthDate = NOBODY
    made.PatientSex = "F"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.1.1"
    made.StudyID, made.SeriesNumber, made.InstanceNumber = "", "1", "1"
    return made


def _evidence(classes: Mapping[str, str]) -> Sequence:
    study, series = Dataset(), Dataset()
    series.ReferencedSOPSequence = Sequence([reference(*each)[0] for each in classes.items()])
    series.SeriesInstanceUID = f"{ROOT}.1.7"
    study.ReferencedSeriesSequence = Sequence([series])
    study.StudyInstanceUID = f"{ROOT}.1"
    return Sequence([study])


def report(*items: Dataset, title: str = "126000 DCM Imaging Measurement Report") -> Dataset:
    """A Comprehensive SR with these items below its root, verified by somebody."""
    made = instance(SR, "SR")
    made.ContentDate, made.ContentTime = "20210407", "101112"
    made.ReferencedPerformedProcedureStepSequence = Sequence()
    made.ValueType, made.ConceptNameCodeSequence = "CONTAINER", Sequence([concept(title)])
    made.ContinuityOfContent = "SEPARATE"
    observer = Dataset()
    observer.VerifyingOrganization = "Zwq90001 Hospital"
    observer.VerificationDateTime = "20210407101112"
    observer.VerifyingObserverName = "Zwq90002^Pflaume"
    observer.VerifyingObserverIdentificationCodeSequence = Sequence([code("Zwq90003", "99LOCAL", "Zwq90004")])
    made.VerifyingObserverSequence = Sequence([observer])
    made.PerformedProcedureCodeSequence = Sequence()
    made.ContentSequence = Sequence(items)
    referred = [e.value[0] for e in made.iterall() if e.keyword == "ReferencedSOPSequence"]
    classes = {str(each.ReferencedSOPInstanceUID): str(each.ReferencedSOPClassUID) for each in referred}
    made.CurrentRequestedProcedureEvidenceSequence = _evidence({IMAGE: CT, **classes})
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "VERIFIED"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "1500"
    made.ContentTemplateSequence = Sequence([template])
    return made


def key_objects(*uids: str) -> Dataset:
    """A Key Object Selection Document about these images (PS3.16 TID 2010)."""
    made = instance(KO, "KO")
    made.ContentDate, made.ContentTime = "20210407", "101112"
    made.ReferencedPerformedProcedureStepSequence = Sequence()
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = Sequence([concept("113000 DCM Of Interest")])
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    made.ContentTemplateSequence = Sequence([template])
    made.CurrentRequestedProcedureEvidenceSequence = _evidence(dict.fromkeys(uids, CT))
    observer = item("CODE", "121005 DCM Observer Type", "121006 DCM Person", relation="HAS OBS CONTEXT")
    name = item("PNAME", "121008 DCM Person Observer Name", "Zwq90005^Pflaume", relation="HAS OBS CONTEXT")
    text = item("TEXT", "113012 DCM Key Object Description", "seen by Zwq90006")
    made.ContentSequence = Sequence([observer, name, text, *(item("IMAGE", None, uid) for uid in uids)])
    return made


def presentation_state(*annotations: Dataset) -> Dataset:
    """A Grayscale Softcopy Presentation State of one image."""
    made = instance(GSPS, "PR")
    made.ContentLabel, made.ContentDescription = "LABEL", "for Zwq90007"
    made.PresentationCreationDate, made.PresentationCreationTime = "20210407", "101112"
    made.ContentCreatorName = "Zwq90008^Pflaume"
    series = Dataset()
    series.ReferencedImageSequence = reference()
    series.SeriesInstanceUID = f"{ROOT}.1.7"
    made.ReferencedSeriesSequence = Sequence([series])
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [512, 512]
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", ["1", "1"]
    made.DisplayedAreaSelectionSequence = Sequence([area])
    made.PresentationLUTShape = "IDENTITY"
    layer = Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder, layer.GraphicLayerDescription = "LAYER1", "1", "Zwq90009"
    if annotations:
        made.GraphicAnnotationSequence = Sequence(annotations)
        made.GraphicLayerSequence = Sequence([layer])
    return made


def annotation(*texts: str, points: bool = True) -> Dataset:
    """A graphic annotation with a point, or without, and texts."""
    made = Dataset()
    made.ReferencedImageSequence = reference()
    made.GraphicLayer = "LAYER1"
    if texts:
        made.TextObjectSequence = Sequence([_text(text) for text in texts])
    if points:
        point = Dataset()
        point.GraphicAnnotationUnits, point.GraphicDimensions, point.NumberOfGraphicPoints = "PIXEL", 2, 1
        point.GraphicData, point.GraphicType, point.GraphicFilled = [3.0, 4.0], "POINT", "N"
        made.GraphicObjectSequence = Sequence([point])
    return made


def _text(text: str) -> Dataset:
    made = Dataset()
    made.UnformattedTextValue, made.AnchorPointAnnotationUnits = text, "PIXEL"
    made.AnchorPoint, made.AnchorPointVisibility = [5.0, 6.0], "N"
    return made


def segmentation() -> Dataset:
    """A Segmentation without frames' details: its references and texts."""
    made = instance(SEG, "SEG")
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "SEG", "of Zwq90010", "Zwq90011^Pflaume"
    series = Dataset()
    series.ReferencedInstanceSequence = reference()
    series.SeriesInstanceUID = f"{ROOT}.1.7"
    made.ReferencedSeriesSequence = Sequence([series])
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentDescription = 1, "Liver", "Zwq90012"
    segment.SegmentAlgorithmType, segment.TrackingUID = "MANUAL", f"{ROOT}.1.8"
    made.SegmentSequence = Sequence([segment])
    source, frame = Dataset(), Dataset()
    source.SourceImageSequence = reference()
    frame.DerivationImageSequence = Sequence([source])
    made.PerFrameFunctionalGroupsSequence = Sequence([frame])
    return made
