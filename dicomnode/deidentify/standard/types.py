"""The Type of an attribute (PS3.5 section 7.4) in the IOD of a SOP class, at each path of sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from dicomnode.deidentify.standard.tables import read, retired_classes

STRICTEST_FIRST = ("1", "1C", "2", "2C")


@dataclass(slots=True)
class Node:
    """One place in an IOD: its sequences, and the Types 1 to 2C (absent: Type 3, or not in the IOD)."""

    types: dict[int, str] = field(default_factory=dict)
    sequences: dict[int, Node] = field(default_factory=dict)

    def put(self, path: list[int], tag: int, type_: str) -> None:
        """Enter a Type; of two the stricter one rules (PS3.3 A.1.3)."""
        node = self
        for sequence in path:
            node = node.sequences.setdefault(sequence, Node())
        known = node.types.get(tag)
        if known is None or STRICTEST_FIRST.index(type_) < STRICTEST_FIRST.index(known):
            node.types[tag] = type_


@cache
def _modules() -> dict[str, list[tuple[list[int], int, str]]]:
    found: dict[str, list[tuple[list[int], int, str]]] = {}
    for record in read("modules.csv"):
        path = [int(step, 16) for step in record["path"].split("/") if step]
        found.setdefault(record["module"], []).append((path, int(record["tag"], 16), record["type"]))
    return found


@cache
def _classes() -> dict[str, list[str]]:
    return {record["sop_class"]: record["modules"].split() for record in read("classes.csv")}


def iod_of(sop_class: str) -> Node | None:
    """The Types of a SOP class's IOD; None when the class is not known."""
    modules = _classes().get(retired_classes().get(sop_class, sop_class))
    if modules is None:
        return None
    root = Node()
    for module in modules:
        for path, tag, type_ in _modules().get(module, ()):
            root.put(path, tag, type_)
    return root
