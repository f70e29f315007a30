"""What may be claimed of rules (PS3.15 E.1 and E.3; CID 7050), and what contradicts the profile and the options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from dicomnode.deidentify.exceptions import KEEPS, Selector, Treat
from dicomnode.deidentify.plan import CID_7050, CLAIMS, Action, Methods
from dicomnode.deidentify.resolve import Choices
from dicomnode.deidentify.standard import dictionary, tables

RETAINED = ("uids", "device", "institution", "patient", "full", "modified")
"""Options that promise that their attributes stay."""
CLEANED_BY = {Action.SHIFT: "modified", Action.CLEAN: "descriptors"}
"""Actions that are what an option says anyway."""
PARTLY = frozenset([*KEEPS, Action.ROUND, Action.CODE])
"""After these more of a value stays than the Basic Profile allows."""
LONG = {short: long for long, short in tables.OPTIONS.items()}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A line of the rules that contradicts what they claim: an option (short name), or "" for the whole profile."""

    where: str
    attribute: str
    word: str
    option: str
    honoured: str
    """For the profile: an option that would keep the attribute anyway, so that the line is not needed."""


def methods(choices: Choices, digest: str) -> Methods:
    """What may be claimed: with an attribute kept that the table removes no profile, and no option that is broken."""
    found = list(conflicts(choices))
    weaker = any(not each.option for each in found)
    broken = {each.option for each in found}
    options = [] if weaker else [CLAIMS[o] for o in CLAIMS if o in choices.options and o not in broken]
    claim = "Basic Profile with exceptions" if weaker else "Basic Profile"
    codes = [] if weaker else [("113100", "Basic Application Confidentiality Profile")]
    codes += [(value, CID_7050[value]) for value, _ in options]
    texts = [f"{tables.EDITION} {claim}", *(f"{tables.EDITION} {text}" for _, text in options)]
    return Methods((*texts, f"dicomnode rules {digest[:16]}"), tuple(codes), _longitudinal(choices))


def shifts(choices: Choices) -> bool:
    """Whether any date is moved."""
    return "modified" in choices.options or any(t.action is Action.SHIFT for t in choices.exceptions.treats())


def _longitudinal(choices: Choices) -> str:
    """(0028,0303): MODIFIED also where lines of the rules let some dates stay, or take some away."""
    full = "full" in choices.options
    if shifts(choices) or any(
        _differs(tag, treat, full) for selector, treat in choices.exceptions.lines for tag in _dates(choices, selector)
    ):
        return "MODIFIED"
    return "UNMODIFIED" if full else "REMOVED"


def _dates(choices: Choices, selector: Selector) -> list[int]:
    """The dates and times of Table E.1-1 that a line names."""
    named = _named(choices, selector) if selector.kind != "private" else ()
    return [tag for tag in named if dictionary.vr_of(tag) in dictionary.DATES]


def _differs(tag: int, treat: Treat, full: bool) -> bool:
    """Whether a line about a date does what the profile and its options do not."""
    row = tables.row_of(tag)
    if full:
        return treat.action is not Action.KEEP and row is not None and row.options.get("full") == "K"
    return treat.action in PARTLY


def broken(choices: Choices) -> list[str]:
    """The options that are chosen and cannot be claimed, for the plan's digest."""
    return sorted({each.option for each in conflicts(choices) if each.option})


def conflicts(choices: Choices) -> Iterator[Conflict]:
    """Every line that contradicts the profile, or an option that was chosen."""
    for selector, treat in choices.exceptions.lines:
        if selector.kind == "private":
            if treat.action is Action.KEEP:
                yield Conflict(treat.line, f"private attributes of {selector.text}", treat.word, "", "")
            elif "private" in choices.options:
                yield Conflict(treat.line, f"private attributes of {selector.text}", treat.word, "private", "")
            continue
        for tag in _named(choices, selector):
            yield from _of(choices, tag, treat)


def _named(choices: Choices, selector: Selector) -> Sequence[int]:
    if selector.kind in ("tag", "path"):
        return [selector.tag]
    return choices.exceptions.tags(selector, [*single_rows(), *_repeated(selector)])


@cache
def single_rows() -> list[int]:
    """The rows of Table E.1-1 that are of one attribute each."""
    return [int(tag, 16) for tag in sorted(tables.rows()) if tag != "private" and "x" not in tag]


def _repeated(selector: Selector) -> list[int]:
    """Of each row for repeating groups one attribute: that which the selector names, where it is a mask."""
    written = f"{selector.tag:08X}" if selector.kind == "mask" else "00003000"
    rows = [tag for tag in sorted(tables.rows()) if tag != "private" and "x" in tag]
    return [
        int("".join(own if digit == "x" else digit for digit, own in zip(tag, written, strict=True)), 16)
        for tag in rows
    ]


def _of(choices: Choices, tag: int, treat: Treat) -> Iterator[Conflict]:
    row = tables.row_of(tag)
    if row is None:
        return
    name = dictionary.keyword_of(tag)
    by_option = [short for short in choices.options if row.options.get(short) in ("K", "C")]
    if treat.action in PARTLY and row.basic != "K" and CLEANED_BY.get(treat.action) not in by_option:
        yield Conflict(treat.line, name, treat.word, "", next((LONG[o] for o in sorted(by_option)), ""))
    elif treat.action not in PARTLY:
        for short in sorted(set(by_option) & set(RETAINED)):
            yield Conflict(treat.line, name, treat.word, short, "")


def remarks(choices: Choices) -> tuple[str, ...]:
    """The conflicts in words, one for each line and what it costs."""
    told: dict[tuple[str, str], list[Conflict]] = {}
    for each in conflicts(choices):
        told.setdefault((each.where, each.option), []).append(each)
    return tuple(_remark(found) for found in told.values())


def _remark(found: list[Conflict]) -> str:
    first = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    what = f"{first.where}: {first.word} {first.attribute}{more}"
    if first.option:
        code, _ = CLAIMS[first.option]
        return f"{what} contradicts {LONG[first.option]}: code {code} is not claimed"
    hint = f"; {first.honoured} keeps it without this line" if first.honoured and first.word == "keep" else ""
    return f"{what} is more than the Basic Profile lets stay: no code of CID 7050 is claimed{hint}"
