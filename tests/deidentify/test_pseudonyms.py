"""Pseudonyms: the same value under the same key is the same pseudonym, for good."""

from __future__ import annotations

import uuid

import pytest

from dicomnode.deidentify.pseudonyms import DEFAULT_TEMPLATE, TEMPLATE_LIMITS, Pseudonyms, check_template
from dicomnode.deidentify.values import is_uid

KEY = bytes(range(32))
TEMPLATES = dict.fromkeys(TEMPLATE_LIMITS, DEFAULT_TEMPLATE)


@pytest.fixture
def pseudonyms() -> Pseudonyms:
    return Pseudonyms(KEY, TEMPLATES)


def test_uids_are_uuids_version_8(pseudonyms: Pseudonyms) -> None:
    for number in range(500):
        made = pseudonyms.uid(f"1.2.3.{number}")
        assert made.startswith("2.25.")
        assert is_uid(made)
        parsed = uuid.UUID(int=int(made[5:]))
        assert parsed.version == 8
        assert parsed.variant == uuid.RFC_4122


def test_these_pseudonyms_never_change(pseudonyms: Pseudonyms) -> None:
    """Next year's late instance must still find its study."""
    patient = pseudonyms.patient("4711", "1.2.3")
    assert pseudonyms.uid("1.2.3") == "2.25.323208961630152450876443539203389659764"
    assert pseudonyms.render("patient_id", "4711", patient) == "pzfskxbnwi"
    assert pseudonyms.render("accession", "A1", patient) == "s6tma7wrpt"


def test_padding_does_not_matter(pseudonyms: Pseudonyms) -> None:
    assert pseudonyms.uid("1.2.3\0") == pseudonyms.uid("1.2.3") == pseudonyms.uid(" 1.2.3 ")
    assert pseudonyms.patient("4711 ", "1") == pseudonyms.patient("4711", "2")
    assert pseudonyms.patient("04711", "1") != pseudonyms.patient("4711", "1")
    assert pseudonyms.patient("a", "1") != pseudonyms.patient("A", "1")


def test_an_empty_patient_id_is_keyed_by_the_study(pseudonyms: Pseudonyms) -> None:
    assert pseudonyms.patient(" ", "1.2.3") == pseudonyms.patient("", "1.2.3\0")
    assert pseudonyms.patient("", "1.2.3") != pseudonyms.patient("", "1.2.4")
    assert pseudonyms.patient("", "1.2.3") != pseudonyms.patient("1.2.3", "")


def test_kinds_are_apart(pseudonyms: Pseudonyms) -> None:
    made = {
        pseudonyms.render(kind, "X", pseudonyms.patient("X", "")) for kind in ("patient_id", "accession", "study_id")
    }
    assert len(made) == 3


def test_keys_are_apart(pseudonyms: Pseudonyms) -> None:
    assert Pseudonyms(bytes(32), TEMPLATES).uid("1.2.3") != pseudonyms.uid("1.2.3")


def test_well_known_and_empty_uids_stay(pseudonyms: Pseudonyms) -> None:
    for uid in ("", "1.2.840.10008.1.4.1.1", "1.2.840.10008.1.5.1", "1.2.840.10008.5.1.4.1.1.2"):
        assert pseudonyms.uid(uid) == uid
    assert pseudonyms.uid("1.2.840.10008.99.1") != "1.2.840.10008.99.1"


def test_empty_values_stay_empty(pseudonyms: Pseudonyms) -> None:
    assert pseudonyms.render("accession", " ", "x" * 52) == ""
    assert pseudonyms.render("study_id", "", "x" * 52) == ""


def test_templates() -> None:
    made = Pseudonyms(
        KEY, {**TEMPLATES, "patient_id": "SUBJ-{hash:12}", "patient_name": "Subject^{hash}", "accession": ""}
    )
    digest = made.patient("4711", "")
    assert made.render("patient_id", "4711", digest) == f"SUBJ-{digest[:12]}"
    assert made.render("patient_name", "A^B", digest) == f"Subject^{digest[:10]}"
    assert made.render("accession", "A1", digest) == ""
    assert check_template("patient_id", "a\\{hash}")
    assert check_template("patient_id", "{hash}{hash}")
    assert not check_template("accession", "")


def test_the_cache_is_bounded(pseudonyms: Pseudonyms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnode.deidentify.pseudonyms.CACHED", 10)
    first = pseudonyms.uid("1.1")
    for number in range(100):
        pseudonyms.uid(f"1.2.{number}")
    assert len(pseudonyms._uids) <= 10
    assert pseudonyms.uid("1.1") == first
