"""What an instance says of its de-identification (PS3.15 E.1.1): written anew, continuing what stood there."""

from __future__ import annotations

from dicomnode.deidentify import rewrite
from dicomnode.deidentify.encoded import Element
from dicomnode.deidentify.pixels import text_of
from dicomnode.deidentify.plan import OWN_DIGEST, Plan

REMOVED, METHOD, METHOD_CODES, LONGITUDINAL = 0x00120062, 0x00120063, 0x00120064, 0x00280303
UNMODIFIED = "UNMODIFIED"


def declared(plan: Plan, data: bytes, elements: list[Element], implicit: bool) -> list[tuple[int, bytes]]:
    """What is written, in front of which tag: (0012,0062), (0012,0063) and (0012,0064); and (0028,0303)."""
    text = plan.declared_text(text_of(data, elements, METHOD)).encode("ascii")
    codes = plan.declared_codes(rewrite.dcm_codes(data, elements, METHOD_CODES), implicit)
    written = rewrite.new(REMOVED, b"CS", b"YES", implicit) + rewrite.new(METHOD, b"LO", text, implicit)
    longitudinal = plan.methods.longitudinal
    if longitudinal == UNMODIFIED:
        longitudinal = _since(text_of(data, elements, LONGITUDINAL))
    return [
        (REMOVED, written + (rewrite.new(METHOD_CODES, b"SQ", codes, implicit) if codes else b"")),
        (LONGITUDINAL, rewrite.new(LONGITUDINAL, b"CS", longitudinal.encode("ascii"), implicit)),
    ]


def _since(before: str) -> str:
    """What an earlier de-identification did to dates is not undone by leaving them as they are."""
    return before if before in ("MODIFIED", "REMOVED") else UNMODIFIED


def digests_before(data: bytes, elements: list[Element]) -> list[bytes]:
    """The digests of rules in what was declared before: all of it that stays and is not the standard's own words."""
    return [digest.encode("ascii") for digest in OWN_DIGEST.findall(text_of(data, elements, METHOD))]
