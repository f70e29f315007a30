"""What the gate looks for: byte patterns made of the original values that were taken out of one instance.

- Names: every component of at least 3 characters (2 where the script is ideographic or syllabic); of a name with a
  shorter component also family and given name side by side. In private elements, where a PN is often no person, from 5.
- Identifiers (IDs, accession numbers, addresses, institutions): the whole value, from 5 characters.
- UIDs: the whole value, from 5 characters. Birth dates: in the usual written forms.

Shorter values, from 2 characters, and those of one repeated character are compared with whole text values only.
Patterns are in lower case for ASCII letters; other letters are there in several cases, in the encodings of the source,
UTF-8 and UTF-16, and without diacritics.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from dicomnode.deidentify import values
from dicomnode.deidentify.plan import Needle
from dicomnode.model import Doubt

LEAST_WHOLE = 2
LEAST_NAME = 3
LEAST_IDEOGRAPHIC = 2
IDEOGRAPHIC = 0x1100
LEAST_IDENTIFIER = 5
REMEMBERED = 2048
NAME_WORDS = re.compile(rb"[\\^=\s,;/()\-_.\0]+")
NAME_WORDS_TEXT = re.compile(r"[\\^=\s,;/()\-_.\0\u3000]+")
BIRTH_DATE = re.compile(rb"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
PADDING = b" \0"

Original: TypeAlias = tuple[Needle, int, bytes, bytes]
"""What a value is to the gate, its tag, its bytes and the Specific Character Set they are in."""


@dataclass(slots=True)
class Patterns:
    """What to look for of one original value."""

    plain: set[bytes] = field(default_factory=set)
    """ASCII-only or in an encoding of single bytes and UTF-8: found between token boundaries."""
    wide: set[bytes] = field(default_factory=set)
    """UTF-16 of what is not ASCII only; found anywhere."""
    short: set[bytes] = field(default_factory=set)
    """Too short to be searched for: compared with whole text values."""


@lru_cache(maxsize=REMEMBERED)
def patterns_of(original: Original) -> Patterns:
    """The patterns of one original value; empty when it says nothing."""
    kind, tag, value, character_set = original
    least = LEAST_IDENTIFIER if kind is not Needle.NAME or tag >> 16 & 1 else LEAST_NAME
    found = Patterns()
    trimmed = value.strip(PADDING)
    if not trimmed:
        return found
    if kind is Needle.BIRTH_DATE and (match := BIRTH_DATE.fullmatch(trimmed)):
        year, month, day = (part.decode("ascii") for part in match.groups())
        found.plain.update(form.encode("ascii") for form in date_forms(year, month, day))
    elif kind is Needle.UID:
        uids = [uid.strip(PADDING) for uid in trimmed.split(b"\\")]
        found.plain.update(uid.lower() for uid in uids if len(uid) >= LEAST_IDENTIFIER)
    elif trimmed.isascii() and b"\x1b" not in trimmed:
        _ascii(kind, trimmed.lower(), least, found)
    else:
        _text(kind, trimmed, character_set, least, found)
    return found


def _ascii(kind: Needle, value: bytes, least: int, found: Patterns) -> None:
    if kind is Needle.NAME:
        words = [word for word in NAME_WORDS.split(value) if word]
        for word in words:
            _add(word, least, found)
        found.plain.update(text.encode("ascii") for text in side_by_side([word.decode("ascii") for word in words]))
        return
    for single in value.split(b"\\"):
        word = single.strip(PADDING)
        _add(word, least, found)
        _add(b" ".join(word.split()), least, found)


def _add(word: bytes, least: int, found: Patterns) -> None:
    if len(word) >= least and len(set(word)) > 1:
        found.plain.add(word)
    elif len(word) >= LEAST_WHOLE:
        found.short.add(word)


def side_by_side(words: list[str]) -> list[str]:
    """Family and given name of one piece, in both orders, and with the usual marks where one of them is short."""
    if len(words) < 2:
        return []
    one, other = words[:2]
    found = [one + other, other + one] if len(one) + len(other) >= LEAST_IDENTIFIER + 1 else []
    if min(len(one), len(other)) < LEAST_NAME and len(one) + len(other) >= LEAST_NAME:
        found += [
            first + mark + second for first, second in ((one, other), (other, one)) for mark in ("^", " ", ", ", "_")
        ]
    return found


def date_forms(year: str, month: str, day: str) -> Iterable[str]:
    """A date as people write it; digits and lower case."""
    yield year + month + day
    for mark in "-/.":
        yield mark.join((year, month, day))
        yield mark.join((day, month, year))
        yield mark.join((month, day, year))
        yield mark.join((day.lstrip("0"), month.lstrip("0"), year))
        yield mark.join((month.lstrip("0"), day.lstrip("0"), year))
    if 1 <= int(month) <= 12:
        name = MONTHS[int(month) - 1]
        for mark in " -":
            yield mark.join((day, name, year))
        yield f"{name} {day}, {year}"
        yield f"{name} {day} {year}"


def _text(kind: Needle, value: bytes, character_set: bytes, least: int, found: Patterns) -> None:
    """A value that is not plain ASCII: decoded where it can be, else its raw bytes between the delimiters."""
    try:
        encodings = values.encodings_of(character_set.decode("latin-1"))
        text = values.decode(value, encodings, "PN" if kind is Needle.NAME else "LO")
    except Doubt:
        for piece in re.split(rb"[\\^=]", value.lower()):
            _add(piece.strip(PADDING), least, found)
        return
    name = kind is Needle.NAME
    words = [word for word in (NAME_WORDS_TEXT.split(text) if name else text.split("\\")) if word.strip()]
    for word in [*words, *(side_by_side(words[:2]) if name else [])]:
        _word(word.strip(), least, encodings, found)


def _word(word: str, least: int, encodings: tuple[str, ...], found: Patterns) -> None:
    ideographic = any(ord(character) >= IDEOGRAPHIC for character in word)
    long = len(word) >= (LEAST_IDEOGRAPHIC if ideographic else least)
    for variant in _cases(word):
        if variant.isascii():
            (found.plain if long else found.short).add(variant.lower().encode("ascii"))
            continue
        encoded = {_encode(variant, encoding).lower() for encoding in (*encodings, "utf-8")} - {b""}
        (found.plain if long else found.short).update(encoded)
        if long:
            found.wide.update(variant.encode(form, "replace").lower() for form in ("utf-16-le", "utf-16-be"))


def _cases(word: str) -> set[str]:
    """The word in several cases, composed and decomposed, and without diacritics."""
    composed = unicodedata.normalize("NFC", word)
    decomposed = unicodedata.normalize("NFD", word)
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    spelled = {word, composed, decomposed, bare if any(c.isalpha() for c in bare) else word}
    return {form for text in spelled for form in (text, text.lower(), text.upper(), text.title()) if form}


def _encode(text: str, encoding: str) -> bytes:
    try:
        return text.encode("latin_1" if encoding == "iso8859" else encoding)
    except (UnicodeEncodeError, LookupError):
        return b""
