"""What the oracle thinks of values that are not what their VR says: those go, one by one."""

from __future__ import annotations

import string

from pydicom.charset import python_encoding
from pydicom.dataelem import DataElement, RawDataElement

SETS = {*python_encoding}
CODES = set(string.ascii_uppercase + string.digits + "_ ")


def is_number(text: str, *, whole: bool) -> bool:
    if len(text) > (16 if whole else 40):
        return False
    number = text.strip(" ").lower()
    if number in ("", "+", "-"):
        return True
    if whole:
        before, _, behind = number.lstrip("+-").partition(".")
        return (
            set(before) <= set(string.digits) and not behind.strip("0") and len(number.lstrip("+-")) >= len(number) - 1
        )
    try:
        float(number)
    except ValueError:
        return False
    return "_" not in number


def fits(text: str, vr: str) -> bool:
    if vr == "CS":
        return len(text) <= 16 and set(text) <= CODES
    if vr in ("DS", "IS"):
        return is_number(text, whole=vr == "IS")
    return len(text) <= 64 and set(text) <= set(string.digits + ".")


def checked(raw: RawDataElement | DataElement, vr: str, said: str) -> RawDataElement | DataElement:
    """The element, or one with the values emptied that its VR cannot have."""
    if {vr, said} & {"DA", "DT", "TM"}:
        return raw
    kind = said if said in ("CS", "DS", "IS", "UI") else vr
    if kind not in ("CS", "DS", "IS", "UI"):
        return raw
    value = raw.value or b""
    if not isinstance(value, bytes):
        value = "\\".join([value] if isinstance(value, str) else [str(one) for one in value]).encode("latin-1")
    texts = value.decode("latin-1").split("\\")
    if raw.tag == 0x00080005:
        return _with(raw, vr, said, [text if text.rstrip(" \0") in SETS else spelt(text) for text in texts], texts)
    return _with(raw, vr, said, [text if fits(text.rstrip(" \0"), kind) else "" for text in texts], texts)


def spelt(text: str) -> str:
    """A character set whose name has a wrong mark between ISO, IR and the number."""
    return "ISO_IR " + text.strip(" \0").removeprefix("ISO").lstrip(" _-").removeprefix("IR").lstrip(" _-")


def _with(
    raw: RawDataElement | DataElement, vr: str, said: str, kept: list[str], texts: list[str]
) -> RawDataElement | DataElement:
    if kept == texts:
        return raw
    joined = "\\".join(kept).rstrip(" \0")
    padding = "\0" if "UI" in (vr, said) else " "
    return RawDataElement(
        raw.tag, vr, len(joined) + len(joined) % 2, (joined + padding * (len(joined) % 2)).encode(), 0,
        getattr(raw, "is_implicit_VR", False), True,
    )  # fmt: skip
