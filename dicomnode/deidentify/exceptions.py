"""What the rules say of attributes beside the profile: which attributes a line names, and what becomes of them.

Of several lines that name an attribute the nearest holds: a path into sequences (the longest first), the attribute
itself, a mask (the fewest x first), a regular expression on the keyword, the VR; of two alike the first in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicomnode.deidentify.plan import Action, Made
from dicomnode.deidentify.standard import dictionary, replacements

IMAGE = 0x0028
"""The group that describes the image: only lines that name an attribute reach it."""
MASK_DIGITS = 8
OVERLAY_DATA = 0x3000
OVERLAY_PLANE = frozenset([0x0010, 0x0011, 0x0015, 0x0040, 0x0050, 0x0051, 0x0100, 0x0102, OVERLAY_DATA])
"""Elements of overlay groups that hold what is drawn, and neither text nor sound."""
PLAIN = (Action.KEEP, Action.REMOVE, Action.EMPTY, Action.DUMMY, Action.UID)
"""Actions without an argument that the rules have always had."""


@dataclass(frozen=True, slots=True)
class Treat:
    """What becomes of an attribute: an action, and where it has one, its argument.

    `word` is the action as the rules spell it, `line` where they say so; both decide nothing.
    """

    action: Action
    made: Made | None = None
    items: tuple[tuple[str, str, str], ...] = ()
    """For CODE of a sequence: value, scheme and meaning of the items that replace it."""
    added: bool = False
    """Whether it is written where the instance does not have it."""
    word: str = field(default="", compare=False)
    line: str = field(default="", compare=False)

    @property
    def argument(self) -> str:
        """The argument as people read it."""
        if self.items:
            return ", ".join(" ".join(item) for item in self.items)
        parts = self.made.argument if self.made and self.word != "pseudonym" else ()
        if self.action is Action.REPLACE:
            return "".join(map(_placeholder, parts))
        joined = " to " if self.action in (Action.SUBSTITUTE, Action.CODE) else " "
        return ", ".join(joined.join(map(str, part)) if isinstance(part, tuple) else str(part) for part in parts)

    @property
    def said(self) -> list[Any]:
        """All that decides, for the plan's digest."""
        argument = list(map(_plain, self.made.argument)) if self.made else []
        return [int(self.action), argument, [list(item) for item in self.items], self.added]


def _placeholder(part: object) -> str:
    """A part of a template as the rules write it."""
    if isinstance(part, tuple):
        return "{" + (f"{part[0]}:{part[1]}" if part[1] else part[0]) + "}"
    return "{" + dictionary.keyword_of(part) + "}" if isinstance(part, int) else str(part)


def _plain(part: object) -> object:
    return list(part) if isinstance(part, tuple) else part


@dataclass(frozen=True, slots=True)
class Selector:
    """Which attributes a line of the rules names. `kind`: tag, path, mask, keyword, vr or private.

    `path` are the tags of the sequences around `tag`; of a mask the digits x are 0 in `digits`. `text` is a regular
    expression, a VR, or a private creator in upper case.
    """

    kind: str
    tag: int = 0
    digits: int = 0xFFFFFFFF
    path: tuple[int, ...] = ()
    text: str = ""

    def names(self, tag: int, vr: str) -> bool:
        """Whether a mask, a regular expression or a VR names this public attribute."""
        if self.kind == "mask":
            return tag & self.digits == self.tag
        if self.kind == "vr":
            return self.text in (vr, dictionary.vr_of(tag))
        return bool(re.search(self.text, dictionary.keyword_of(tag))) if dictionary.is_known(tag) else False

    def __str__(self) -> str:
        if self.kind == "keyword":
            return f"/{self.text}/"
        if self.kind == "vr":
            return f"VR:{self.text}"
        if self.kind == "mask":
            return _masked(self.tag, self.digits)
        if self.kind == "private":
            group, element = _masked(self.tag, self.digits)[1:5], _masked(self.tag, self.digits)[8:10]
            return f"({group},xx{element},{self.text})"
        return " > ".join(map(dictionary.keyword_of, (*self.path, self.tag)))

    @property
    def wide(self) -> int:
        """How many hexadecimal digits of a mask are left open."""
        return MASK_DIGITS - sum(digit == "F" for digit in f"{self.digits:08X}")

    @property
    def said(self) -> list[Any]:
        """All that decides, for the plan's digest."""
        return [self.kind, self.tag, self.digits, list(self.path), self.text]


