"""Where in a data set elements stand while they are treated."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dicomnode.deidentify import content
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


def _never(*_: object) -> Step:
    raise Doubt(Reason.INTERNAL)


NO_STEPS: Steps = Steps(_never, lambda tag: NO_STEPS)
