"""Real files that the packages of the development environment bring, and the ways to write one differently."""

from __future__ import annotations

import importlib.util
import warnings
import zlib
from array import array
from functools import cache
from hashlib import blake2s
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

PLAIN_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
PREAMBLE = 132


def _folder(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the package {package} is missing: run make test, which installs the development extras")
    return Path(next(iter(spec.submodule_search_locations)), *parts)


@cache
def folders() -> tuple[Path, ...]:
    """Where the files of pydicom, pydicom-data and deid-data lie."""
    return (
        _folder("pydicom", "data", "test_files"),
        _folder("data_store", "data"),
        _folder("deid_data", "data"),
    )


@cache
def real_files() -> tuple[Path, ...]:
    """Every DICOM file there is, damaged and strange ones too, in a fixed order."""
    found = [path for folder in folders() for path in folder.rglob("*") if path.is_file() and _is_dicom(path)]
    return tuple(sorted(found))


def _is_dicom(path: Path) -> bool:
    if path.suffix == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(PREAMBLE)[128:] == b"DICM"


@cache
def sendable_files() -> tuple[Path, ...]:
    """The files that can be sent as they are: file meta complete, the UIDs of an instance there, no DICOMDIR."""
    return tuple(path for path in real_files() if _sendable(path))


def _sendable(path: Path) -> bool:
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data_set = pydicom.dcmread(path, stop_before_pixels=True)
            complete = all(data_set.get(keyword) for keyword in needed)
            return complete and bool(data_set.file_meta.get("TransferSyntaxUID"))
    except Exception:  # noqa: BLE001 - what cannot be read cannot be sent
        return False


def real(name: str) -> Path:
    """The real file of that name, in whichever package it is."""
    for path in real_files():
        if path.name == name:
            return path
    raise LookupError(f"no test file is called {name}")


class Content(bytes):
    """Bytes that a failed comparison tells of shortly: pytest would look for differences in megabytes for minutes."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, blake2s {blake2s(self).hexdigest()[:12]}>"


def split(part10: bytes) -> tuple[str, Content]:
    """Transfer syntax and data set bytes of a Part 10 file, exactly as they lie there."""
    file = DicomBytesIO(part10)
    meta = pydicom.filereader.read_preamble(file, False) and pydicom.filereader._read_file_meta_info(file)
    return str(meta.TransferSyntaxUID), Content(part10[file.tell() :])


def parse(part10: bytes) -> Dataset:
    """The data set of a Part 10 file, with file_meta."""
    return pydicom.dcmread(BytesIO(part10))


def header(part10: bytes) -> Dataset:
    """The data set in front of the pixel data, and file_meta; reads files that end too early."""
    return pydicom.dcmread(BytesIO(part10), stop_before_pixels=True)


def encode(data_set: Dataset, syntax: str) -> bytes:
    """The data set alone, in one of PLAIN_SYNTAXES."""
    plain = Dataset()
    was_big = data_set.original_encoding[1] is False
    for _ in data_set.iterall():  # parses every raw element, so that nothing is copied in the source's encoding
        pass
    for element in data_set:
        if element.tag.group != 0x0002:
            plain.add(_swapped(element) if was_big != (syntax == ExplicitVRBigEndian) else element)
    file = DicomBytesIO()
    file.is_implicit_VR = syntax == ImplicitVRLittleEndian
    file.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(file, plain, parent_encoding=data_set.get("SpecificCharacterSet", "iso8859"))
    encoded = file.getvalue()
    if syntax == DeflatedExplicitVRLittleEndian:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = packer.compress(encoded) + packer.flush()
        encoded += b"\0" * (len(encoded) % 2)
    return encoded


def _swapped(element: DataElement) -> DataElement:
    """The words of an OW element in the other byte order (top level only: that is where files have them)."""
    if element.VR != "OW" or not element.value:
        return element
    words = array("H", element.value)
    words.byteswap()
    return DataElement(element.tag, element.VR, words.tobytes())


def part10(data_set: bytes, syntax: str, sop_class: str, sop_uid: str) -> bytes:
    """A Part 10 file around data set bytes, which are taken as they are."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = "1.2.826.0.1.3680043.8.498.1"
    file = BytesIO()
    pydicom.filewriter.write_file_meta_info(file, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + file.getvalue() + data_set


def written(data_set: Dataset, syntax: str | None = None) -> bytes:
    """A Part 10 file of the data set; `syntax` is one of PLAIN_SYNTAXES, by default its own."""
    if syntax is None and data_set.file_meta.TransferSyntaxUID.is_compressed:
        file = BytesIO()
        data_set.save_as(file, enforce_file_format=True)
        return file.getvalue()
    syntax = syntax or str(data_set.file_meta.TransferSyntaxUID)
    return part10(encode(data_set, syntax), syntax, str(data_set.SOPClassUID), str(data_set.SOPInstanceUID))
