"""What the instances of a series have in common, found out once.

A likeness has the runs of elements that are byte-identical in instances seen before, with what became of them. An
instance in which all of these runs stand again is put together from them; only the elements between them are treated,
by the same `Treatment`. Everything on which the treatment of a run hangs beside its own bytes (plan, class, patient,
study, character set) must lie in such runs too, so the result is what it would be without a likeness. A likeness never
judges: at any doubt, and whenever the gate finds anything at all, the instance goes the whole way as if it were the
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.deidentify import alike, descriptors
from dicomnode.deidentify.cleaned import Cleaned, Place, Split, assemble, clean_tail
from dicomnode.deidentify.declaration import LONGITUDINAL, METHOD, METHOD_CODES, REMOVED
from dicomnode.deidentify.encoded import UNDEFINED, Element, Reader
from dicomnode.deidentify.fragments import LENGTHS, OFFSETS, fragments_of
from dicomnode.deidentify.gate import Settled
from dicomnode.deidentify.needles import Original
from dicomnode.deidentify.pixels import IMAGE_ATTRIBUTES
from dicomnode.deidentify.plan import Plan
from dicomnode.deidentify.subject import DECIDING, SOP_INSTANCE
from dicomnode.deidentify.syntaxes import Form
from dicomnode.deidentify.treatment import BEHIND_ALL, Treatment
from dicomnode.model import Buffer, Doubt, IdentityEntry, Reason, Received

SLACK = 2048
"""So many bytes may a header be longer than the one that the likeness was made of."""
SIGN = 64
"""By so many bytes a run is looked for that stands elsewhere than before."""
NO_NAMES: frozenset[Original] = frozenset()
LEAST_SHARE = 3
"""At least one third of a header must be alike."""
DECLARED = frozenset([REMOVED, METHOD, METHOD_CODES, LONGITUDINAL])


def deciding(plan: Plan) -> frozenset[int]:
    """The tags on which more hangs than the treatment of their own elements."""
    asked = plan.asked if plan.acceptance is None else plan.asked | plan.acceptance.asked
    return DECIDING | DECLARED | IMAGE_ATTRIBUTES | {OFFSETS, LENGTHS} | set(plan.pixels.asked) | asked


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of elements, from the tag `first` to the tag `last`, and what becomes of them.

    `gap` is how many bytes were in front of it, behind the run before.
    """

    first: int
    last: int
    received: bytes
    sent: bytes
    identity: dict[IdentityEntry, None]
    gap: int


