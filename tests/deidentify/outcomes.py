"""What becomes of every real file when it is handed to the engine as `dicomnode deidentify` does it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import images
import pydicom
from compare import KEYS, ORIGIN
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID_dictionary
from pydicom.valuerep import PersonName

from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.plan import Plan
from dicomnode.folders.part10 import DIRECTORY, FileMeta, is_part10, read_meta
from dicomnode.model import Doubt, Reason, Received

WHOLE = (
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "IssuerOfPatientID", "PatientTelephoneNumbers"),
    *("PatientAddress", "InstitutionAddress", "MedicalRecordLocator", "DeviceSerialNumber", "RequestedProcedureID"),
    *("PerformedProcedureStepID", "ScheduledProcedureStepID", "PatientBirthDate"),
)
CLASSES = ("SOPClassUID", "ReferencedSOPClassUID", "CodingSchemeUID", "MappingResourceUID", "ContextUID")
LEAST_NAME, LEAST_WHOLE = 3, 5


@dataclass(frozen=True)
class Outcome:
    """A file, and its clean bytes or why there are none; `beside` are those that are not the pixel value."""

    path: Path
    output: bytes = b""
    beside: bytes = b""
    doubt: Doubt | None = None

    @property
    def reason(self) -> Reason | None:
        """Why it is withheld."""
        return self.doubt.reason if self.doubt else None


def outcome(engine: Deidentifier, path: Path) -> Outcome:
    """One file through the engine; the command says what the data set says, as a sender's does."""
    content = path.read_bytes()
    if not is_part10(content):
        return Outcome(path)
    try:
        meta = read_meta(content)
        if meta.sop_class == DIRECTORY:
            return Outcome(path)
        received = Received(ORIGIN, *command(content, meta), meta.transfer_syntax)
        cleaned = engine.clean(received, memoryview(content)[meta.data_set :])
    except Doubt as doubt:
        return Outcome(path, doubt=doubt)
    pixels = [cleaned.pixels] if cleaned.pixels is not None else []
    before, after = b"".join(map(bytes, cleaned.head)), b"".join(map(bytes, cleaned.tail))
    return Outcome(path, b"".join([before, *map(bytes, pixels), after]), before + after)


def command(content: bytes, meta: FileMeta) -> tuple[str, str]:
    """SOP Class and Instance UID of the data set, as a sender puts them into the command."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, force=True)
        return str(source.get("SOPClassUID", meta.sop_class)), str(source.get("SOPInstanceUID", meta.sop_uid))


def outcomes(plan: Plan) -> list[Outcome]:
    """Every real file, damaged and strange ones too, in a fixed order."""
    engine = Deidentifier(plan, KEYS)
    return [outcome(engine, path) for path in images.real_files()]


# what identified a file, as pydicom reads it: independent of the engine's needles


def elements(data_set: Dataset) -> Iterator[pydicom.DataElement]:
    """All elements at all depths."""
    for element in data_set:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def texts(element: pydicom.DataElement) -> list[str]:
    """The values of an element as text."""
    value = element.value
    several = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [str(each).strip(" \0") for each in several if isinstance(each, str | PersonName) and str(each)]


def identifiers(data_set: Dataset) -> set[str]:
    """Words of person names, UIDs that the standard does not register, whole IDs and addresses."""
    found: set[str] = set()
    for element in elements(data_set):
        if element.VR == "PN":
            words = (word for text in texts(element) for word in text.replace("=", "^").replace(" ", "^").split("^"))
            found |= {word for word in words if len(word) >= LEAST_NAME}
        elif element.VR == "UI" and element.keyword not in CLASSES:
            found |= {text for text in texts(element) if text not in UID_dictionary and len(text) >= LEAST_WHOLE}
        elif element.keyword in WHOLE:
            found |= {text for text in texts(element) if len(text) >= LEAST_WHOLE}
    return found
