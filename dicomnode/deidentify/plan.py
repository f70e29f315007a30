"""What happens to every element, compiled from the rules: a dictionary from tag and VR to a step, per SOP class."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from dicomnode.deidentify import suspicious
from dicomnode.deidentify.protocol_series import ProtocolSeries
from dicomnode.deidentify.pseudonyms import of_project
from dicomnode.deidentify.standard.replacements import code_items
from dicomnode.deidentify.suspicious import SuspiciousPixels

if TYPE_CHECKING:
    from dicomnode.deidentify.acceptance import Acceptance
    from dicomnode.deidentify.descriptors import Cleaner
    from dicomnode.deidentify.exceptions import Exceptions
    from dicomnode.deidentify.private import SafePrivate

MEMO = 8192
"""So many steps are remembered per table; more keys than that exist only in hostile input."""

PROFILES = ("Basic Profile", "Basic Profile with exceptions")
CLAIMS = {
    "uids": ("113110", "Retain UIDs Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "structured": ("113104", "Clean Structured Content Option"),
    "graphics": ("113103", "Clean Graphics Option"),
    "full": ("113106", "Retain Full Dates Option"),
    "modified": ("113107", "Retain Modified Dates Option"),
    "private": ("113111", "Retain Safe Private Option"),
}
"""The code and the words by which an option is claimed."""
_CLAIMED = "|".join(map(re.escape, (*PROFILES, *(text for _, text in CLAIMS.values()))))
OWN_TEXT = re.compile(rf"PS3\.15 20[0-9]{{2}}[a-e] (?:{_CLAIMED})|dicomnode rules [0-9a-f]{{16}}")
"""The values of De-identification Method that are kept from an earlier run."""
OWN_DIGEST = re.compile(r"dicomnode rules ([0-9a-f]{16})")
CID_7050 = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113102": "Clean Recognizable Visual Features Option",
    "113103": "Clean Graphics Option",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
    "113106": "Retain Longitudinal Temporal Information Full Dates Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
    "113110": "Retain UIDs Option",
    "113111": "Retain Safe Private Option",
    "113112": "Retain Institution Identity Option",
}
"""De-identification Method codes (PS3.16 CID 7050), scheme DCM."""


class Action(IntEnum):
    """What happens to one element.

    KEEP leaves a value byte-identical, and treats the items of a sequence. CHECK keeps a DA, TM or DT that
    can be parsed and raises Doubt otherwise. RECURSE treats the items; on a value with VR UN the bytes are
    read as an Implicit VR Little Endian sequence first, and what cannot be read so is in doubt.
    EMPTY gives zero length (no items). DUMMY writes `Step.dummy`; on a sequence without one the items are treated.
    SHIFT moves a DA or DT by the days of its patient; what cannot be moved is in doubt. CLEAN takes the words out of a
    text that may tell who it is about. AGE keeps an AS up to 89 years. PRIVATE is what `Plan.safe` decides.
    CONTENT treats the items as content items or graphic annotations: each as a whole, and some of them go.
    OVERLAY keeps an element of an overlay plane that marks a region of interest. FORM keeps the values that are what
    their VR says (`Step.form`) and empties the others; where the image hangs on them they are in doubt. WITHHOLD is a
    doubt whatever the value. HASH, REPLACE, SUBSTITUTE, VOCABULARY, ROUND and CODE write what `Step.made` says.
    """

    KEEP = 0
    REMOVE = 1
    EMPTY = 2
    DUMMY = 3
    UID = 4
    PSEUDONYM = 5
    RECURSE = 6
    CHECK = 7
    SHIFT = 8
    CLEAN = 9
    AGE = 10
    PRIVATE = 11
    CONTENT = 12
    OVERLAY = 13
    FORM = 14
    WITHHOLD = 15
    HASH = 16
    REPLACE = 17
    SUBSTITUTE = 18
    VOCABULARY = 19
    ROUND = 20
    CODE = 21


@dataclass(frozen=True, slots=True)
class Made:
    """How the rules make a value: HASH (length), REPLACE (texts, tags, and (hash|project|patient, length)), SUBSTITUTE
    (pattern, replacement), VOCABULARY (folded values), ROUND (unit), CODE (folded value, code), SHIFT (days).
    """

    action: Action
    argument: tuple[Any, ...] = ()

    @property
    def asks_value(self) -> bool:
        """Whether a template needs the value that it replaces."""
        return any(isinstance(part, tuple) and part[0] == "hash" for part in self.argument)

    @property
    def quotes(self) -> bool:
        """Whether a template has values of other attributes, which may say together what none of them says alone."""
        return self.action is Action.REPLACE and any(isinstance(part, int) for part in self.argument)


class Needle(IntEnum):
    """What an original value is to the gate."""

    NONE = 0
    NAME = 1
    IDENTIFIER = 2
    UID = 3
    BIRTH_DATE = 4


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to an element, and why.

    `attribute` names the template of a PSEUDONYM; `book` says that original and cleaned value go to the identity
    book. `dummy` is the value to write (for CLEAN where nothing remains; without one the value is emptied), padded to
    even length, encoded Explicit VR Little Endian where it is a sequence's items (defined lengths); `implicit` is the
    same in Implicit VR Little Endian.
    """

    action: Action
    needle: Needle = Needle.NONE
    keyword: str = ""
    book: bool = False
    attribute: str | None = None
    dummy: bytes | None = None
    implicit: bytes | None = None
    reason: str = ""
    form: str = ""
    """For FORM: CS, DS, IS or UI, SET for a Specific Character Set, and TEXT for text under VR UN."""
    searched: int = 0
    """For FORM: the code of the VR by which the gate searches the value."""
    partial: int = 1
    """For KEEP and OVERLAY: bits that the length of a value cannot have, given how long its VR's numbers are."""
    made: Made | None = None
    """How the rules make the value; with SHIFT, a number of days of their own."""


