"""The oracle: a slow, obvious de-identification over pydicom Datasets, written apart from the engine.

It reads the standard's facts from their CSV files itself, decides row by row, and knows nothing of plans, keys of
steps or encoded bytes. What it keeps are pydicom's raw elements, so that kept values stay byte-identical.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass, field

import oracle_content
import oracle_dates
import oracle_descriptors
import oracle_forms
import oracle_private
import pydicom._uid_dict
from oracle_content import Item
from oracle_dummies import dummy_item, dummy_value, replacements
from oracle_facts import (
    STRINGS,
    dictionary_vr,
    digits,
    effective_vr,
    facts,
    find_row,
    in_dictionary,
    is_sequence,
    items_of,
    kept_text,
    text_of,
    types_of,
    under,
)
from pydicom import datadict
from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

TEMPLATES = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "AccessionNumber": "accession",
    "StudyID": "study_id",
}
DECLARED = ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence")
CODE_SYSTEMS = ("1.2.840.10008.6.1", *(f"2.16.840.1.113883.{arc}" for arc in (5, 6, 12)))
LONGITUDINAL = "LongitudinalTemporalInformationModified"


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
    texts: oracle_descriptors.Texts = field(default_factory=oracle_descriptors.Texts)
    _roots: list[Item] = field(default_factory=list)

    def clean(self, data_set: Dataset) -> Dataset:
        """A new data set; `data_set` comes fresh from dcmread and is not changed."""
        self.sop_class = self._text(data_set, "SOPClassUID")
        self.study = self._text(data_set, "StudyInstanceUID")
        patient_id = self._text(data_set, "PatientID")
        label = "patient" if patient_id else "patient of study"
        self.patient = self._hash(label, patient_id or self.study)
        self.days = oracle_dates.days(self.key, patient_id, self.study, *self.shift)
        self.names, self.identifiers = oracle_descriptors.known(self._identifying(data_set, ""))
        cleaned = self._treat(data_set, "", data_set)
        cleaned.PatientIdentityRemoved = "YES"
        self._declare(data_set, cleaned)
        said = {"retain_longitudinal_full_dates": "UNMODIFIED", "retain_longitudinal_modified_dates": "MODIFIED"}
        chosen = [said[option] for option in self.options if option in said]
        before = self._text(data_set, LONGITUDINAL)
        if chosen == ["UNMODIFIED"] and before in ("MODIFIED", "REMOVED"):
            chosen = [before]
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

    def _treat(self, data_set: Dataset, path: str, root: Dataset, item: Item | None = None) -> Dataset:
        cleaned = Dataset()
        cleaned.set_original_encoding(*data_set.original_encoding, data_set.original_character_set)
        for tag in sorted(data_set.keys()):
            raw = data_set.get_item(tag)
            vr = effective_vr(raw)
            verdict = self._verdict(tag, vr, path)
            if verdict == "private":
                verdict, vr = oracle_private.verdict(data_set, tag, vr, "retain_uids" in self.options)
            if verdict == "overlay":
                verdict = "K" if self._text(data_set, Tag(tag.group, 0x0040)) == "R" else "X"
            if verdict == "content":
                self._content(cleaned, data_set, tag, path, root, item)
                continue
            special = oracle_content.special(item, digits(tag), vr, self._roots) if item else None
            if isinstance(special, list):
                cleaned[tag] = DataElement(tag, "UL", special)
                continue
            if special == "code":
                cleaned[tag] = DataElement(
                    tag, "SQ", Sequence([dummy_item(entry) for entry in replacements()["0040A168"]])
                )
                continue
            verdict = special or verdict
            if verdict == "clean" and item and item.how == "identifier":
                verdict = "D"
            if verdict == "clean":
                verdict = self._describe(cleaned, data_set, raw, vr, path)
            if verdict == "K" and is_sequence(tag, vr):
                verdict = "items"
            if verdict == "K" and "AS" in (vr, dictionary_vr(tag)):
                verdict = "age"
            if verdict == "K" and not tag.is_private:
                raw = oracle_forms.checked(raw, vr, dictionary_vr(tag))
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

    def _content(
        self, cleaned: Dataset, data_set: Dataset, tag: BaseTag, path: str, root: Dataset, item: Item | None
    ) -> None:
        """Content items or graphic annotations: some go, and when all do, the sequence is empty or goes too."""
        below = f"{path}/{digits(tag)}".lstrip("/")
        sequence = items_of(data_set, tag)
        if digits(tag) in oracle_descriptors.CODED:
            public = [
                each for each in sequence if self._text(each, "CodingSchemeDesignator") in oracle_content._public()
            ]
            treated = [self._treat(each, below, root) for each in public]
        elif digits(tag) == "00700001":
            drawn = ("GraphicObjectSequence", "CompoundGraphicSequence")
            treated = [self._treat(each, below, root) for each in sequence if any(each.get(k) for k in drawn)]
        elif item is not None and digits(tag) == oracle_content.CONTENT:
            treated = [self._treat(each.data_set, below, root, each) for each in item.items if not each.gone]
        else:
            outside = self._roots
            self._roots = oracle_content.tree(sequence, lambda one: items_of(one, Tag(0x0040A730)), self.options)
            treated = [self._treat(each.data_set, below, root, each) for each in self._roots if not each.gone]
            self._roots = outside
        if treated or not sequence or digits(tag) == "00400555":
            cleaned[tag] = DataElement(tag, "SQ", Sequence(treated))

    def _identifying(self, data_set: Dataset, path: str) -> list[tuple[bool, bytes, list[str]]]:
        """The names and identifiers in front of the pixels that are taken out: is it a name, the value, the codecs."""
        found = []
        listed = {row["tag"]: row["kind"] for row in facts("needles.csv")}
        for tag in sorted(data_set.keys()):
            raw = data_set.get_item(tag)
            vr = effective_vr(raw)
            if path == "" and tag >= 0x7FE00008:
                break
            if vr == "SQ":
                below = f"{path}/{digits(tag)}".lstrip("/")
                found += [one for item in items_of(data_set, tag) for one in self._identifying(item, below)]
                continue
            kind = listed.get(digits(tag), "NAME" if "PN" in (vr, dictionary_vr(tag)) else "")
            if kind not in ("NAME", "IDENTIFIER") or self._verdict(tag, vr, path) in ("K", "items", "content", "C"):
                continue
            value = raw.value if isinstance(raw.value, bytes) else str(raw.value or "").encode()
            codecs = [str(codec) for codec in convert_encodings(data_set.original_character_set)]
            found.append((kind == "NAME" and not tag.is_private, value, codecs[:1]))
        return found

    def _describe(
        self, cleaned: Dataset, data_set: Dataset, raw: RawDataElement | DataElement, vr: str, path: str
    ) -> str:
        """Write what remains of a description; X when that is done, else what happens when nothing does."""
        value = raw.value if isinstance(raw.value, bytes) else str(raw.value or "").encode()
        codec = str(convert_encodings(data_set.original_character_set)[0])
        text = oracle_descriptors.decoded(value, codec)
        kind = dictionary_vr(raw.tag) if vr == "UN" else vr
        texts = (text or "").split("\\") if kind in ("LO", "SH", "UC") else [text or ""]
        kept = [self.texts.clean(one.strip(" \0"), self.names, self.identifiers) for one in texts]
        if text is not None and kept == [one.strip(" \0") for one in texts]:
            cleaned._dict[raw.tag] = raw
            return "X"
        if not any(kept):
            row = find_row(raw.tag)
            assert row is not None
            type_ = self._type(path, raw.tag)
            return "D" if type_ in ("1", "1C", "?") or under(row["basic"], type_) == "D" else "Z"
        joined = "\\".join(kept)
        cleaned[raw.tag] = DataElement(
            raw.tag, vr, (joined + " " * (len(joined) % 2)).encode() if vr == "UN" else joined
        )
        return "X"

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
        cleaned = oracle_content.verdict(digits(tag), vr, dictionary_vr(tag), self.options, row["options"])
        if cleaned is not None:
            return cleaned
        said = oracle_descriptors.verdict(digits(tag), vr, dictionary_vr(tag), self.options, row["options"])
        if said is not None:
            return said
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
            return "items" if vr == "SQ" else "X"
        said = dictionary_vr(tag)
        if vr == "PN" or said == "PN":
            return under("X/Z/D", self._type(path, tag))
        if vr in ("DA", "TM", "DT") or said in ("DA", "TM", "DT"):
            if "retain_longitudinal_modified_dates" in self.options and oracle_dates.movable(digits(tag), vr, said):
                return "C"
            kept = "retain_longitudinal_full_dates" in self.options
            return under("K" if kept else "X/Z/D", self._type(path, tag))
        if vr == "UI" or said == "UI":
            return "K" if "retain_uids" in self.options else "U"
        if {said if said != "UN" else vr} & {"LT", "ST", "UC", "UR", "UT"} and digits(tag) not in kept_text():
            return under("X/Z/D", self._type(path, tag))
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
            if said == "SQ":
                return "X"
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
        if not original or original in pydicom._uid_dict.UID_dictionary or types_of(original) is not None:
            return original
        arc, _, last = original.rpartition(".")
        if arc in CODE_SYSTEMS and last.isdecimal() and len(last) < 5 and not last.startswith("0"):
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
            return DataElement(tag, vr, Sequence([dummy_item(entry) for entry in record]))
        if record is not None and record[0] == vr:
            return DataElement(tag, vr, record[1])
        kind = dictionary_vr(tag) if vr == "UN" else vr
        value = dummy_value(kind)
        return DataElement(tag, vr, value)
