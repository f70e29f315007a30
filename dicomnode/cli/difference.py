"""One file before and after de-identification, for a person at a terminal. Identified on the left!"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from unicodedata import combining, east_asian_width

import click

from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.difference import Change, changes
from dicomnode.deidentify.plan import Plan
from dicomnode.folders.part10 import is_part10, read_meta
from dicomnode.keys import ProjectKeys
from dicomnode.model import EXPLANATIONS, Doubt, Origin, Received

Document = dict[str, Any]
LOCAL = Origin("local", "local", "", "", "", 0)
MARKS = {"removed": "-", "changed": "~", "added": "+", "kept": " "}
HIDDEN = "(hidden)"
WIDEST = 48
"""Columns that a value may take."""


def document(plan: Plan, keys: ProjectKeys, content: bytes, hidden: bool, everything: bool) -> Document:
    """What changes in a Part 10 file (docs/rules.md); `hidden` leaves originals out, `everything` adds what stays."""
    if not is_part10(content):
        raise click.UsageError("FILE is not a DICOM file: it has no DICM behind 128 bytes (PS3.10 7.1)")
    try:
        meta = read_meta(content)
        received = Received(LOCAL, meta.sop_class, meta.sop_uid, meta.transfer_syntax)
        cleaned = Deidentifier(plan.of_project(LOCAL.project), keys).clean(received, content[meta.data_set :])
        found = list(changes(plan, cleaned, meta.transfer_syntax))
    except Doubt as doubt:
        explained = EXPLANATIONS[doubt.reason]
        withheld = {"reason": str(doubt.reason), "where": doubt.where, "explanation": explained}
        return {"rules": plan.name, "withheld": withheld, "counts": {}, "elements": []}
    return {
        "rules": plan.name,
        "withheld": None,
        "counts": dict(Counter(change.kind for change in found)),
        "elements": [_element(change, hidden) for change in found if everything or change.kind != "kept"],
    }


def _element(change: Change, hidden: bool) -> Document:
    gone = hidden and change.before is not None
    return {
        "change": change.kind,
        "path": list(change.path),
        "attribute": change.keyword.partition(": ")[0] if hidden else change.keyword,
        "vr": change.vr,
        "before": HIDDEN if gone else change.before,
        "after": change.after,
        "reason": change.reason,
    }


def text(told: Document) -> str:
    """The document as aligned text."""
    if told["withheld"]:
        why = told["withheld"]
        where = f" at {why['where']}" if why["where"] else ""
        return f"withheld, {why['reason']}{where}: {why['explanation']}"
    head = ("", "element", "attribute", "VR", "before (identified)", "after", "because")
    lines = _aligned([head, *(_line(each) for each in told["elements"])])
    counts = ", ".join(f"{told['counts'].get(kind, 0)} {kind}" for kind in MARKS)
    return "\n".join([*lines, counts])


def _line(each: Document) -> tuple[str, ...]:
    return (
        MARKS[each["change"]],
        _place(each["path"]),
        _short(each["attribute"]),
        each["vr"],
        _short(each["before"]),
        _short(each["after"]),
        each["reason"],
    )


def _place(path: Sequence[int | str]) -> str:
    """The tag, indented by its depth, with the number of the item that it is in."""
    if len(path) == 1:
        return str(path[0])
    return f"{'  ' * (len(path) // 2)}{path[-2]}. {path[-1]}"


def _short(value: str | None) -> str:
    """A value on one line: control characters, which could deceive a terminal, are escaped."""
    if value is None:
        return ""
    plain = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in value)
    return plain if len(plain) <= WIDEST else plain[: WIDEST - 1] + "…"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = (
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)) for row in rows
    )
    return [line.rstrip() for line in padded]


def _width(cell: str) -> int:
    """Columns on a terminal: ideographs take two, combining marks none."""
    return sum(0 if combining(each) else 2 if east_asian_width(each) in "WF" else 1 for each in cell)
