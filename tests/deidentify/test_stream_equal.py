"""An instance that streams comes out as one that is held whole, whatever the size of the chunks."""

from __future__ import annotations

import zlib

import images
import pydicom
import pytest
from blake3 import blake3
from building import (
    DEFLATED,
    ENGINE,
    EXPLICIT,
    RLE,
    data_set,
    element,
    fragments,
    image,
    item,
    output,
    received,
    rle,
    sequence,
    stream,
)
from compare import KEYS, ORIGIN

from dicomnode.deidentify import data_digest, received_digest
from dicomnode.model import Doubt, Received

PIXELS = element(0x7FE00010, "OB", bytes(range(16)))
PADDING = element(0xFFFCFFFC, "OB", bytes(8))


def agree(request: Received, data: bytes, size: int) -> None:
    """Output, description and digests are the same."""
    whole = ENGINE.clean(request, data)
    cleaner, out, cleaned = stream(request, data, size)
    assert out == output(whole)
    pixels = blake3(whole.pixels or b"").digest()
    assert cleaner.data_digest == data_digest(whole.before_pixels, pixels, whole.tail)
    assert cleaner.received_digest == received_digest(KEYS.journal, whole.original_head, pixels, whole.original_tail)
    assert cleaner.pixels_at == sum(map(len, whole.head))
    assert cleaner.pixels_length == len(whole.pixels or b"")
    for name in ("originals", "patient", "modality", "identity", "sop_uid", "study_uid", "data_set_offset"):
        assert getattr(cleaned, name) == getattr(whole, name), name
    assert cleaner.originals == whole.originals


SMALL = {
    "native": (data_set(*image(), PIXELS, PADDING), EXPLICIT),
    "no pixels": (data_set(), EXPLICIT),
    "sequences": (
        data_set(*image(), sequence(0x00082218, item(data_set(), defined=False), defined=False), PIXELS),
        EXPLICIT,
    ),
    "fragments": (data_set(*image(frames=2), fragments(rle(), rle()), PADDING), RLE),
}


@pytest.mark.parametrize("case", SMALL)
def test_chunks_of_every_size(case: str) -> None:
    data, syntax = SMALL[case]
    for size in (*range(1, 64), len(data) - 1, len(data), len(data) + 1):
        agree(received(syntax), data, size)


def test_deflated() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = packer.compress(SMALL["native"][0]) + packer.flush()
    for size in (1, 7, 1000):
        agree(received(DEFLATED), data, size)


def _answer(request: Received, data: bytes, size: int | None) -> tuple[str, bytes]:
    try:
        out = output(ENGINE.clean(request, data)) if size is None else stream(request, data, size)[1]
    except Doubt as doubt:
        return f"{doubt.reason} {doubt.where}", b""
    return "", out


@pytest.mark.parametrize("size", [61, 4096, 1 << 20])
def test_every_real_file(size: int) -> None:
    for path in images.sendable_files():
        if path.stat().st_size > (200_000 if size < 1000 else 3_000_000):
            continue
        syntax, data = images.split(path.read_bytes())
        head = pydicom.dcmread(path, stop_before_pixels=True)
        request = Received(ORIGIN, str(head.SOPClassUID), str(head.SOPInstanceUID), syntax)
        assert _answer(request, data, size) == _answer(request, data, None), path.name