def key_of(tag: int, vr: str) -> int:
    """The key of a step: the tag and the two letters of the effective VR."""
    return (tag << 16) | (ord(vr[0]) << 8) | ord(vr[1])


class Steps(dict[int, Step]):
    """The steps at one place (SOP class and path of sequences), by `key_of(tag, vr)`; total and filled on demand.

    The VR is the effective one: the file's in Explicit VR, the dictionary's in Implicit VR (`standard.vr_of`),
    UN when unknown. `table[key]` is a plain dictionary look-up once the step is known.
    """

    __slots__ = ("_inside", "_open", "_resolve", "variants")

    def __init__(self, resolve: Callable[[int, str], Step], open_: Callable[[int], Steps]) -> None:
        super().__init__()
        self._resolve = resolve
        self._open = open_
        self._inside: dict[int, Steps] = {}
        self.variants: dict[str, Steps] = {}

    def __missing__(self, key: int) -> Step:
        step = self._resolve(key >> 16, chr((key >> 8) & 0xFF) + chr(key & 0xFF))
        if len(self) < MEMO:
            self[key] = step
        return step

    def step(self, tag: int, vr: str) -> Step:
        """The same by tag and VR."""
        return self[key_of(tag, vr)]

    def inside(self, tag: int) -> Steps:
        """The steps for the items of the sequence with this tag."""
        steps = self._inside.get(tag)
        if steps is None:
            steps = self._open(tag)
            if len(self._inside) < MEMO:
                self._inside[tag] = steps
        return steps


@dataclass(frozen=True, slots=True)
class Methods:
    """How the de-identification is declared (PS3.15 E.1.1 and E.3; CID 7050).

    `text` are the values of (0012,0063), `codes` the (value, meaning) pairs of (0012,0064) under scheme DCM.
    """

    text: tuple[str, ...]
    codes: tuple[tuple[str, str], ...]
    longitudinal: str
    """(0028,0303): REMOVED, UNMODIFIED or MODIFIED."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far dates are moved: at most `most` days, in whole units of days (1, or 7 to keep the day of the week)."""

    unit: int = 1
    most: int = 365
    days: int | None = None
    """The same number of days for everybody, where the rules say one."""


