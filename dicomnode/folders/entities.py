"""Identifiers by entity and item: extracted from files, and given back as the values of variables. Identified."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomnode.errors import ConfigError
from dicomnode.folders.fields import DicomField, fields, text_of
from dicomnode.folders.files import Other, read
from dicomnode.folders.part10 import DIRECTORY
from dicomnode.folders.sources import Source
from dicomnode.folders.tally import Fate
from dicomnode.model import Buffer

ENTITY, ITEM = "PatientID", "SOPInstanceUID"
SKIPPED = frozenset(["PixelData", "FileMetaInformationGroupLength", "FileMetaInformationVersion"])
OTHERS = " | "
"""Between the values of one attribute that differ among the instances of an item, in CSV."""

Values = dict[str, list[str]]
Extracted = dict[str, dict[str, Values]]
"""By entity and item: the attributes with their values, several where instances of the item differ."""


def extract(source: Source, entity: str, item: str, private: bool) -> tuple[Extracted, Counter[Fate]]:
    """The identifiers of all DICOM files of a source, and what became of the other files."""
    found: Extracted = {}
    others: Counter[Fate] = Counter()
    for name in source.names():
        try:
            dataset = _read(source, name)
        except Other as other:
            others[other.fate] += 1
            continue
        values = found.setdefault(_of(dataset, entity), {}).setdefault(_of(dataset, item), {})
        for field, text in _texts(dataset, private):
            known = values.setdefault(field, [])
            if text not in known:
                known.append(text)
    return found, others


def _read(source: Source, name: str) -> Dataset:
    try:
        dataset = pydicom.dcmread(BytesIO(read(source, name)), stop_before_pixels=True)
    except (OSError, pydicom.errors.InvalidDicomError, ValueError, KeyError):
        raise Other(Fate.UNREADABLE) from None
    if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == DIRECTORY:
        raise Other(Fate.DIRECTORY)
    return dataset


def _of(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword, "") or "")


def _texts(dataset: Dataset, private: bool) -> Iterator[tuple[str, str]]:
    for field in fields(dataset, SKIPPED):
        if field.is_filemeta or (private and not field.element.tag.is_private):
            continue
        text = text_of(field.element)
        if text is not None:
            yield _name(dataset, field), text


def _name(dataset: Dataset, field: DicomField) -> str:
    """Keywords and item numbers, as in ReferencedStudySequence__0__ReferencedSOPInstanceUID; private by creator."""
    parts: list[str] = []
    element = field.element
    for part in field.uid.split("__"):
        if part.isdecimal():
            dataset = element.value[int(part)]
            parts.append(part)
        else:
            element = dataset[Tag(part.strip("()").replace(",", "").replace(" ", ""))]
            parts.append(element.keyword or _private(element))
    return "__".join(parts)


def _private(element: DataElement) -> str:
    """As recipes write it, (0019,"CREATOR",07); the tag where there is no creator."""
    group, number = element.tag.group, element.tag.element
    creator = element.private_creator
    return f'({group:04x},"{creator}",{number & 0xFF:02x})' if creator else f"({group:04x},{number:04x})"


def as_json(found: Extracted) -> str:
    """By entity and item; an attribute of which instances differ has a list."""
    said = {
        entity: {
            item: {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}
            for item, values in items.items()
        }
        for entity, items in found.items()
    }
    return json.dumps(said, indent=2, ensure_ascii=False)


def as_csv(found: Extracted) -> str:
    """A line for each entity and item, a column for each attribute."""
    names = dict.fromkeys(name for items in found.values() for values in items.values() for name in values)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["entity", "item", *names])
    for entity, items in found.items():
        for item, values in items.items():
            writer.writerow([entity, item, *(OTHERS.join(values.get(name, [])) for name in names)])
    return out.getvalue()


@dataclass(frozen=True)
class Ids:
    """The values of variables by entity and item, those of the entity as a whole under the item ""."""

    entity: str
    item: str
    values: Mapping[tuple[str, str], Mapping[str, str]]

    def of(self, content: Buffer) -> dict[str, str]:
        """The variables of a file."""
        dataset = pydicom.dcmread(
            BytesIO(content), stop_before_pixels=True, specific_tags=[self.entity, self.item], force=True
        )
        entity, item = _of(dataset, self.entity), _of(dataset, self.item)
        found = {**self.values.get((entity, ""), {}), **self.values.get((entity, item), {})}
        return {f"var:{name}": value for name, value in found.items()}


def load(path: Path, entity: str = ENTITY, item: str = ITEM) -> Ids:
    """Read what `extract` wrote and somebody added to, as JSON or CSV; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = _json(json.loads(text, object_pairs_hook=_once)) if text.lstrip().startswith("{") else _csv(text)
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path} cannot be read", "name a JSON or CSV file with --ids") from None
    except (ValueError, TypeError, AttributeError):
        hint = 'write {"ENTITY": {"ITEM": {"NAME": "value"}}}, or CSV with the columns entity and item'
        raise ConfigError(f"{path} is no file of identifiers", hint) from None
    return Ids(entity, item, found)


def _json(told: dict[str, dict[str, object]]) -> dict[tuple[str, str], dict[str, str]]:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for entity, items in told.items():
        for name, value in items.items():
            if isinstance(value, dict):
                found[entity, name] = {key: str(each) for key, each in value.items() if isinstance(each, str | int)}
            elif isinstance(value, str | int):
                found.setdefault((entity, ""), {})[name] = str(value)
    return found


def _csv(text: str) -> dict[tuple[str, str], dict[str, str]]:
    found: dict[tuple[str, str], dict[str, str]] = {}
    lines: dict[tuple[str, str], int] = {}
    reader = csv.DictReader(io.StringIO(text))
    if "entity" not in (reader.fieldnames or ()):
        raise ValueError("no column entity")
    for row in reader:
        key = row.pop("entity"), row.pop("item", "") or ""
        first = lines.setdefault(key, reader.line_num)
        if first != reader.line_num:
            what = f"lines {first} and {reader.line_num} of the file of identifiers are about the same entity and item"
            raise ConfigError(what, "keep one of them")
        found[key] = {name: value for name, value in row.items() if value and OTHERS not in value}
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The members of an object of JSON; raises ConfigError where one stands twice, for Python would take the last."""
    members: dict[str, int] = {}
    for number, (name, _) in enumerate(pairs, 1):
        before = members.setdefault(name, number)
        if before != number:
            what = f"the file of identifiers has a name twice in one object: members {before} and {number}"
            raise ConfigError(what, "keep one of them")
    return dict(pairs)
