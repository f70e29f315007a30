"""The studies of the demonstration: real files that pydicom brings, and instances that must be withheld.

Ultrasound and secondary captures are: whoever looks at them may read the name in the picture.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from dicomnode.errors import PermanentError

PRIVATE_CLASS = UID("1.2.826.0.1.3680043.10.1337.77.1")
PRIVATE_INSTANCE = UID("1.2.826.0.1.3680043.10.1337.77.2")

FETCHED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("CT, two series", ("dicomdirtests/98892001/CT*/*",)),
    ("CR, three series", ("dicomdirtests/77654033/CR*/*",)),
    ("MR, three series", ("dicomdirtests/98892003/MR700/*", "dicomdirtests/98892003/MR[12]/*")),
    ("CT, JPEG 2000", ("J2K_pixelrep_mismatch.dcm",)),
    ("CT, JPEG 2000 lossy", ("693_J2KI.dcm",)),
    ("MR, JPEG-LS", ("MR_small_jpeg_ls_lossless.dcm",)),
    ("US, JPEG 2000", ("examples_rgb_color.dcm", "examples_jpeg2k.dcm")),
    ("US, 30 frames, JPEG", ("examples_ybr_color.dcm",)),
    ("US, palette color", ("examples_palette.dcm",)),
    ("SC, JPEG and RLE", ("SC_rgb_dcmtk_*.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_jpeg_dcmtk.dcm")),
    ("RT plan", ("rtplan.dcm",)),
    ("RT dose, 15 frames, RLE", ("rtdose_rle.dcm",)),
    ("RT structure set", ("rtstruct.dcm",)),
    ("SR", ("reportsi.dcm",)),
    ("SR, patient called Test", ("test-SR.dcm",)),
    ("ECG waveform", ("waveform_ecg.dcm",)),
    ("Segmentation", ("liver_1frame.dcm",)),
)
PUSHED = ("MR, pushed", ("dicomdirtests/98892003/MR1/4919", "dicomdirtests/98892003/MR2/*"))
DAMAGED = ("CT, one cut short", ("CT_small.dcm",))
SHOWN = DAMAGED[0]  # the study whose header is shown before and after


@dataclass(frozen=True, slots=True)
class Offer:
    """One study that the staging PACS holds; all its data sets have file meta."""

    title: str
    data_sets: tuple[Dataset, ...]

    @property
    def uid(self) -> str:
        """The original Study Instance UID."""
        return str(self.data_sets[0].StudyInstanceUID)


def fetched() -> list[Offer]:
    """The studies that the node will fetch by C-FIND and C-MOVE."""
    return [Offer(title, _read(patterns)) for title, patterns in FETCHED] + [_damaged()]


def pushed() -> Offer:
    """The study that the staging PACS sends by itself; its last instance is of a private SOP class."""
    title, patterns = PUSHED
    data_sets = _read(patterns)
    private = copy.deepcopy(data_sets[0])
    private.SOPClassUID = private.file_meta.MediaStorageSOPClassUID = PRIVATE_CLASS
    private.SOPInstanceUID = private.file_meta.MediaStorageSOPInstanceUID = PRIVATE_INSTANCE
    return Offer(title, (*data_sets, private))


def _damaged() -> Offer:
    title, patterns = DAMAGED
    (whole,) = _read(patterns)
    cut = copy.deepcopy(whole)
    cut.SOPInstanceUID = cut.file_meta.MediaStorageSOPInstanceUID = UID(f"{whole.SOPInstanceUID}.2")
    cut.InstanceNumber = 2
    cut.PixelData = cut.PixelData[: len(cut.PixelData) // 2]
    return Offer(title, (whole, cut))


def _read(patterns: Sequence[str]) -> tuple[Dataset, ...]:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()]
    if not paths:
        raise PermanentError(
            f"the installed pydicom brings no file {patterns[0]}", "install pydicom from PyPI, which has its test files"
        )
    found: dict[tuple[str, str], Dataset] = {}
    for path in paths:
        data_set = pydicom.dcmread(path, force=True)
        _complete_meta(data_set)
        found.setdefault((data_set.StudyInstanceUID, data_set.SOPInstanceUID), data_set)
    study = next(iter(found))[0]
    return tuple(data_set for (uid, _), data_set in found.items() if uid == study)


def _complete_meta(data_set: Dataset) -> None:
    meta: FileMetaDataset = data_set.file_meta
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = ImplicitVRLittleEndian
