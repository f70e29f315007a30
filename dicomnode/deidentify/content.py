"""Which content items of a structured report go, and how the rest is treated (PS3.15 E.3.4).

The items of Content Sequences are a tree (PS3.3 C.17.3). A removed item takes all below it along; so does one that an
item refers to by its position, for a reference without a target says nothing. What then remains gets new positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack, unpack

from dicomnode.deidentify.ages import is_old
from dicomnode.deidentify.concepts import PLAIN, REFERENCED_ITEM, Concepts, Ruling, Value, public_schemes, vary
from dicomnode.deidentify.encoded import UN, Element, Item, place, vr_code
from dicomnode.deidentify.pixels import find, text_of, value_of
from dicomnode.deidentify.plan import Steps
from dicomnode.model import Doubt, Reason

OLD = Ruling(value=Value.OLD)
CONTENT, NAME, CODE = 0x0040A730, 0x0040A043, 0x0040A168
VALUE_TYPE, RELATIONSHIP = 0x0040A040, 0x0040A010
CODE_VALUES = (0x00080100, 0x00080119, 0x00080120)
CODING_SCHEME = 0x00080102
ANNOTATIONS, GRAPHICS = 0x00700001, (0x00700009, 0x00700209)
CODES = frozenset([0x00081084, 0x00081301, 0x00081302, 0x00081303, 0x00081304, 0x00321067, 0x0040100A])
"""Sequences of codes that describe the patient: those stay that somebody made who knows no patient."""
COORDINATES = frozenset(["SCOORD", "TCOORD"])
SELECTED = "SELECTED FROM"
UL = vr_code("UL")
MAY_BE_EMPTY = frozenset([0x00400555])
"""Of Type 2 or 3: all other sequences of content items have at least one, or are not there."""
OVERLAY_TYPE = 0x0040
REGION = "R"
Position = tuple[int, ...]


@dataclass(slots=True)
class Node:
    """A content item: where its header begins, its old position, the position it refers to (None: by value)."""

    begin: int
    position: Position
    ruling: Ruling
    value_type: str
    relationship: str
    target: Position | None
    parent: Node | None
    children: list[Node] = field(default_factory=list)
    gone: bool = False
    identifier: bytes | None = None
    local: bool = False
    """Whether it has a code that no public scheme has, whatever its Value Type says."""


class Tree:
    """What was decided about the items of one sequence and of the Content Sequences below it."""

    def __init__(self, nodes: dict[int, Node]) -> None:
        self._nodes = nodes

    def within(self, data: bytes, element: Element, concepts: Concepts) -> Tree:
        """The tree that the items of this sequence belong to: this one, or their own."""
        items = element[5]
        if element[0] == CONTENT and items and items[0][0] in self._nodes:
            return self
        return judge(data, element, concepts)

    def goes(self, begin: int) -> bool:
        """Whether the item whose header begins there is removed."""
        node = self._nodes.get(begin)
        return node is not None and node.gone

    def steps(self, begin: int, base: Steps) -> Steps:
        """The steps inside the item, given those of its place."""
        node = self._nodes.get(begin)
        if node is None:
            return base
        return vary(vary(base, Value.CODE, None) if node.local else base, node.ruling.value, node.identifier)


NO_TREE = Tree({})


def judge(data: bytes, element: Element, concepts: Concepts) -> Tree:
    """Decide about the items of an outermost sequence of content items or graphic annotations. Raises Doubt."""
    tag, _, _, _, _, items = element
    if tag == ANNOTATIONS:
        nodes = [Node(i[0], (), PLAIN, "", "", None, None, gone=not _draws(i)) for i in items or ()]
        return Tree({node.begin: node for node in nodes})
    reader = _Reader(data, concepts)
    if tag in CODES:
        return Tree({item[0]: reader.code(item) for item in items or ()})
    roots = reader.nodes(items or [], (1,), None)
    nodes_by_position = {node.position: node for node in reader.found}
    _remove(reader.found, nodes_by_position)
    moved: dict[Position, Position] = {(1,): (1,)}
    _renumber(roots, (1,), moved)
    for node in reader.found:
        if node.target is not None and not node.gone and moved[node.target] != node.target:
            node.identifier = pack(f"<{len(node.target)}I", *moved[node.target])
    return Tree({node.begin: node for node in reader.found})


def marks_region(data: bytes, elements: Sequence[Element], tag: int) -> bool:
    """Whether the overlay plane of an element shows a region of interest, and no graphics (PS3.3 C.9.2)."""
    return text_of(data, elements, tag & 0xFFFF0000 | OVERLAY_TYPE) == REGION


def _draws(item: Item) -> bool:
    """Whether a graphic annotation has graphics, and not only text."""
    return any(tag in GRAPHICS and items for tag, _, _, _, _, items in item[3])


class _Reader:
    """Makes nodes of encoded items; `found` are all of them."""

    def __init__(self, data: bytes, concepts: Concepts) -> None:
        self._data = data
        self._concepts = concepts
        self.found: list[Node] = []

    def nodes(self, items: list[Item], position: Position, parent: Node | None) -> list[Node]:
        """The nodes of sibling items below a position."""
        made = []
        for ordinal, (begin, _, _, elements) in enumerate(items, 1):
            node = self._node(begin, (*position, ordinal), elements, parent)
            made.append(node)
            self.found.append(node)
            below = find(elements, CONTENT)
            if below is not None and below[5]:
                node.children = self.nodes(below[5], node.position, node)
        return made

    def code(self, item: Item) -> Node:
        """The node of a code, which goes unless its scheme is public."""
        public = text_of(self._data, item[3], CODING_SCHEME) in public_schemes()
        return Node(item[0], (), PLAIN, "", "", None, None, gone=not public)

    def _node(self, begin: int, position: Position, elements: list[Element], parent: Node | None) -> Node:
        data = self._data
        value_type = text_of(data, elements, VALUE_TYPE)
        value, scheme = self._code(elements, NAME)
        ruling = self._concepts.ruling(value, scheme, value_type)
        if value_type == "NUM" and not ruling.removed and is_old(data, elements, (value, scheme)):
            ruling = OLD
        relationship = text_of(data, elements, RELATIONSHIP)
        local = find(elements, CODE) is not None and self._code(elements, CODE)[1] not in public_schemes()
        return Node(begin, position, ruling, value_type, relationship, self._target(elements), parent, local=local)

    def _code(self, elements: list[Element], tag: int) -> tuple[str, str]:
        """Value and scheme of a code sequence's only item; "" where there is none."""
        sequence = find(elements, tag)
        items = sequence[5] if sequence is not None else None
        if not items or len(items) > 1:
            return "", ""
        code = items[0][3]
        value = next((text for tag in CODE_VALUES if (text := text_of(self._data, code, tag))), "")
        return value, text_of(self._data, code, CODING_SCHEME)

    def _target(self, elements: list[Element]) -> Position | None:
        reference = find(elements, REFERENCED_ITEM)
        if reference is None:
            return None
        value = value_of(self._data, elements, REFERENCED_ITEM) or b""
        if reference[1] not in (UL, UN) or not value or len(value) % 4:
            raise Doubt(Reason.UNREADABLE, place((REFERENCED_ITEM,)))
        return unpack(f"<{len(value) // 4}I", value)


