"""What a plan lets stay of an instance as it came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicomnode.deidentify.concepts import concepts
from dicomnode.deidentify.content import NO_TREE, Tree
from dicomnode.deidentify.encoded import Element
from dicomnode.deidentify.plan import Action, Plan, Steps

ITEMS_STAY = (Action.KEEP, Action.RECURSE, Action.CONTENT)
VALUE_STAYS = (Action.KEEP, Action.CHECK, Action.AGE, Action.FORM)


def walk(
    data: bytes, elements: Sequence[Element], steps: Steps, plan: Plan, tree: Tree = NO_TREE, nested: bool = False
) -> Iterator[tuple[int, int, bytes, bool]]:
    """Tag, VR and value of all that stays, and whether it stands in a sequence.

    `tree` rules the content items among the elements.
    """
    for element in elements:
        tag, vr, _, value, stop, items = element
        step = steps[tag << 16 | vr]
        if step.action is Action.PRIVATE and plan.safe is not None:
            step, vr = plan.safe.step(data, elements, element) or (step, vr)
        if items is not None and (step.action in ITEMS_STAY or (step.action is Action.DUMMY and step.dummy is None)):
            inside = steps.inside(tag)
            own = NO_TREE
            if step.action is Action.CONTENT:
                own = tree.within(data, element, concepts(plan.options))
            for item in items:
                if not own.goes(item[0]):
                    yield from walk(data, item[3], own.steps(item[0], inside), plan, own, True)
        elif step.action in VALUE_STAYS:
            yield tag, vr, data[value:stop], nested
