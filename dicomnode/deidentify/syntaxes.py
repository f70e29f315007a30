"""The transfer syntaxes that can be read (PS3.5 section 10), and how."""

from __future__ import annotations

from enum import Enum

from pydicom import uid

from dicomnode.model import Doubt, Reason


class Pixels(Enum):
    """What encapsulated fragments hold; VIDEO may have fewer fragments than frames, the others have not."""

    NATIVE = "native"
    CODESTREAM = "codestream"
    RUN_LENGTHS = "run lengths"
    DEFLATED = "deflated"
    UNCOMPRESSED = "uncompressed"
    VIDEO = "video"


class Form:
    """How a data set in one transfer syntax is encoded."""

    __slots__ = ("big_endian", "deflated", "implicit", "output", "pixels")

    def __init__(self, syntax: str, pixels: Pixels) -> None:
        self.implicit = syntax == uid.ImplicitVRLittleEndian
        self.big_endian = syntax == uid.ExplicitVRBigEndian
        self.deflated = syntax == uid.DeflatedExplicitVRLittleEndian
        self.output = str(uid.ExplicitVRLittleEndian) if self.big_endian or self.deflated else syntax
        self.pixels = pixels

    @property
    def encapsulated(self) -> bool:
        """Whether pixel data comes in fragments (PS3.5 A.4)."""
        return self.pixels is not Pixels.NATIVE


_JPEG = "1.2.840.10008.1.2.4."
_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
_CODESTREAM = [
    f"{_JPEG}{last}" for last in (*range(50, 67), 70, 80, 81, *range(90, 94), *range(110, 113), 201, 202, 203)
]
"""JPEG, JPEG-LS, JPEG 2000 (not JPIP), JPEG XL, High-Throughput JPEG 2000."""
_VIDEO = [f"{_JPEG}{last}" for last in range(100, 109)] + [f"{_JPEG}{last}.1" for last in range(100, 107)]
"""MPEG2, MPEG-4 and HEVC, whole and fragmentable."""


def _forms() -> dict[str, Form]:
    kinds = (
        (_NATIVE, Pixels.NATIVE),
        (_CODESTREAM, Pixels.CODESTREAM),
        (["1.2.840.10008.1.2.5"], Pixels.RUN_LENGTHS),
        (["1.2.840.10008.1.2.8.1"], Pixels.DEFLATED),
        (["1.2.840.10008.1.2.1.98"], Pixels.UNCOMPRESSED),
        (_VIDEO, Pixels.VIDEO),
    )
    return {str(syntax): Form(str(syntax), kind) for syntaxes, kind in kinds for syntax in syntaxes}


FORMS = _forms()


def form(transfer_syntax: str) -> Form:
    """How the transfer syntax is read; raises Doubt(TRANSFER_SYNTAX) for one that is not known."""
    try:
        return FORMS[transfer_syntax]
    except KeyError:
        raise Doubt(Reason.TRANSFER_SYNTAX) from None
