"""The oracle: a slow, obvious de-identification over pydicom Datasets, written apart from the engine.

It reads the standard's facts from their CSV files itself, decides row by row, and knows nothing of plans, keys of
steps or encoded bytes. What it keeps are pydicom's raw elements, so that kept values stay byte-identical.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import oracle_dates
import oracle_private
import pydicom._uid_dict
from pydicom import datadict
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.values import convert_SQ

import dicomnode.deidentify

FACTS = Path(next(iter(dicomnode.deidentify.__path__)), "standard")
STRINGS = ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
TEMPLATES = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "AccessionNumber": "accession",
    "StudyID": "study_id",
}
DECLARED = ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence")
LONGITUDINAL = "LongitudinalTemporalInformationModified"

TYPES = ["1", "1C", "2", "2C", "3", "?"]
CODES = {
    "X": "DXZZXX",
    "Z": "DDZZZZ",
    "D": "DDDDDD",
    "U": "UUUUUU",
    "K": "KKKKKK",
    "X/Z": "DXZZXZ",
    "X/D": "DDZZXD",
    "Z/D": "DDZZZD",
    "X/Z/D": "DDZZXD",
    "X/Z/U*": "UUUUXU",
}
"""What each code of Table E.1-1 becomes under each of TYPES (?: the SOP class is not known)."""


def under(code: str, type_: str) -> str:
    return CODES[code][TYPES.index(type_)]


@cache
def facts(name: str) -> list[dict[str, str]]:
    with (FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def table() -> dict[str, dict[str, str]]:
    return {row["tag"]: row for row in facts("table.csv")}


@cache
def all_types() -> dict[str, list[tuple[str, str, str]]]:
    """(path, tag, type) of each module."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for row in facts("modules.csv"):
        found.setdefault(row["module"], []).append((row["path"], row["tag"], row["type"]))
    return found


@cache
def types_of(sop_class: str) -> dict[tuple[str, str], str] | None:
    for row in facts("retired_classes.csv"):
        if row["sop_class"] == sop_class:
            sop_class = row["like"]
    for row in facts("classes.csv"):
        if row["sop_class"] == sop_class:
            return _strictest([entry for module in row["modules"].split() for entry in all_types()[module]])
    return None


def _strictest(entries: list[tuple[str, str, str]]) -> dict[tuple[str, str], str]:
    order = ["3", "2C", "2", "1C", "1"]
    types: dict[tuple[str, str], str] = {}
    for path, tag, type_ in entries:
        if order.index(type_) > order.index(types.get((path, tag), "3")):
            types[path, tag] = type_
    return types


