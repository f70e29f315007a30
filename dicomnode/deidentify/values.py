"""Values by VR: text and its character sets, person names, dates and times, UIDs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from pydicom import charset
from pydicom._uid_dict import UID_dictionary

from dicomnode.deidentify.standard import dictionary
from dicomnode.deidentify.standard.replacements import DUMMIES
from dicomnode.model import Doubt, Reason

STANDARD_ROOT = "1.2.840.10008."
REGISTRIES = ("1.2.840.10008.6.1.", "2.16.840.1.113883.")
PADDING = " \0"
REGISTERED = re.compile(
    r"1\.2\.840\.10008\.6\.1\.[1-9][0-9]{0,3}"  # context groups (PS3.6 Table A-3)
    r"|2\.16\.840\.1\.113883\.(?:(?:5|6|12)\.[1-9][0-9]{0,3}|6\.43\.1|3\.26\.1\.[12]|4\.9)"  # HL7's code systems
)
"""What says by which codes something is coded, as PS3.16 section 8 does: SNOMED CT, LOINC, UCUM, RadLex and others."""
UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
CHARACTER_SET_VRS = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
"""VRs whose text is in the Specific Character Set (PS3.5 section 6.1.2.3)."""
MISSPELT = re.compile(r"^ISO[ _-]?IR[ _-]?(?=[0-9])")
"""ISO IR 100, ISO-IR 100 and the like are common for ISO_IR 100, and cannot mean anything else."""
LATIN_1_CONTROL = re.compile("[\x80-\x90\x93-\x9f\x1b]")
"""But for 91 and 92, which are apostrophes to Windows."""
DATE = re.compile(r"([0-9]{4})(?:\.?([0-9]{2})(?:\.?([0-9]{2}))?)?")
TIME = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(\.[0-9]{1,6})?)?)?")
OFFSET = re.compile(r"-(?:0[0-9]|1[01])[0-5][0-9]|-1200|\+(?:0[0-9]|1[0-3])[0-5][0-9]|\+1400")
"""From UTC, -1200 to +1400 (PS3.5 section 6.2): what else follows a date is the end of a range."""
AGE = re.compile(r"([0-9]{1,3})([DWMY])")
OLDEST = 89
"""Years; who is older belongs to a group so small that the age alone can tell who it is."""
FORMS = {
    "CS": re.compile(rb"[A-Z0-9_ ]{0,16}"),
    "IS": re.compile(rb"(?=.{0,16}\Z) *[+-]?[0-9]*(\.0*)? *"),
    "DS": re.compile(rb"(?=.{0,40}\Z) *[+-]?([0-9]*\.?[0-9]*([eE][+-]?[0-9]+)?|(?i:nan|inf|infinity)) *"),
    "UI": re.compile(rb"[0-9.]{0,64}"),
    "SET": re.compile("|".join(map(re.escape, charset.python_encoding)).encode("ascii")),
    "TEXT": re.compile(rb"[^\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]*"),
}
"""What each value of a VR may consist of (PS3.5 section 6.2); numbers may be longer than the standard allows, as many
are. SET is a Specific Character Set, spelt as PS3.3 C.12.1.1.2 does. TEXT is text under another VR: without control
characters other than those of text, and so without items."""
MOST_FORMED, LONGEST_FORMED = 65536, 64
DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def dummy(vr: str) -> bytes:
    """A valid value that says nothing, padded to even length; every VR but UI and SQ."""
    return DUMMIES[vr]


def is_well_known_uid(value: str) -> bool:
    """Whether the standard registers the UID (PS3.6 Annex A) or names a coding scheme."""
    if value.startswith(STANDARD_ROOT) and (value in UID_dictionary or value in dictionary.storage_classes()):
        return True
    return value.startswith(REGISTRIES) and REGISTERED.fullmatch(value) is not None


def is_uid(value: str) -> bool:
    """Whether the text is a UID (PS3.5 section 9.1)."""
    return len(value) <= 64 and UID.fullmatch(value) is not None


def encodings_of(specific_character_set: str | None) -> tuple[str, ...]:
    """The Python codecs of a Specific Character Set value (backslash-separated, None or "" for the default).

    Raises Doubt(CHARACTER_SET) for a term that PS3.3 C.12.1.1.2 does not define.
    """
    return _encodings((specific_character_set or "").strip(PADDING))


@lru_cache(maxsize=256)
def _encodings(text: str) -> tuple[str, ...]:
    terms = [MISSPELT.sub("ISO_IR ", term.strip(PADDING)) for term in text.split("\\")]
    found = []
    for term in terms:
        encoding = charset.python_encoding.get(term)
        if encoding is None:
            raise Doubt(Reason.CHARACTER_SET, "(0008,0005)")
        found.append(encoding)
    if len(terms) > 1 and any(term.startswith(("ISO_IR 192", "GB")) for term in terms):
        raise Doubt(Reason.CHARACTER_SET, "(0008,0005)")
    return tuple(found)


def decode(value: bytes, encodings: Sequence[str], vr: str = "LO") -> str:
    """The text of a value, padding stripped; raises Doubt(CHARACTER_SET) when it is not text in these encodings."""
    trimmed = value.rstrip(b" \0")
    if trimmed.isascii() and b"\x1b" not in trimmed:
        return trimmed.decode("ascii").strip(" ") if vr not in ("ST", "LT", "UT", "UR") else trimmed.decode("ascii")
    if vr not in CHARACTER_SET_VRS:
        raise Doubt(Reason.CHARACTER_SET)
    return _decode(trimmed, encodings)


def western(value: bytes) -> list[str]:
    """What a value says that no declared character set can read: Latin-1, which many devices write; [] if it is not."""
    text = value.decode("latin-1")
    return [] if LATIN_1_CONTROL.search(text) else [text]


def _decode(value: bytes, encodings: Sequence[str]) -> str:
    if len(encodings) == 1 and b"\x1b" not in value:
        try:
            return value.decode(encodings[0], "strict").strip(" ")
        except (UnicodeDecodeError, LookupError):
            raise Doubt(Reason.CHARACTER_SET) from None
    return _decode_iso_2022(value, encodings)


def _decode_iso_2022(value: bytes, encodings: Sequence[str]) -> str:
    """Text with code extensions (PS3.5 section 6.1.2.5): each escape sequence must be of a declared set.

    Delimiters are not looked for: in a double-byte set their codes are parts of characters.
    """
    start, *escaped = value.split(b"\x1b")
    try:
        text = start.decode(encodings[0], "strict")
        return (text + "".join(_escaped(b"\x1b" + fragment, encodings) for fragment in escaped)).strip(" ")
    except (UnicodeDecodeError, LookupError, ValueError):
        raise Doubt(Reason.CHARACTER_SET) from None


def _escaped(fragment: bytes, encodings: Sequence[str]) -> str:
    for code, encoding in charset.CODES_TO_ENCODINGS.items():
        if fragment.startswith(code):
            if encoding not in encodings and encoding not in ("iso8859", "iso8859_1"):
                raise ValueError("not declared")
            return (fragment if encoding.startswith("iso2022") else fragment[len(code) :]).decode(encoding, "strict")
    raise ValueError("unknown escape sequence")


def parse_date(text: str) -> tuple[int, int | None, int | None] | None:
    """Year, month and day of a DA (also the old YYYY.MM.DD) or of the date of a DT; None when it is no date."""
    match = DATE.fullmatch(text)
    if match is None or ("." in text and len(text) != 10):
        return None
    year, month, day = (int(part) if part else None for part in match.groups())
    if year is None or (month is not None and not 1 <= month <= 12):
        return None
    if month is not None and day is not None and not 1 <= day <= _days(year, month):
        return None
    return year, month, day


def _days(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 28 if month == 2 and not leap else DAYS[month - 1]


def is_time(text: str) -> bool:
    """Whether the text is a TM (also the old HH:MM:SS)."""
    match = TIME.fullmatch(text)
    return match is not None and int(match[1]) < 24 and int(match[2] or 0) < 60 and int(match[3] or 0) <= 60


def is_datetime(text: str) -> bool:
    """Whether the text is a DT: a date, perhaps a time behind a whole date, perhaps an offset from UTC."""
    offset = OFFSET.search(text[-5:]) if len(text) > 8 or "+" in text or "-" in text else None
    body = text[:-5] if offset else text
    if "." in body[:8] or parse_date(body[:8]) is None:
        return False
    return len(body) <= 8 or is_time(body[8:])


def is_readable_date(value: bytes, vr: str) -> bool:
    """Whether every value of a DA, TM or DT can be parsed; empty ones can."""
    try:
        texts = [text.strip(PADDING) for text in value.decode("ascii").split("\\")]
    except UnicodeDecodeError:
        return False
    return all(not text or CHECKS[vr](text) for text in texts)


def is_formed(value: bytes, form: str) -> bool:
    """Whether every value is what a VR (`FORMS`) can have; short ones are remembered in FORMED."""
    if well_formed(value, form) != value:
        return False
    if len(value) <= LONGEST_FORMED:
        known = FORMED[form]
        if len(known) >= MOST_FORMED:
            known.clear()
        known.add(value)
    return True


def well_formed(value: bytes, form: str) -> bytes:
    """The same, values emptied that are not what the VR can have; the misspelt name of a character set is corrected."""
    matches = FORMS[form].fullmatch
    parts = value.split(b"\\")
    spelt = [part if matches(part.rstrip(b" \0")) else _spelt(part) for part in parts] if form == "SET" else parts
    kept = [part if matches(part.rstrip(b" \0")) else b"" for part in spelt]
    return value if kept == parts else b"\\".join(kept)


def _spelt(term: bytes) -> bytes:
    return MISSPELT.sub("ISO_IR ", term.decode("latin-1").strip(PADDING)).encode("latin-1")


def capped_ages(value: bytes) -> bytes:
    """An AS, several of them one by one: more than 89 years become 090Y, what is no age is emptied; without padding.

    In days, weeks or months three digits never come to 90 years.
    """
    ages = [AGE.fullmatch(text.strip(PADDING)) for text in value.decode("latin-1").split("\\")]
    capped = ("" if age is None else "090Y" if age[2] == "Y" and int(age[1]) > OLDEST else age[0] for age in ages)
    return "\\".join(capped).encode("ascii")


FORMED: dict[str, set[bytes]] = {form: set() for form in FORMS}
"""Values that were seen to be well formed."""
CHECKS: dict[str, Callable[[str], bool]] = {
    "DA": lambda text: len(text) >= 8 and parse_date(text) is not None,
    "TM": is_time,
    "DT": is_datetime,
    "SH": lambda text: OFFSET.fullmatch(text) is not None,
}
"""By VR what a value must be; the only SH is the Timezone Offset From UTC (0008,0201)."""
