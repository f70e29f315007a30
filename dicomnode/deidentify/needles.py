"""What the gate looks for: patterns made of the original values that were taken out of one instance.

- Names: every component of at least 3 characters (2 where the script is ideographic or syllabic); family and given
  name side by side, of each component group; the words of a component written as one; from 8 letters also without
  punctuation. In private elements, where a PN is often no person, from 5.
- Identifiers (IDs, accession numbers, addresses, institutions): the whole value and what stands before a ^, also
  without zeros in front, from 5 characters; without punctuation, from 6. UIDs: the whole value, from 5 characters.
- Birth dates: in the usual written forms, also of other calendars (`eras`).

- Of an identifier with a label (`MRN:123456`, `PID 123456`) also what the label announces.

Shorter values, from 2 characters, and those of one repeated character are compared with whole text values, and count
in free text behind a word that announces them (`written`).
Byte patterns are in lower case for ASCII letters; other letters are there in several cases, in every character set of
the instance, UTF-8 and UTF-16, and as ASCII without diacritics. Text patterns are for text that was decoded and folded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from dicomnode.deidentify import eras, values
from dicomnode.deidentify.folding import APOSTROPHE, folded, is_ideographic, spelt_out
from dicomnode.deidentify.plan import Needle
from dicomnode.model import Doubt

LEAST_WHOLE = 2
LEAST_NAME = 3
LEAST_IDEOGRAPHIC = 2
LEAST_IDENTIFIER = 5
LEAST_SQUEEZED = 6
LEAST_JOINED = 8
"""Letters of a name that is found inside words, too (`tokens`)."""
REMEMBERED = 1024
NAME_WORDS = re.compile(r"[\\^=\s,;/()\-_.\0\u3000]+")
BIRTH_DATE = re.compile(rb"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
PREFIXED = re.compile(r"(ma?c|[dlo])([a-z]{3,})")
"""MacLeod, Dangelo, Lheureux, Obrien: what is also written as two words."""
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
COMPONENTS = re.compile(r"[\\^]")
MARKS = " .:;,#*=_/()[]{}<>+\"'-"
LABEL_ENDS = re.compile(r"[:;,#*=|/()\[\]{}<>\s]+")
LABELLED = re.compile(r"[A-Za-z]{2,8}[._-]*([0-9]{6,})")
LEAST_DIGITS = 4
PADDING = b" \0"
PUNCTUATION = bytes(code for code in range(0x80) if not chr(code).isalnum() and code != 0x0A)

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
    dated: set[bytes] = field(default_factory=set)
    """Like plain, of a birth date: each holds `year`."""
    year: bytes = b""
    squeezed: set[bytes] = field(default_factory=set)
    """Found in text from which punctuation was taken out."""
    loose: set[bytes] = field(default_factory=set)
    """Found in free text only: elsewhere such numbers are times or parts of UIDs."""
    guarded: dict[bytes, set[bytes]] = field(default_factory=dict)
    """Found in free text only, by what each of them holds."""
    day: tuple[str, int, int] | None = None
    """Year, month and day of a birth date, to be found with the month as a word."""
    text: set[str] = field(default_factory=set)
    """Found in text that was decoded and folded; what is ASCII in identifiers is in `plain` and found there, too."""


@lru_cache(maxsize=REMEMBERED)
def patterns_of(original: Original, character_sets: tuple[bytes, ...] = ()) -> Patterns:
    """The patterns of one original value in an instance with these character sets; empty when it says nothing."""
    kind, tag, value, character_set = original
    least = LEAST_IDENTIFIER if kind is not Needle.NAME or tag >> 16 & 1 else LEAST_NAME
    found = Patterns()
    trimmed = value.strip(PADDING)
    if not trimmed:
        return found
    if kind is Needle.BIRTH_DATE and (match := BIRTH_DATE.fullmatch(trimmed)):
        _birth_date(match[1].decode(), match[2].decode(), match[3].decode(), found)
    elif kind is Needle.UID:
        uids = [uid.strip(PADDING) for uid in trimmed.split(b"\\")]
        found.plain.update(uid.lower() for uid in uids if len(uid) >= LEAST_IDENTIFIER)
    else:
        texts = list(dict.fromkeys(_readings(trimmed, (character_set, b"ISO_IR 192"), kind)))
        if not texts:
            for piece in re.split(rb"[\\^=]", trimmed.lower()):
                _add(piece.strip(PADDING), least, found)
            texts = values.western(trimmed)
        for text in texts:
            encodings = _encodings((character_set, *character_sets))
            for word in _names(text) if kind is Needle.NAME else _identifiers(text):
                _word(word, least, encodings, found)
        if kind is Needle.NAME:
            found.text.update(form for text in texts for form in _spoken(_names(text), least))
            long = (form for form in found.text if form.isalpha() and len(form) >= LEAST_JOINED)
            found.squeezed.update(form.encode() for form in long)
        else:
            spoken = (form for text in texts if not text.isascii() for form in _spoken(_identifiers(text), least))
            found.text.update(form for form in spoken if not form.isascii())
            found.squeezed.update(squeezed for text in texts for squeezed in _squeezed(text))
    return found


def _readings(value: bytes, character_sets: Iterable[bytes], kind: Needle) -> Iterator[str]:
    """What the value says in each of these character sets in which it can be read."""
    for character_set in character_sets:
        try:
            encodings = values.encodings_of(character_set.decode("latin-1"))
            yield values.decode(value, encodings, "PN" if kind is Needle.NAME else "LO")
        except Doubt:
            continue


@lru_cache(maxsize=256)
def _encodings(character_sets: tuple[bytes, ...]) -> tuple[str, ...]:
    """The codecs of all these character sets that are known, and UTF-8."""
    found: dict[str, None] = {}
    for character_set in character_sets:
        try:
            found.update(dict.fromkeys(values.encodings_of(character_set.decode("latin-1"))))
        except Doubt:
            continue
    return (*found, "utf-8")


def _names(text: str) -> Iterator[str]:
    """The words of a name, and of each component group family and given name side by side."""
    for group in text.split("="):
        words = [word for word in NAME_WORDS.split(group) if word]
        yield from words
        yield from side_by_side(words)
        for word in words:
            if APOSTROPHE.search(word):
                yield from (APOSTROPHE.sub("", word), APOSTROPHE.sub(" ", word))
            elif match := PREFIXED.fullmatch(word.lower()):
                yield f"{match[1]} {match[2]}"
        if len(words) > 2:
            yield from _joined(group)


def _joined(group: str) -> Iterator[str]:
    """Components of several words as one: VANDERBERG for VAN DER BERG."""
    for component in COMPONENTS.split(group):
        words = [word for word in NAME_WORDS.split(component) if word]
        if len(words) > 1 and sum(map(len, words)) >= LEAST_IDENTIFIER:
            yield "".join(words)


def _identifiers(text: str) -> Iterator[str]:
    """Each value, what stands before a ^, with single spaces, and without zeros in front."""
    for value in text.split("\\"):
        for form in {value, value.split("^")[0]}:
            for single in {form.strip(" \0"), " ".join(form.split())}:
                yield single
                yield from _labelled(single)
                if single.startswith("0") and len(single.lstrip("0")) >= LEAST_WHOLE:
                    yield single.lstrip("0")


def _labelled(value: str) -> Iterator[str]:
    """An identifier without the marks around it, and the numbers in it that stand behind a label."""
    bare = value.strip(MARKS)
    if bare != value:
        yield bare
    for token in LABEL_ENDS.split(bare):
        if token != bare and len(token) >= LEAST_IDENTIFIER and sum(map(str.isdigit, token)) >= LEAST_DIGITS:
            yield token.strip(MARKS)
        if match := LABELLED.fullmatch(token):
            yield match[1]


def _squeezed(text: str) -> Iterator[bytes]:
    """Identifiers without punctuation: with a digit, or longer than words that could stand side by side by chance."""
    for form in _identifiers(text if text.isascii() else folded(text)):
        squeezed = squeeze(form.lower().encode())
        has_digit = any(code in b"0123456789" for code in squeezed)
        if len(squeezed) >= (LEAST_SQUEEZED if has_digit else 2 * LEAST_SQUEEZED) and len(set(squeezed)) > 1:
            yield squeezed


def squeeze(text: bytes) -> bytes:
    """Without spaces and punctuation; line ends stay."""
    return text.translate(None, PUNCTUATION)


def _spoken(words: Iterable[str], least: int) -> Iterator[str]:
    """Words folded, both ways."""
    for word in words:
        if len(word) >= (LEAST_IDEOGRAPHIC if is_ideographic(word) else least):
            yield from (form for form in (folded(word), spelt_out(word)) if len(form) >= LEAST_IDEOGRAPHIC)


def _add(word: bytes, least: int, found: Patterns) -> None:
    if len(word) >= least and len(set(word)) > 1:
        found.plain.add(word)
    elif len(word) >= LEAST_WHOLE:
        found.short.add(word)


def side_by_side(words: list[str]) -> list[str]:
    """Family and given name of one group, in both orders, and with the usual marks where one of them is short."""
    if len(words) < 2:
        return []
    one, other = words[:2]
    least = LEAST_IDEOGRAPHIC if is_ideographic(one + other) else LEAST_IDENTIFIER
    found = [one + other, other + one] if len(one) + len(other) >= least else []
    if min(len(one), len(other)) < LEAST_NAME and len(one) + len(other) >= LEAST_NAME:
        found += [
            first + mark + second for first, second in ((one, other), (other, one)) for mark in ("^", " ", ", ", "_")
        ]
    return found


def _birth_date(year: str, month: str, day: str, found: Patterns) -> None:
    for form in date_forms(year, month, day):
        pattern = form.encode("ascii")
        (found.dated if year in form else found.plain).add(pattern)
    found.year = year.encode("ascii")
    if 1 <= int(month) <= 12:
        found.day = year, int(month), int(day)
        numbers = int(year), int(month), int(day)
        found.guarded = {year.encode("ascii"): {form.encode("ascii") for form in _roman(*numbers)}}
        found.guarded |= {
            of_era.encode("ascii"): {form.encode("ascii") for form in forms}
            for of_era, forms in eras.in_digits(*numbers).items()
        }
        found.text.update(map(folded, eras.written(*numbers)))
    found.loose.update(form.encode("ascii") for form in short_forms(year[2:], month, day))
    for one, other in ((month, day), (month.lstrip("0"), day.lstrip("0"))):
        for year_, month_, day_ in (("年", "月", "日"), ("년", "월", "일"), ("년 ", "월 ", "일")):
            found.text.add(f"{year}{year_}{one}{month_}{other}{day_}")


def date_forms(year: str, month: str, day: str) -> Iterable[str]:
    """A date as people write it; digits and lower case."""
    short_month, short_day, century = month.lstrip("0"), day.lstrip("0"), year[2:]
    yield from (year + month + day, day + month + year, month + day + year)
    for mark in "-/. ":
        yield mark.join((year, month, day))
        yield mark.join((year, short_month, short_day))
        for one, other in ((day, month), (month, day), (short_day, short_month), (short_month, short_day)):
            yield mark.join((one, other, year))
    for mark in "-/.":
        yield mark.join((day, month, century))
        yield mark.join((month, day, century))
    if 1 <= int(month) <= 12:
        for name in {MONTHS[int(month) - 1], MONTHS[int(month) - 1][:3]}:
            yield from _named(year, name, {day, short_day})
            yield from _named(year, name, [short_day + _ordinal(int(day))])


def _roman(year: int, month: int, day: int) -> Iterator[str]:
    for mark in (".", ". ", " ", "-", "/"):
        for one in (str(day), f"{day:02}"):
            yield mark.join((one, ROMAN[month - 1], str(year)))
            yield mark.join((str(year), ROMAN[month - 1], one))


def short_forms(year: str, month: str, day: str) -> Iterator[str]:
    """A date with two digits of the year that says nothing outside of a text."""
    yield from (year + month + day, day + month + year, month + day + year)
    short_month, short_day = month.lstrip("0"), day.lstrip("0")
    for mark in ("-", "/", ".", ". ", " "):
        yield mark.join((short_day, short_month, year))
        yield mark.join((short_month, short_day, year))
        yield mark.join((year, month, day))


def _ordinal(day: int) -> str:
    return "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _named(year: str, name: str, days: Iterable[str]) -> Iterable[str]:
    for day in days:
        for mark in (" ", "-", ". ", "/", ""):
            yield mark.join((day, name, year))
        yield from (f"{name} {day}, {year}", f"{name} {day} {year}", f"{name}-{day}-{year}")
        yield from (f"{day} {name}, {year}", f"{year}-{name}-{day}", f"{year} {name} {day}")


def _word(word: str, least: int, encodings: tuple[str, ...], found: Patterns) -> None:
    """One word in bytes: in several cases and every encoding, and in ASCII where it can be written so."""
    word = word.strip()
    long = len(word) >= (LEAST_IDEOGRAPHIC if is_ideographic(word) else least)
    if word.isascii():
        _add(word.lower().encode("ascii"), least, found)
        return
    for ascii_form in (folded(word), spelt_out(word)):
        if ascii_form.isascii():
            _add(ascii_form.encode("ascii"), least, found)
    for variant in _cases(word):
        encoded = {_encode(variant, encoding).lower() for encoding in encodings} - {b""}
        (found.plain if long else found.short).update(encoded)
        if long:
            found.wide.update(variant.encode(form, "replace").lower() for form in ("utf-16-le", "utf-16-be"))


def _cases(word: str) -> set[str]:
    """The word in several cases, composed and decomposed."""
    spelled = {word, unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)}
    return {form for text in spelled for form in (text, text.lower(), text.upper(), text.title()) if form}


def _encode(text: str, encoding: str) -> bytes:
    try:
        return text.encode("latin_1" if encoding == "iso8859" else encoding)
    except (UnicodeEncodeError, LookupError):
        return b""
