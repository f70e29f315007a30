"""A view of the identity book for each attribute in it, with `original` and `cleaned`.

Its name is the attribute's keyword in small letters, and its name in the standard likewise (patientname and
patientsname), as people know both.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection

FIRST = (
    *("PatientID", "PatientName", "AccessionNumber", "StudyID"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
)
SHORT = {"patient": "PatientID", "accession_no": "AccessionNumber", "studyuid": "StudyInstanceUID"}

_keyword = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")


def create_first(connection: Connection) -> None:
    """Make the views that each book has from the beginning."""
    for attribute in FIRST:
        create(connection, attribute)
    for name, attribute in SHORT.items():
        _create(connection, name, attribute)


def create(connection: Connection, attribute: str) -> None:
    """Make the views of an attribute (its keyword), where they are not there."""
    from pydicom.datadict import dictionary_description, tag_for_keyword  # slow to import, and needed once

    if not _keyword.fullmatch(attribute):
        return
    names = {attribute.lower()}
    tag = tag_for_keyword(attribute)
    if tag is not None:
        names.add(re.sub(r"\W+", "", dictionary_description(tag)).lower())
    for name in sorted(names):
        _create(connection, name, attribute)


def _create(connection: Connection, name: str, attribute: str) -> None:
    connection.exec_driver_sql(
        f'CREATE VIEW IF NOT EXISTS "{name}" AS SELECT original, cleaned, project, study_key, first_at '
        f"FROM identity WHERE attribute = '{attribute}'"
    )
