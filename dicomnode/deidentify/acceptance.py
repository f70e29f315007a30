"""What the rules accept: conditions on the instance as it came, told test by test, alone or for its whole series.

The report has one document per instance, with the keys of Encord's: identified, for it shows original values and UIDs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import iter_unpack
from typing import Any

from dicomnode.deidentify import conditions, values
from dicomnode.deidentify.conditions import Condition, Test, folded
from dicomnode.deidentify.encoded import Element, place
from dicomnode.deidentify.patterns import TooLong
from dicomnode.deidentify.pixels import value_of
from dicomnode.deidentify.reading import Document, Node, nearest
from dicomnode.deidentify.standard import dictionary
from dicomnode.model import JUDGED, Doubt, IdentityEntry, Originals, Reason

AGGREGATES = {
    "instance": Reason.CONDITIONS,
    "series": Reason.SERIES_CONDITIONS,
    "study": Reason.STUDY_CONDITIONS,
}
"""What fails as a whole when an instance fails."""
FORMATS = {"US": "<H", "SS": "<h", "UL": "<L", "SL": "<l", "FL": "<f", "FD": "<d"}
ASKABLE = frozenset({*dictionary.TEXT, *FORMATS})
TYPES = {"substring": "SUBSTR", "not_substring": "NOT_SUBSTR"}
CHARACTER_SET = 0x00080005
UNTRIED = "too long to be matched"
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One test of an instance: what was asked, the attribute's value as it came, and whether it is as asked."""

    condition: Mapping[str, object]
    value: str | list[str] | None
    holds: bool
    tag: int
    asked: str
    """What was asked in a word or two, for the journal."""


@dataclass(frozen=True)
class Acceptance:
    """An instance is accepted when all tests hold, and none of the conditions that withhold."""

    tests: Condition = ()
    withheld: tuple[Condition, ...] = ()
    aggregate: str = "instance"

    def judge(self, data: bytes, elements: Sequence[Element]) -> list[Evaluation]:
        """Every test, in the order of the rules; `elements` are those in front of the pixel data."""
        told = [self._test(data, elements, test) for test in self.tests]
        return told + [self._condition(data, elements, each) for each in self.withheld]

    def _test(self, data: bytes, elements: Sequence[Element], test: Test) -> Evaluation:
        found = received(data, elements, test.tag)
        asked = test.operator.replace("_", " ")
        try:
            holds = test.holds(_folded(found))
        except TooLong:
            holds, asked = False, UNTRIED
        return Evaluation(_asked(test), _shown(found), holds, test.tag, asked)

    def _condition(self, data: bytes, elements: Sequence[Element], condition: Condition) -> Evaluation:
        found = {test.tag: received(data, elements, test.tag) for test in condition}
        said = "withheld"
        try:
            holds = all(test.holds(_folded(found[test.tag])) for test in condition)
        except TooLong:
            holds, said = True, UNTRIED
        asked = {
            "value": " and ".join(map(str, condition)),
            "condition_type": "WITHHOLD_IF",
            "dicom_tag": ", ".join(dict.fromkeys(dictionary.keyword_of(test.tag) for test in condition)),
        }
        shown = _shown(found[condition[0].tag]) if len(found) == 1 else [str(_shown(each)) for each in found.values()]
        return Evaluation(asked, shown, not holds, condition[0].tag, said)

    @property
    def asked(self) -> frozenset[int]:
        """The attributes on which a judgement hangs."""
        every = [*self.tests, *(test for each in self.withheld for test in each)]
        return frozenset([CHARACTER_SET, *(test.tag for test in every)]) if every else frozenset()

    def told(self, told: list[Evaluation], originals: Originals, sent: Originals) -> IdentityEntry:
        """The judgement of an instance as an entry of the identity book; raises Doubt where it is not accepted."""
        failed = next((each for each in told if not each.holds), None)
        entry = IdentityEntry(JUDGED, json.dumps(_document(told, self.aggregate, originals, sent)), sent.sop_uid)
        if failed is not None:
            where = f"{place((failed.tag,))} {failed.asked}"
            raise Doubt(AGGREGATES[self.aggregate], where, originals, entry)
        return entry

    @property
    def said(self) -> list[object]:
        """All that decides, for the plan's digest."""
        return [
            self.aggregate,
            [_argument(test) for test in self.tests],
            [[_argument(test) for test in each] for each in self.withheld],
        ]


def _argument(test: Test) -> list[object]:
    return [test.tag, test.operator, list(test.arguments), test.values]


