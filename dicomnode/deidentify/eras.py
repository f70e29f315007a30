"""A day by other calendars that people in hospitals write: Japanese eras, the years of Taiwan and of Thailand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

ERAS = (
    ("2019-05-01", "令和", "r"),
    ("1989-01-08", "平成", "h"),
    ("1926-12-25", "昭和", "s"),
    ("1912-07-30", "大正", "t"),
    ("1868-01-25", "明治", "m"),
)
"""Japanese eras: first day, name, and the letter that stands for it; the last first."""
MINGUO, BUDDHIST = 1911, 543
"""Taiwan counts from 1912, Thailand from the death of the Buddha."""


def written(year: int, month: int, day: int) -> Iterator[str]:
    """The day with the name of the era and with 年月日, folded."""
    both = {(str(month), str(day)), (f"{month:02}", f"{day:02}")}
    for name, number in _named_years(year, month, day):
        for one, other in both:
            yield f"{name}{number}年{one}月{other}日"


def in_digits(year: int, month: int, day: int) -> dict[str, set[str]]:
    """The day in ASCII, lower case, by its year: s12.2.14, 14/2/2480.

    Years of Taiwan in digits alone are versions as well.
    """
    pairs = [(str(month), str(day)), (f"{month:02}", f"{day:02}")]
    of_buddha = str(year + BUDDHIST)
    ways = [(mark, one, other) for mark in "./-" for one, other in pairs]
    found = {of_buddha: {mark.join(way) for mark, m, d in ways for way in ((d, m, of_buddha), (of_buddha, m, d))}}
    era = _era(year, month, day)
    if era:
        letter = f"{era.letter}{era.year}"
        found[letter] = {mark.join((letter, one, other)) for mark, one, other in ways}
    return found


class _Era(NamedTuple):
    name: str
    letter: str
    year: int  # of the era, from 1 on


def _era(year: int, month: int, day: int) -> _Era | None:
    """The Japanese era of a day; None before the first."""
    today = f"{year:04}-{month:02}-{day:02}"
    return next((_Era(name, letter, year - int(first[:4]) + 1) for first, name, letter in ERAS if first <= today), None)


def _named_years(year: int, month: int, day: int) -> Iterator[tuple[str, str]]:
    """The name of an era, and which of its years it is; the first is also called 元."""
    found = []
    era = _era(year, month, day)
    if era:
        found.append((era.name, era.year))
    if year > MINGUO:
        found += [(name, year - MINGUO) for name in ("民國", "民国")]
    for name, number in found:
        yield name, str(number)
        if number == 1:
            yield name, "元"