@dataclass
class Oracle:
    """De-identifies data sets; `key` is the project's pseudonym key, `options` and `overrides` as in a rules file."""

    key: bytes
    templates: dict[str, str]
    method: tuple[str, ...]
    codes: tuple[tuple[str, str], ...]
    options: tuple[str, ...] = ()
    overrides: dict[str, str] = field(default_factory=dict)
    shift: tuple[str, int] = ("days", 365)

    def clean(self, data_set: Dataset) -> Dataset:
        """A new data set; `data_set` comes fresh from dcmread and is not changed."""
        self.sop_class = self._text(data_set, "SOPClassUID")
        self.study = self._text(data_set, "StudyInstanceUID")
        patient_id = self._text(data_set, "PatientID")
        label = "patient" if patient_id else "patient of study"
        self.patient = self._hash(label, patient_id or self.study)
        self.days = oracle_dates.days(self.key, patient_id, self.study, *self.shift)
        cleaned = self._treat(data_set, "", data_set)
        cleaned.PatientIdentityRemoved = "YES"
        self._declare(data_set, cleaned)
        said = {"retain_longitudinal_full_dates": "UNMODIFIED", "retain_longitudinal_modified_dates": "MODIFIED"}
        chosen = [said[option] for option in self.options if option in said]
        cleaned.LongitudinalTemporalInformationModified = chosen[0] if chosen else "REMOVED"
        return cleaned

    def _declare(self, before: Dataset, cleaned: Dataset) -> None:
        cleaned.DeidentificationMethod = list(self.method)
        items = []
        for value, meaning in self.codes:
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
            items.append(item)
        if items:
            cleaned.DeidentificationMethodCodeSequence = Sequence(items)

    def _treat(self, data_set: Dataset, path: str, root: Dataset) -> Dataset:
        cleaned = Dataset()
        cleaned.set_original_encoding(*data_set.original_encoding, data_set.original_character_set)
        for tag in sorted(data_set.keys()):
            raw = data_set.get_item(tag)
            vr = effective_vr(raw)
            verdict = self._verdict(tag, vr, path)
            if verdict == "private":
                verdict, vr = oracle_private.verdict(data_set, tag, vr, "retain_uids" in self.options)
            if verdict == "K" and is_sequence(tag, vr):
                verdict = "items"
            if verdict == "K" and "AS" in (vr, dictionary_vr(tag)):
                verdict = "age"
            if verdict == "K":
                cleaned._dict[tag] = raw
            elif verdict == "items":
                cleaned[tag] = self._items(items_of(data_set, tag), tag, path, root)
            elif verdict != "X":
                element = self._replace(verdict, data_set, raw, vr, root)
                if element is not None:
                    cleaned[tag] = element
        return cleaned

    def _items(self, items: list[Dataset], tag: BaseTag, path: str, root: Dataset) -> DataElement:
        below = f"{path}/{digits(tag)}".lstrip("/")
        return DataElement(tag, "SQ", Sequence([self._treat(item, below, root) for item in items]))

    def _verdict(self, tag: BaseTag, vr: str, path: str) -> str:
        """X, Z, D, U, K, or: items (treat the items), template."""
        keyword = datadict.keyword_for_tag(tag)
        if tag.is_private and tag.element and "retain_safe_private" in self.options:
            return "private"
        if tag.is_private or tag.group in (0, 2, 4) or tag.element == 0:
            return "X"
        if keyword in DECLARED or keyword == LONGITUDINAL:
            return "X"
        if keyword in self.overrides:
            verdict = {"keep": "K", "remove": "X", "empty": "Z", "dummy": "D", "uid": "U"}[self.overrides[keyword]]
        elif keyword in TEMPLATES:
            return "template" if vr in [*STRINGS, "UN"] else "Z"
        else:
            verdict = self._by_table(tag, vr, path) or self._by_vr(tag, vr, path)
        return self._fitting(verdict, tag, vr)

    def _by_table(self, tag: BaseTag, vr: str, path: str) -> str | None:
        row = find_row(tag)
        if row is None:
            return None
        modified = "retain_longitudinal_modified_dates" in self.options and "modified=C" in row["options"].split()
        if modified and oracle_dates.movable(digits(tag), vr, dictionary_vr(tag)):
            return "C"
        return under(self._code(row), self._type(path, tag))

    def _code(self, row: dict[str, str]) -> str:
        chosen = {
            "retain_uids": "uids",
            "retain_device_identity": "device",
            "retain_institution_identity": "institution",
        }
        chosen |= {"retain_patient_characteristics": "patient", "retain_longitudinal_full_dates": "full"}
        for option, column in chosen.items():
            if option in self.options and f"{column}=K" in row["options"].split():
                return "K"
        return row["basic"]

    def _type(self, path: str, tag: BaseTag) -> str:
        types = types_of(self.sop_class)
        return "?" if types is None else types.get((path, digits(tag)), "3")

    def _by_vr(self, tag: BaseTag, vr: str, path: str) -> str:
        if not in_dictionary(tag):
            if vr == "SQ":
                return "items"
            return "X" if vr in [*STRINGS, "UN", "OB"] else "K"
        said = dictionary_vr(tag)
        if vr == "PN" or said == "PN":
            return under("X/Z/D", self._type(path, tag))
        if vr in ("DA", "TM", "DT") or said in ("DA", "TM", "DT"):
            if "retain_longitudinal_modified_dates" in self.options and oracle_dates.movable(digits(tag), vr, said):
                return "C"
            kept = "retain_longitudinal_full_dates" in self.options
            return under("K" if kept else "X/Z/D", self._type(path, tag))
        if vr == "UI" or said == "UI":
            if digits(tag) in {row["tag"] for row in facts("class_uids.csv")} and vr in ("UI", "UN"):
                return "K"
            return "K" if "retain_uids" in self.options else "U"
        return "K"

    def _fitting(self, verdict: str, tag: BaseTag, vr: str) -> str:
        """The verdict, given that the VR in the file may be another than the dictionary's."""
        said = dictionary_vr(tag)
        if verdict == "D" and "UI" in (vr, said):
            verdict = "U"
        if verdict == "U":
            if said == "SQ":
                return "items" if vr in ("SQ", "UN") else "X"
            return "U" if vr in ("UI", "UN") else "X"
        if verdict == "K" and not is_sequence(tag, vr):
            if vr == "PN" and said != "PN":
                return "X"
            if vr in STRINGS and said not in [*STRINGS, "UN"]:
                return "X"
        if verdict == "D" and (vr == "SQ") != (said == "SQ") and not (vr == "UN" and said == "SQ"):
            return "X"
        if verdict == "D" and said == "SQ" and replacements().get(digits(tag)) == "items":
            return "items"
        return verdict

    def _replace(
        self, verdict: str, data_set: Dataset, raw: RawDataElement | DataElement, vr: str, root: Dataset
    ) -> DataElement | None:
        tag = raw.tag
        if verdict in ("C", "age"):
            kind = vr if vr in ("DA", "DT", "TM") else dictionary_vr(tag)
            text = text_of(raw)
            text = oracle_dates.age(text) if verdict == "age" else oracle_dates.moved(text, kind, self.days)
            return DataElement(tag, vr, (text + " " * (len(text) % 2)).encode() if vr == "UN" else text)
        if verdict == "Z":
            return DataElement(tag, vr, Sequence() if vr == "SQ" else None)
        if verdict == "template":
            text = self._template(tag, data_set)
            return DataElement(tag, vr, (text + " " * (len(text) % 2)).encode() if vr == "UN" else text)
        if verdict == "U":
            return DataElement(tag, vr, self._uids(raw, vr))
        return self._dummy(tag, vr)

    def _template(self, tag: BaseTag, data_set: Dataset) -> str:
        keyword = datadict.keyword_for_tag(tag)
        name = TEMPLATES[keyword]
        value = self._text(data_set, keyword)
        if name == "patient_name":
            digest = self.patient
        elif name == "patient_id":
            digest = self._hash("patient", value) if value else self._hash("patient of study", self.study)
        elif value:
            digest = self._hash(name, value)
        else:
            return ""
        return self.templates[name].replace("{hash:10}", digest[:10])

    def _text(self, data_set: Dataset, keyword: str) -> str:
        if keyword not in data_set:
            return ""
        raw = data_set.get_item(keyword)
        if isinstance(raw, RawDataElement) and (raw.value or b"").isascii():
            return (raw.value or b"").decode("ascii").strip(" \0")
        value = data_set[keyword].value
        text = "\\".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value or "")
        return text.strip(" \0")

    def _uids(self, raw: RawDataElement | DataElement, vr: str) -> str | bytes:
        replaced = "\\".join(self.uid(one.strip(" \0")) for one in text_of(raw).split("\\"))
        return replaced.encode() + b"\0" * (len(replaced) % 2) if vr == "UN" else replaced

    def uid(self, original: str) -> str:
        if not original or original in pydicom._uid_dict.UID_dictionary:
            return original
        digest = hmac.new(self.key, b"uid\0" + original.encode(), hashlib.sha256).digest()
        fields = bytearray(digest[:16])
        fields[6] = fields[6] & 0x0F | 0x80
        fields[8] = fields[8] & 0x3F | 0x80
        return f"2.25.{uuid.UUID(bytes=bytes(fields)).int}"

    def _hash(self, label: str, value: str) -> str:
        digest = hmac.new(self.key, label.encode() + b"\0" + value.encode(), hashlib.sha256).digest()
        return base64.b32encode(digest).decode().rstrip("=").lower()

    def _dummy(self, tag: BaseTag, vr: str) -> DataElement | None:
        record = replacements().get(f"{digits(tag)} {self.sop_class}", replacements().get(digits(tag)))
        if is_sequence(tag, vr):
            if not isinstance(record, list):
                return None
            return DataElement(tag, vr, Sequence([_item(entry) for entry in record]))
        if record is not None and record[0] == vr:
            return DataElement(tag, vr, record[1])
        kind = dictionary_vr(tag) if vr == "UN" else vr
        value = dummy_value(kind)
        return DataElement(tag, vr, value)