def _masked(tag: int, digits: int) -> str:
    """A tag with x for the digits that are left open."""
    shown = "".join("x" if mask == "0" else digit for digit, mask in zip(f"{tag:08X}", f"{digits:08X}", strict=True))
    return f"({shown[:4]},{shown[4:]})"


KINDS = ("mask", "keyword", "vr")
"""The kinds of selectors that name many attributes, the nearest first."""
Line = tuple[Selector, Treat]


@dataclass(frozen=True)
class Exceptions:
    """All lines of the rules about attributes, in the order in which they were read."""

    lines: tuple[Line, ...] = ()
    exact: Mapping[int, Treat] = field(init=False, repr=False, compare=False)
    private: tuple[Line, ...] = field(init=False, repr=False, compare=False)
    _paths: Mapping[int, Sequence[Line]] = field(init=False, repr=False, compare=False)
    _wide: tuple[Line, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exact: dict[int, Treat] = {}
        paths: dict[int, list[Line]] = {}
        for selector, treat in self.lines:
            if selector.kind == "tag":
                exact.setdefault(selector.tag, treat)
            elif selector.kind == "path":
                paths.setdefault(selector.tag, []).append((selector, treat))
        for found in paths.values():
            found.sort(key=lambda line: -len(line[0].path))
        wide = sorted(
            (line for line in self.lines if line[0].kind in KINDS),
            key=lambda line: (KINDS.index(line[0].kind), line[0].wide if line[0].kind == "mask" else 0),
        )
        private = tuple(line for line in self.lines if line[0].kind == "private")
        for name, value in (("exact", exact), ("private", private), ("_paths", paths), ("_wide", tuple(wide))):
            object.__setattr__(self, name, value)

    @property
    def has_paths(self) -> bool:
        """Whether it matters in which sequences an attribute stands."""
        return bool(self._paths)

    def of(self, path: tuple[int, ...], tag: int, vr: str) -> Treat | None:
        """What the rules say of a public attribute at a place; None where they say nothing."""
        for selector, treat in self._paths.get(tag, ()):
            if path[-len(selector.path) :] == selector.path:
                return treat
        found = self.exact.get(tag)
        if found is not None:
            return found
        for selector, treat in self._wide:
            if _reaches(treat, tag) and selector.names(tag, vr) and not forbidden(tag, treat):
                return treat
        return self._of_plane(path, tag)

    def _of_plane(self, path: tuple[int, ...], tag: int) -> Treat | None:
        """Where the data of an overlay plane stays, the rest of the plane does too: nobody could draw it else."""
        element = tag & 0xFFFF
        if tag >> 24 != 0x60 or element == OVERLAY_DATA or element not in OVERLAY_PLANE:
            return None
        treat = self.of(path, tag & 0xFFFF0000 | OVERLAY_DATA, "OW")
        return treat if treat is not None and treat.action is Action.KEEP else None

    def treats(self) -> Iterator[Treat]:
        """Everything that is said of any attribute."""
        return (treat for _, treat in self.lines)

    def tags(self, selector: Selector, among: Sequence[int]) -> list[int]:
        """Of these attributes those that the selector names."""
        if selector.kind in ("tag", "path"):
            return [selector.tag] if selector.tag in among else []
        if selector.kind == "private":
            return []
        return [tag for tag in among if tag >> 16 != IMAGE and selector.names(tag, dictionary.vr_of(tag))]

    @property
    def more(self) -> list[Any]:
        """What goes beyond plain actions for single attributes, for the plan's digest."""
        lines = [
            [selector.said, treat.said]
            for selector, treat in self.lines
            if selector.kind != "tag" or treat.action not in PLAIN
        ]
        places = {selector.path for selector, _ in self.lines}
        planes = any(self._of_plane(path, 0x60000010 + (n << 17)) for path in places for n in range(16))
        rounds = any(treat.action is Action.ROUND for _, treat in self._wide)
        return [*lines, *(["overlay planes"] if planes else []), *(["birth dates apart"] if rounds else [])]


def _reaches(treat: Treat, tag: int) -> bool:
    """Whether a line that names many attributes can mean this one; a birth date is rounded by its own name alone."""
    return tag >> 16 != IMAGE and not (treat.action is Action.ROUND and tag in NEVER_KEPT)


FIXED = {
    0x00100020: "its pseudonym is set by templates: patient_id",
    0x00080016: "without it nobody can read the instance",
    0x00080005: "without it no text can be read",
    0x00120062: "the node writes it",
    0x00120063: "the node writes it",
    0x00120064: "the node writes it",
    0x00280303: "the node writes it",
}
"""Attributes that the rules cannot decide, and why."""
NEVER_KEPT = frozenset([0x00100010, 0x00100030])
KEY_UIDS = frozenset([0x00080018, 0x0020000D, 0x0020000E])
FIXED_DATES = frozenset([0x00080106, 0x00080107, 0x00181204, 0x00181205, 0x0040DB06, 0x0040DB07])
"""Dates that are the same for many patients and known to others: versions of context groups and templates, when a
device was made and set up. Moved with a patient's dates they would tell by how much."""
KEEPS = frozenset([Action.KEEP, Action.SUBSTITUTE, Action.VOCABULARY, Action.CLEAN, Action.SHIFT])
"""After these something of the value stays, whatever it is."""
TEXTS = frozenset([Action.HASH, Action.REPLACE, Action.SUBSTITUTE, Action.VOCABULARY])
DESCRIBING = frozenset(["LO", "LT", "SH", "ST", "UC", "UT"])
ROUNDED = frozenset(["DA", "DT", "TM", "AS", "DS", "IS"])


def forbidden(tag: int, treat: Treat) -> str:
    """Why the rules cannot say this of a public attribute; "" when they can."""
    group, action, vr = tag >> 16, treat.action, dictionary.vr_of(tag)
    if tag in FIXED:
        return FIXED[tag]
    if group & 1:
        return "name the creator of its block, as in (0009,xx01,GEMS_IDEN_01)"
    if group in (0, 2, 4) or group >= 0x7F00 or tag & 0xFFFF == 0:
        return "it is not for the rules to decide"
    if action in KEEPS and tag in NEVER_KEPT:
        return "it is never kept (PS3.15 E.2)"
    if tag in KEY_UIDS and action is not Action.UID:
        return "an instance must have it: use uid, or options: [retain_uids], which keeps UIDs"
    if action is Action.SHIFT and tag in FIXED_DATES:
        return "it is the same for many patients, so moved it would tell by how much"
    if action is Action.UID and vr != "UI":
        return f"its VR is {vr}, not UI"
    if action is Action.DUMMY and vr == "SQ" and not isinstance(replacements.items_for(tag, ""), list):
        return "there is no replacement for this sequence; use remove or empty"
    return _unfit(vr, treat)


def _unfit(vr: str, treat: Treat) -> str:
    """Why an action is not for this VR."""
    action = treat.action
    if action is Action.CODE and treat.items:
        return "" if vr == "SQ" else f"its VR is {vr}: give a table, value: code"
    if action is Action.CODE or action in TEXTS:
        needed = vr in dictionary.TEXT and (action is not Action.HASH or vr not in (*ROUNDED, "UI", "UR"))
        return "" if needed else f"its VR is {vr}, and the result could not be one"
    if action is Action.SHIFT and vr not in ("DA", "DT", "TM"):
        return f"its VR is {vr}, no date"
    if action is Action.CLEAN and vr not in DESCRIBING:
        return f"its VR is {vr}, no description"
    if action is Action.ROUND:
        return _unrounded(vr, str(treat.made.argument[0]) if treat.made else "")
    return ""


def _unrounded(vr: str, unit: str) -> str:
    if vr not in ROUNDED:
        return f"its VR is {vr}, which cannot be rounded"
    allowed = {"DA": ("month", "year"), "DT": ("month", "year"), "TM": ("hour",)}.get(vr)
    if allowed is None:
        return "" if unit.replace(".", "", 1).isdigit() else "use a number, as in: round: 5"
    return "" if unit in allowed else f"its VR is {vr}: use {' or '.join(allowed)}"
