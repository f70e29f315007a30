"""Reproducible synthetic instances: the same arguments give the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import images
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

ROOT = "1.2.826.0.1.3680043.10.1337"
PIXELS = "PixelData"


@dataclass(frozen=True)
class Person:
    """The identifying values of a made-up patient, each long and odd enough to be searched for."""

    name: str = "Zwetschgenbaum^Ottokar^Xaver"
    patient_id: str = "PID-73918264"
    birth_date: str = "19370214"
    accession: str = "ACC-55182937"
    study_id: str = "STU-91827"
    referring: str = "Quittenstrauch^Walpurga"
    institution: str = "Klinik Hinterwaldkirchen"
    address: str = "Mirabellenweg 17, 98765 Hinterwaldkirchen"
    phone: str = "+49 9876 543210"
    insurance: str = "INS-448812006"
    station: str = "HWKCT0042"
    comment: str = "Herr Zwetschgenbaum war unruhig"

    def needles(self) -> tuple[str, ...]:
        """What must be found nowhere on the research side."""
        parts = [*self.name.split("^"), *self.referring.split("^")]
        whole = [self.patient_id, self.birth_date, self.accession, self.study_id, self.institution, self.address]
        return (*parts, *whole, self.phone, self.insurance, self.station, "Hinterwaldkirchen")


PERSON = Person()


def uid(*numbers: int) -> str:
    """A UID of the synthetic root; the last parts have a fixed width."""
    return ".".join([ROOT, *(str(100_000_000 + number) for number in numbers)])


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    return Sequence([_item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)])


def _patient(data_set: Dataset, person: Person) -> None:
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.PatientName = person.name
    data_set.PatientID = person.patient_id
    data_set.IssuerOfPatientID = "HWK-KIS"
    data_set.PatientBirthDate = person.birth_date
    data_set.PatientBirthTime = "043000"
    data_set.PatientSex = "M"
    data_set.PatientAge = "088Y"
    data_set.PatientSize = "1.78"
    data_set.PatientWeight = "81.5"
    data_set.OtherPatientNames = "Zwetschgenbaum^Otto"
    data_set.PatientAddress = person.address
    data_set.PatientTelephoneNumbers = person.phone
    data_set.PatientInsurancePlanCodeSequence = _code(person.insurance, "99HWK", "Privat")
    data_set.PatientComments = person.comment
    data_set.OtherPatientIDsSequence = Sequence([_item(PatientID="ALT-" + person.patient_id, TypeOfPatientID="TEXT")])
    data_set.EthnicGroup = "unbekannt"
    data_set.AdditionalPatientHistory = "Patient Zwetschgenbaum, geb. 14.02.1937"


def _study(data_set: Dataset, study: int, series: int, number: int, person: Person) -> None:
    data_set.StudyInstanceUID = uid(study)
    data_set.SeriesInstanceUID = uid(study, series)
    data_set.SOPInstanceUID = uid(study, series, number)
    data_set.FrameOfReferenceUID = uid(study, 99)
    data_set.StudyDate = data_set.SeriesDate = data_set.AcquisitionDate = data_set.ContentDate = "20240311"
    data_set.StudyTime = data_set.SeriesTime = "101112"
    data_set.AcquisitionTime = data_set.ContentTime = "101315.250000"
    data_set.AcquisitionDateTime = "20240311101315.250000"
    data_set.AccessionNumber = person.accession
    data_set.StudyID = person.study_id
    data_set.SeriesNumber = series
    data_set.InstanceNumber = number
    data_set.AcquisitionNumber = 1
    data_set.StudyDescription = "CT Thorax"
    data_set.SeriesDescription = "Thorax 1.0 Br38"
    data_set.ProtocolName = "Thorax Routine"
    data_set.ReferringPhysicianName = person.referring
    data_set.PerformingPhysicianName = person.referring
    data_set.OperatorsName = "Hagebutte^Kunigunde"
    data_set.InstitutionName = person.institution
    data_set.InstitutionAddress = person.address
    data_set.InstitutionalDepartmentName = "Radiologie"
    data_set.StationName = person.station
    data_set.Manufacturer = "ACME Medical"
    data_set.ManufacturerModelName = "Scanner 3000"
    data_set.DeviceSerialNumber = "SN-0042-7731"
    data_set.SoftwareVersions = ["VB20A", "SP3"]
    data_set.ProcedureCodeSequence = _code("CTTHX", "99HWK", "CT Thorax nativ")
    data_set.ReferencedStudySequence = Sequence(
        [_item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=uid(study))]
    )
    data_set.RequestAttributesSequence = Sequence(
        [
            _item(
                RequestedProcedureID="REQ-" + person.study_id,
                ScheduledProcedureStepID="SPS-1",
                RequestedProcedureDescription="Thorax",
                ScheduledProtocolCodeSequence=_code("P1", "99HWK", "Protokoll 1"),
            )
        ]
    )
    data_set.PerformedProcedureStepStartDate = "20240311"
    data_set.PerformedProcedureStepStartTime = "101000"
    data_set.PerformedProcedureStepID = "PPS-1"
    data_set.PerformedProcedureStepDescription = "Thorax"


def _image(data_set: Dataset, rows: int, columns: int, number: int) -> None:
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows = rows
    data_set.Columns = columns
    data_set.PixelSpacing = [0.7, 0.7]
    data_set.BitsAllocated = 16
    data_set.BitsStored = 12
    data_set.HighBit = 11
    data_set.PixelRepresentation = 0
    data_set.WindowCenter = [40, -600]
    data_set.WindowWidth = [400, 1200]
    data_set.WindowCenterWidthExplanation = ["MEDIASTINUM", "LUNG"]
    data_set.RescaleIntercept = -1024
    data_set.RescaleSlope = 1
    data_set.RescaleType = "HU"
    data_set.ImagePositionPatient = [-179.65, -179.65, float(number)]
    data_set.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data_set.SliceLocation = float(number)
    data_set.SliceThickness = 1
    data_set.SmallestImagePixelValue = 0
    data_set.LargestImagePixelValue = 4095
    data_set.BurnedInAnnotation = "NO"
    data_set.LossyImageCompression = "00"
    data_set.PositionReferenceIndicator = ""
    data_set.PatientPosition = "HFS"
    data_set.BodyPartExamined = "CHEST"


def _ct(data_set: Dataset, study: int, series: int, number: int) -> None:
    data_set.KVP = 120
    data_set.DataCollectionDiameter = 500
    data_set.ReconstructionDiameter = 359
    data_set.DistanceSourceToDetector = 1085.6
    data_set.DistanceSourceToPatient = 595
    data_set.GantryDetectorTilt = 0
    data_set.TableHeight = 151
    data_set.RotationDirection = "CW"
    data_set.ExposureTime = 500
    data_set.XRayTubeCurrent = 180
    data_set.Exposure = 90
    data_set.FilterType = "FLAT"
    data_set.GeneratorPower = 22
    data_set.FocalSpots = 1.2
    data_set.ConvolutionKernel = "Br38f"
    data_set.SpiralPitchFactor = 0.9
    data_set.CTDIvol = 6.1
    data_set.EstimatedDoseSaving = 12.5
    data_set.SingleCollimationWidth = 0.6
    data_set.TotalCollimationWidth = 38.4
    data_set.TableSpeed = 69.1
    data_set.ContrastBolusAgent = "Ultravist"
    data_set.IrradiationEventUID = uid(study, series, 900)
    data_set.DateOfLastCalibration = "20240301"
    data_set.TimeOfLastCalibration = "060000"
    data_set.SourceImageSequence = Sequence(
        [
            _item(
                ReferencedSOPClassUID=str(CTImageStorage),
                ReferencedSOPInstanceUID=uid(study, series, number + 500_000),
                PurposeOfReferenceCodeSequence=_code("121322", "DCM", "Source image for image processing operation"),
            )
        ]
    )
    data_set.ReferencedImageSequence = Sequence(
        [
            _item(ReferencedSOPClassUID=str(CTImageStorage), ReferencedSOPInstanceUID=uid(study, 1, number + n))
            for n in (700_000, 700_001)
        ]
    )


def _private(data_set: Dataset, person: Person) -> None:
    block = data_set.private_block(0x0029, "ACME CSA HEADER", create=True)
    block.add_new(0x10, "OB", random.Random(29).randbytes(2048))
    block.add_new(0x11, "LO", person.name)
    block.add_new(0x12, "SQ", Sequence([_item(PatientID=person.patient_id, PatientName=person.name)]))
    other = data_set.private_block(0x0019, "ACME CT PARAMETERS", create=True)
    other.add_new(0x01, "UN", b"Zwetschgenbaum in private data")
    for offset in range(2, 12):
        other.add_new(offset, "DS", str(offset * 1.5))


def _meta(data_set: Dataset, sop_class: str, syntax: str) -> Dataset:
    data_set.SOPClassUID = sop_class
    meta = images.FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    data_set.file_meta = meta
    return data_set


def ct(
    study: int = 1,
    series: int = 1,
    number: int = 1,
    *,
    person: Person = PERSON,
    rows: int = 512,
    columns: int = 512,
) -> Dataset:
    """A CT instance of about 120 elements, with nested sequences and private tags; 0.53 MB at 512x512."""
    data_set = Dataset()
    data_set.Modality = "CT"
    _patient(data_set, person)
    _study(data_set, study, series, number, person)
    _image(data_set, rows, columns, number)
    _ct(data_set, study, series, number)
    _private(data_set, person)
    data_set.add_new(Tag(PIXELS), "OW", random.Random(number).randbytes(rows * columns * 2))
    return _meta(data_set, CTImageStorage, ExplicitVRLittleEndian)


def small(study: int = 1, series: int = 1, number: int = 1, *, person: Person = PERSON) -> Dataset:
    """A header-heavy MR instance of 13 KB: most of it is elements, in 40 nested items, and 32x32 pixels."""
    data_set = ct(study, series, number, person=person, rows=32, columns=32)
    data_set.Modality = "MR"
    data_set.EchoTime = 4.2
    data_set.RepetitionTime = 600
    data_set.ReferencedImageSequence = Sequence(
        [
            _item(ReferencedSOPClassUID=str(MRImageStorage), ReferencedSOPInstanceUID=uid(study, 2, 700_000 + n))
            for n in range(40)
        ]
    )
    return _meta(data_set, MRImageStorage, ExplicitVRLittleEndian)


def multi_frame(megabytes: float, study: int = 1, number: int = 1, *, person: Person = PERSON) -> Dataset:
    """An enhanced CT of about that size: frames of 512x512, one functional group item per frame."""
    frames = max(1, round(megabytes * 1e6 / (512 * 512 * 2)))
    data_set = ct(study, 1, number, person=person, rows=2, columns=2)
    data_set.Rows = data_set.Columns = 512
    data_set.NumberOfFrames = frames
    data_set.PerFrameFunctionalGroupsSequence = Sequence(
        [
            _item(PlanePositionSequence=Sequence([_item(ImagePositionPatient=[0.0, 0.0, float(frame)])]))
            for frame in range(frames)
        ]
    )
    one = random.Random(number).randbytes(512 * 512 * 2)
    data_set[PIXELS].value = one * frames
    return _meta(data_set, EnhancedCTImageStorage, ExplicitVRLittleEndian)


def jpeg(study: int = 1, series: int = 1, number: int = 1, *, comment: bytes = b"") -> Dataset:
    """A secondary capture with a real JPEG frame of pydicom's; `comment` is put into a COM segment of it."""
    source = images.parse(images.real("SC_rgb_jpeg_dcmtk.dcm").read_bytes())
    frame = next(iter(images.pydicom.encaps.generate_frames(source.PixelData, number_of_frames=1)))
    if comment:
        frame = frame[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + frame[2:]
    data_set = ct(study, series, number, rows=2, columns=2)
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"):
        setattr(data_set, keyword, source.get(keyword))
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 8, 8, 7
    data_set.Modality = "OT"
    data_set[PIXELS].value = encapsulate([frame + b"\0" * (len(frame) % 2)])
    data_set[PIXELS].VR = "OB"
    data_set[PIXELS].is_undefined_length = True
    return _meta(data_set, SecondaryCaptureImageStorage, JPEGBaseline8Bit)


def series(count: int, study: int = 1, series: int = 1, *, person: Person = PERSON) -> Iterator[bytes]:
    """Part 10 files of `count` CT instances; only UIDs, numbers and positions differ, so that it is quick."""
    yield from numbered(ct(study, series, 0, person=person), count)


def numbered(first: Dataset, count: int) -> Iterator[bytes]:
    """Copies of one instance under SOP Instance UIDs whose last part counts up from 1; pixels are the same."""
    template = images.written(first)
    stem = str(first.SOPInstanceUID).rsplit(".", 1)[0]
    before = str(first.SOPInstanceUID).encode()
    for number in range(1, count + 1):
        yield template.replace(before, f"{stem}.{100_000_000 + number}".encode())