@cache
def replacements() -> dict[str, list]:
    return json.loads((FACTS / "replacements.json").read_text(encoding="utf-8"))


def dummy_value(vr: str) -> object:
    if vr in ("DA", "DT", "TM", "AS", "UR", "AE", "CS", "DS", "IS"):
        return {"DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "000Y", "UR": "urn:removed"}.get(
            vr, "REMOVED" if vr in ("AE", "CS") else "0"
        )
    if vr in STRINGS:
        return "Removed"
    if vr in ("US", "SS", "UL", "SL", "FL", "FD", "UV", "SV", "AT"):
        return 0
    return bytes({"OL": 4, "OF": 4, "OD": 8, "OV": 8}.get(vr, 2))


def _item(record: dict[str, list]) -> Dataset:
    item = Dataset()
    for tag, given in record.items():
        if not given or isinstance(given[0], dict):
            item.add_new(int(tag, 16), "SQ", Sequence([_item(entry) for entry in given]))
        elif given[0] in ("US", "FL"):
            item.add_new(
                int(tag, 16),
                given[0],
                [float(part) for part in given[1].split()]
                if given[0] == "FL"
                else [int(part) for part in given[1].split()],
            )
        elif given[0] == "OB":
            item.add_new(int(tag, 16), "OB", bytes.fromhex(given[1]))
        else:
            item.add_new(int(tag, 16), given[0], given[1])
    return item


