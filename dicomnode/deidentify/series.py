"""The series of which instances came lately, and what these have in common.

Which of them are remembered changes how long an instance takes, never what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dicomnode.deidentify import alike
from dicomnode.deidentify.cleaned import Cleaned
from dicomnode.deidentify.encoded import Element
from dicomnode.deidentify.likeness import Likeness
from dicomnode.deidentify.syntaxes import Form
from dicomnode.deidentify.treatment import Treatment
from dicomnode.model import Buffer, Doubt, Received

MOST_SERIES = 32
MOST_HEAD = 128 << 10
SEARCHED = 32 << 10
"""In so many bytes the Series Instance UID must be."""
MOST_MADE = 6
"""So many times a series' likeness is made; each time more varies."""
PATIENCE = 8
"""By so many an instance unlike the others may outnumber those that are like them."""
SERIES_UID = b"\x20\x00\x0e\x00"

Key: TypeAlias = tuple[str, str, bytes]


@dataclass(slots=True)
class Seen:
    """The latest instance of a series that went the whole way, and what was made of it."""

    head: bytes
    elements: list[Element]
    varying: set[int] = field(default_factory=set)
    likeness: Likeness | None = None
    made: int = 0
    balance: int = PATIENCE


class Series:
    """Cleans instances by their likeness to others of their series."""

    def __init__(self) -> None:
        self._seen: dict[Key, Seen] = {}

    def clean(self, received: Received, data: Buffer, form: Form) -> Cleaned | None:
        """The clean instance; None when it must go the whole way."""
        key = _key(received, data, form)
        seen = self._seen.get(key) if key else None
        if key is None or seen is None or seen.likeness is None:
            return None
        cleaned = seen.likeness.clean(received, data)
        seen.balance += 1 if cleaned else -1
        if seen.balance < 0:
            seen.likeness = None
        return cleaned

    def learn(
        self, received: Received, cleaned: Cleaned, treatment: Treatment, elements: list[Element], form: Form
    ) -> None:
        """Take note of an instance that went the whole way."""
        key = _key(received, cleaned.original_head, form)
        if key is None or cleaned.pixels is None or len(cleaned.original_head) > MOST_HEAD:
            return
        seen = self._seen.pop(key, None)
        head = bytes(cleaned.original_head)
        if seen is None:
            seen = Seen(head, elements)
        elif seen.made < MOST_MADE and seen.balance >= 0:
            seen = _compared(seen, head, elements, treatment, form)
        self._seen[key] = seen
        for oldest in list(self._seen)[:-MOST_SERIES]:  # a list: other threads learn meanwhile
            self._seen.pop(oldest, None)


def _compared(seen: Seen, head: bytes, elements: list[Element], treatment: Treatment, form: Form) -> Seen:
    """What is known of a series with one instance more; what varied once is taken to vary, until nothing is left."""
    varying = seen.varying | alike.varying(seen.head, seen.elements, head, elements)
    try:
        likeness = Likeness(treatment, head, elements, varying, form)
    except Doubt:
        return Seen(head, elements, made=seen.made + 1)
    return Seen(head, elements, varying, likeness, seen.made + 1)


def _key(received: Received, data: Buffer, form: Form) -> Key | None:
    """What the instances of one series have in common, as far as can be seen without reading; None when it cannot."""
    if form.deflated or form.big_endian:
        return None
    front = bytes(memoryview(data)[:SEARCHED])
    at = front.find(SERIES_UID)
    if not 0 <= at <= len(front) - 8:
        return None
    length = front[at + 4 if form.implicit else at + 6]
    return received.sop_class, received.transfer_syntax, front[at : at + 8 + length]
