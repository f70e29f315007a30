"""Transcoding in the worker: the same picture, header and UIDs; and every way in which it can fail."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from io import BytesIO
from pathlib import Path

import images
import numpy
import pydicom
import pytest
import synthetic
from keeper import until
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode import transcode
from dicomnode.transcode import CannotTranscode, Transcoder
from dicomnode.transcode.worker import ALWAYS_LOSSY

EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
FILES = (
    "MR_small_RLE.dcm",
    "693_J2KI.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "emri_small_jpeg_ls_lossless.dcm",
    "emri_small_jpeg_2k_lossless.dcm",
    "examples_ybr_color.dcm",
    "examples_jpeg2k.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_rgb_gdcm_KY.dcm",
)
CHANGED = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration", "LossyImageCompression"}


def opened(data_set: bytes, syntax: str) -> pydicom.Dataset:
    part10 = images.part10(data_set, syntax, "1.2", "1.2")
    return pydicom.dcmread(BytesIO(part10))


async def transcoded(transcoder: Transcoder, part10: bytes, syntax: str) -> bytes:
    return await transcoder.transcode([part10[:500], part10[500:]], len(part10), syntax)


def same_header(before: pydicom.Dataset, after: pydicom.Dataset) -> None:
    """Group lengths are gone; a private element's VR is not known in Implicit VR."""
    compared = [element for element in before if element.tag.element and element.keyword not in CHANGED]
    assert {element.tag for element in compared} == {e.tag for e in after if e.keyword not in CHANGED}
    for element in compared:
        if element.VR != "UN" and not (element.tag.is_private and after.is_implicit_VR):
            assert element.value == after[element.tag].value, element.tag


@pytest.mark.parametrize("name", FILES)
async def test_compressed_becomes_explicit(name: str) -> None:
    part10 = images.real(name).read_bytes()
    before = pydicom.dcmread(BytesIO(part10))
    async with Transcoder() as transcoder:
        after = opened(await transcoded(transcoder, part10, EXPLICIT), EXPLICIT)
    assert after.SOPInstanceUID == before.SOPInstanceUID
    same_header(before, after)
    assert numpy.array_equal(pixel_array(before), pixel_array(after))  # both as RGB, where they have colours
    assert after.PhotometricInterpretation in ("MONOCHROME2", "RGB", "YBR_FULL", "PALETTE COLOR")
    assert not after["PixelData"].is_undefined_length
    assert len(after.PixelData) % 2 == 0
    if before.file_meta.TransferSyntaxUID in ALWAYS_LOSSY:
        assert after.LossyImageCompression == "01"
    else:
        assert after.get("LossyImageCompression") == before.get("LossyImageCompression")