class Likeness:
    """Cleans instances that are like one that was cleaned: made of its treatment, its header and its elements.

    `varying` are the units of the header that differ. Raises Doubt when too little is alike to rely on.
    """

    def __init__(
        self, treatment: Treatment, head: bytes, elements: list[Element], varying: set[int], form: Form
    ) -> None:
        self._treatment, self._head, self._elements, self._form = treatment, head, elements, form
        self._pixel_header = head[elements[-1][4] :]
        self._split = Split(*Reader(head, form.implicit).pixel_header(elements[-1][4]))
        self._deciding = deciding(treatment.plan)
        if any(unit in self._deciding or unit >> 16 in alike.OVERLAYS for unit in varying):
            raise Doubt(Reason.NOT_ACCEPTED)
        spans = alike.runs(elements, varying | {SOP_INSTANCE}, self._deciding)
        fixed = treatment.beside(treatment.received, None)
        fixed.declare(head, elements)
        self._runs = [self._run(fixed, before, span) for before, span in zip([(0, 0), *spans], spans, strict=False)]
        if LEAST_SHARE * sum(len(run.received) for run in self._runs) < len(head):
            raise Doubt(Reason.NOT_ACCEPTED)
        self._names = frozenset(name for begin, end in spans for name in self._names_in(head, elements[begin:end]))
        if not self._names_in(head, elements) <= self._names:
            raise Doubt(Reason.NOT_ACCEPTED)
        self._settled = Settled(fixed.gate)

    def clean(self, received: Received, data: Buffer) -> Cleaned | None:
        """The clean instance; None when it is not like the others, or in doubt."""
        try:
            return self._clean(self._treatment.beside(received, self._settled), data)
        except Doubt:
            return None

    def _clean(self, treatment: Treatment, data: Buffer) -> Cleaned | None:
        view = memoryview(data)
        head = bytes(view[: len(self._head) + SLACK])
        parts: list[bytes] = []
        position = self._put_together(treatment, head, parts)
        if treatment.subject is self._treatment.subject or not head.startswith(self._pixel_header, position):
            return None
        parts.append(self._pixel_header)
        value = position + len(self._pixel_header)
        fragments = None
        end = value + self._split.length
        if self._split.length == UNDEFINED:
            fragments = fragments_of(self._head, self._elements, self._form.pixels)
            end = value + fragments.advance(view[value:])
        if end > len(view) or (fragments is not None and not fragments.done):
            return None
        tail = clean_tail(treatment, bytes(view[end:]), self._form.implicit)
        treatment.gate.check()
        if fragments is not None:
            treatment.judge_frames(fragments)
        return assemble(treatment, self._form, data, parts, Place(value, end), tail)

    def _put_together(self, treatment: Treatment, head: bytes, parts: list[bytes]) -> int:
        """Append the clean elements in front of the pixel data; returns where that begins. Raises Doubt."""
        reader = Reader(head, self._form.implicit)
        position, last = 0, -1
        for run in self._runs:
            begin = position + run.gap
            if not head.startswith(run.received, begin):
                begin = head.find(run.received[:SIGN], position)
                if begin < 0 or not head.startswith(run.received, begin):
                    raise Doubt(Reason.NOT_ACCEPTED)
            parts += self._between(treatment, reader, head, (position, begin), (last, run.first))
            parts.append(run.sent)
            if run.identity:
                treatment.identity.update(run.identity)
            position, last = begin + len(run.received), run.last
        end = position if head.startswith(self._pixel_header, position) else len(head)
        elements: list[Element] = []
        stop = reader.between(position, end, last, elements)
        parts += self._treated(treatment, head, elements, (last, BEHIND_ALL))
        return stop

    def _between(
        self, treatment: Treatment, reader: Reader, head: bytes, bytes_: tuple[int, int], tags: tuple[int, int]
    ) -> list[bytes]:
        """The clean elements between two runs. Raises Doubt."""
        elements: list[Element] = []
        if reader.between(*bytes_, tags[0], elements) != bytes_[1]:
            raise Doubt(Reason.NOT_ACCEPTED)
        return self._treated(treatment, head, elements, tags)

    def _treated(
        self, treatment: Treatment, head: bytes, elements: list[Element], tags: tuple[int, int]
    ) -> list[bytes]:
        """The clean elements between these tags, on none of which the treatment of a run hangs. Raises Doubt."""
        neighbours = alike.unit_of(tags[0]), alike.unit_of(tags[1])
        for element in elements:
            tag = element[0]
            unit = alike.unit_of(tag)
            if tag in self._deciding or unit in neighbours or tag >> 16 in alike.OVERLAYS or tag >= tags[1]:
                raise Doubt(Reason.NOT_ACCEPTED)
            if tag == SOP_INSTANCE:
                treatment.identify_sibling(head, elements)
        if not self._names_in(head, elements) <= self._names:
            raise Doubt(Reason.NOT_ACCEPTED)
        return treatment.portion(head, elements, tags[0] + 1, tags[1])

    def _names_in(self, head: bytes, elements: Sequence[Element]) -> frozenset[Original]:
        """What descriptors may not repeat, where that matters."""
        if self._treatment.plan.cleaner is None:
            return NO_NAMES
        subject = self._treatment.subject
        return descriptors.originals_in(head, elements, subject.steps, subject.character_set)

    def _run(self, fixed: Treatment, before: alike.Span, span: alike.Span) -> Run:
        elements = self._elements[span[0] : span[1]]
        begin, end = elements[0][2], elements[-1][4]
        fixed.identity = {}
        sent = b"".join(fixed.portion(self._head, elements, elements[0][0], elements[-1][0] + 1))
        return Run(
            first=elements[0][0],
            last=elements[-1][0],
            received=self._head[begin:end],
            sent=sent,
            identity=fixed.identity,
            gap=begin - (self._elements[before[1] - 1][4] if before[1] else 0),
        )
