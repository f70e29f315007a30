"""Pseudonyms: HMACs under the project's key, so that the same value is always the same pseudonym."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from dicomnode.deidentify.values import is_well_known_uid
from dicomnode.errors import RulesError
from dicomnode.keys import base32, keyed_digest
from dicomnode.model import Doubt, Reason

if TYPE_CHECKING:
    from dicomnode.deidentify.plan import Shift

DEFAULT_TEMPLATE = "{hash:10}"
TEMPLATE_LIMITS = {"patient_id": 64, "patient_name": 64, "accession": 16, "study_id": 16}
"""Characters that the attribute may have (LO, a component group of PN, SH)."""
HASH = re.compile(r"\{hash(?::([0-9]{1,2}))?\}")
PROJECT = "{project}"
HASH_LENGTH = 52
LEAST_HASH = 8
CACHED = 4096
PADDING = " \0"


def check_template(name: str, template: str) -> str:
    """What is wrong with a template; "" when nothing is. An empty one empties the attribute."""
    if not template:
        return "a patient needs an ID" if name == "patient_id" else ""
    found = HASH.findall(template)
    if len(found) != 1:
        return "it must have {hash} or {hash:N} once"
    if not LEAST_HASH <= int(found[0] or DEFAULT_LENGTH) <= HASH_LENGTH:
        return f"the hash must have {LEAST_HASH} to {HASH_LENGTH} characters"
    rest = HASH.sub("", template).replace(PROJECT, "")
    if not re.fullmatch(r"[A-Za-z0-9 ._^+:/#-]*", rest) or template != template.strip():
        return "beside the hash only letters, digits and . _ - ^ + : / # are possible"
    if len(rest) + int(found[0] or DEFAULT_LENGTH) > TEMPLATE_LIMITS[name]:
        return f"the result is longer than {TEMPLATE_LIMITS[name]} characters"
    return ""


def of_project(templates: Mapping[str, str], project: str) -> dict[str, str]:
    """The templates with the project's name in them; raises RulesError where none can be made of it."""
    filled = {}
    for name, template in templates.items():
        filled[name] = template.replace(PROJECT, project)
        problem = check_template(name, filled[name]) if PROJECT in template else ""
        if problem:
            what = f"template {name}: '{template}' for project {project}: {problem}"
            raise RulesError(what, "shorten the template or the project's name")
    return filled


DEFAULT_LENGTH = 10
"""The characters of {hash} without a number: 50 bits."""


class Table(Protocol):
    """Pseudonyms that somebody else has given."""

    def find(self, attribute: str, original: str, study: str = "") -> str | None:
        """The pseudonym of a value of an attribute (a keyword, or UID), in a study (its original UID); or None."""


GIVEN = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "accession": "AccessionNumber",
    "study_id": "StudyID",
}


class Pseudonyms:
    """The pseudonyms of one project; `key` is `ProjectKeys.pseudonym`, `templates` come from the plan.

    What a `table` has is taken from it. With `known_only` a patient that is not in it is a doubt.
    """

    def __init__(
        self, key: bytes, templates: Mapping[str, str], table: Table | None = None, *, known_only: bool = False
    ) -> None:
        self._table = table
        self._known_only = known_only
        self._key = key
        self._templates = dict(templates)
        self._uids: dict[str, str] = {}
        self._hashes: dict[tuple[str, str], str] = {}

    def uid(self, original: str) -> str:
        """`2.25.` and a UUID version 8 as an integer (PS3.5 B.2); a well-known UID and "" come back as they are."""
        value = original.strip(PADDING)
        known = self._uids.get(value)
        if known is None:
            known = value if not value or is_well_known_uid(value) else self._given_uid(value) or self._new_uid(value)
            if len(self._uids) >= CACHED:
                self._uids.clear()
            self._uids[value] = known
        return known

    def patient(self, patient_id: str, study_uid: str) -> str:
        """The hash of a patient (52 characters); an empty Patient ID is keyed by the original Study Instance UID."""
        value = patient_id.strip(PADDING)
        if value:
            return self._hash("patient", value)
        return self._hash("patient of study", study_uid.strip(PADDING))

    def shift(self, patient_id: str, study_uid: str, unit: int, most: int) -> int:
        """By how many days the dates of a patient move: into the past, whole units of days, never 0, `most` at most.

        Keyed like the patient's pseudonym. Into the past only: a day in the future would tell how far it was moved.
        """
        value = patient_id.strip(PADDING)
        label, keyed_by = ("date shift", value) if value else ("date shift of study", study_uid.strip(PADDING))
        number = int.from_bytes(keyed_digest(self._key, label, keyed_by.encode()), "big")
        return -unit * (1 + number % (most // unit))

    def days(self, patient_id: str, study_uid: str, shift: Shift) -> int:
        """By how many days the dates of a patient move under the rules."""
        return shift.days if shift.days is not None else self.shift(patient_id, study_uid, shift.unit, shift.most)

    def hash_of(self, tag: int, value: str) -> str:
        """The hash of a value of an attribute (52 characters); the same in every instance of the project."""
        return self._hash(f"value of {tag:08x}", value)

    def check_patient(self, patient_id: str, study_uid: str) -> None:
        """Raises Doubt(UNKNOWN_PATIENT) where only patients of the table may pass and this is none."""
        if self._known_only and self._given("patient_id", patient_id, study_uid) is None:
            raise Doubt(Reason.UNKNOWN_PATIENT, "(0010,0020)")

    def _given(self, attribute: str, original: str, study_uid: str) -> str | None:
        value = original.strip(PADDING)
        return self._table.find(GIVEN[attribute], value, study_uid) if self._table is not None and value else None

    def _given_uid(self, value: str) -> str | None:
        return None if self._table is None else self._table.find("UID", value)

    def render(self, attribute: str, original: str, patient_hash: str, study_uid: str = "") -> str:
        """The value to write for a templated attribute (patient_id, patient_name, accession, study_id).

        Accession number and study ID are keyed by themselves; empty ones stay empty.
        """
        given = self._given(attribute, original, study_uid)
        if given is not None:
            return given
        template = self._templates[attribute]
        if attribute in ("patient_id", "patient_name"):
            return _fill(template, patient_hash)
        value = original.strip(PADDING)
        return _fill(template, self._hash(attribute, value)) if value else ""

    def _hash(self, label: str, value: str) -> str:
        known = self._hashes.get((label, value))
        if known is None:
            known = base32(keyed_digest(self._key, label, value.encode()))
            if len(self._hashes) >= CACHED:
                self._hashes.clear()
            self._hashes[label, value] = known
        return known

    def _new_uid(self, value: str) -> str:
        number = int.from_bytes(keyed_digest(self._key, "uid", value.encode())[:16], "big")
        number = number & ~(0xF << 76) | 0x8 << 76
        return f"2.25.{number & ~(0x3 << 62) | 0x2 << 62}"


def _fill(template: str, digest: str) -> str:
    return HASH.sub(lambda match: digest[: int(match[1] or DEFAULT_LENGTH)], template)
