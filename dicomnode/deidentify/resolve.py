"""From the rules and the standard's data to a step: the table's code, the Type, the VR.

An attribute is looked up in this order: groups that no data set may have and private groups; the four attributes that
declare the de-identification; the rules' own exceptions; the templates; Table E.1-1 with the options chosen; then the
VR, for what the table does not name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from dicomnode.deidentify import suspicious
from dicomnode.deidentify.acceptance import Acceptance
from dicomnode.deidentify.content import CODES
from dicomnode.deidentify.encoded import vr_code
from dicomnode.deidentify.exceptions import FIXED_DATES, OVERLAY_PLANE, Exceptions, Treat
from dicomnode.deidentify.fitting import form_of, leaves_others_unreadable, may_stand_for, partial_of
from dicomnode.deidentify.plan import Action, Needle, Shift, Step, Steps
from dicomnode.deidentify.protocol_series import ProtocolSeries
from dicomnode.deidentify.standard import dictionary, replacements, tables
from dicomnode.deidentify.standard.types import Node, iod_of
from dicomnode.deidentify.suspicious import SuspiciousPixels

DECLARED = frozenset([0x00120062, 0x00120063, 0x00120064, 0x00280303])
"""Patient Identity Removed, De-identification Method (Code Sequence), Longitudinal Temporal Information Modified."""
TEMPLATED = {0x00100010: "patient_name", 0x00100020: "patient_id", 0x00080050: "accession", 0x00200010: "study_id"}
BOOKED = frozenset([*TEMPLATED, 0x00080018, 0x0020000D, 0x0020000E])
FOREIGN_GROUPS = frozenset([0x0000, 0x0002, 0x0004])
AS_TYPE_ALLOWS = "X/Z/D"
"""How a PN, DA, TM, DT or free text outside the table is treated."""
DONE_BY = ("uids", "device", "institution", "patient", "full")
"""The options whose K is honoured here; their C (AE titles, free text) keeps the Basic Profile's code."""
TIMEZONE = 0x00080201
"""Timezone Offset From UTC, the one SH among the dates."""
PRIVATE_ELEMENTS = 0x1000

TEXT_OBJECTS = 0x00700008
DESCRIBING = frozenset(["LO", "LT", "SH", "ST", "UC", "UT"])
"""VRs of descriptions."""
AROUND_CONTENT = frozenset([0x00400610, 0x0040B020])
"""Sequences of which the items are no content items, but hold them: specimen preparation, waveform annotations."""
CURVE_POINTS = frozenset([0x0005, 0x0010, 0x0020, 0x0103, 0x0104, 0x0105, 0x0110, 0x0112, 0x0114, 0x3000])
"""Elements of curve groups that hold what is drawn, and neither text nor sound."""

PIXELS = frozenset([0x7FE00008, 0x7FE00009, 0x7FE00010])
KEEPING = frozenset(
    [Action.KEEP, Action.FORM, Action.WITHHOLD, Action.CHECK, Action.RECURSE, Action.SHIFT, Action.AGE, Action.CONTENT]
)
"""After these the gate has nothing to look for."""
MADE = frozenset([Action.HASH, Action.REPLACE, Action.SUBSTITUTE, Action.VOCABULARY, Action.ROUND, Action.CODE])
"""Values that the rules make."""


@dataclass(frozen=True)
class Choices:
    """What a rules file decided: options by column name, exceptions, templates, what to withhold or accept."""

    options: frozenset[str] = frozenset()
    exceptions: Exceptions = field(default_factory=Exceptions)
    templates: Mapping[str, str] = field(default_factory=dict)
    withhold: frozenset[str] = frozenset()
    accept: frozenset[str] = frozenset()
    shift: Shift = field(default_factory=Shift)
    """How dates are moved, where they are."""
    acceptance: Acceptance = field(default_factory=Acceptance)
    """Conditions on instances."""
    pixels: SuspiciousPixels = field(default_factory=suspicious.default)
    protocol_series: ProtocolSeries = field(default_factory=ProtocolSeries)
    vocabulary: tuple[str, ...] = ()
    """Descriptions that stay as they are."""
    words: tuple[str, ...] = ()
    """Words that may stay in descriptions, beside those that the project knows."""


