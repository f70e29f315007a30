"""How people write in running text what is too short or too varied to be searched for alone.

Short IDs and names count behind a word that announces them: `MRN 4711`, `Pat.-Nr.: 4711`, `Herr Li`. Dates count with
the month as a word, in seven languages: `5. Januar 1950`, `5 de enero de 1950`, `Jan 5th, '50`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dicomnode.deidentify.plan import Needle
from dicomnode.deidentify.tokens import ALPHANUMERIC, DIGITS, DOT, places

AROUND = 40
"""So many characters around what was found can belong to it."""
ID_WORDS = (
    rb"(?:p|pat|patient|patienten|mr|study|case|fall|visit|exam|acc|accession|aufnahme)[ \t._-]*"
    rb"(?:id|nr|no|num|number|nummer)",
    rb"p?id|mrn|patients?|pat|case|fall|accession|acc|record|chart|subject",
    rb"ipp|nip|nhc|hn|dossier|paziente|paciente|patiente?|geval",
)
NUMBER_WORDS = (rb"nr|no|num|number|nummer|numero|#",)
NAME_WORDS = (
    rb"patient(?:in|en|e)?|pat|paziente|paciente|name|nom|nome|naam|nombre|dr|prof",
    rb"herrn?|hr|frau|fr|mr|mrs|ms|miss|mme|mlle|sig|signora?|sr|sra|srta|dhr|mevr|mw",
)


def _announcing(words: tuple[bytes, ...]) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|[^a-z])(?:" + b"|".join(words) + rb")[ \t.:#=_*/'()\[-]*$")


IDS, NUMBERS, NAMES = map(_announcing, (ID_WORDS, NUMBER_WORDS, NAME_WORDS))
LEAST_NUMBER = 3

MONTHS = (
    "january jan januar jaenner janner janvier janv enero ene gennaio gen januari janeiro",
    "february feb februar feber fevrier fevr fev febrero febbraio februari fevereiro",
    "march mar maerz marz mrz mars marzo maart mrt marco",
    "april apr avril avr abril abr aprile",
    "may mai mayo maggio mag mei maio",
    "june jun juni juin junio giugno giu junho",
    "july jul juli juillet juil julio luglio lug julho",
    "august aug aout agosto ago agustus augustus",
    "september sep sept septembre septiembre setiembre settembre set setembro",
    "october oct oktober okt octobre octubre ottobre ott outubro out",
    "november nov novembre noviembre novembro",
    "december dec dezember dez decembre diciembre dic dicembre dezembro",
)
"""English, German, French, Spanish, Italian, Dutch and Portuguese, folded, with the usual short forms."""
NAMED = tuple(frozenset(names.split()) for names in MONTHS)
STEMS = tuple(tuple(sorted({name[:3] for name in names})) for names in NAMED)
MARKS = r"[ \t.,/_'’-]*"
LINKS = rf"(?:{MARKS}(?:de|del|di|of|den|d|van)\b)?{MARKS}"
IN_FRONT = re.compile(rf"(?<![0-9])([0-9]{{1,4}})(?:st|nd|rd|th|er|re|eme|e|o|a|º|ª|°)?{LINKS}$")
BEHIND = re.compile(
    rf"{LINKS}(?:the )?([0-9]{{1,4}})(?:st|nd|rd|th|er|e|o|a|º|ª|°)?(?![0-9])(?:{LINKS}([0-9]{{2,4}})(?![0-9]))?"
)
WORD = re.compile(r"[a-z]+")
DOTTED = re.compile(rb"\.?[0-9]")
"""What goes on as a number or a version does."""


def is_alone(hay: bytes, at: int, form: bytes) -> bool:
    """Whether a short date is no part of a word, a number or a version."""
    end = at + len(form)
    before, behind = hay[at - 1] if at else 0, hay[end] if end < len(hay) else 0
    dotted = behind == DOT and end + 1 < len(hay) and hay[end + 1] in DIGITS
    return not (before in ALPHANUMERIC or before == DOT or behind in ALPHANUMERIC or dotted)


def is_whole(hay: bytes, at: int, form: bytes) -> bool:
    """Whether a date with its year is no part of a number, a version or a word; letters may follow: 14.II.1937r."""
    before, behind = hay[max(0, at - 2) : at], hay[at + len(form) :][:2]
    if DOTTED.match(before[::-1]) or DOTTED.match(behind):
        return False
    return not (form[:1].isalpha() and before[-1:].isalnum())


def is_announced(hay: bytes, value: bytes, kind: Needle) -> bool:
    """Whether a short value stands in lower-case text behind a word that announces it."""
    return any(_is_announced(hay, at, value, kind) for at in places(hay, value))


def _is_announced(hay: bytes, at: int, value: bytes, kind: Needle) -> bool:
    end = at + len(value)
    if end < len(hay) and hay[end] in ALPHANUMERIC:
        return False
    front = hay[max(0, at - AROUND) : at].rpartition(b"\n")[2]
    if at and hay[at - 1] in ALPHANUMERIC and not (value.isdigit() and front[-1:].isalpha()):
        return False
    if kind is Needle.NAME:
        return NAMES.search(front) is not None and front[-1:].isalpha() is False
    if IDS.search(front):
        return True
    return len(value) >= LEAST_NUMBER and any(48 <= code <= 57 for code in value) and NUMBERS.search(front) is not None


def names_day(text: str, year: str, month: int, day: int) -> bool:
    """Whether folded text names this day with the month as a word."""
    return any(_are(numbers, year, day) for numbers in _numbers(text, month))


def _numbers(text: str, month: int) -> Iterator[tuple[str, str, str]]:
    """The number in front of each name of the month, and the two behind it; "" where there is none."""
    for stem in STEMS[month - 1]:
        for at in places(text, stem):
            word = WORD.match(text, at)
            if (at and text[at - 1].isalpha()) or word is None or word[0] not in NAMED[month - 1]:
                continue
            front = IN_FRONT.search(text[max(0, at - AROUND) : at].rpartition("\n")[2])
            behind = BEHIND.match(text[word.end() : word.end() + AROUND].partition("\n")[0])
            yield front[1] if front else "", *((behind[1], behind[2] or "") if behind else ("", ""))


def _are(numbers: tuple[str, str, str], year: str, day: int) -> bool:
    front, first, second = numbers
    years = (year, year[2:])
    if front and first:
        return (_is_day(front, day) and first in years) or (front == year and _is_day(first, day))
    return _is_day(first, day) and second in years


def _is_day(number: str, day: int) -> bool:
    return len(number) in (1, 2) and int(number) == day
