"""Conditions on the attributes of an instance as it was received, at the top level.

A test asks one thing of one attribute: in, not_in, substring, not_substring, matches, not_matches, above, below,
at_least, at_most or present. Values are compared without regard to case and padding, underscores and runs of spaces
count as one space; an empty value is none. Of several values any one is enough; tests with `not_` say that none of
them is, and so hold where the attribute is absent. `values: all` asks for every value, and `values: any` for one that
is not. Numbers and ages are compared as such, dates and times as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from dicomnode.deidentify import patterns
from dicomnode.deidentify.patterns import TooLong
from dicomnode.deidentify.reading import Document, Node, nearest
from dicomnode.deidentify.standard import dictionary

SOP_CLASS = 0x00080016
OPERATORS = (
    "in",
    "not_in",
    "substring",
    "not_substring",
    "matches",
    "not_matches",
    "above",
    "below",
    "at_least",
    "at_most",
    "present",
)
COMPARISONS = ("above", "below", "at_least", "at_most")
QUANTIFIERS = ("any", "all")
NUMBERS = frozenset(["US", "SS", "UL", "SL", "FL", "FD"])
MEASURED = NUMBERS | {"DS", "IS", "AS"}
AGE = re.compile("([0-9]{3})([DWMY])")
DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
TRUTHS = {"true": True, "yes": True, "false": False, "no": False}
SPACES = re.compile(r"[\s_\0]+")

Values: TypeAlias = Callable[[int], Sequence[str]]
"""The folded values of an attribute, empty ones left out."""


@dataclass(frozen=True, slots=True)
class Test:
    """One thing asked of an attribute; `arguments` are folded, or patterns, or true or false."""

    tag: int
    operator: str
    arguments: tuple[str, ...]
    values: str = ""
    """any or all; "" is any, and none for what begins with not_."""
    written: tuple[str, ...] = field(default=(), compare=False)
    """The arguments as the rules have them."""

    def holds(self, values: Sequence[str]) -> bool:
        """Whether it is so of these values; raises TooLong where the patterns cannot be tried on them."""
        if self.operator == "present":
            return bool(values) is TRUTHS[self.arguments[0]]
        so = self._so(values)
        if self.operator.startswith("not_"):
            asked = any if self.values == "any" else all
            return not values or asked(not each for each in so)
        asked = all if self.values == "all" else any
        return bool(values) and asked(so)

    def _so(self, values: Sequence[str]) -> Iterable[bool]:
        """Of each value what the test asks, leaving out its not_."""
        if self.operator.endswith("matches"):
            return patterns.found(self.arguments, values)
        return map(self._is_so, values)

    def _is_so(self, value: str) -> bool:
        """What the test asks of one value, leaving out its not_."""
        operator = self.operator.removeprefix("not_")
        if operator == "in":
            return value in self.arguments or self._is_equal(value)
        if operator == "substring":
            return any(each in value for each in self.arguments)
        return any(_compares(operator, value, each) for each in self.arguments)

    def _is_equal(self, value: str) -> bool:
        """Whether a number or an age is one of the arguments, however they are written."""
        if dictionary.vr_of(self.tag) not in MEASURED:
            return False
        measured = _measured(value)
        return measured is not None and measured in map(_measured, self.arguments)

    def __str__(self) -> str:
        of = f" ({self.values} of the values)" if self.values else ""
        return f"{dictionary.keyword_of(self.tag)} {self.operator} {', '.join(self.arguments)}{of}"


Condition: TypeAlias = tuple[Test, ...]
"""Tests of which all must hold."""


def _compares(operator: str, value: str, other: str) -> bool:
    one, two = _measured(value), _measured(other)
    if (one is None) is not (two is None):
        return False
    less, more = (value < other, value > other) if one is None or two is None else (one < two, one > two)
    return {"above": more, "below": less, "at_least": not less, "at_most": not more}[operator]


def _measured(text: str) -> Decimal | None:
    """A number or an age in days; None for what is neither."""
    age = AGE.fullmatch(text)
    try:
        number = Decimal(int(age[1]) * DAYS[age[2]]) if age else Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def folded(text: str) -> str:
    """A value in the form in which values are compared."""
    return SPACES.sub(" ", text).strip(" ").upper()


def values_of(raw: bytes | None) -> tuple[str, ...]:
    """The folded values of an encoded text, empty ones left out."""
    parts = (folded(part) for part in (raw or b"").decode("latin-1").split("\\"))
    return tuple(part for part in parts if part)


def first_that_holds(conditions: Sequence[Condition], values: Values) -> Condition | None:
    """The first condition of which all tests hold, or which cannot be tried on values as long as these."""
    return next((each for each in conditions if _may_hold(each, values)), None)


def _may_hold(condition: Condition, values: Values) -> bool:
    try:
        return all(test.holds(values(test.tag)) for test in condition)
    except TooLong:
        return True


def read(document: Document, node: Node, what: str, askable: frozenset[str] = dictionary.TEXT) -> Condition:
    """A condition: attributes with their tests, `Modality: {in: [US]}`; of these VRs alone. Raises RulesError."""
    tests = []
    for word, (line, given) in document.mapping(node, what).items():
        tag = document.tag(line, word)
        vr = dictionary.vr_of(tag)
        if tag >> 16 & 1 or vr not in askable:
            raise document.wrong(line, f"nothing can be asked of '{word}'", f"its VR is {vr}, not a text")
        operators = document.mapping(given, f"the tests of {word}")
        quantifier = _quantifier(document, operators.pop("values", None))
        if not operators:
            raise document.wrong(line, f"'{word}' has no test", f"use one of {', '.join(OPERATORS)}")
        found = [_test(document, tag, name, *argument) for name, argument in operators.items()]
        tests += [replace(test, values=quantifier) if quantifier else test for test in found]
    if not tests:
        raise document.wrong(node.start_mark.line + 1, f"{what} is empty", "write for example: Modality: {in: [US]}")
    return tuple(tests)


def _quantifier(document: Document, given: tuple[int, Node] | None) -> str:
    if given is None:
        return ""
    word = document.text(given[1])
    if word not in QUANTIFIERS:
        raise document.wrong(given[0], f"values cannot be '{word}'", "use any or all")
    return word


def _test(document: Document, tag: int, operator: str, line: int, node: Node) -> Test:
    if operator not in OPERATORS:
        raise document.wrong(line, f"unknown test '{operator}'", nearest(operator, OPERATORS))
    if operator == "present":
        truth = document.text(node).lower()
        if truth not in TRUTHS:
            raise document.wrong(line, f"present cannot be '{truth}'", "use true or false")
        return Test(tag, operator, (str(TRUTHS[truth]).lower(),))
    new = "substring" in operator or operator in COMPARISONS
    words = (
        [(line, document.text(node))] if new and not isinstance(node.value, list) else document.words(node, operator)
    )
    if not words or (operator in COMPARISONS and len(words) > 1):
        what = "several values" if words else "an empty list"
        raise document.wrong(line, f"{operator} has {what}", "say which values" if not words else "give one")
    if operator in COMPARISONS:
        _check_measure(document, tag, *words[0])
    if new:
        return Test(tag, operator, tuple(dict.fromkeys(folded(word) for _, word in words)), written=_texts(words))
    if operator in ("in", "not_in"):
        found = dict.fromkeys(_argument(document, tag, *word) for word in words)
        return Test(tag, operator, tuple(found), written=_texts(words))
    for at, pattern in words:
        try:
            tried = patterns.searching(pattern)
        except re.error as error:
            raise document.wrong(at, f"'{pattern}' is no regular expression", str(error)) from None
        if not tried.bounded:
            raise document.wrong(at, f"'{pattern}' could be tried on a value without end", patterns.HINT)
    return Test(tag, operator, _texts(words), written=_texts(words))


def _check_measure(document: Document, tag: int, line: int, word: str) -> None:
    """A number is compared with numbers alone, an age with ages and numbers of days. Raises RulesError."""
    vr = dictionary.vr_of(tag)
    if vr in MEASURED and _measured(folded(word)) is None:
        what = f"'{word}' cannot be compared with a value of VR {vr}"
        raise document.wrong(line, what, "write an age: 065Y" if vr == "AS" else "write a number")


def _texts(words: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(text for _, text in words)


def _argument(document: Document, tag: int, line: int, word: str) -> str:
    """A value to compare with; SOP classes may be written as keywords."""
    if tag != SOP_CLASS:
        return folded(word)
    names = {name: uid for uid, name in dictionary.storage_classes().items()}
    uid = names.get(word, word)
    if uid not in dictionary.storage_classes():
        raise document.wrong(line, f"unknown SOP class '{word}'", nearest(word, names))
    return uid
