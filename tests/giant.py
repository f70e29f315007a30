"""Instances of any size whose pixels are one frame again and again: nobody ever holds one whole."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from struct import pack

import images
import synthetic
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit

FRAME = 512 * 512 * 2
PIXEL_DATA = b"\xe0\x7f\x10\x00"
ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"


@dataclass(frozen=True)
class Giant:
    """A data set as pieces, most of them the same object; `pixels` says which pieces are the pixel value."""

    sop_class: str
    sop_uid: str
    syntax: str
    pieces: tuple[bytes, ...]
    pixels: slice
    mark: bytes

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def digest(self) -> str:
        """SHA-256 of the data set."""
        return digest(self.pieces)

    def pixel_digest(self) -> str:
        """SHA-256 of the pixel value."""
        return digest(self.pieces[self.pixels])

    def followed_by(self, tail: bytes) -> Giant:
        """The same with bytes after Pixel Data."""
        return replace(self, pieces=(*self.pieces, tail))

    def cut(self, count: int) -> Giant:
        """The same without the last `count` bytes of its last piece."""
        return replace(self, pieces=(*self.pieces[:-1], self.pieces[-1][:-count]))


def digest(pieces: tuple[bytes, ...] | Iterator[bytes]) -> str:
    """SHA-256 of pieces one behind the other."""
    total = hashlib.sha256()
    for piece in pieces:
        total.update(piece)
    return total.hexdigest()


def native(megabytes: float, study: int = 1, number: int = 1) -> Giant:
    """An enhanced CT of about that size, uncompressed, a functional group item per frame."""
    frames = max(2, round(megabytes * 1e6 / FRAME))
    data_set = _header(study, number, frames)
    frame = random.Random(number).randbytes(FRAME)
    head = images.encode(data_set, ExplicitVRLittleEndian) + PIXEL_DATA + b"OW\0\0" + pack("<I", FRAME * frames)
    pieces = (head, *([frame] * frames))
    return _giant(data_set, str(ExplicitVRLittleEndian), pieces, frame[:64])


def jpeg(megabytes: float, study: int = 1, number: int = 1, *, last_comment: bytes = b"") -> Giant:
    """The same in JPEG Baseline, a fragment per frame; `last_comment` is a COM segment of the last frame."""
    frame = _jpeg_frame(number)
    frames = max(2, round(megabytes * 1e6 / len(frame)))
    data_set = _header(study, number, frames)
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 8, 8, 7
    data_set.LossyImageCompression = "01"
    head = (
        images.encode(data_set, ExplicitVRLittleEndian) + PIXEL_DATA + b"OB\0\0\xff\xff\xff\xff" + ITEM + pack("<I", 0)
    )
    whole = ITEM + pack("<I", len(frame)) + frame
    last = frame
    if last_comment:
        segment = b"\xff\xfe" + pack(">H", len(last_comment) + 2) + last_comment
        last = frame[:2] + segment + frame[2:]
        last += b"\0" * (len(last) % 2)
    pieces = (head, *([whole] * (frames - 1)), ITEM + pack("<I", len(last)) + last, END)
    return _giant(data_set, str(JPEGBaseline8Bit), pieces, frame[-4096:-4032])


def _header(study: int, number: int, frames: int) -> Dataset:
    data_set = synthetic.ct(study, 1, number, rows=2, columns=2)
    del data_set.PixelData
    data_set.SOPClassUID = EnhancedCTImageStorage
    data_set.Rows = data_set.Columns = 512
    data_set.NumberOfFrames = frames
    item = synthetic._item
    data_set.PerFrameFunctionalGroupsSequence = Items(
        [
            item(PlanePositionSequence=Items([item(ImagePositionPatient=[0.0, 0.0, float(frame)])]))
            for frame in range(frames)
        ]
    )
    return data_set


def _jpeg_frame(number: int) -> bytes:
    """One 512x512 component: quantisation and Huffman tables, and as coded data bytes that no decoder will see."""
    tables = b"\xff\xdb" + pack(">HB", 67, 0) + bytes(range(1, 65))
    start = b"\xff\xc0" + pack(">HBHHB", 11, 8, 512, 512, 1) + b"\x01\x11\x00"
    codes = b"".join(b"\xff\xc4" + pack(">HB", 20, kind) + b"\x01" + bytes(15) + b"\0" for kind in (0x00, 0x10))
    scan = b"\xff\xda" + pack(">HB", 8, 1) + b"\x01\x00\x00\x3f\x00"
    coded = random.Random(number).randbytes(250_000).replace(b"\xff", b"\x7f")
    frame = b"\xff\xd8" + tables + start + codes + scan + coded + b"\xff\xd9"
    return frame + b"\0" * (len(frame) % 2)


def _giant(data_set: Dataset, syntax: str, pieces: tuple[bytes, ...], mark: bytes) -> Giant:
    return Giant(str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), syntax, pieces, slice(1, len(pieces)), mark)
