"""Which VRs an attribute may have in a file where the dictionary says another, and what its values look like then."""

from __future__ import annotations

from dicomnode.deidentify.standard import dictionary

FORMS = frozenset(["CS", "DS", "IS", "UI"])
CHARACTER_SET = 0x00080005
IMAGE_GROUP = 0x0028
REDUCED = frozenset(["AS", "DA", "DT", "PN", "TM", "UI"])
"""VRs under which a text does not stay as it is."""
ALIKE = frozenset([("US", "SS"), ("SS", "US"), ("OW", "US"), ("OW", "SS"), ("OW", "OB"), ("OB", "OW"), ("OL", "OW")])
"""The dictionary's VR, and a binary VR that files have for it."""


def may_stand_for(tag: int, vr: str) -> bool:
    """Whether a value may have this VR where the dictionary says another: either text, or words of the same kind."""
    said = dictionary.vr_of(tag)
    if vr == said or "UN" in (vr, said) or (vr in dictionary.TEXT and said in dictionary.TEXT):
        return True
    return (said, vr) in ALIKE or vr in dictionary.vrs_of(tag)


def leaves_others_unreadable(tag: int, vr: str) -> bool:
    """Whether pixels or texts are read by this attribute (group 0028, the character set), and it cannot stay so."""
    said = dictionary.vr_of(tag)
    read_by_it = tag >> 16 == IMAGE_GROUP or tag == CHARACTER_SET
    return read_by_it and vr not in (said, "UN") and (vr in REDUCED or not may_stand_for(tag, vr))


def form_of(tag: int, vr: str) -> str:
    """What the values must look like: as the dictionary's VR asks, or the file's; "" where any will do."""
    said = dictionary.vr_of(tag)
    if tag == CHARACTER_SET:
        return "SET"
    if said in FORMS or vr in FORMS:
        return said if said in FORMS else vr
    return "TEXT" if vr == "UN" and said in dictionary.TEXT else ""


def partial_of(tag: int, vr: str) -> int:
    """The bits that must not be set in the length of a value: it is even, and holds whole numbers."""
    width = dictionary.WIDTHS.get(dictionary.vr_of(tag) if vr == "UN" else vr, 1)
    return max(width, 2) - 1
