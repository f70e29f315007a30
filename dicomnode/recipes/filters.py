"""%filter of a deid recipe: which instances are withheld."""

from __future__ import annotations

import re
from itertools import product

from dicomnode.deidentify.standard import dictionary
from dicomnode.recipes.draft import Draft, Source
from dicomnode.recipes.fields import keyword_of

FILE_META = 0x0002
TESTS = ("contains", "notcontains", "equals", "notequals", "missing", "present", "empty")
COORDINATES = ("ctpcoordinates", "ctpkeepcoordinates", "coordinates", "keepcoordinates")
LINKS = re.compile(rf"\s*(\|\||\+)\s*(?={'|'.join(TESTS)})", re.IGNORECASE)

Test = tuple[str, str, str]
"""What is asked, the attribute's keyword, the value."""
Any_ = list[tuple[Test, ...]]
"""Alternatives, each of tests of which all must hold."""


def read(draft: Draft, group: str, label: Source, members: list[Source]) -> None:
    """One LABEL with its criteria."""
    passes = re.search("white", group, re.IGNORECASE) is not None
    blanks = [member for member in members if member.text.lower().startswith(COORDINATES)]
    criteria = [member for member in members if member not in blanks]
    if passes or (re.search("gr[ae]y", group, re.IGNORECASE) and not blanks):
        draft.note(label, f"%filter {group} lets instances pass: nothing is needed for that")
        return
    if blanks and not criteria:
        draft.note(label, "all instances lose part of their pixels: rules for pixels do that", lost=True)
        return
    found: Any_ = []
    for member in criteria:
        found = _joined(draft, found, member)
    for tests in dict.fromkeys(found):
        _withhold(draft, label, tests, found)
    if blanks and found:
        draft.note(blanks[0], "the instances are withheld, their pixels are not blanked")


def _joined(draft: Draft, found: Any_, member: Source) -> Any_:
    """The criteria so far with one more line, from the left to the right; a line without + or || is an alternative."""
    text, link = member.text.split("#", 1)[0].strip(), "||"
    for sign in ("+", "||"):
        if text.startswith(sign):
            text, link = text[len(sign) :].strip(), sign
    inner = _inner(draft, member, text)
    if link == "+" and found:
        return [(*one, *other) for one, other in product(found, inner)] if inner else found
    return [*found, *inner]


def _inner(draft: Draft, member: Source, text: str) -> Any_:
    """The tests of one line."""
    parts = LINKS.split(text)
    found: Any_ = []
    for link, part in zip(["||", *parts[1::2]], parts[::2], strict=True):
        test = _test(draft, member, part)
        if test is None:
            continue
        found = [(*one, test) for one in found] if link == "+" and found else [*found, (test,)]
    return found


def _test(draft: Draft, member: Source, text: str) -> Test | None:
    words = text.split(maxsplit=2)
    asked = words[0].lower()
    if asked not in TESTS or len(words) < 2:
        draft.note(member, f"'{text}' is no criterion", lost=True)
        return None
    keyword = keyword_of(words[1].removeprefix("0x"))
    if not keyword:
        holds = asked in ("missing", "notcontains", "notequals")
        draft.note(member, f"no attribute is called {words[1]}, so this never holds", lost=holds)
        return None
    if keyword.lower().startswith("(0002") or dictionary.keywords().get(keyword, 0) >> 16 == FILE_META:
        draft.note(member, f"{keyword} is of the file, not of the instance: it is not asked", lost=True)
        return None
    return asked, keyword, words[2].strip() if len(words) > 2 else ""


def _withhold(draft: Draft, label: Source, tests: tuple[Test, ...], all_: Any_) -> None:
    condition: dict[str, object] = {}
    for asked, keyword, value in tests:
        if asked == "empty" and len(tests) == 1:
            if (("missing", keyword, ""),) not in all_:
                draft.note(
                    label, f"empty {keyword}: rules do not tell an empty attribute from a missing one", lost=True
                )
            return
        operator, argument = _asked(asked, value)
        given = condition.setdefault(keyword, {})
        assert isinstance(given, dict)
        if operator.startswith("not_") and operator in given:
            given[operator] = [*given[operator], *argument]  # type: ignore[misc]
        elif operator in given:
            draft.note(label, f"of several tests '{operator}' of {keyword} the first is asked: more is withheld")
        else:
            given[operator] = argument
    draft.withhold(condition, label)


def _asked(asked: str, value: str) -> tuple[str, object]:
    if asked in ("missing", "empty"):
        return "present", "false"
    if asked == "present":
        return "present", "true"
    if asked in ("equals", "notequals"):
        return "in" if asked == "equals" else "not_in", value.split("|")
    return "matches" if asked == "contains" else "not_matches", [value]
