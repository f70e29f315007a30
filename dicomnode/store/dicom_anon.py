"""The book of dicom-anon (identity.db), read so that its pseudonyms go on: a table per attribute.

Each has `original` and `cleaned`; all but studyinstanceuid name the study, for there every study has its own values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError

from dicomnode.errors import PermanentError
from dicomnode.store.database import plain
from dicomnode.store.mappings import UID, Mapping

STUDIES = "studyinstanceuid"
ATTRIBUTES = {
    STUDIES: UID,
    "seriesinstanceuid": UID,
    "sopinstanceuid": UID,
    "patientid": "PatientID",
    "patientsname": "PatientName",
    "accessionnumber": "AccessionNumber",
    "studyid": "StudyID",
}
KEYWORDS = {STUDIES: "StudyInstanceUID", "seriesinstanceuid": "SeriesInstanceUID", "sopinstanceuid": "SOPInstanceUID"}
LONGEST = 64

_uid = re.compile(r"[0-9]+(\.[0-9]+)*")


def read(path: Path) -> Iterator[tuple[str, Mapping]]:
    """Each pair with the attribute's keyword; those that DICOM does not allow are left out. Raises PermanentError."""
    url = URL.create("sqlite+pysqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    engine = create_engine(url, hide_parameters=True)
    try:
        with engine.connect() as connection:
            names = {
                row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            if STUDIES not in names:
                raise PermanentError(f"{path.name} is no identity.db of dicom-anon: it has no table {STUDIES}")
            for table, attribute in ATTRIBUTES.items():
                if table in names:
                    yield from _pairs(connection, table, attribute)
    except DatabaseError as error:
        raise PermanentError(f"{path.name} cannot be read: {plain(error)}") from None
    finally:
        engine.dispose()


def _pairs(connection: Connection, table: str, attribute: str) -> Iterator[tuple[str, Mapping]]:
    keyword = KEYWORDS.get(table, attribute)
    if table == STUDIES:
        rows = connection.exec_driver_sql(f"SELECT original, cleaned, '' FROM {table} ORDER BY id")
    else:
        rows = connection.exec_driver_sql(
            f"SELECT one.original, one.cleaned, coalesce(study.original, '') FROM {table} AS one "
            f"LEFT JOIN {STUDIES} AS study ON study.id = one.study ORDER BY one.id"
        )
    first: dict[str, str] = {}
    for original, cleaned, study in rows:
        before, after = str(original or "").strip(" \0"), str(cleaned or "").strip(" \0")
        if not before or not _fits(after, attribute):
            continue
        if attribute != UID and study:
            yield keyword, Mapping(attribute, before, after, str(study).strip(" \0"))
        # what a later study of the same patient gets is what the first one got
        if first.setdefault(before, after) == after:
            yield keyword, Mapping(attribute, before, after)


def _fits(text: str, attribute: str) -> bool:
    """Whether a pseudonym can stand in a data set; texts that say that something was removed cannot."""
    if attribute == UID:
        return 0 < len(text) <= LONGEST and _uid.fullmatch(text) is not None
    return 0 < len(text) <= LONGEST and text.isprintable() and "\\" not in text and "^^" not in text
