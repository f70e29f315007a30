"""Regular expressions of rules, with a bound on what trying them costs: a value from a sender must not stop the node.

Python's expressions backtrack. How many ways there are to try a value is at most `factor` times the combinations of
its length and `degree`, the number of repetitions that are as long as they like. Where such a repetition holds another
choice there is no bound, and the expression is refused. Values longer than the bound allows are not tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import comb
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, TypeAlias

MOST = 12_000_000
"""Ways to try; about half a second."""
LEAST = 64
"""Characters of an ordinary value (LO, PN): what cannot bear these is refused."""
ENDLESS = float("inf")
LONG = 16
"""A repetition with more lengths than this counts like one without an end."""
HINT = "write it without a repetition, an option or alternatives that overlap inside a repetition, and with few * and +"
REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
ANYTHING = [(codes.CATEGORY, codes.CATEGORY_SPACE), (codes.CATEGORY, codes.CATEGORY_NOT_SPACE)]
BEGINNINGS = (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING)

Parsed: TypeAlias = Sequence[tuple[Any, Any]]


class TooLong(Exception):
    """A value is longer than its expression allows."""


@dataclass(frozen=True, slots=True)
class Ways:
    """In how many ways a part can match."""

    factor: float = 1
    degree: int = 0

    def __mul__(self, other: Ways) -> Ways:
        return Ways(_capped(self.factor * other.factor), self.degree + other.degree)

    def times(self, number: int) -> Ways:
        """Of so many in a row."""
        return Ways(_capped(self.factor**number), self.degree * number)


def _capped(factor: float) -> float:
    return factor if factor <= MOST else ENDLESS


@dataclass(frozen=True)
class Pattern:
    """An expression, and what trying it costs."""

    expression: re.Pattern[str]
    ways: Ways

    def cost(self, length: int) -> float:
        """At most how many ways there are to try values of this length together."""
        factor, degree = self.ways.factor, self.ways.degree
        return ENDLESS if factor == ENDLESS else factor * comb(length + degree, degree)

    @cached_property
    def longest(self) -> int:
        """How many characters can be tried at a bearable cost; less than `LEAST`: not even an ordinary value."""
        low, high = -1, MOST
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.cost(middle) <= MOST else (low, middle - 1)
        return low

    @property
    def bounded(self) -> bool:
        """Whether an ordinary value can be tried."""
        return self.cost(LEAST) <= MOST


@lru_cache(maxsize=512)
def searching(text: str) -> Pattern:
    """An expression that is found anywhere in a value, whatever its case; raises re.error."""
    re.compile(text)
    plain = _without_ends(text)
    parsed = parser.parse(plain, re.IGNORECASE)
    once = not parsed.state.flags & re.MULTILINE
    begins = once and bool(len(parsed)) and parsed[0][0] is codes.AT and parsed[0][1] in BEGINNINGS
    return Pattern(re.compile(plain, re.IGNORECASE), _row(parsed) * Ways(1, 0 if begins else 1))


@lru_cache(maxsize=512)
def whole(text: str) -> Pattern:
    """An expression that matches a whole value; raises re.error."""
    parsed = list(parser.parse(text))
    last = parsed[-1] if parsed else None
    if last is not None and last[0] is codes.MAX_REPEAT and _takes_all(last[1]):
        parsed.pop()
    return Pattern(re.compile(text), _row(parsed))


def _takes_all(repeat: Any) -> bool:
    """Whether what stands at the end takes all that is left, and so is never tried again."""
    least, most, body = repeat
    return least == 0 and most is codes.MAXREPEAT and list(body) == [(codes.IN, ANYTHING)]


def _without_ends(text: str) -> str:
    """The same where it is only asked whether it is found: without .* at its ends."""
    if text.startswith(".*") and text[2:3] not in ("?", "+", "{"):
        text = text[2:]
    if text.endswith(".*") and not text.endswith("\\.*"):
        text = text[:-2]
    return text


def found(patterns: Iterable[str], values: Sequence[str]) -> list[bool]:
    """Of each value whether one of the expressions is found in it; raises TooLong."""
    length = sum(map(len, values))
    known = [searching(pattern) for pattern in patterns]
    if any(length > each.longest for each in known):
        raise TooLong
    return [any(each.expression.search(value) for each in known) for value in values]


class Trying:
    """What substitutions made of the values of one instance; all of them together have a bound."""

    def __init__(self) -> None:
        self._left: float = MOST
        self._known: dict[tuple[object, str], str] = {}

    def substituted(self, pairs: tuple[tuple[str, str], ...], text: str) -> str:
        """What the first expression that matches the whole text makes of it, "" where none does; raises TooLong."""
        if (pairs, text) not in self._known:
            self._known[pairs, text] = self._substituted(pairs, text)
        return self._known[pairs, text]

    def _substituted(self, pairs: tuple[tuple[str, str], ...], text: str) -> str:
        for pattern, replacement in pairs:
            tried = whole(pattern)
            self._left -= tried.cost(len(text))
            if self._left < 0:
                raise TooLong
            match = tried.expression.fullmatch(text)
            if match is not None:
                return match.expand(replacement)
        return ""


# in how many ways a parsed expression can match


def _row(parsed: Parsed) -> Ways:
    ways = Ways()
    for part in parsed:
        ways *= _part(*part)
    return ways


def _part(code: Any, given: Any) -> Ways:
    if code in REPEATS:
        return _repeat(*given)
    if code is codes.BRANCH:
        return _either(given[1])
    if code is codes.SUBPATTERN:
        return _row(given[3])
    if code is codes.ATOMIC_GROUP:
        return _row(given)
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return _row(given[1])
    if code is codes.GROUPREF_EXISTS:
        return _either([each for each in given[1:] if each is not None])
    if code is codes.GROUPREF:
        return Ways(1, 1)
    return Ways()


def _repeat(least: Any, most: Any, body: Parsed) -> Ways:
    inside = _row(body)
    endless = most is codes.MAXREPEAT or int(most) > LEAST
    if inside == Ways():
        lengths = 1 if least == most else LONG + 1 if endless else int(most) - int(least) + 1
        return Ways(1, 1) if lengths > LONG else Ways(lengths)
    if endless:
        return Ways(ENDLESS)
    return inside.times(int(most)) * Ways(int(most) - int(least) + 1)


def _either(alternatives: Sequence[Parsed]) -> Ways:
    """Of alternatives that begin differently one alone can match."""
    ways = [_row(each) for each in alternatives]
    begins = [_begins(each) for each in alternatives]
    apart = all(begins) and sum(map(len, begins)) == len(frozenset[str]().union(*begins))
    factors = [each.factor for each in ways]
    return Ways(max(factors) if apart else _capped(sum(factors)), max(each.degree for each in ways))


def _begins(parsed: Parsed) -> frozenset[str]:
    """The letters with which it can begin; none where that is not known."""
    if not len(parsed):
        return frozenset()
    code, given = parsed[0]
    if code is codes.SUBPATTERN:
        return _begins(given[3])
    if code is codes.IN and all(each is codes.LITERAL for each, _ in given):
        return frozenset(chr(letter).casefold() for _, letter in given)
    return frozenset(chr(given).casefold()) if code is codes.LITERAL else frozenset()