def received(data: bytes, elements: Sequence[Element], tag: int) -> list[str]:
    """The values of an attribute as they came, padding stripped, empty ones left out."""
    raw = value_of(data, elements, tag) or b""
    form = FORMATS.get(dictionary.vr_of(tag))
    if form is not None:
        width = len(raw) - len(raw) % {"H": 2, "h": 2, "L": 4, "l": 4, "f": 4, "d": 8}[form[1]]
        return [f"{number:g}" if form[1] in "fd" else str(number) for (number,) in iter_unpack(form, raw[:width])]
    text = _decoded(raw, value_of(data, elements, CHARACTER_SET) or b"")
    return [stripped for part in text.split("\\") if (stripped := part.strip(" \0"))]


def _decoded(raw: bytes, character_set: bytes) -> str:
    try:
        return values.decode(raw, values.encodings_of(character_set.decode("latin-1")))
    except Doubt:
        return raw.decode("latin-1")


def _folded(found: Iterable[str]) -> list[str]:
    return [text for text in map(folded, found) if text]


def _shown(found: list[str]) -> str | list[str] | None:
    return None if not found else found[0] if len(found) == 1 else found


def _asked(test: Test) -> dict[str, object]:
    """A condition as Encord writes it."""
    said = test.written or test.arguments
    single = len(said) == 1 and test.operator not in ("in", "not_in")
    return {
        "value": said[0] if single else list(said),
        "condition_type": TYPES.get(test.operator, test.operator.upper()),
        "dicom_tag": dictionary.keyword_of(test.tag),
    }


def _document(told: list[Evaluation], aggregate: str, originals: Originals, sent: Originals) -> Report:
    accepted = all(each.holds for each in told)
    return {
        "url": address(originals.sop_uid),
        "StudyInstanceUID": originals.study_uid,
        "StudyInstanceUID_deid": sent.study_uid,
        "SeriesInstanceUID": originals.series_uid,
        "SeriesInstanceUID_deid": sent.series_uid,
        "save_conditions_evaluations": [
            {"condition": dict(each.condition), "tag_value": each.value, "evaluated_value": each.holds} for each in told
        ],
        "save_condition": accepted,
        "aggregate": aggregate,
        "url_deid": address(sent.sop_uid),
    }


def address(sop_uid: str) -> str:
    """How an instance without a file is called."""
    return f"urn:oid:{sop_uid}"


def renamed(entry: str, url: str, url_deid: str) -> str:
    """The judgement of an instance that comes from one file and goes to another."""
    return json.dumps({**json.loads(entry), "url": url, "url_deid": url_deid})


def report(entries: Iterable[str], sent: Collection[str]) -> list[Report]:
    """The reports of instances, each judged with its series or study, from what `told` made of each.

    `sent` are the `url_deid` of those that are not withheld or kept back: one that failed and was released is among
    them, and disables nothing any more. What a person let go beside a failure that was discarded is among them too.
    """
    told = [json.loads(entry) for entry in entries]
    failing = {each["url"] for each in told if not each["save_condition"] and each["url_deid"] not in sent}
    found = []
    for one in sorted(told, key=lambda each: (each["SeriesInstanceUID"], each["url"])):
        wide = one.pop("aggregate")
        with_it = [each for each in told if _together(one, each, wide)]
        failed = sorted(each["url"] for each in with_it if each["url"] in failing)
        deid = one.pop("url_deid")
        one["save_condition_series_agg"] = not failed
        one["save_disabling_urls_series_agg"] = failed
        one["url_deid"] = deid if deid in sent else None
        found.append(one)
    return found


def _together(one: Report, other: Report, aggregate: str) -> bool:
    """Whether two instances stand and fall together."""
    if aggregate == "instance":
        return bool(one["url"] == other["url"])
    same_study = one["StudyInstanceUID"] == other["StudyInstanceUID"]
    return bool(same_study and (aggregate == "study" or one["SeriesInstanceUID"] == other["SeriesInstanceUID"]))


def read_accept_if(document: Document, given: tuple[int, Node] | None) -> Condition:
    """The section `accept_if`; raises RulesError."""
    return conditions.read(document, given[1], "accept_if", ASKABLE) if given else ()


def read_withhold_if(document: Document, given: tuple[int, Node] | None) -> tuple[Condition, ...]:
    """The section `withhold_if`; raises RulesError."""
    parts = document.parts(given[1], "withhold_if") if given else ()
    return tuple(conditions.read(document, each, "a condition of withhold_if", ASKABLE) for each in parts)


def read_aggregate(document: Document, given: tuple[int, Node]) -> str:
    """The key `aggregate`; raises RulesError."""
    word = document.text(given[1])
    if word not in AGGREGATES:
        raise document.wrong(given[0], f"unknown aggregate '{word}'", nearest(word, AGGREGATES))
    return word
