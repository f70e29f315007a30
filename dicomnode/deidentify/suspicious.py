"""Which instances are withheld for what their pixels may show; the rules are data in suspicious_pixels.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from dicomnode.deidentify import conditions
from dicomnode.deidentify.conditions import Condition, Test
from dicomnode.deidentify.encoded import PIXEL_DATA, Element, place
from dicomnode.deidentify.frame_texts import is_known
from dicomnode.deidentify.pixels import value_of
from dicomnode.deidentify.reading import Document, Node, nearest
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.model import Buffer, Doubt, Reason

FILE = tables.HERE / "suspicious_pixels.yaml"
MEMO = 4096
"""So many combinations of values are remembered; a series has one or a few."""
KEYS = ("off", "accept", "rules")
ALL = "all"


@dataclass(frozen=True, slots=True)
class Rule:
    """Why instances are withheld, and when: one of the conditions is enough."""

    name: str
    reason: str
    conditions: tuple[Condition, ...]
    otherwise: str = ""
    """In words, when that is, where no attribute is asked."""


@dataclass(frozen=True)
class SuspiciousPixels:
    """The rules that hold, in the order in which they are asked; instances of accepted SOP classes are not judged."""

    rules: tuple[Rule, ...] = ()
    accepted: frozenset[str] = frozenset()
    asked: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _memo: dict[tuple[bytes | str | None, ...], str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        tags = {test.tag for rule in self.rules for condition in rule.conditions for test in condition}
        object.__setattr__(self, "asked", tuple(sorted(tags - {conditions.SOP_CLASS})))

    def judge(self, sop_class: str, data: Buffer, elements: Sequence[Element]) -> None:
        """Raises Doubt(SUSPICIOUS_PIXELS) for an instance with pixel data; `elements` are those in front of it."""
        if sop_class in self.accepted:
            return
        key = (sop_class, *[value_of(data, elements, tag) for tag in self.asked])
        where = self._memo.get(key)
        if where is None:
            where = self._where(dict(zip((conditions.SOP_CLASS, *self.asked), key, strict=True)))
            if len(self._memo) < MEMO:
                self._memo[key] = where
        if where:
            raise Doubt(Reason.SUSPICIOUS_PIXELS, where)

    def judge_texts(self, sop_class: str, texts: Iterable[bytes]) -> None:
        """Raises Doubt(SUSPICIOUS_PIXELS) for a text in a compressed frame that no encoder writes of itself."""
        if sop_class not in self.accepted and FRAME_TEXT in self.rules and not all(map(is_known, texts)):
            raise Doubt(Reason.SUSPICIOUS_PIXELS, f"{place((PIXEL_DATA,))} {FRAME_TEXT.name}")

    @property
    def said(self) -> list[object]:
        """All that decides, for the plan's digest."""
        return [
            sorted(self.accepted),
            [[rule.name, [[_said(test) for test in each] for each in rule.conditions]] for rule in self.rules],
        ]

    def _where(self, received: dict[int, bytes | str | None]) -> str:
        """The attribute and the rule that raise the doubt, "" when there is none."""
        folded = {
            tag: (value,) if isinstance(value, str) else conditions.values_of(value) for tag, value in received.items()
        }
        for rule in self.rules:
            condition = conditions.first_that_holds(rule.conditions, folded.__getitem__)
            if condition is not None:
                return f"{place((condition[0].tag,))} {rule.name}"
        return ""


def _said(test: Test) -> list[object]:
    return [test.tag, test.operator, test.arguments, *([test.values] if test.values else [])]


FRAME_TEXT = Rule(
    "frame-text",
    "comments and application segments of compressed frames may be about anybody",
    (),
    "a text in a frame is none of those that encoders write of themselves",
)
"""The rule that asks the frames and no attribute."""


@cache
def default() -> SuspiciousPixels:
    """The rules that hold where a rules file says nothing."""
    document = Document(FILE)
    return SuspiciousPixels((*_rules(document, document.document()).values(), FRAME_TEXT))


def read(document: Document, given: tuple[int, Node] | None) -> SuspiciousPixels:
    """The section `suspicious_pixels` of a rules file; raises RulesError."""
    if given is None:
        return default()
    keys = document.mapping(given[1], "suspicious_pixels")
    for key, (line, _) in keys.items():
        if key not in KEYS:
            raise document.wrong(line, f"unknown key '{key}'", nearest(key, KEYS))
    rules = {rule.name: rule for rule in default().rules}
    if "off" in keys:
        rules = _left(document, keys["off"][1], rules)
    if "rules" in keys:
        rules |= _rules(document, keys["rules"][1])
    return SuspiciousPixels(tuple(rules.values()), document.classes(keys.get("accept"), dictionary.storage_classes()))


def _left(document: Document, node: Node, rules: dict[str, Rule]) -> dict[str, Rule]:
    """The rules that are not switched off."""
    if isinstance(node.value, str) and node.value == ALL:
        return {}
    off = set()
    for line, word in document.words(node, "off"):
        if word == ALL:
            raise document.wrong(line, "'all' is no rule in a list", "write: off: all")
        if word not in rules:
            raise document.wrong(line, f"unknown rule '{word}'", nearest(word, rules))
        off.add(word)
    return {name: rule for name, rule in rules.items() if name not in off}


def _rules(document: Document, node: Node) -> dict[str, Rule]:
    """Rules by their names: {NAME: {reason: TEXT, when: [CONDITION, ...]}}."""
    found = {}
    for name, (line, given) in document.mapping(node, "the rules for pixels").items():
        keys = document.mapping(given, f"the rule {name}")
        for key in ("reason", "when"):
            if key not in keys:
                raise document.wrong(line, f"rule '{name}' has no {key}", "write: {reason: ..., when: [...]}")
        for key, (at, _) in keys.items():
            if key not in ("reason", "when"):
                raise document.wrong(at, f"unknown key '{key}'", nearest(key, ("reason", "when")))
        when = document.parts(keys["when"][1], "when")
        asked = tuple(conditions.read(document, each, f"a condition of {name}") for each in when)
        found[name] = Rule(name, document.text(keys["reason"][1]), asked)
    return found
