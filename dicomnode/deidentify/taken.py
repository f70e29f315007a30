"""What is taken out of an instance, told to the gate: the values of an element, inside sequences too."""

from __future__ import annotations

from dicomnode.deidentify import content
from dicomnode.deidentify.encoded import Element
from dicomnode.deidentify.gate import Gate
from dicomnode.deidentify.pixels import value_of
from dicomnode.deidentify.plan import Needle, Step, Steps

CHARACTER_SET = 0x00080005


def note(
    gate: Gate,
    data: bytes,
    element: Element,
    step: Step,
    steps: Steps,
    character_set: bytes,
    tree: content.Tree = content.NO_TREE,
) -> None:
    """An element that goes, or is written anew; `steps` are those of its level."""
    tag, _, _, value, stop, items = element
    if items is None:
        if step.needle is not Needle.NONE and value != stop:
            gate.original(step.needle, tag, data[value:stop], character_set)
        return
    inside = steps.inside(tag)
    for begin, _, _, elements in items:
        note_item(gate, data, begin, elements, inside, character_set, tree)


def note_item(
    gate: Gate,
    data: bytes,
    begin: int,
    elements: list[Element],
    inside: Steps,
    character_set: bytes,
    tree: content.Tree,
) -> None:
    """All elements of an item that goes."""
    own, steps = value_of(data, elements, CHARACTER_SET) or character_set, tree.steps(begin, inside)
    for nested in elements:
        note(gate, data, nested, steps[nested[0] << 16 | nested[1]], steps, own, tree)
