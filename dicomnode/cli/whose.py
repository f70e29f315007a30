"""Which studies belong to what a person has in hand: a patient, an accession number, a study; original or pseudonym."""

from __future__ import annotations

from collections.abc import Iterable

from dicomnode.errors import PermanentError
from dicomnode.model import Study
from dicomnode.store.identity import IdentityBook

HINT = "one of which nothing could be cleaned is known by its UID alone; dicomnode jobs show N has what was asked for"


def chosen(book: IdentityBook, studies: Iterable[Study], value: str) -> list[Study]:
    """Those of the patient, accession number or study `value`; raises PermanentError where there is none.

    The book has an accession number with the study that came first with it.
    """
    keys: set[tuple[str, str]] = set()
    patients: set[tuple[str, str]] = set()
    for project, study_key, entry in [*book.originals(value), *book.cleaned(value)]:
        if entry.attribute == "PatientID":
            patients.add((project, entry.cleaned))
        elif entry.attribute in ("AccessionNumber", "StudyInstanceUID"):
            keys.add((project, study_key))
    found = [
        study
        for study in studies
        if (study.project, study.study_key) in keys
        or (study.project, study.patient) in patients
        or value in (study.study_key, study.study_uid, study.patient)
    ]
    if not found:
        raise PermanentError("no study here is of that patient, accession number or study", HINT)
    return found
