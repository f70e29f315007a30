"""The elements of a data set one by one, those of sequences with their place. Identified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True)
class DicomField:
    """One element: `name` is its keyword, with those of the sequences around it; `uid` its place, item by item."""

    element: DataElement
    name: str
    uid: str
    is_filemeta: bool = False

    def __str__(self) -> str:
        return f"{self.element}  [{self.name}]"

    @property
    def tag(self) -> str:
        """(0010,0010)."""
        return str(self.element.tag)

    @property
    def stripped_tag(self) -> str:
        """00100010."""
        return f"{int(self.element.tag):08x}"


def fields(dataset: Dataset, skip: frozenset[str], expand: bool = True, sequences: bool = True) -> Iterator[DicomField]:
    """The elements of a data set and of its file meta, those of sequences behind them."""
    yield from _fields(dataset, "", "", skip, expand, sequences)
    for element in getattr(dataset, "file_meta", ()):
        if element.keyword not in skip:
            yield DicomField(element, element.keyword, str(element.tag), True)


def _fields(
    dataset: Dataset, name: str, uid: str, skip: frozenset[str], expand: bool, sequences: bool
) -> Iterator[DicomField]:
    for element in dataset:
        if element.keyword in skip or (element.VR == "SQ" and not sequences):
            continue
        own = DicomField(element, f"{name}{element.keyword}", f"{uid}{element.tag}")
        yield own
        if element.VR == "SQ" and expand:
            for number, item in enumerate(element.value):
                yield from _fields(item, f"{own.name}__", f"{own.uid}__{number}__", skip, expand, sequences)


def text_of(element: DataElement) -> str | None:
    """The values of a textual or numerical element, with backslashes between; None for bytes and sequences."""
    values = element.value if element.VM > 1 else [element.value]
    if element.VR == "SQ" or any(isinstance(value, bytes) for value in values):
        return None
    return "\\".join("" if value is None else str(value) for value in values)
