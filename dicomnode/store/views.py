"""A view of the identity book for each attribute in it, with `original` and `cleaned`.

Its name is the attribute's keyword in small letters, and its name in the standard likewise (patientname and
patientsname), as people know both.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection

_keyword = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")


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
        connection.exec_driver_sql(
            f'CREATE VIEW IF NOT EXISTS "{name}" AS SELECT original, cleaned, project, study_key, first_at '
            f"FROM identity WHERE attribute = '{attribute}'"
        )
