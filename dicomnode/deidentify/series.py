"""The series of which instances came lately, and what these have in common.

Which of them are remembered changes how long an instance takes, never what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """The latest instance of a series that went the whole way, and what was made of it.

    `varying` is what differs from those before; None where there was none.
    """

    head: bytes
    elements: list[Element]
    treatment: Treatment
    varying: set[int] | None = None
    likeness: Likeness | None = None
    made: int = 0
    balance: int = PATIENCE


class Series:
    """Cleans instances by their likeness to others of their series."""

    def __init__(self) -> None:
        self._seen: dict[Key, Seen] = {}

    def clean(self, received: Received, data: Buffer, form: Form) -> Cleaned | None:
        """The clean instance; None when it must go the whole way, whatever the reason."""
        key = _key(received, data, form)
        seen = self._seen.get(key) if key else None
        if seen is None or seen.balance < 0:
            return None
        try:
            likeness = seen.likeness or _likeness(seen, form)
            cleaned = likeness.clean(received, data) if likeness else None
        except Exception:  # noqa: BLE001 - the whole way judges, and says what is wrong
            cleaned = None
        if seen.likeness is not None:
            seen.balance += 1 if cleaned else -1
        return cleaned

    def learn(
        self, received: Received, cleaned: Cleaned, treatment: Treatment, elements: list[Element], form: Form
    ) -> None:
        """Take note of an instance that went the whole way."""
        key = _key(received, cleaned.original_head, form)
        if key is None or cleaned.pixels is None or len(cleaned.original_head) > MOST_HEAD:
            return
        seen = self._seen.pop(key, None)
        if seen is None or (seen.made < MOST_MADE and seen.balance >= 0):
            seen = _compared(seen, bytes(cleaned.original_head), elements, treatment)
        self._seen[key] = seen
        for oldest in list(self._seen)[:-MOST_SERIES]:  # a list: other threads learn meanwhile
            self._seen.pop(oldest, None)


def _compared(seen: Seen | None, head: bytes, elements: list[Element], treatment: Treatment) -> Seen:
    """What is known of a series with one instance more; what varied once is taken to vary, until nothing is left."""
    latest = Seen(head, elements, treatment.beside(treatment.received, None))
    if seen is not None:
        latest.varying = alike.varying(seen.head, seen.elements, head, elements) | (seen.varying or set())
        latest.made = seen.made
    return latest


def _likeness(seen: Seen, form: Form) -> Likeness | None:
    """The likeness of a series, made when it is needed first: that costs as much as going the whole way."""
    if seen.varying is None or seen.made >= MOST_MADE:
        return None
    seen.made += 1
    try:
        seen.likeness = Likeness(seen.treatment, seen.head, seen.elements, seen.varying, form)
    except Doubt:
        seen.varying = None
    return seen.likeness


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
