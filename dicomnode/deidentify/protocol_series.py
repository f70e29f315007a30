"""Series that never leave: patient protocols and saved screens, known by their description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dicomnode.deidentify.conditions import folded
from dicomnode.deidentify.encoded import Element, place
from dicomnode.deidentify.pixels import value_of
from dicomnode.deidentify.reading import Document, Node
from dicomnode.model import Buffer, Doubt, Reason

SERIES_DESCRIPTION = 0x0008103E
DEFAULT = ("PATIENT PROTOCOL", "SAVE")
MEMO = 4096


@dataclass(frozen=True)
class ProtocolSeries:
    """The texts of which one within the Series Description is enough; case, padding and underscores do not count."""

    texts: tuple[str, ...] = DEFAULT
    _memo: dict[bytes | str, bool] = field(default_factory=dict, repr=False, compare=False)

    def judge(self, data: Buffer, elements: Sequence[Element]) -> None:
        """Raises Doubt(PROTOCOL_SERIES) for an instance of such a series."""
        raw = value_of(data, elements, SERIES_DESCRIPTION) or b""
        found = self._memo.get(raw)
        if found is None:
            text = folded(raw if isinstance(raw, str) else raw.decode("latin-1"))
            found = any(each in text for each in self.texts)
            if len(self._memo) < MEMO:
                self._memo[raw] = found
        if found:
            raise Doubt(Reason.PROTOCOL_SERIES, place((SERIES_DESCRIPTION,)))


def read(document: Document, given: tuple[int, Node]) -> ProtocolSeries:
    """The list `protocol_series` of a rules file; raises RulesError."""
    words = document.words(given[1], "protocol_series")
    for line, word in words:
        if len(folded(word)) < 3:
            raise document.wrong(line, f"'{word}' is too short", "write three characters or more")
    return ProtocolSeries(tuple(dict.fromkeys(folded(word) for _, word in words)))