def _remove(nodes: list[Node], by_position: dict[Position, Node]) -> None:
    """Mark all that goes: what the rulings remove, and what makes no sense without it."""
    referring: dict[Position, list[Node]] = {}
    going = [node for node in nodes if node.ruling.removed]
    for node in nodes:
        if node.target is not None and node.target != (1,):
            referring.setdefault(node.target, []).append(node)
            if node.target not in by_position:
                going.append(node)
    while going:
        node = going.pop()
        if not node.gone:
            node.gone = True
            going += [*node.children, *referring.get(node.position, ())]
            if node.parent is not None and _points_nowhere(node.parent):
                going.append(node.parent)


def _points_nowhere(node: Node) -> bool:
    """Whether coordinates have lost all that they were selected from (PS3.3 C.18.6, C.18.7)."""
    selected = [child for child in node.children if child.relationship == SELECTED]
    return node.value_type in COORDINATES and bool(selected) and all(child.gone for child in selected)


def _renumber(nodes: list[Node], position: Position, moved: dict[Position, Position]) -> None:
    """Enter the new position of every item that stays, by its old one."""
    staying = [node for node in nodes if not node.gone]
    for ordinal, node in enumerate(staying, 1):
        moved[node.position] = (*position, ordinal)
        _renumber(node.children, moved[node.position], moved)