@pytest.mark.parametrize(("source", "target"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
async def test_between_the_plain_syntaxes(source: str, target: str) -> None:
    for made in (synthetic.small(), images.parse(images.real("MR_small.dcm").read_bytes())):
        part10 = images.written(made, source)
        async with Transcoder() as transcoder:
            data_set = await transcoded(transcoder, part10, target)
        after = opened(data_set, target)
        assert after.is_implicit_VR == (target == IMPLICIT)
        same_header(images.parse(part10), after)
        assert (after.pixel_array == images.parse(part10).pixel_array).all()


async def test_one_worker_for_many_and_none_is_left() -> None:
    part10 = images.real("MR_small_RLE.dcm").read_bytes()
    async with Transcoder() as transcoder:
        first = await transcoded(transcoder, part10, EXPLICIT)
        assert transcoder._worker is not None
        pid = transcoder._worker.pid
        assert await transcoded(transcoder, part10, EXPLICIT) == first
        assert transcoder._worker.pid == pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_cannot_be_decoded_is_told_without_what_it_says() -> None:
    part10 = images.written(synthetic.jpeg())
    entropy = part10.index(b"\xff\xda")
    broken = part10[: entropy - 400] + bytes(300) + part10[entropy - 100 :]
    async with Transcoder() as transcoder:
        for each in (broken, part10[:-3000], b"nothing", b""):
            with pytest.raises(CannotTranscode, match="it cannot be decoded") as caught:
                await transcoded(transcoder, each, EXPLICIT)
            assert "Zwetschgenbaum" not in str(caught.value)
        assert await transcoded(transcoder, part10, EXPLICIT)


async def test_memory_is_limited() -> None:
    """A small file that claims to be 30000 x 30000 pixels; and an address space in which little has room."""
    huge = images.parse(images.real("MR_small_RLE.dcm").read_bytes())
    huge.Rows = huge.Columns = 30000
    async with Transcoder() as transcoder:
        with pytest.raises(CannotTranscode):
            await transcoded(transcoder, images.written(huge), EXPLICIT)
    async with Transcoder(memory=64 << 20) as transcoder:
        with pytest.raises(CannotTranscode):
            await transcoded(transcoder, images.real("MR_small_RLE.dcm").read_bytes(), EXPLICIT)


async def test_time_is_limited_and_the_worker_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    part10 = images.real("MR_small_RLE.dcm").read_bytes()
    async with Transcoder(seconds=0.01) as transcoder:
        begin = time.monotonic()
        with pytest.raises(CannotTranscode, match=r"longer than 0.01 s"):
            await transcoded(transcoder, part10, EXPLICIT)
        assert time.monotonic() - begin < 10
        transcoder._seconds = 30
        assert await transcoded(transcoder, part10, EXPLICIT)
        assert transcoder._worker is not None
        transcoder._worker.kill()
        await transcoder._worker.wait()
        with pytest.raises(CannotTranscode, match="died"):
            await transcoded(transcoder, part10, EXPLICIT)
        assert await transcoded(transcoder, part10, EXPLICIT)
        monkeypatch.setattr(transcode, "MOST", 10)
        with pytest.raises(CannotTranscode, match="larger than"):
            await transcoded(transcoder, part10, EXPLICIT)


async def test_a_cancelled_request_leaves_no_worker() -> None:
    part10 = images.real("MR_small_RLE.dcm").read_bytes()
    transcoder = Transcoder()
    task = asyncio.create_task(transcoded(transcoder, part10, EXPLICIT))
    await until(lambda: transcoder._worker is not None)
    assert transcoder._worker is not None
    pid = transcoder._worker.pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    async with Transcoder() as transcoder:
        with pytest.raises(CannotTranscode, match="the extra 'pixels'"):
            await transcoded(transcoder, images.real("MR_small_RLE.dcm").read_bytes(), EXPLICIT)
        assert await transcoded(transcoder, images.written(synthetic.small(), EXPLICIT), IMPLICIT)


async def test_a_worker_that_is_cut_off_while_it_answers_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However much of its answer nobody has read."""
    worker = tmp_path / "worker"
    worker.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "sys.stdin.buffer.read(10)\n"
        "sys.stdout.buffer.write((0).to_bytes(1, 'big') + (100 << 20).to_bytes(8, 'big'))\n"
        "while True: sys.stdout.buffer.write(bytes(1 << 20))\n"
    )
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    transcoder = Transcoder()
    work = asyncio.create_task(transcoder.transcode([b"x"], 1, IMPLICIT))
    _cut_at_a_pause(transcoder, work)
    await asyncio.wait({work}, timeout=10)
    assert work.done()
    assert work.cancelled()


def _cut_at_a_pause(transcoder: Transcoder, work: asyncio.Task[bytes]) -> None:
    """Cancel it when as much of the answer waits as is read ahead."""
    answer = transcoder._worker and transcoder._worker.stdout
    if answer is not None and answer._paused:
        work.cancel()
    else:
        asyncio.get_running_loop().call_later(0, _cut_at_a_pause, transcoder, work)
