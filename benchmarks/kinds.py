"""The instances that are sent: the same bytes every time, made on disk.

CT and small instances come from tests/synthetic.py, the multi-frame from tests/giant.py, which writes it frame by
frame. The compressed kinds hold a phantom with a little noise, encoded by DCMTK's dcmcjpeg (JPEG Lossless SV1),
dcmcjpls (JPEG-LS Lossless) and dcmcrle, or by pylibjpeg-openjpeg (JPEG 2000 Lossless).
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import giant
import images
import numpy
from programs import find
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless
from synthetic import ROOT as UID_ROOT
from synthetic import ct, numbered, small

SIDE = 512
MULTI_FRAME = 150  # megabytes
HEADER = 1 << 20  # bytes at the beginning of a file in which its UIDs lie
UIDS = re.compile(re.escape(UID_ROOT.encode()) + rb"\.(\d{9})(?:\.(\d{9}))?")


@dataclass(frozen=True)
class Kind:
    """A kind of instance: how it is called, storescu's option for its syntax, files a sender starts from, per study."""

    name: str
    proposes: str
    files: int
    study: int
    write: Callable[[Path], None]


def phantom(number: int = 1) -> bytes:
    """512x512 pixels of 12 bits: an ellipse with a gradient, circles in it, noise of 4 bits hashed from the place."""
    y, x = numpy.mgrid[0:SIDE, 0:SIDE].astype(numpy.uint32)
    place = (x * numpy.uint32(2654435761)) ^ (y * numpy.uint32(2246822519)) ^ numpy.uint32(number * 40503)
    place = (place ^ (place >> 15)) * numpy.uint32(2246822519)
    noise = (place >> 13) & 0xF
    across, down = x.astype(numpy.int64) - SIDE // 2, y.astype(numpy.int64) - SIDE // 2
    body = (across * across * 4 + down * down * 9) < (SIDE * SIDE * 81 // 100)
    pixels = numpy.where(body, 900 + x // 8 + noise, 24 + noise // 4)
    for index in range(6):
        left, top = 140 + 45 * index, 200 + 31 * (index * 5 % 4)
        circle = (x.astype(numpy.int64) - left) ** 2 + (y.astype(numpy.int64) - top) ** 2 < (14 + 3 * index) ** 2
        pixels = numpy.where(circle, 400 + 250 * index + noise, pixels)
    return pixels.astype("<u2").tobytes()


def _pictured() -> Dataset:
    data_set = ct()
    data_set.PixelData = phantom()
    return data_set


def _copies(first: Callable[[], Dataset], count: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for number, data in enumerate(numbered(first(), count)):
            (folder / f"{number:03}.dcm").write_bytes(data)

    return write


def _multi_frame(folder: Path) -> None:
    made = giant.native(MULTI_FRAME)
    with (folder / "000.dcm").open("wb") as file:
        file.write(images.part10(b"", made.syntax, made.sop_class, made.sop_uid))
        for piece in made.pieces:
            file.write(piece)


def _by_tool(program: str, *options: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for number, data in enumerate(numbered(_pictured(), COMPRESSED)):
            plain = folder / "plain"
            plain.write_bytes(data)
            subprocess.run([find(program), *options, plain, folder / f"{number:03}.dcm"], check=True)
            plain.unlink()

    return write


def _openjpeg(folder: Path) -> None:
    data_set = _pictured()
    data_set.compress(JPEG2000Lossless, generate_instance_uid=False, encoding_plugin="pylibjpeg")
    file = BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    template, before = file.getvalue(), str(data_set.SOPInstanceUID)
    for number in range(COMPRESSED):
        own = f"{before[:-9]}{100_000_001 + number}"
        (folder / f"{number:03}.dcm").write_bytes(template.replace(before.encode(), own.encode()))


COMPRESSED = 20
KINDS = {
    "ct": Kind("CT 0.53 MB", "-x=", 50, 200, _copies(ct, 50)),
    "small": Kind("small 12 KB", "-x=", 50, 200, _copies(small, 50)),
    "multiframe": Kind("multi-frame 150 MB", "-x=", 1, 4, _multi_frame),
    "jpeg": Kind("CT, JPEG Lossless", "-xs", COMPRESSED, 200, _by_tool("dcmcjpeg", "+e1", "+un")),
    "jpegls": Kind("CT, JPEG-LS Lossless", "-xt", COMPRESSED, 200, _by_tool("dcmcjpls", "+el", "+un")),
    "jpeg2000": Kind("CT, JPEG 2000 Lossless", "-xv", COMPRESSED, 200, _openjpeg),
    "rle": Kind("CT, RLE Lossless", "-xr", COMPRESSED, 200, _by_tool("dcmcrle", "+un")),
}


def prepare(folder: Path, kind: str) -> Path:
    """Write the files of a kind; the same bytes every time. Raises when a program that encodes them is missing."""
    files = folder / kind
    files.mkdir()
    KINDS[kind].write(files)
    return files


def own_set(source: Path, target: Path, count: int) -> dict[Path, list[tuple[int, int, int]]]:
    """Copy `count` files that are one study, and say where the number of the study is to be written.

    Once all were copied the next series begins with the first one again. A place is (offset, digits, base): of every
    UID the group that names the study, and of the patient ID the digits.
    """
    places = {}
    given = sorted(source.iterdir())
    for number, file in enumerate(itertools.islice(itertools.cycle(given), count)):
        path = target / f"{number:05}.dcm"
        shutil.copyfile(file, path)
        with path.open("r+b") as copy:
            head = copy.read(HEADER)
            series = b"%d" % (100_000_001 + number // len(given))
            for match in UIDS.finditer(head):
                if match[2]:
                    copy.seek(match.start(2))
                    copy.write(series)
        uids = [(match.start(1), 9, 100_000_000) for match in UIDS.finditer(head)]
        places[path] = uids + [(match.start(1), 8, 0) for match in re.finditer(rb"PID-(\d{8})", head)]
    return places


def renumber(places: dict[Path, list[tuple[int, int, int]]], study: int) -> None:
    """Make the files of `own_set` another study of another patient, in place."""
    for path, found in places.items():
        with path.open("r+b", buffering=0) as file:
            for offset, digits, base in found:
                os.pwrite(file.fileno(), b"%0*d" % (digits, base + study), offset)