def letter(code: str, type_: str | None) -> str:
    """One of X, Z, D, U, K for a code of the table under a Type.

    `type_` is 1, 1C, 2 or 2C, "" for Type 3 and attributes that the IOD does not have, None when the SOP class is
    not known: then D before Z before X. A plain X or Z gives way only where the IOD would not be valid:
    X of Type 1 becomes D and of Type 2 or 2C Z, Z of Type 1 or 1C becomes D. X/Z/U* keeps its references (U) under
    Type 2 too: emptied, it would contradict the instance's own list of what it refers to (PS3.3 C.12.2).
    """
    allowed = code.replace("U*", "U").split("/")
    strictest = next((a for a in ("U", "D", "Z", "X") if a in allowed), "K")
    mildest = next((a for a in ("X", "Z", "D") if a in allowed), strictest)
    if code in ("U", "D", "K") or type_ is None:
        return strictest
    if "U" in allowed:
        return "U" if type_ else "X"
    if type_ == "1" or (type_ == "1C" and strictest in ("D", "Z") and code != "X/Z"):
        return "D"
    if type_ in ("2", "2C"):
        return "Z"
    return mildest


class Resolver:
    """Makes the steps of SOP classes; pure, and the same for the same choices."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._needles = {tag: Needle[kind] for tag, kind in tables.needles().items()}

    def steps(self, sop_class: str) -> Steps:
        """The steps at the top level of a SOP class."""
        if self._choices.exceptions.has_paths:
            return self._along(sop_class, iod_of(sop_class), ())
        root = iod_of(sop_class)
        known = root is not None
        below: list[Steps] = []
        nowhere = Node()
        elsewhere = Steps(partial(self._step, sop_class, nowhere if known else None, None), lambda _: below[0])
        below.append(elsewhere)

        def place(node: Node, path: tuple[int, ...] | None) -> Steps:
            def into(tag: int) -> Steps:
                found = node.sequences.get(tag)
                return place(found, None) if found is not None else elsewhere

            return Steps(partial(self._step, sop_class, node if known else None, path), into)

        return place(root or nowhere, ())

    def _along(self, sop_class: str, node: Node | None, path: tuple[int, ...]) -> Steps:
        """The steps at a place, where it matters in which sequences that is."""

        def into(tag: int) -> Steps:
            inner = None if node is None else node.sequences.get(tag, Node())
            return self._along(sop_class, inner, (*path, tag))

        return Steps(partial(self._step, sop_class, node, path), into)

    def refuses(self, sop_class: str) -> bool:
        """Whether instances of the class are withheld."""
        if sop_class not in dictionary.storage_classes() or sop_class in self._choices.withhold:
            return True
        return sop_class in tables.withheld_classes() and sop_class not in self._choices.accept

    def _step(self, sop_class: str, node: Node | None, path: tuple[int, ...] | None, tag: int, vr: str) -> Step:
        """`path` is () at the top level, and None at a place inside of which it does not matter."""
        top = path == ()
        treat = self._choices.exceptions.of(path or (), tag, vr) if tag not in DECLARED else None
        action, reason = self._action(node, tag, vr, treat)
        if tag in PIXELS and not top:
            action, reason = Action.WITHHOLD, "pixel data inside a sequence, of which nobody can say what it shows"
        dummy = implicit = None
        if action is Action.DUMMY:
            action, dummy, implicit = self._dummy(sop_class, tag, vr)
        elif action is Action.CODE and treat is not None and treat.items:
            action, dummy, implicit = _coded(treat, vr)
        elif (action is Action.CLEAN or action in MADE) and _must_have_value(
            tag, None if node is None else node.types.get(tag, "")
        ):
            _, dummy, implicit = self._dummy(sop_class, tag, vr)
        return Step(
            action=action,
            needle=self._needle(tag, vr, action),
            keyword=dictionary.keyword_of(tag),
            book=top and tag in BOOKED and action in (Action.PSEUDONYM, Action.UID, *MADE),
            attribute=TEMPLATED.get(tag) if action is Action.PSEUDONYM else None,
            dummy=dummy,
            implicit=implicit,
            reason=reason,
            form=form_of(tag, vr) if action is Action.FORM else "",
            searched=vr_code(dictionary.read_as(tag, vr)) if action is Action.FORM else 0,
            partial=partial_of(tag, vr),
            made=treat.made if treat is not None and action in (*MADE, Action.SHIFT) else None,
        )

    def _action(self, node: Node | None, tag: int, vr: str, treat: Treat | None) -> tuple[Action, str]:
        group = tag >> 16
        if group & 1:
            return self._private(tag)
        if group in FOREIGN_GROUPS or tag & 0xFFFF == 0:
            return Action.REMOVE, "not part of a data set (PS3.5 section 7)"
        if tag in DECLARED:
            return Action.REMOVE, "written anew (PS3.15 E.1.1)"
        if treat is not None:
            return _override(treat, tag, vr), "the rules say so"
        if TEMPLATED.get(tag) in self._choices.templates:
            textual = vr in dictionary.TEXT or vr == "UN"
            return (Action.PSEUDONYM if textual else Action.EMPTY), "a pseudonym by the rules' template"
        row = tables.row_of(tag)
        if row is not None:
            cleaned = self._cleaned(row, tag, vr)
            if cleaned is not None:
                return cleaned[0], f"{row.reason}: C ({cleaned[1]})"
            code, why = self._code(row)
            got = letter(code, None if node is None else node.types.get(tag, ""))
            type_ = "unknown" if node is None else node.types.get(tag, "3")
            return _by_letter(got, tag, vr), f"{row.reason}: {code}{why}; Type {type_}: {got}"
        return self._by_vr(node, tag, vr)

    def _private(self, tag: int) -> tuple[Action, str]:
        number = tag & 0xFFFF
        possible = 0x10 <= number <= 0xFF or number >= PRIVATE_ELEMENTS
        if "private" in self._choices.options and possible:
            return Action.PRIVATE, "private attributes, Table E.1-1: C (private)"
        if self._choices.exceptions.private and possible:
            return Action.PRIVATE, "private attributes, Table E.1-1: X, but the rules name some"
        return Action.REMOVE, "private attributes, Table E.1-1: X"

    def _cleaned(self, row: tables.Row, tag: int, vr: str) -> tuple[Action, str] | None:
        """What a C of a row comes to under the options chosen, and of which; it goes before a K of another option."""
        if "modified" in self._choices.options and row.options.get("modified") == "C":
            action = _moved(tag, vr)
            return None if action is None else (action, "modified")
        for option in ("structured", "graphics"):
            if option in self._choices.options and row.options.get(option) == "C":
                action = content_action(tag, vr, "descriptors" in self._choices.options)
                return None if action is None else (action, option)
        if "descriptors" in self._choices.options and row.options.get("descriptors") == "C":
            action = described_action(tag, vr)
            return None if action is None else (action, "descriptors")
        return None

    def _code(self, row: tables.Row) -> tuple[str, str]:
        """The code of a row under the options, and which option gave it."""
        for option in DONE_BY:
            if option in self._choices.options and row.options.get(option) == "K":
                return "K", f" ({option})"
        return row.basic, ""

    def _by_vr(self, node: Node | None, tag: int, vr: str) -> tuple[Action, str]:
        said = dictionary.vr_of(tag)
        if not dictionary.is_known(tag):
            kept = Action.RECURSE if vr == "SQ" else Action.REMOVE
            return kept, "neither in Table E.1-1 nor in the dictionary"
        if leaves_others_unreadable(tag, vr):
            return Action.WITHHOLD, f"others are read by it, and it cannot have VR {vr}"
        if "PN" in (vr, said) or vr in dictionary.DATES or said in dictionary.DATES:
            moved = _moved(tag, vr) if "modified" in self._choices.options else None
            if moved is not None:
                return moved, f"by VR {vr}: C (modified)"
            full = "full" in self._choices.options and "PN" not in (vr, said)
            got = letter("K" if full else AS_TYPE_ALLOWS, None if node is None else node.types.get(tag, ""))
            return _by_letter(got, tag, vr), f"by VR {vr}: {got}"
        if "UI" in (vr, said):
            return _by_letter("K" if "uids" in self._choices.options else "U", tag, vr), "by VR UI"
        if (said if said != "UN" else vr) in dictionary.FREE_TEXT and tag not in tables.kept_text():
            got = letter(AS_TYPE_ALLOWS, None if node is None else node.types.get(tag, ""))
            return _by_letter(got, tag, vr), f"free text by VR {said}: {got}"
        if vr in dictionary.TEXT and said not in dictionary.TEXT and said != "UN":
            return Action.REMOVE, f"text where the dictionary says {said}"
        return _by_letter("K", tag, vr), "not in Table E.1-1"

    def _needle(self, tag: int, vr: str, action: Action) -> Needle:
        """A private name counts as a whole only: vendors write programs and departments there."""
        if action in KEEPING:
            return Needle.NONE
        if tag in self._needles:
            return self._needles[tag]
        vrs = (vr, dictionary.vr_of(tag))
        if "PN" in vrs:
            return Needle.IDENTIFIER if tag >> 16 & 1 else Needle.NAME
        return Needle.UID if "UI" in vrs and tag not in tables.class_uids() else Needle.NONE

    def _dummy(self, sop_class: str, tag: int, vr: str) -> tuple[Action, bytes | None, bytes | None]:
        """The replacement for an attribute in the VR of the file; what has none is removed."""
        said = dictionary.vr_of(tag)
        if said == "SQ" and vr in ("SQ", "UN"):
            records = replacements.items_for(tag, sop_class)
            if records == "items":
                return Action.RECURSE, None, None
            if isinstance(records, list):
                implicit = replacements.items(records, implicit=True)
                return Action.DUMMY, replacements.items(records, False) if vr == "SQ" else implicit, implicit
            return Action.REMOVE, None, None
        if "SQ" in (vr, said):
            return Action.REMOVE, None, None
        value = replacements.value_for(tag, said if vr == "UN" else vr)
        return Action.REMOVE if value is None else Action.DUMMY, value, value


def _moved(tag: int, vr: str) -> Action | None:
    """What moving by whole days comes to: SHIFT, CHECK for a time of day; None for what is no date as it stands there.

    Times of a day and offsets from UTC stay. A VR that contradicts the dictionary's is no date.
    """
    if tag in FIXED_DATES:
        return None
    said = dictionary.vr_of(tag)
    if tag == TIMEZONE:
        return Action.CHECK if vr in (said, "UN") else None
    if "PN" in (vr, said) or (vr not in (said, "UN") and (said in dictionary.DATES or said not in dictionary.TEXT)):
        return None
    kind = vr if vr in dictionary.DATES else said
    if kind not in dictionary.DATES:
        return None
    return Action.CHECK if kind == "TM" else Action.SHIFT


def content_action(tag: int, vr: str, descriptors: bool) -> Action | None:
    """What a C of Clean Structured Content or Clean Graphics comes to; None where the Basic Profile's code stands.

    Nobody can read what the bits of an overlay show: only those stay that mark a region of interest. Curves keep their
    points, and lose their texts and sounds.
    """
    element = tag & 0xFFFF
    if tag >> 24 == 0x60:
        return Action.OVERLAY if element in OVERLAY_PLANE and vr not in ("SQ", "PN") else None
    if tag >> 24 == 0x50:
        return _keep(tag, vr) if element in CURVE_POINTS and vr == dictionary.vr_of(tag) else None
    if vr not in ("SQ", "UN"):
        return None
    if tag == TEXT_OBJECTS:
        return Action.RECURSE if descriptors else None
    return Action.RECURSE if tag in AROUND_CONTENT else Action.CONTENT


def described_action(tag: int, vr: str) -> Action | None:
    """What a C of Clean Descriptors comes to; None where the Basic Profile's code stands, as for binary values."""
    said = dictionary.vr_of(tag)
    if said == "SQ":
        if vr not in ("SQ", "UN"):
            return None
        return Action.CONTENT if tag in CODES else Action.RECURSE
    free = said in DESCRIBING and (vr in DESCRIBING or vr == "UN")
    return Action.CLEAN if free else None