def text_of(raw: RawDataElement | DataElement) -> str:
    """The text of a value as it is encoded, several values with backslashes between them."""
    value = raw.value or b""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return "\\".join([value] if isinstance(value, str) else [str(one) for one in value])


def digits(tag: int) -> str:
    return f"{int(tag):08X}"


def find_row(tag: BaseTag) -> dict[str, str] | None:
    """The row of the table or of the project's additions; curves and overlays by their groups."""
    own = {row["tag"]: {"basic": row["code"], "options": row["options"]} for row in facts("additions.csv")}
    if digits(tag) in table():
        return table()[digits(tag)]
    if digits(tag) in own:
        return own[digits(tag)]
    if tag.group >> 8 == 0x50:
        return table()["50xxxxxx"]
    if tag.group >> 8 == 0x60:
        return table().get(f"60xx{tag.element:04X}", own["60xxxxxx"])
    return None


def in_dictionary(tag: BaseTag) -> bool:
    return digits(tag) in table() or datadict.dictionary_has_tag(tag) or datadict.repeater_has_tag(int(tag))


def dictionary_vr(tag: BaseTag) -> str:
    try:
        vr = datadict.dictionary_VR(tag)
    except KeyError:
        return table().get(digits(tag), {}).get("vr") or "UN"
    return (
        "UN"
        if vr == "NONE"
        else {"OB or OW": "OW", "US or SS": "US", "US or SS or OW": "US", "US or OW": "US"}.get(vr, vr)
    )


def effective_vr(raw: RawDataElement | DataElement) -> str:
    """The file's VR in Explicit VR, the dictionary's in Implicit VR."""
    if isinstance(raw, DataElement):
        return str(raw.VR)
    return raw.VR or dictionary_vr(Tag(raw.tag))


def items_of(data_set: Dataset, tag: BaseTag) -> list[Dataset]:
    """The items of a sequence, also of one that pydicom's dictionary does not know in Implicit VR."""
    raw = data_set.get_item(tag)
    unknown = isinstance(raw, RawDataElement) and raw.VR in (None, "UN")
    if unknown and not datadict.dictionary_has_tag(tag):
        return list(convert_SQ(raw.value or b"", True, True))
    return list(data_set[tag].value or [])


def is_sequence(tag: BaseTag, vr: str) -> bool:
    return vr == "SQ" or (vr == "UN" and dictionary_vr(tag) == "SQ")
