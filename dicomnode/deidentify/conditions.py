"""Conditions on the attributes of an instance as it was received, at the top level.

A test asks one thing of one attribute: in, not_in, matches, not_matches or present. Values are compared without regard
to case and padding, underscores and runs of spaces count as one space; an empty value is none. Of several values any
one is enough for `in` and `matches`; `not_in` and `not_matches` say that none of them is, and so hold where the
attribute is absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from dicomnode.deidentify.reading import Document, Node, nearest
from dicomnode.deidentify.standard import dictionary

SOP_CLASS = 0x00080016
OPERATORS = ("in", "not_in", "matches", "not_matches", "present")
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

    def holds(self, values: Sequence[str]) -> bool:
        """Whether it is so of these values."""
        if self.operator == "present":
            return bool(values) is TRUTHS[self.arguments[0]]
        if self.operator in ("in", "not_in"):
            found = any(value in self.arguments for value in values)
        else:
            found = any(_pattern(pattern).search(value) for pattern in self.arguments for value in values)
        return found is (self.operator in ("in", "matches"))

    def __str__(self) -> str:
        return f"{dictionary.keyword_of(self.tag)} {self.operator} {', '.join(self.arguments)}"


Condition: TypeAlias = tuple[Test, ...]
"""Tests of which all must hold."""


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


def folded(text: str) -> str:
    """A value in the form in which values are compared."""
    return SPACES.sub(" ", text).strip(" ").upper()


def values_of(raw: bytes | None) -> tuple[str, ...]:
    """The folded values of an encoded text, empty ones left out."""
    parts = (folded(part) for part in (raw or b"").decode("latin-1").split("\\"))
    return tuple(part for part in parts if part)


def first_that_holds(conditions: Sequence[Condition], values: Values) -> Condition | None:
    """The first condition of which all tests hold."""
    return next((each for each in conditions if all(test.holds(values(test.tag)) for test in each)), None)


def read(document: Document, node: Node, what: str) -> Condition:
    """A condition: attributes with their tests, `Modality: {in: [US]}`. Raises RulesError."""
    tests = []
    for word, (line, given) in document.mapping(node, what).items():
        tag = document.tag(line, word)
        vr = dictionary.vr_of(tag)
        if tag >> 16 & 1 or vr not in dictionary.TEXT:
            raise document.wrong(line, f"nothing can be asked of '{word}'", f"its VR is {vr}, not a text")
        operators = document.mapping(given, f"the tests of {word}")
        if not operators:
            raise document.wrong(line, f"'{word}' has no test", f"use one of {', '.join(OPERATORS)}")
        tests += [_test(document, tag, name, *argument) for name, argument in operators.items()]
    if not tests:
        raise document.wrong(node.start_mark.line + 1, f"{what} is empty", "write for example: Modality: {in: [US]}")
    return tuple(tests)


def _test(document: Document, tag: int, operator: str, line: int, node: Node) -> Test:
    if operator not in OPERATORS:
        raise document.wrong(line, f"unknown test '{operator}'", nearest(operator, OPERATORS))
    if operator == "present":
        truth = document.text(node).lower()
        if truth not in TRUTHS:
            raise document.wrong(line, f"present cannot be '{truth}'", "use true or false")
        return Test(tag, operator, (str(TRUTHS[truth]).lower(),))
    words = document.words(node, operator)
    if not words:
        raise document.wrong(line, f"{operator} has an empty list", "say which values")
    if operator in ("in", "not_in"):
        return Test(tag, operator, tuple(dict.fromkeys(_argument(document, tag, *word) for word in words)))
    for at, pattern in words:
        try:
            _pattern(pattern)
        except re.error as error:
            raise document.wrong(at, f"'{pattern}' is no regular expression", str(error)) from None
    return Test(tag, operator, tuple(pattern for _, pattern in words))


def _argument(document: Document, tag: int, line: int, word: str) -> str:
    """A value to compare with; SOP classes may be written as keywords."""
    if tag != SOP_CLASS:
        return folded(word)
    names = {name: uid for uid, name in dictionary.storage_classes().items()}
    uid = names.get(word, word)
    if uid not in dictionary.storage_classes():
        raise document.wrong(line, f"unknown SOP class '{word}'", nearest(word, names))
    return uid
