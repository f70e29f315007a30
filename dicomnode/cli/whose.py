"""Which studies belong to what a person has in hand: a patient, an accession number, a study; original or pseudonym."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dicomnode import control
from dicomnode.config import Settings
from dicomnode.desk import FIND, find_study
from dicomnode.errors import DicomnodeError, PermanentError
from dicomnode.keys import ProjectKeys, load_key
from dicomnode.model import Study
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal

_uid = re.compile(r"[0-9]+(\.[0-9]+)+")

HINT = "one of which nothing could be cleaned is known by its UID alone; dicomnode jobs show N has what was asked for"


def chosen(book: IdentityBook, studies: Iterable[Study], value: str) -> list[Study]:
    """Those of the patient, accession number or study `value`; raises PermanentError where there is none.

    The book has an accession number with the study that came first with it.
    """
    keys: set[tuple[str, str]] = set()
    patients: set[tuple[str, str]] = set()
    value = value.strip()
    for project, study_key, entry in [*book.originals(value), *book.cleaned(value)] if value else []:
        if entry.attribute == "PatientID":
            patients.add((project, entry.cleaned))
        elif entry.attribute in ("AccessionNumber", "StudyInstanceUID"):
            keys.add((project, study_key))
    found = [
        study
        for study in studies
        if (study.project, study.study_key) in keys
        or (study.project, study.patient) in patients
        or (value and value in (study.study_key, study.study_uid, study.patient))
    ]
    if not found:
        raise PermanentError("no study here is of that patient, accession number or study", HINT)
    return found


def named(settings: Settings, journal: Journal, id_: str, project: str | None) -> Study:
    """The study that a person means; where its original UID is given, the running node knows the keys, else we do."""
    try:
        return find_study(journal, id_, project, {})
    except PermanentError:
        if not _uid.fullmatch(id_):
            raise
    request: dict[str, object] = {"command": "study", "do": FIND, "id": id_, "project": project}
    reports = control.ask(settings.storage.directory, request)
    if reports is None:
        return find_study(journal, id_, project, dict(_keys(settings)))
    answer = next(reports, {"error": "the node ended before it had answered"})
    if "error" in answer:
        raise DicomnodeError(str(answer["error"]))
    return find_study(journal, str(answer["study"]), str(answer["project"]), {})


def _keys(settings: Settings) -> Iterator[tuple[str, ProjectKeys]]:
    """The projects' keys, as far as they are there; raises KeyFileError where one cannot be read."""
    for name in settings.projects:
        if settings.key_file(name).exists():
            yield name, load_key(settings.key_file(name))
