"""Which parts of the headers of two instances are byte-identical.

Compared are units that are treated on their own: an element of the top level; of private groups and overlay planes,
whose elements depend on each other, the whole group.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TypeAlias

from dicomnode.deidentify.encoded import Element

OVERLAYS = range(0x6000, 0x6100)
WORTH = 48
"""A run of fewer bytes is not worth comparing."""

Span: TypeAlias = tuple[int, int]
"""The first element of a run, and the one behind it."""


def unit_of(tag: int) -> int:
    """What an element is treated with: itself, or its group."""
    group = tag >> 16
    return group << 16 if group & 1 or group in OVERLAYS else tag


def units(elements: Sequence[Element]) -> dict[int, Span]:
    """The elements of each unit, in their order."""
    found: dict[int, Span] = {}
    for index, element in enumerate(elements):
        unit = unit_of(element[0])
        found[unit] = (found[unit][0] if unit in found else index, index + 1)
    return found


def varying(data: bytes, elements: Sequence[Element], other: bytes, others: Sequence[Element]) -> set[int]:
    """The units that are not the same in both."""
    one = _contents(data, elements)
    two = _contents(other, others)
    return {unit for unit in one.keys() | two.keys() if one.get(unit) != two.get(unit)}


def runs(elements: Sequence[Element], different: Set[int], needed: Set[int]) -> list[Span]:
    """The runs of units that do not vary; short ones only where a needed tag is among them."""
    found: list[Span] = []
    begin: int | None = None
    last = 0
    splitting = sorted(different)
    for unit, (first, stop) in units(elements).items():
        parted = any(last < each < unit for each in splitting)
        if begin is not None and (unit in different or parted):
            found.append((begin, first))
            begin = None
        if unit not in different and begin is None:
            begin = first
        last = unit
        end = stop
    if begin is not None:
        found.append((begin, end))
    return [span for span in found if _is_worth(elements[span[0] : span[1]], needed)]


def _is_worth(elements: Sequence[Element], needed: Set[int]) -> bool:
    long = elements[-1][4] - elements[0][2] >= WORTH
    return long or any(element[0] in needed for element in elements)


def _contents(data: bytes, elements: Sequence[Element]) -> dict[int, bytes]:
    return {unit: data[elements[first][2] : elements[stop - 1][4]] for unit, (first, stop) in units(elements).items()}
