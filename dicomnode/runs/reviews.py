"""A reviewed list: which studies may be taken, and which reviews contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dicomnode.errors import ConfigError

COLUMNS = {
    "study": ("study", "studyuid", "studyinstanceuid", "originalstudyuid", "uid"),
    "reviewed": ("reviewed",),
    "phi": ("hasphi", "phi"),
    "relevant": ("relevant", "isrelevant"),
    "protocol": ("hasprotocolseries", "protocolseries", "protocolseriespresent", "protocol"),
    "reconstruction": ("hasreconstruction", "reconstruction"),
    "exclude": ("exclude", "excluded"),
    "comment": ("comment", "comments"),
}
NEEDED = {"study": "study_uid", "phi": "has_phi", "relevant": "relevant"}
YES, NO = ("yes", "y", "true", "t", "1", "x"), ("no", "n", "false", "f", "0", "")


@dataclass(slots=True)
class Reviewed:
    """One study of the list; `uid` identifies, and so may comments."""

    uid: str
    verdicts: set[bool] = field(default_factory=set)
    protocol: bool = False
    comments: list[str] = field(default_factory=list)

    @property
    def taken(self) -> bool:
        """Whether a reviewer lets it through."""
        return True in self.verdicts

    @property
    def conflicting(self) -> bool:
        """Whether reviewers disagree about that."""
        return len(self.verdicts) > 1


def reviewed(rows: Sequence[tuple[int, dict[str, str]]]) -> list[Reviewed]:
    """The studies that a reviewer lets through, in the order of the list: reviewed, relevant, without PHI.

    Several rows of a study are several reviews; those of one that is not reviewed yet do not count. Raises ConfigError.
    """
    studies: dict[str, Reviewed] = {}
    for number, row in rows:
        missing = [name for column, name in NEEDED.items() if column not in row]
        if missing:
            raise ConfigError(f"the list lacks the column {missing[0]}", "its heading must name it")
        said = {column: _truth(row[column], number, column) for column in row if column not in ("study", "comment")}
        study = studies.setdefault(row["study"], Reviewed(row["study"]))
        if row.get("comment"):
            study.comments.append(" ".join(row["comment"].split()))
        if not said.get("reviewed", True) or not row["phi"] or not row["relevant"]:
            continue
        bad = said["phi"] or said.get("exclude") or said.get("reconstruction")
        study.verdicts.add(said["relevant"] and not bad)
        study.protocol |= bool(said.get("protocol"))
    return [study for study in studies.values() if study.taken]


def _truth(text: str, number: int, column: str) -> bool:
    word = text.strip().lower()
    if word not in (*YES, *NO):
        raise ConfigError(f"line {number} of the list: {column} is neither yes nor no", "write yes or no")
    return word in YES
