"""The worker process: reads Part 10 files from stdin, writes data sets to stdout, and says nothing else to anybody."""

from __future__ import annotations

import math
import os
import resource
import sys
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from dicomnode.transcode.frame import ANSWER, DONE, FAILED, IMPLICIT_LITTLE, NO_EXTRA, REQUEST, TARGETS

if TYPE_CHECKING:
    from pydicom import Dataset

NICE = 5
# JPEG Baseline and Extended lose, always (PS3.5 A.4.1); the others say in the data set whether they did.
ALWAYS_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})


def convert(part10: bytes, target: str) -> bytes:
    """The data set of a Part 10 file in `target`, pixels decoded, no other value changed. Raises whatever happens."""
    from pydicom import config, dcmread
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
    data_set = dcmread(BytesIO(part10))
    source = data_set.file_meta.TransferSyntaxUID
    uid = data_set.SOPInstanceUID
    if source.is_encapsulated:
        import numpy  # noqa: F401 - the least that decoding needs; pydicom would hide that it is missing

        data_set.decompress(as_rgb=False, generate_instance_uid=False)
        _name_colours(data_set)
        if source in ALWAYS_LOSSY:
            data_set.LossyImageCompression = "01"
    if data_set.SOPInstanceUID != uid:
        raise ValueError("another instance")
    implicit = target == IMPLICIT_LITTLE
    if implicit != source.is_implicit_VR:
        for _ in data_set.iterall():  # what is read from one VR encoding cannot be written as it is to another
            pass
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = implicit, True
    del data_set.file_meta
    write_dataset(file, data_set, parent_encoding=data_set.get("SpecificCharacterSet", "iso8859"))
    return file.getvalue()


def _name_colours(data_set: Dataset) -> None:
    """A decoder gives every pixel its colour; a name that says otherwise would promise fewer bytes (PS3.3 C.7.6.3)."""
    if str(data_set.get("PhotometricInterpretation")) not in ("YBR_FULL_422", "YBR_PARTIAL_420"):
        return
    pixels = data_set.Rows * data_set.Columns * int(data_set.get("NumberOfFrames") or 1)
    if len(data_set.PixelData) >= pixels * 3 * data_set.BitsAllocated // 8:
        data_set.PhotometricInterpretation = "YBR_FULL"


def answer(part10: bytes, target: str) -> tuple[int, bytes]:
    """A code and the data set; what went wrong may quote values and is not told."""
    try:
        return DONE, convert(part10, target)
    except ImportError:
        return NO_EXTRA, b""
    except Exception:  # noqa: BLE001 - whatever goes wrong holds the study
        return FAILED, b""


def limit(memory: int) -> None:
    """Bound address space, leave no core dump, and let others go first."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # the service's system call filter does not allow it
        os.nice(NICE)


def bound_time(seconds: float) -> None:
    """End when one request takes longer than that, also when nobody is left who would see to it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def serve(source: BinaryIO, sink: BinaryIO, seconds: float) -> None:
    """Answer requests until there are no more."""
    while len(header := source.read(REQUEST.size)) == REQUEST.size:
        target, length = REQUEST.unpack(header)
        bound_time(seconds)
        part10 = source.read(length)
        if len(part10) < length:
            return
        code, data_set = answer(part10, TARGETS[target])
        sink.write(ANSWER.pack(code, len(data_set)))
        sink.write(data_set)
        sink.flush()


if __name__ == "__main__":
    limit(int(sys.argv[1]))
    serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[2]))
