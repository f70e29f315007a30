"""The data dictionary (PS3.6): pydicom's, and of Table E.1-1 what is younger than it."""

from __future__ import annotations

import hashlib
from functools import cache

from pydicom import datadict
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._uid_dict import UID_dictionary
from pynetdicom import sop_class

from dicomnode.deidentify.standard.tables import read, retired_classes, rows

TEXT = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
"""Value representations that are character strings (PS3.5 section 6.2)."""
FREE_TEXT = frozenset(["LT", "ST", "UC", "UR", "UT"])
"""Of these, the VRs for texts that people write, and for addresses."""
LAST_PLANE = 0x1E
FIRST_BLOCKS = frozenset(range(0x10, 0x20)) - {0x1B}
"""Blocks of private attributes of which the number cannot be a character."""
WIDTHS = {
    **dict.fromkeys(["US", "SS", "OW"], 2),
    **dict.fromkeys(["AT", "UL", "SL", "FL", "OF", "OL"], 4),
    **dict.fromkeys(["FD", "UV", "SV", "OD", "OV"], 8),
}
"""Bytes of each number of a binary VR (PS3.5 Table 6.2-1)."""
DATES = frozenset(["DA", "TM", "DT"])
OF_PEOPLE = FREE_TEXT | {"AE", "LO", "PN", "SH"}
"""VRs of what people write: any text."""
SEVERAL = {"US or SS": "US", "OB or OW": "OW", "US or SS or OW": "US", "US or OW": "US", "NONE": "UN"}


def vr_of(tag: int) -> str:
    """The VR that the dictionary gives an attribute; of several the first that reads any value; UN when unknown."""
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    if tag & 0xFFFF == 0:
        return "UL"
    try:
        vr = datadict.dictionary_VR(tag)
    except KeyError:
        row = rows().get(f"{tag:08X}")
        return row.vr if row is not None and row.vr else "UN"
    return SEVERAL.get(vr, vr)


def read_as(tag: int, vr: str) -> str:
    """The VR by which a text is read: the dictionary's where the file says UN, or a VR for less than any text."""
    said = vr_of(tag)
    return said if said in (TEXT if vr == "UN" else OF_PEOPLE) else vr


def vrs_of(tag: int) -> frozenset[str]:
    """All VRs that the dictionary gives an attribute."""
    try:
        return frozenset(datadict.dictionary_VR(tag).split(" or "))
    except KeyError:
        return frozenset([vr_of(tag)])


def keyword_of(tag: int) -> str:
    """The keyword of an attribute; the tag as (gggg,eeee) where it has none."""
    row = rows().get(f"{tag:08X}")
    return datadict.keyword_for_tag(tag) or (
        row.keyword if row is not None else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    )


def is_known(tag: int) -> bool:
    """Whether Table E.1-1 or the dictionary tells what the attribute is: of some retired ones nothing is known."""
    named = datadict.dictionary_has_tag(tag) and datadict.keyword_for_tag(tag) != ""
    return named or f"{tag:08X}" in rows() or datadict.repeater_has_tag(tag)


def is_standard(tag: int) -> bool:
    """Whether the standard names this very tag: other bytes at the place of a tag may be those of a value.

    Where it leaves digits open only the groups of overlay planes and curves count (6000 to 601E, PS3.5 section 7.6),
    and of private attributes those of Table E.3.10-1 in the first blocks.
    """
    if datadict.dictionary_has_tag(tag) or f"{tag:08X}" in rows():
        return True
    if tag >> 8 & 0xFF in FIRST_BLOCKS and tag & 0xFFFF00FF in _safe_private():
        return True
    plane = tag >> 24 in (0x50, 0x60) and tag >> 16 & 0xFF <= LAST_PLANE and not tag >> 16 & 1
    return plane and datadict.repeater_has_tag(tag)


@cache
def _safe_private() -> frozenset[int]:
    """The private attributes of Table E.3.10-1, without their blocks."""
    return frozenset(int(row["group"], 16) << 16 | int(row["element"], 16) for row in read("safe_private.csv"))


@cache
def keywords() -> dict[str, int]:
    """Every keyword and its tag."""
    known = {row.keyword: int(tag, 16) for tag, row in rows().items() if tag != "private" and "x" not in tag}
    return {**datadict.keyword_dict, **known}


@cache
def storage_classes() -> dict[str, str]:
    """The public storage SOP classes that are understood: UID and name."""
    current = {uid: name for name, uid in sop_class._STORAGE_CLASSES.items()}
    return {**current, **{uid: UID_dictionary[uid][0] for uid in retired_classes()}}


@cache
def digest() -> str:
    """Hex SHA-256 over the dictionaries of the libraries: they decide part of the output."""
    parts = [
        *sorted(f"{tag:08X} {entry}" for tag, entry in DicomDictionary.items()),
        *sorted(f"{tag} {entry}" for tag, entry in RepeatersDictionary.items()),
        *sorted(f"{uid} {entry[1]}" for uid, entry in UID_dictionary.items()),
        *sorted(storage_classes()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
