"""Elements of which a script says what rules cannot: what becomes of them, and the strictest of several branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.deidentify.exceptions import IMAGE, KEY_UIDS, Treat, forbidden
from dicomnode.deidentify.plan import Action
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.recipes.draft import Draft, Source

NEEDED = frozenset([0x00080050, 0x00200010, 0x00100010, 0x00100020])
"""What an instance must have, if only empty."""


@dataclass(frozen=True, slots=True)
class Unsaid:
    """An element whose script is not carried over; `harmless` where the script would change nothing that identifies."""

    key: str
    tag: int
    why: str
    source: Source
    harmless: bool = False


def removed(tag: int) -> str:
    """What protects at least as much as any action, as far as an instance can do without the attribute."""
    return "uid" if tag in KEY_UIDS else "empty" if tag in NEEDED else "remove"


def strictest(outcomes: Sequence[object], tag: int) -> object:
    """Of what becomes of an element in several branches what protects at least as much as each; None: nothing known."""
    for certain in ("remove", "empty", None):
        if certain in outcomes:
            return removed(tag) if certain != "empty" else "empty"
    changing = [each for each in outcomes if each != "keep"]
    if not changing:
        return "keep"
    return changing[0] if all(each == changing[0] for each in changing) else removed(tag)


def settle(draft: Draft, unsaid: Sequence[Unsaid]) -> None:
    """Give each element a line of its own where a line about its group would keep it, and say what becomes of it."""
    for each in unsaid:
        if _kept(draft, each.tag):
            value = removed(each.tag)
            draft.attribute(each.key, value, each.source)
            draft.note(each.source, f"{each.why}: its group is kept, so it becomes: {value}")
        elif _rest_goes(draft, each.tag):
            draft.note(each.source, f"{each.why}: it goes with what the script does not name")
        else:
            lost = not each.harmless and _stays(each.tag)
            draft.note(each.source, f"{each.why}: the profile's treatment holds", lost=lost)


def pseudonyms_hold(draft: Draft, tags: dict[str, int]) -> None:
    """Give what the templates make a line of its own where a line about its group would keep it."""
    for entry in [entry for entry in draft.entries if entry.section == "templates"]:
        tag = tags[entry.key]
        if _kept(draft, tag):
            value: object = {"replace": entry.value} if entry.value else "empty"
            draft.attribute(dictionary.keyword_of(tag), value, entry.source)


def _kept(draft: Draft, tag: int) -> bool:
    """Whether a line about the group keeps this attribute."""
    return _group_says(draft, f"({tag >> 16:04x},xxxx)", "keep", tag) and not forbidden(tag, Treat(Action.KEEP))


def _rest_goes(draft: Draft, tag: int) -> bool:
    return _group_says(draft, "/^/", "remove", tag) and not forbidden(tag, Treat(Action.REMOVE))


def _group_says(draft: Draft, key: str, value: str, tag: int) -> bool:
    return tag >> 16 != IMAGE and any(entry.key == key and entry.value == value for entry in draft.entries)


def _stays(tag: int) -> bool:
    """Whether the profile would leave the attribute as it is."""
    return tables.row_of(tag) is None and dictionary.vr_of(tag) not in ("PN", "DA", "TM", "DT", "UI")
