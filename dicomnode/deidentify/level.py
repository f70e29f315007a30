"""Where in a data set elements stand while they are treated."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dicomnode.deidentify import content
from dicomnode.deidentify.encoded import Element, backwards, place
from dicomnode.deidentify.plan import Step, Steps
from dicomnode.model import Doubt, Reason


@dataclass(frozen=True, slots=True)
class Level:
    """Where elements stand: the bytes, the steps and character set that hold there, their encoding, the path."""

    data: bytes
    steps: Steps
    character_set: bytes
    implicit: bool
    path: tuple[int, ...]
    tree: content.Tree = content.NO_TREE
    """What was decided about the content items of this level and below."""

    def under(self, character_set: bytes | None) -> Level:
        """The same with a character set of its own."""
        return replace(self, character_set=character_set) if character_set else self

    def ruled(self, steps: Steps) -> Level:
        """The same under other steps."""
        return replace(self, steps=steps)

    def doubt_of(self, element: Element, elements: Sequence[Element]) -> Doubt:
        """The doubt about a value that would stay: its length is odd, or not that of whole numbers."""
        reason = Reason.UNREADABLE if element[4] - element[3] & 1 else Reason.WRONG_VR
        before = backwards(elements[: bisect_left(elements, (element[0],))])
        return Doubt(reason, place((*self.path, element[0]), before))


def _never(*_: object) -> Step:
    raise Doubt(Reason.INTERNAL)


NO_STEPS: Steps = Steps(_never, lambda tag: NO_STEPS)