def _must_have_value(tag: int, type_: str | None) -> bool:
    """Whether an attribute that cannot stay as it came gets a dummy, and is not emptied."""
    row = tables.row_of(tag)
    return type_ in ("1", "1C", None) or (row is not None and letter(row.basic, type_) == "D")


def _by_letter(got: str, tag: int, vr: str) -> Action:
    if got == "K":
        return _keep(tag, vr)
    if got == "U" and dictionary.vr_of(tag) == "SQ":
        return Action.RECURSE if vr in ("SQ", "UN") else Action.REMOVE
    if got == "U" or (got == "D" and "UI" in (vr, dictionary.vr_of(tag))):
        return Action.UID if vr in ("UI", "UN") else Action.REMOVE
    return {"X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.DUMMY}[got]


def _keep(tag: int, vr: str) -> Action:
    """KEEP, RECURSE or CHECK; a person name or a text under a VR that the dictionary does not give is not kept."""
    said = dictionary.vr_of(tag)
    if leaves_others_unreadable(tag, vr):
        return Action.WITHHOLD
    if vr == "SQ" or (vr == "UN" and said == "SQ"):
        return Action.RECURSE
    if said == "SQ" or (vr == "PN" and said != "PN"):
        return Action.REMOVE
    if vr in dictionary.TEXT and said not in dictionary.TEXT and said != "UN":
        return Action.REMOVE
    if not may_stand_for(tag, vr):
        return Action.WITHHOLD
    if "AS" in (vr, said):
        return Action.AGE
    dated = vr in dictionary.DATES or said in dictionary.DATES or (tag == TIMEZONE and vr in (said, "UN"))
    if dated:
        return Action.CHECK
    return Action.FORM if form_of(tag, vr) else Action.KEEP


def _override(treat: Treat, tag: int, vr: str) -> Action:
    action, said = treat.action, dictionary.vr_of(tag)
    if action is Action.KEEP:
        return _keep(tag, vr)
    if action is Action.UID or (action is Action.DUMMY and "UI" in (vr, said)):
        return Action.UID if vr in ("UI", "UN") else Action.REMOVE
    if action is Action.SHIFT:
        return _moved(tag, vr) or Action.REMOVE
    if action is Action.CLEAN:
        return described_action(tag, vr) or Action.REMOVE
    if action in MADE and not treat.items and (said == "SQ" or vr not in (*dictionary.TEXT, "UN")):
        return Action.REMOVE
    return action


def _coded(treat: Treat, vr: str) -> tuple[Action, bytes | None, bytes | None]:
    """A sequence replaced by coded items."""
    if vr not in ("SQ", "UN"):
        return Action.REMOVE, None, None
    records = [{"00080100": ["SH", v], "00080102": ["SH", s], "00080104": ["LO", m]} for v, s, m in treat.items]
    implicit = replacements.items(records, True)
    return Action.DUMMY, replacements.items(records, False) if vr == "SQ" else implicit, implicit