@dataclass(frozen=True)
class Plan:
    """Rules compiled. `digest` (hex SHA-256) covers everything that decides the output.

    (0012,0062), (0012,0063), (0012,0064) and (0028,0303) are REMOVE in every `Steps`: the engine writes them anew
    at the top level from `declared_text` and `declared_codes`.
    """

    name: str
    digest: str
    templates: Mapping[str, str]
    options: frozenset[str]
    methods: Methods
    overrides: Mapping[int, Action]
    resolver: Callable[[str], Steps] = field(repr=False)
    refused: Callable[[str], bool] = field(repr=False)
    shift: Shift | None = None
    """None unless dates are moved."""
    safe: SafePrivate | None = field(default=None, repr=False)
    """None unless safe private attributes stay."""
    cleaner: Cleaner | None = field(default=None, repr=False)
    """None unless descriptors are cleaned."""
    pixels: SuspiciousPixels = field(default_factory=suspicious.default, repr=False)
    """Which instances are withheld for what their pixels may show."""
    protocol_series: ProtocolSeries = field(default_factory=ProtocolSeries, repr=False)
    """Which series never leave."""
    makes: bool = False
    """Whether the rules make values of their own."""
    adds: tuple[tuple[int, Made], ...] = ()
    """Attributes of the top level, in front of the pixel data, that are written where the instance has none."""
    acceptance: Acceptance | None = field(default=None, repr=False)
    """None unless instances are withheld by conditions."""
    exceptions: Exceptions | None = field(default=None, repr=False)
    """All that the rules say of attributes; None where they say nothing."""
    given: bool = False
    """Whether values were given for variables: they may be anything, so the gate searches what is made of them."""
    missing: tuple[str, ...] = ()
    """Attributes that are removed because the variable that stands for them has no value: "KEYWORD: var:NAME".

    A Patient ID becomes a pseudonym then, for an instance must have one.
    """
    remarks: tuple[str, ...] = ()
    """What contradicts the profile or the options claimed, and what it costs."""
    _classes: dict[str, Steps] = field(default_factory=dict, repr=False)

    @property
    def asked(self) -> frozenset[int]:
        """The attributes of the top level on which values of others hang, and those that may be added."""
        lines = self.exceptions.lines if self.exceptions is not None else ()
        templates = (treat.made.argument for _, treat in lines if treat.made and treat.action is Action.REPLACE)
        others = (part for template in templates for part in template if isinstance(part, int))
        return frozenset([*others, *(tag for tag, _ in self.adds)]) if self.makes else frozenset()

    def of_project(self, name: str) -> Plan:
        """The same with the project's name in its templates; raises RulesError where it does not fit."""
        return replace(self, templates=of_project(self.templates, name))

    @property
    def retain_uids(self) -> bool:
        """UIDs go as they came."""
        return "retain_uids" in self.options

    @property
    def dates(self) -> str:
        """What happens to dates: remove, full or modified."""
        if "retain_longitudinal_full_dates" in self.options:
            return "full"
        return "remove" if self.shift is None else "modified"

    def for_class(self, sop_class: str) -> Steps:
        """The steps at the top level of an instance of this SOP class."""
        steps = self._classes.get(sop_class)
        if steps is None:
            steps = self.resolver(sop_class)
            if len(self._classes) < MEMO:
                self._classes[sop_class] = steps
        return steps

    def refuses(self, sop_class: str) -> bool:
        """Whether instances of this SOP class are withheld: private, unknown, or not let through by the rules."""
        return self.refused(sop_class)

    def declared_text(self, previous: str) -> str:
        """The new value of (0012,0063), backslash-separated, given the previous one ("" when there was none).

        Of the previous value only what a node like this one wrote stays: the rest is free text.
        """
        kept = [text for text in previous.split("\\") if OWN_TEXT.fullmatch(text.strip(" \0"))]
        texts = [text.strip(" \0") for text in kept]
        return "\\".join([*texts, *(text for text in self.methods.text if text not in texts)])

    def declared_codes(self, previous: Sequence[str], implicit: bool) -> bytes:
        """The encoded items of (0012,0064), given the code values (scheme DCM) of the previous items.

        b"" when nothing can be claimed: then the sequence is left out.
        """
        ours = dict(self.methods.codes)
        kept = [(value, CID_7050[value]) for value in previous if value in CID_7050 and value not in ours]
        return code_items([*dict.fromkeys(kept), *self.methods.codes], implicit)
